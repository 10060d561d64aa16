// The usual scene: an authorization server on 127.0.0.1, an API, and the gateway on localhost,
// which is another site. And what a single-page app does in it.

import { createHash, randomBytes } from 'node:crypto';
import assert from 'node:assert/strict';
import { AUDIENCE, AuthorizationServer } from './authorization_server.mjs';
import { Gateway } from './gateway.mjs';
import { Upstream } from './upstream.mjs';
import { Browser, form } from './http.mjs';

export const CLIENT = 'web-app';
export const COOKIE = `__Secure-tollgate-${CLIENT}`;
/** With characters that HTTP Basic must carry form-encoded (RFC 6749 section 2.3.1). */
export const SECRET = 'p%ss w:rd+/=&-0123456789abcdef';
export const SCOPE = 'openid offline_access api:read';

export class World {
  /** auth: the client's authentication method at the AS. registration: more of its metadata there, or what makes it of the gateway. moreClients: others that it has. host: the gateway's, on loopback. tls: its certificate and key, if browsers come by https. callback: the path of the redirect URI. Other options as in `AuthorizationServer.start`. */
  static async start({ auth = 'client_secret_basic', client = {}, registration = {}, issuer = {}, config = {}, files = {}, startGateway = true, host = 'localhost', tls, callback = '/app/callback', moreClients = [], ...server } = {}) {
    const world = new World();
    world.auth = auth;
    world.upstream = await Upstream.start();
    world.gateway = await Gateway.reserve(host, tls);
    world.redirectUri = `${world.gateway.url}${callback}`;
    const withSecret = auth.startsWith('client_secret');
    world.as = await AuthorizationServer.start({
      clients: [
        {
          client_id: CLIENT,
          redirect_uris: [world.redirectUri],
          grant_types: ['authorization_code', 'refresh_token'],
          response_types: ['code'],
          token_endpoint_auth_method: auth,
          ...(withSecret && { client_secret: SECRET }),
          ...(typeof registration === 'function' ? registration(world.gateway) : registration),
        },
        ...moreClients,
      ],
      authMethods: [auth],
      ...server,
    });
    const api = world.upstream.url;
    world.config = {
      // The issuer's timeout is no test's subject unless it says so.
      issuers: { as: { url: world.as.url, audience: AUDIENCE, timeout: '60s', ...issuer } },
      clients: {
        [CLIENT]: { mode: 'token', login: 'page', scope: SCOPE, resource: AUDIENCE, redirect_uri: world.redirectUri, ...(withSecret && { secret: '${WEB_APP_SECRET}' }), ...client },
      },
      routes: [
        { path: '/api/*', to: api, require: { scope: 'api:read' } },
        { path: '/api/admin/*', to: api, require: { scope: 'admin' } },
        { path: '/api/public/*', to: api, public: true },
      ],
      ...config,
    };
    world.startOptions = { env: { WEB_APP_SECRET: SECRET }, files };
    if (startGateway) {
      await world.startGateway().catch(async (error) => {
        await world.stop();
        throw error;
      });
    }
    return world;
  }

  startGateway(options = {}) {
    return this.gateway.start(this.config, { ...this.startOptions, ...options });
  }

  /** Starts it again with the same config and store. */
  restartGateway() {
    return this.gateway.start(undefined, this.startOptions);
  }

  /** Signs `account` in at the AS, as a person does with its pages; returns the code and its verifier. */
  async authorize(browser, account = 'alice', { client = CLIENT, redirectUri = this.redirectUri } = {}) {
    const verifier = randomBytes(32).toString('base64url');
    const state = randomBytes(8).toString('hex');
    const query = new URLSearchParams({
      client_id: client,
      response_type: 'code',
      redirect_uri: redirectUri,
      scope: SCOPE,
      resource: AUDIENCE,
      // `consent`: without it there is no refresh token. `login`: a form even when somebody is signed in.
      prompt: 'login consent',
      state,
      code_challenge: createHash('sha256').update(verifier).digest('base64url'),
      code_challenge_method: 'S256',
    });
    const stopAt = (url) => url.startsWith(redirectUri);
    let page = await browser.navigate(`${this.as.url}/auth?${query}`, { stopAt });
    for (let step = 0; step < 6 && !stopAt(page.url); step += 1) {
      const { text, status } = page.answer;
      const action = /<form[^>]*action="([^"]+)"/.exec(text)?.[1];
      assert.ok(action, `a form of the authorization server at ${page.url}: ${status} ${text.replace(/[^]*<body>/, '')}`);
      const fields = Object.fromEntries([...text.matchAll(/<input[^>]*name="([^"]+)"[^>]*value="([^"]*)"/g)].map(([, name, value]) => [name, value]));
      if (fields.prompt === 'login') Object.assign(fields, { login: account, password: 'any' });
      page = await browser.navigate(action, { method: 'POST', ...form(fields), stopAt });
    }
    const arrived = new URL(page.url);
    assert.equal(arrived.searchParams.get('error'), null, page.url);
    assert.equal(arrived.searchParams.get('state'), state);
    return { code: arrived.searchParams.get('code'), verifier };
  }

  /** `POST /oauth/token` as the page does. */
  token(browser, fields, options = {}) {
    const { headers, body } = form({ client_id: CLIENT, ...fields });
    return browser.fetch('POST', `${this.gateway.url}/oauth/token`, { ...options, headers: { ...headers, ...options.headers }, body });
  }

  /** Sign-in whole: at the AS, then the code exchanged at the gateway. Returns the gateway's answer. */
  async signIn(browser, account = 'alice', options = {}) {
    const { code, verifier } = await this.authorize(browser, account);
    return this.token(browser, { grant_type: 'authorization_code', code, code_verifier: verifier, redirect_uri: this.redirectUri }, options);
  }

  refresh(browser, options = {}) {
    return this.token(browser, { grant_type: 'refresh_token' }, options);
  }

  signOut(browser, options = {}) {
    return browser.fetch('DELETE', `${this.gateway.url}/oauth/token?client_id=${CLIENT}`, options);
  }

  /** Signs out at the AS, by its own pages. */
  async signOutThere(browser) {
    const page = await browser.navigate(`${this.as.url}/session/end`);
    const [, action] = /<form[^>]*action="([^"]+)"/.exec(page.answer.text) ?? assert.fail(page.answer.text);
    const [, xsrf] = /name="xsrf" value="([^"]+)"/.exec(page.answer.text);
    const done = await browser.navigate(action, { method: 'POST', ...form({ xsrf, logout: 'yes' }) });
    assert.equal(done.answer.status, 200, done.answer.text);
  }

  /** A call of the API with an access token. */
  call(browser, pathname, accessToken, { method = 'GET', headers = {}, ...rest } = {}) {
    return browser.fetch(method, `${this.gateway.url}${pathname}`, {
      headers: { ...(accessToken && { authorization: `Bearer ${accessToken}` }), ...headers },
      ...rest,
    });
  }

  /** No refresh token of the AS was in any answer of the gateway, and no token of any kind was printed. */
  async assertNoTokenLeaked() {
    const answers = Browser.answers.filter(({ url }) => url.startsWith(`${this.gateway.url}/`));
    assert.ok(this.as.refreshTokens.size > 0 && answers.length > 0, 'there were refresh tokens and answers');
    await this.gateway.hasLogged(answers.map(({ id }) => id));
    assert.ok(this.gateway.output.includes(`"client":"${CLIENT}"`), `there were log lines:\n${this.gateway.output}`);
    for (const token of this.as.refreshTokens) {
      assert.ok(!answers.some(({ text }) => text.includes(token)), 'a refresh token was in an answer');
      assert.ok(!this.gateway.output.includes(token), 'a refresh token was printed');
    }
    for (const token of this.as.accessTokens) {
      const signature = token.slice(token.lastIndexOf('.') + 1);
      assert.ok(answers.some(({ text }) => text.includes(signature)), 'the access token was in an answer');
      assert.ok(!this.gateway.output.includes(signature), 'an access token was printed');
    }
  }

  async stop() {
    await this.gateway.stop();
    this.upstream.stop();
    await this.as.stop();
  }
}
