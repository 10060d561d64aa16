// The usual scene (world.mjs) in a real browser: the app of pages.mjs, at the gateway's own origin
// through a public route, or at a third origin that the client lists: same site, other port.

import { launch } from './browsers.mjs';
import { Pages } from './pages.mjs';
import { AUDIENCE } from './authorization_server.mjs';
import { Browser, until } from './http.mjs';
import { CLIENT, COOKIE, SCOPE, World } from './world.mjs';

export class Scene {
  /** Every request that any page sent, but for preflights: { method, url, body, answer() }, the last gives Playwright's response. */
  requests = [];

  /** atThirdOrigin: where the app lives. byGateway: it signs in, and the callback is its own. Other options as in `World.start`. */
  static async start({ atThirdOrigin = false, byGateway = false, client = {}, ...options } = {}) {
    const scene = new Scene();
    scene.pages = await Pages.start();
    const origin = `http://localhost:${scene.pages.port}`;
    const redirect_uri = `${origin}/app/callback`;
    const atThird = { client: { redirect_uri, origins: [origin], ...client }, ...(!byGateway && { registration: { redirect_uris: [redirect_uri] } }) };
    scene.world = await World.start({ client, ...(byGateway && { callback: '/oauth/callback' }), ...(atThirdOrigin && atThird), ...options, startGateway: false });
    const { gateway, as, config } = scene.world;
    scene.world.redirectUri = atThirdOrigin && !byGateway ? redirect_uri : scene.world.redirectUri;
    scene.origin = atThirdOrigin ? origin : gateway.url;
    const to = scene.world.upstream.url;
    config.routes.push({ path: '/app/*', to: scene.pages.url, public: true }, { path: '/api/gold/*', to, require: { acr: 'gold' } });
    scene.pages.settings = {
      issuer: as.url,
      gateway: atThirdOrigin ? gateway.url : '',
      // `consent`: without it there is no refresh token. `login`: a form even when somebody is signed in.
      parameters: { client_id: CLIENT, redirect_uri: scene.world.redirectUri, scope: SCOPE, resource: AUDIENCE, prompt: 'login consent' },
    };
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

  /** A browser profile without a past. */
  async newPerson() {
    await this.context?.close();
    this.context = await this.browser.newContext();
    this.context.setDefaultTimeout(60_000);
    this.context.on('request', (request) =>
      this.requests.push({ method: request.method(), url: request.url(), body: request.postData(), answer: () => request.response() }),
    );
    await this.context.clock.install();
  }

  /** A tab with the app. */
  async open(pathname = '/app/') {
    const tab = await this.context.newPage();
    await tab.goto(`${this.origin}${pathname}`);
    await ready(tab);
    return tab;
  }

  /** Signs in as a person does: the app's button, the authorization server's pages, back to the app. */
  async signIn(tab, account = 'alice') {
    await this.beginSignIn(tab, account);
    await this.endSignIn(tab);
    await ready(tab);
    return tab;
  }

  /** Up to the last click. */
  async beginSignIn(tab, account) {
    await tab.bringToFront(); // clicks wait for frames, and a tab behind others draws one a second
    await tab.evaluate(() => signIn());
    await tab.fill('input[name=login]', account);
    await tab.fill('input[name=password]', 'any');
    await tab.click('button[type=submit]');
    await tab.waitForSelector('button[type=submit]:has-text("Continue")');
  }

  /** The last click; the app is there again, and its code may be on the way. */
  async endSignIn(tab) {
    await tab.bringToFront();
    await tab.click('button[type=submit]:has-text("Continue")');
    await tab.waitForURL(`${this.origin}/app/callback`);
  }

  /** A tab where `account` was signed in before, and which has its token. */
  async signedIn(account = 'alice') {
    const { world } = this;
    const person = new Browser();
    const { code, verifier } = await world.authorize(person, account);
    const fields = { grant_type: 'authorization_code', code, code_verifier: verifier, redirect_uri: world.redirectUri };
    await world.token(person, fields, { page: this.origin });
    const [{ name, value, path }] = person.cookies.filter(({ name }) => name === COOKIE);
    await this.context.addCookies([{ name, value, path, domain: world.gateway.host, httpOnly: true, secure: true, sameSite: 'Strict' }]);
    const tab = await this.open();
    await tab.evaluate(() => gate.token());
    return tab;
  }

  /** A tab with an empty page of anybody's. */
  async openForeign(origin, pathname = '/') {
    const tab = await this.context.newPage();
    await tab.goto(`${origin}${pathname}`);
    return tab;
  }

  /** How often the authorization server was asked for new tokens. */
  get exchanges() {
    return this.world.as.callsOf('refresh_token').length;
  }

  /** Waits until every answer of the gateway that anybody has read is in its access log, which is written after the answer. */
  async allLogged() {
    const { gateway } = this.world;
    const toGateway = (url) => url.startsWith(`${gateway.url}/`);
    const read = await Promise.all(this.requests.filter(({ url }) => toGateway(url)).map(({ answer }) => answer().catch(() => null)));
    const ids = await Promise.all(read.filter(Boolean).map((answer) => answer.headerValue('x-request-id').catch(() => null)));
    const direct = Browser.answers.filter(({ url }) => toGateway(url)).map(({ id }) => id);
    await gateway.hasLogged([...ids, ...direct].filter(Boolean));
  }

  /** The cookies that the gateway has in the browser. */
  async ownCookies() {
    return (await this.context.cookies()).filter(({ name }) => name.includes('tollgate'));
  }

  async stop() {
    await this.browser?.close();
    await this.world?.stop();
    this.pages.stop();
  }
}

/** The app runs, and a sign-in that came back is done. */
async function ready(tab) {
  await until('the app to start', () => tab.evaluate(() => window.arrived !== undefined));
  await tab.evaluate(() => arrived);
}

/** In the page: a call of the API through the wrapper; gives status, the headers that a page may read, and the body. */
export const call = (tab, input = '/api/things', init = {}) =>
  tab.evaluate(
    async ([input, init]) => {
      try {
        const answer = await gate.fetch(input, init);
        const text = await answer.text();
        return { status: answer.status, headers: Object.fromEntries(answer.headers), text, json: JSON.parse(text || 'null') };
      } catch ({ name, message, error, status, retryAfter }) {
        return { failed: { name, message, error, status, retryAfter } };
      }
    },
    [input, init],
  );
