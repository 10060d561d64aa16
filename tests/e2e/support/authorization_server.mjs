// A real authorization server, npm oidc-provider 9: JWT access tokens (RFC 9068) through resource
// indicators (RFC 8707), rotating refresh tokens, its own sign-in pages. It can be stopped and
// started again on its port, and its token endpoint can be made to fail in every way that a real
// one does.

import http from 'node:http';
import { once } from 'node:events';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { Provider } from 'oidc-provider';
import { createMemoryAdapter } from 'oidc-provider/lib/adapters/memory_adapter.js';
import { freePort } from './ports.mjs';

// Its advice for production is noise in a test.
for (const level of ['info', 'warn']) {
  const print = console[level];
  console[level] = (...words) => String(words[0]).includes('oidc-provider') || print(...words);
}

export const AUDIENCE = 'https://api.example.com';
/** Kept for the life of the process: making an RSA key takes longer than any test. */
const KEYS = [
  jwk('RS256', generateKeyPairSync('rsa', { modulusLength: 2048 })),
  jwk('ES256', generateKeyPairSync('ec', { namedCurve: 'P-256' })),
  jwk('EdDSA', generateKeyPairSync('ed25519')),
];

function jwk(alg, { privateKey }, kid = `test-${alg.toLowerCase()}`) {
  return { ...privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid };
}

export class AuthorizationServer {
  /** Every refresh token it ever gave out. */
  refreshTokens = new Set();
  /** Every access token it ever gave out. */
  accessTokens = new Set();
  /** Every call of the token endpoint: grant_type, the client's way to authenticate, what was answered. */
  tokenCalls = [];
  /** Every call of the revocation endpoint: what was revoked. */
  revocations = [];
  /** Every pushed authorization request (RFC 9126): how its client is registered to prove itself, its parameters, what was answered. */
  pushes = [];
  /** Every call of the introspection endpoint: which token, and whether it was called active. */
  introspections = [];
  /** Every client that was told of a sign-out (back-channel logout): `sub`, `sid`, and the error if it did not take it. */
  logouts = [];
  /** Set: called with (request, answer) instead of the token endpoint. */
  tokenFault;
  /** How long the access tokens live that it gives out from now on. */
  accessTokenSeconds;
  #server;
  #port;
  #provider;
  #options;
  /** What it remembers, whichever provider works with it: a rotation of keys makes another one. */
  #memory = createMemoryAdapter();
  #cookieKeys = [randomBytes(32).toString('base64url')];
  #hold;
  #holdAnswer;
  #faulty = new Set();

  /**
   * clients: client metadata (RFC 7591). authMethods: what discovery offers. alg: the access tokens'.
   * accessTokenSeconds: their life at first. opaque: they are not JWTs, and can be introspected. features: more of
   * oidc-provider's. person: claims of everybody, in the ID token.
   */
  static async start({ clients, authMethods, alg = 'ES256', accessTokenSeconds = 60, opaque = false, features = {}, person = {} }) {
    const server = new AuthorizationServer();
    server.accessTokenSeconds = accessTokenSeconds;
    await server.#listen(await freePort());
    server.#options = { clients, authMethods, alg, opaque, features, person, keys: KEYS };
    server.#provider = server.#makeProvider(server.#options);
    return server;
  }

  get url() {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Refuses every connection until `resume`. Everything it knows is kept. */
  async pause() {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  async resume() {
    await this.#listen(this.#port);
  }

  async stop() {
    if (this.#server.listening) await this.pause();
  }

  /** Publishes and signs with a new key of `ES256` in the place of the old one. Sessions and grants go on. */
  rotateKey(kid) {
    const fresh = jwk('ES256', generateKeyPairSync('ec', { namedCurve: 'P-256' }), kid);
    this.#options.keys = this.#options.keys.map((key) => (key.alg === 'ES256' ? fresh : key));
    this.#provider = this.#makeProvider(this.#options);
  }

  /** The token endpoint works again; calls that it left without an answer end. */
  endFault() {
    this.tokenFault = undefined;
    for (const socket of this.#faulty) socket.destroy();
    this.#faulty.clear();
  }

  /** The next call of the token endpoint waits: `arrived` gets what lets it go on. */
  holdNextTokenCall(arrived) {
    this.#hold = arrived;
  }

  /** The next call of the token endpoint is worked on, and its answer waits: `ready` gets what sends it. */
  holdNextTokenAnswer(ready) {
    this.#holdAnswer = ready;
  }

  callsOf(grantType) {
    return this.tokenCalls.filter((call) => call.grant_type === grantType);
  }

  async #listen(port) {
    this.#server = http.createServer((incoming, outgoing) => {
      if (this.tokenFault && incoming.url === '/token') {
        this.tokenCalls.push({ grant_type: 'fault' });
        this.#faulty.add(incoming.socket);
        return this.tokenFault(incoming, outgoing);
      }
      const answer = () => this.#provider.callback()(incoming, outgoing);
      if (this.#hold && incoming.url === '/token') {
        const arrived = this.#hold;
        this.#hold = undefined;
        return arrived(answer);
      }
      if (this.#holdAnswer && incoming.url === '/token') {
        const ready = this.#holdAnswer;
        this.#holdAnswer = undefined;
        const end = outgoing.end.bind(outgoing);
        outgoing.end = (...what) => ready(() => end(...what));
      }
      return answer();
    });
    this.#server.listen(port, '127.0.0.1');
    await once(this.#server, 'listening');
    this.#port = this.#server.address().port;
  }

  #makeProvider({ clients, authMethods, alg, opaque, features, person, keys }) {
    const provider = new Provider(this.url, {
      clients,
      ...(authMethods && { clientAuthMethods: authMethods }),
      adapter: this.#memory,
      jwks: { keys },
      cookies: { keys: this.#cookieKeys },
      // Its guard against requests to inner addresses refuses loopback.
      fetch: (url, { dispatcher, ...options }) => fetch(url, options),
      rotateRefreshToken: true,
      pkce: { required: () => true },
      findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...person }) }),
      claims: { openid: ['sub', ...Object.keys(person)] },
      conformIdTokenClaims: false,
      // RFC 9068 section 2.2.1; it leaves that out by itself.
      extraTokenClaims: ({ oidc }) => {
        const { authTime } = oidc.entities.AuthorizationCode ?? oidc.entities.RefreshToken ?? {};
        return authTime && { auth_time: authTime };
      },
      ttl: { AccessToken: () => this.accessTokenSeconds, RefreshToken: 3600, Grant: 3600, Session: 3600, Interaction: 600, IdToken: 600 },
      features: {
        ...features,
        devInteractions: { enabled: true },
        revocation: { enabled: true },
        introspection: { enabled: opaque },
        resourceIndicators: {
          enabled: true,
          defaultResource: () => undefined,
          getResourceServerInfo: (_, resource) => ({
            scope: 'api:read api:write',
            audience: opaque ? resource : AUDIENCE,
            accessTokenTTL: this.accessTokenSeconds,
            ...(opaque ? { accessTokenFormat: 'opaque' } : { accessTokenFormat: 'jwt', jwt: { sign: { alg } } }),
          }),
        },
      },
    });
    provider.on('backchannel.success', (_, client, sub, sid) => this.logouts.push({ client: client.clientId, sub, sid }));
    provider.on('backchannel.error', (_, error, client, sub, sid) => this.logouts.push({ client: client.clientId, sub, sid, error: error.message }));
    provider.use(async (context, next) => {
      await next();
      const { route, params } = context.oidc ?? {};
      if (route === 'token') {
        const { authorization } = context.headers;
        const body = params ?? {};
        this.tokenCalls.push({
          grant_type: body.grant_type,
          auth: authorization ? 'client_secret_basic' : body.client_assertion ? 'private_key_jwt' : body.client_secret ? 'client_secret_post' : 'none',
          resource: body.resource,
          status: context.status,
          error: context.body?.error,
        });
        if (context.body?.refresh_token) this.refreshTokens.add(context.body.refresh_token);
        if (context.body?.access_token) this.accessTokens.add(context.body.access_token);
      }
      if (route === 'pushed_authorization_request') {
        this.pushes.push({ auth: context.oidc.client?.clientAuthMethod, params: { ...params }, status: context.status });
      }
      if (route === 'introspection') this.introspections.push({ token: params?.token, active: context.body?.active });
      if (route === 'revocation') this.revocations.push({ token: params?.token, status: context.status });
    });
    return provider;
  }
}

/** The ways in which a token endpoint fails. Each takes (request, answer). */
export const faults = {
  'breaks off the connection': (incoming) => incoming.socket.destroy(),
  'never answers': () => {},
  'answers 500': (_, answer) => answer.writeHead(500, { 'content-type': 'application/json' }).end('{"error":"server_error"}'),
  'answers 503 with a page': (_, answer) => answer.writeHead(503, { 'content-type': 'text/html' }).end('<h1>Maintenance</h1>'),
  'answers 200 with a page': (_, answer) => answer.writeHead(200, { 'content-type': 'text/html' }).end('<h1>Welcome to the captive portal</h1>'),
  'answers half a JSON': (_, answer) => answer.writeHead(200, { 'content-type': 'application/json' }).end('{"access_token":"ey'),
  'breaks off in the middle of the body': (_, answer) => {
    answer.writeHead(200, { 'content-type': 'application/json', 'content-length': 1000 });
    answer.write('{"access_token":"ey', () => answer.destroy());
  },
  'sends its header and then nothing': (_, answer) => {
    answer.writeHead(200, { 'content-type': 'application/json', 'content-length': 1000 });
    answer.write('{"acc');
  },
  'answers 100 MB': (_, answer) => {
    answer.writeHead(200, { 'content-type': 'application/json' });
    const chunk = Buffer.alloc(1 << 20, 'a');
    let left = 100;
    const more = () => {
      while (left > 0 && !answer.destroyed) {
        left -= 1;
        if (!answer.write(chunk)) return answer.once('drain', more);
      }
      return answer.end();
    };
    answer.write('{"access_token":"');
    more();
  },
  'says that our credentials are wrong': (_, answer) =>
    answer.writeHead(401, { 'content-type': 'application/json' }).end('{"error":"invalid_client"}'),
};
