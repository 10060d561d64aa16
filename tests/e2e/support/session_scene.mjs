// A browser app without tokens (`mode: session`) in a real browser: pages of its own at public routes, a part behind
// sign-in, an API, and the authorization server on another site.

import assert from 'node:assert/strict';
import { launch } from './browsers.mjs';
import { Browser, form } from './http.mjs';
import { Pages } from './pages.mjs';
import { World } from './world.mjs';

export const COOKIE = '__Host-Http-tollgate-web-app';

/** What makes `World` one of session mode. Names of routes: /page/ is public, /portal/ signs in, /api/ takes the cookie. */
export const sessionMode = ({ client = {}, ...options } = {}) => ({
  callback: '/oauth/callback',
  client: {
    mode: 'session',
    login: undefined,
    redirect_uri: undefined,
    // `consent`: without it there is no refresh token. `login`: a form even when somebody is signed in.
    authorize: { prompt: 'login consent' },
    ...client,
  },
  ...options,
});

/** A browser that is none, but does what one does, signed in by the gateway at its public address. */
export async function signInByGateway(world, account = 'alice') {
  const browser = new Browser();
  const isThere = (url) => url.startsWith(`${world.gateway.url}/oauth/callback`);
  let page = await browser.navigate(`${world.gateway.url}/oauth/login?client_id=web-app&return_to=/`);
  for (let step = 0; step < 6 && !isThere(page.url); step += 1) {
    const { text } = page.answer;
    const action = /<form[^>]*action="([^"]+)"/.exec(text)?.[1];
    assert.ok(action, `a form at ${page.url}: ${text}`);
    const fields = Object.fromEntries([...text.matchAll(/<input[^>]*name="([^"]+)"[^>]*value="([^"]*)"/g)].map(([, name, value]) => [name, value]));
    if (fields.prompt === 'login') Object.assign(fields, { login: account, password: 'any' });
    page = await browser.navigate(action, { method: 'POST', ...form(fields) });
  }
  assert.ok(isThere(page.url) && page.answer.status === 200, `${page.url} ${page.answer.text}`);
  assert.ok(browser.cookie(COOKIE), 'a session cookie came');
  return browser;
}

export class SessionScene {
  /** Every request of any page: { method, url, headers, answer() }. */
  requests = [];

  static async start({ routes = () => [], ...options } = {}) {
    const scene = new SessionScene();
    scene.pages = await Pages.start();
    scene.world = await World.start({ ...sessionMode(options), startGateway: false });
    const { config, upstream } = scene.world;
    config.routes.push(
      { path: '/page/*', to: scene.pages.url, public: true },
      { path: '/portal/*', to: upstream.url, sign_in: 'web-app' },
      { path: '/poll/*', to: upstream.url, extends_session: false },
      ...routes(upstream.url),
    );
    try {
      await scene.world.startGateway();
      scene.browser = await launch();
      await scene.newPerson();
    } catch (error) {
      await scene.stop();
      throw error;
    }
    return scene;
  }

  get url() {
    return this.world.gateway.url;
  }

  /** A browser profile without a past. */
  async newPerson() {
    await this.context?.close();
    this.requests = [];
    this.context = await this.browser.newContext();
    this.context.setDefaultTimeout(60_000);
    this.context.on('request', (request) =>
      this.requests.push({ method: request.method(), url: request.url(), answer: () => request.response() }),
    );
  }

  /** A tab at a page of the app that everybody may see. */
  async open(url = `${this.url}/page/`) {
    const tab = await this.context.newPage();
    await tab.goto(url);
    return tab;
  }

  /** Goes to `path`, which leads to sign-in, signs in, and waits to be back there. */
  async signInAt(path, account = 'alice', tab) {
    tab ??= await this.context.newPage();
    await tab.goto(`${this.url}${path}`);
    await this.pass(tab, account);
    await tab.waitForURL(`${this.url}${path}`);
    return tab;
  }

  /** The pages of the authorization server. */
  async pass(tab, account) {
    await tab.fill('input[name=login]', account);
    await tab.fill('input[name=password]', 'any');
    await tab.click('button[type=submit]');
    await tab.waitForSelector('button[type=submit]:has-text("Continue")');
    await tab.click('button[type=submit]:has-text("Continue")');
  }

  /** The cookies that the gateway has in the browser. */
  async ownCookies() {
    return (await this.context.cookies()).filter(({ name }) => name.includes('tollgate'));
  }

  async sessionCookie() {
    return (await this.ownCookies()).find(({ name }) => name === COOKIE)?.value;
  }

  get exchanges() {
    return this.world.as.callsOf('refresh_token').length;
  }

  async stop() {
    await this.browser?.close();
    await this.world?.stop();
    this.pages.stop();
  }
}

/** In the page: a call as a page of session mode makes it; gives status, headers and body. */
export const call = (tab, input = '/api/things', init = {}) =>
  tab.evaluate(
    async ([input, init]) => {
      try {
        const answer = await fetch(input, { ...init, headers: { 'X-CSRF': '1', ...init.headers } });
        const text = await answer.text();
        const isJson = answer.headers.get('content-type')?.includes('json');
        return { status: answer.status, headers: Object.fromEntries(answer.headers), text, json: isJson ? JSON.parse(text) : null };
      } catch ({ name }) {
        return { failed: name };
      }
    },
    [input, init],
  );
