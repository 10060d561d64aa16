// The scene of the stories in WebKitGTK. The gateway is asked over https: WebKit keeps no `Secure` cookie over http, on localhost
// neither. The authorization server is on another site; foreign pages are on that of a sibling and on others.

import { readFile } from 'node:fs/promises';
import { AUDIENCE } from './authorization_server.mjs';
import { request, until } from './http.mjs';
import { Pages } from './pages.mjs';
import { Authority, Folder } from './tools.mjs';
import { WebKit } from './webkit.mjs';
import { CLIENT, SCOPE, World } from './world.mjs';

const HOST = 'gate.app.localhost';

/** A client in `token` mode that the gateway signs in. `consent`: without it there is no refresh token. `login`: always a form. */
export const tokenMode = { callback: '/oauth/callback', client: { login: 'gateway', redirect_uri: undefined, authorize: { prompt: 'login consent' } } };

export class WebKitScene {
  #folder;

  /** As `World.start`; `routes` gets the address of the API and of the pages. */
  static async start({ routes = () => [], ...options }) {
    const scene = new WebKitScene();
    try {
      await scene.#start(routes, options);
    } catch (error) {
      await scene.stop();
      throw error;
    }
    return scene;
  }

  async #start(routes, options) {
    this.#folder = await Folder.make();
    const authority = await Authority.make(this.#folder, 'ca');
    const tls = await authority.gives('web', `DNS:app.localhost,DNS:*.app.localhost`);
    this.pages = await Pages.start({ tls });
    this.world = await World.start({ host: HOST, tls, ...options, startGateway: false });
    const { config, upstream, as } = this.world;
    config.routes.push(
      { path: '/app/*', to: this.pages.url, public: true },
      { path: '/portal/*', to: upstream.url, ...(config.clients[CLIENT].mode === 'session' ? { sign_in: CLIENT } : { public: true }) },
      ...routes(upstream.url, this.pages.url),
    );
    this.pages.settings = { issuer: as.url, gateway: '', parameters: { client_id: CLIENT, redirect_uri: this.world.redirectUri, scope: SCOPE, resource: AUDIENCE } };
    await this.world.startGateway();
    this.webkit = await WebKit.launch();
    await this.newPerson();
  }

  get url() {
    return this.world.gateway.url;
  }

  /** Who is not of the gateway's origin: another site, one over http at its own name, and siblings. */
  get others() {
    const { port, tlsPort } = this.pages;
    return {
      'another site': `http://127.0.0.1:${port}`,
      'the same name without TLS': `http://${HOST}:${port}`,
      'a sibling sub-domain': `https://evil.app.localhost:${tlsPort}`,
      'another port of the host': `https://${HOST}:${tlsPort}`,
    };
  }

  async newPerson() {
    this.person = await this.webkit.newPerson();
  }

  /** A tab with the app of pages.mjs. */
  async open(path = '/app/') {
    const tab = await this.person.open(`${this.url}${path}`);
    await ready(tab);
    return tab;
  }

  /** The pages of the authorization server. */
  async pass(tab, account = 'alice') {
    await tab.fill('input[name=login]', account);
    await tab.fill('input[name=password]', 'any');
    await tab.click('button[type=submit]');
    await tab.click('form:has(input[value=consent]) button[type=submit]');
  }

  /** From the app's button to the authorization server and back. */
  async signIn(tab, account) {
    const from = await tab.url();
    await tab.evaluate(() => leave());
    await this.pass(tab, account);
    await tab.waitForURL(from);
    await ready(tab);
    return tab;
  }

  /** In `session` mode: a page that signs in, and the way through that. */
  async signInAt(path, account) {
    const tab = await this.person.open(`${this.url}${path}`);
    await this.pass(tab, account);
    await tab.waitForURL(`${this.url}${path}`);
    return tab;
  }

  /** The names of the gateway's cookies that would go to `path`. */
  async cookiesAt(path) {
    const tab = await this.person.open(`${this.url}${path}`);
    const cookies = (await tab.cookies()).filter(({ name }) => name.includes('tollgate'));
    await tab.close();
    return cookies;
  }

  get exchanges() {
    return this.world.as.callsOf('refresh_token').length;
  }

  /** Waits for the next answer of the token endpoint; gives what lets it go on. */
  held(ask) {
    return new Promise((arrived) => {
      this.world.as.holdNextTokenCall(arrived);
      ask();
    });
  }

  async revoke(revocation) {
    const { gateway } = this.world;
    const authorization = `Bearer ${(await readFile(gateway.file('data/admin.token'), 'utf8')).trim()}`;
    const headers = { authorization, 'content-type': 'application/json' };
    const answer = await request('POST', `${gateway.admin}/revocations`, { headers, body: JSON.stringify(revocation) });
    if (answer.status !== 201) throw new Error(answer.text);
  }

  async stop() {
    await this.webkit?.stop();
    await this.world?.stop();
    this.pages?.stop();
    await this.#folder?.remove();
  }
}

/** Runs in a page: sends a form, from a page with this policy of referrers. */
export function submit(action, referrer, fields = {}) {
  document.head.append(Object.assign(document.createElement('meta'), { name: 'referrer', content: referrer }));
  const form = Object.assign(document.createElement('form'), { method: 'POST', action });
  for (const [name, value] of Object.entries(fields)) form.append(Object.assign(document.createElement('input'), { name, value }));
  document.body.append(form);
  form.submit();
}

async function ready(tab) {
  await until('the app to start', () => tab.evaluate(() => window.arrived !== undefined));
  await tab.evaluate(() => arrived.then(() => {}));
}
