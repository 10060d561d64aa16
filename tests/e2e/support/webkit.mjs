// WebKitGTK, the nearest relative of Safari's that Debian has, by W3C WebDriver in a display that nobody sees (Xvfb). It is the
// one that people have, with an empty profile that goes when it ends.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { request, until } from './http.mjs';
import { freePort } from './ports.mjs';
import { Folder } from './tools.mjs';

/** How WebDriver names an element (section 12). */
const ELEMENT = 'element-6066-11e4-a52e-4f735466cecf';
const TIMEOUTS = { script: 60_000, pageLoad: 60_000, implicit: 0 };

/** What still runs, each the first of its group; none of it outlives the tests. */
const groups = new Set();
process.on('exit', () => groups.forEach(kill));

function kill(child) {
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

/** A program of scripts/setup's, with all that it starts. */
async function start(name, args, options) {
  const child = spawn(name, args, { detached: true, ...options });
  await once(child, 'spawn').catch(() => {
    throw new Error(`there is no ${name} on the PATH; \`scripts/setup browsers\` installs it`);
  });
  groups.add(child);
  child.on('close', () => groups.delete(child));
  return child;
}

export class WebKit {
  #folder;
  #started = [];
  #url;
  #person;

  static async launch() {
    const webkit = new WebKit();
    try {
      await webkit.#launch();
    } catch (error) {
      await webkit.stop();
      throw error;
    }
    return webkit;
  }

  async #launch() {
    this.#folder = await Folder.make();
    const xvfb = await start('Xvfb', ['-displayfd', '3', '-nolisten', 'tcp', '-screen', '0', '1280x900x24'], { stdio: ['ignore', 'ignore', 'ignore', 'pipe'] });
    this.#started.push(xvfb);
    const [display] = await Promise.race([once(xvfb.stdio[3], 'data'), once(xvfb, 'close').then(() => [''])]);
    if (!/^\d+\s*$/.test(display)) throw new Error('Xvfb ended');
    const home = this.#folder.path;
    const env = {
      PATH: process.env.PATH,
      LC_ALL: 'C.UTF-8',
      DISPLAY: `:${String(display).trim()}`,
      HOME: home,
      XDG_RUNTIME_DIR: home,
      // Nothing of the machine's desktop, if it has one.
      DBUS_SESSION_BUS_ADDRESS: 'disabled:',
      GDK_BACKEND: 'x11',
      GSETTINGS_BACKEND: 'memory',
      NO_AT_BRIDGE: '1',
      LIBGL_ALWAYS_SOFTWARE: '1',
      WEBKIT_DISABLE_DMABUF_RENDERER: '1',
    };
    const port = await freePort();
    this.#url = `http://127.0.0.1:${port}`;
    this.#started.push(await start('WebKitWebDriver', [`--port=${port}`], { env, stdio: process.env.TOLLGATE_E2E_OUTPUT ? 'inherit' : 'ignore' }));
    await until('WebKitWebDriver to answer', () => this.ask('GET', '/status'));
  }

  async ask(method, path, body) {
    const sent = body && { headers: { 'content-type': 'application/json; charset=utf-8' }, body: JSON.stringify(body) };
    const { status, json } = await request(method, `${this.#url}${path}`, sent);
    if (status !== 200) throw new Error(`${method} ${path}: ${json.value.error} ${json.value.message}`);
    return json.value;
  }

  /** A browser without a past, in place of the one before: the driver has one at a time. */
  async newPerson() {
    await this.#person?.leave();
    const { sessionId, capabilities } = await this.ask('POST', '/session', { capabilities: { alwaysMatch: { acceptInsecureCerts: true, timeouts: TIMEOUTS } } });
    this.version = `${capabilities.browserName} ${capabilities.browserVersion}`;
    this.#person = new Person((method, path, body) => this.ask(method, `/session/${sessionId}${path}`, body));
    return this.#person;
  }

  async stop() {
    await this.#person?.leave().catch(() => {});
    for (const child of this.#started.reverse()) kill(child);
    await this.#folder?.remove();
  }
}

class Person {
  #ask;
  #turn = Promise.resolve();
  #shown;
  #isNew = true;

  constructor(ask) {
    this.#ask = ask;
  }

  leave() {
    return this.#ask('DELETE', '');
  }

  /** A new tab, at `url`. */
  async open(url) {
    const made = this.#turn.then(() => (this.#isNew ? this.#ask('GET', '/window') : this.#ask('POST', '/window/new', { type: 'tab' }).then(({ handle }) => handle)));
    this.#turn = made.catch(() => {});
    this.#isNew = false;
    const tab = new Tab(this, await made);
    if (url) await tab.goto(url);
    return tab;
  }

  /** WebDriver has one tab at a time: whoever asks waits for their turn. */
  inTab(handle, method, path, body) {
    const turn = this.#turn.then(async () => {
      await this.#show(handle);
      return this.#ask(method, path, body);
    });
    this.#turn = turn.catch(() => {});
    return turn;
  }

  /** Another tab must be there, without which none can be opened. */
  close(handle) {
    this.#turn = this.#turn.then(async () => {
      await this.#show(handle);
      await this.#show((await this.#ask('DELETE', '/window'))[0]);
    });
    return this.#turn;
  }

  async #show(handle) {
    if (this.#shown !== handle) await this.#ask('POST', '/window', { handle });
    this.#shown = handle;
  }
}

class Tab {
  #ask;

  constructor(person, handle) {
    this.#ask = (method, path, body) => person.inTab(handle, method, path, body);
    this.close = () => person.close(handle);
  }

  goto = (url) => this.#ask('POST', '/url', { url });
  url = () => this.#ask('GET', '/url');
  reload = () => this.#ask('POST', '/refresh', {});
  back = () => this.#ask('POST', '/back', {});
  /** Those that would go to where the tab is, the `HttpOnly` ones too. */
  cookies = () => this.#ask('GET', '/cookie');

  /** Runs `work` in the page, waits for its promise, and returns what JSON can say of that. */
  async evaluate(work, ...args) {
    const script = `const [args, done] = arguments; Promise.resolve(args).then((args) => (${work})(...args)).then((value) => done({ value }), (error) => done({ thrown: String(error) }));`;
    const { value, thrown } = await this.#ask('POST', '/execute/async', { script, args: [args] });
    if (thrown) throw new Error(thrown);
    return value;
  }

  #find = async (css) => (await this.#ask('POST', '/element', { using: 'css selector', value: css }))[ELEMENT];
  waitFor = (css) => until(`${css} to be there`, () => this.#find(css));
  text = async (css = 'body') => this.#ask('GET', `/element/${await this.waitFor(css)}/text`);

  /** As a person does: by the mouse, and by the keys. */
  click = (css) => until(`a click at ${css}`, async () => (await this.#ask('POST', `/element/${await this.#find(css)}/click`, {})) === null);
  fill = async (css, text) => this.#ask('POST', `/element/${await this.waitFor(css)}/value`, { text });

  /** Waits until it is there: the whole address, or what it begins with where that ends with `*`. */
  async waitForURL(wanted) {
    let url;
    await until(`the tab to be at ${wanted}`, async () => {
      url = await this.url();
      return wanted.endsWith('*') ? url.startsWith(wanted.slice(0, -1)) : url === wanted;
    }).catch((error) => {
      throw new Error(`${error.message}; it is at ${url}`);
    });
  }
}
