// Tokens that are bound to a key of the page (DPoP, RFC 9449): oidc-provider binds them and hands out nonces, jose makes
// the proofs, the gateway passes them on and looks at those of the API itself.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import { decodeJwt } from 'jose';
import { Holder } from './support/dpop.mjs';
import { Browser, form, request } from './support/http.mjs';
import { blocksOfSpaMd } from './support/pages.mjs';
import { COOKIE, SCOPE, SECRET, World } from './support/world.mjs';
import { AUDIENCE } from './support/authorization_server.mjs';

let world;
let alice;

before(async () => {
  const redirect = 'http://127.0.0.1:49152/cb';
  world = await World.start({
    features: { dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => requiresNonce } },
    authMethods: ['client_secret_basic', 'none'],
    moreClients: [
      { client_id: 'cli', application_type: 'native', redirect_uris: [redirect], grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'], token_endpoint_auth_method: 'none' },
    ],
    startGateway: false,
  });
  world.redirect = redirect;
  world.config.clients.cli = { mode: 'native' };
  world.config.routes.push({ path: '/api/bound/*', to: world.upstream.url, dpop: 'required', require: { scope: 'api:read' } });
  await world.startGateway();
  alice = await Holder.make();
});
after(() => world?.stop());

let requiresNonce = false;

/** Where a page's proof for new tokens is for: the authorization server says so to everybody. */
async function tokenEndpoint() {
  const metadata = await request('GET', `${world.gateway.url}/.well-known/oauth-protected-resource/api`);
  const [issuer] = metadata.json.authorization_servers;
  assert.ok(metadata.json.dpop_signing_alg_values_supported.includes('ES256'));
  return (await request('GET', `${issuer}/.well-known/openid-configuration`)).json.token_endpoint;
}

const refresh = async (browser, holder, options = {}) =>
  world.refresh(browser, { headers: { dpop: await holder.proof('POST', await tokenEndpoint(), options) } });

/** A call of the API; with the proof given, or a new one. */
async function call(holder, pathname, accessToken, { scheme = 'DPoP', proof, method = 'GET' } = {}) {
  const dpop = proof ?? (await holder.proof(method, `${world.gateway.url}${pathname}`, { accessToken }));
  return new Browser().fetch(method, `${world.gateway.url}${pathname}`, { headers: { authorization: `${scheme} ${accessToken}`, dpop } });
}

test('a page gets tokens that are bound to its key, and nobody else can use them', async () => {
  const browser = new Browser();
  await world.signIn(browser);
  const answer = await refresh(browser, alice);
  assert.equal(answer.status, 200, answer.text);
  assert.equal(answer.json.token_type, 'DPoP');
  const accessToken = answer.json.access_token;
  assert.equal(decodeJwt(accessToken).cnf.jkt, alice.thumbprint);
  assert.ok(answer.headers['dpop-nonce'], 'the nonce for the next one came along');

  for (const pathname of ['/api/things', '/api/bound/things?x=1']) {
    const passed = await call(alice, pathname.split('?')[0], accessToken);
    assert.equal(passed.status, 200, passed.text);
    assert.equal(passed.json.headers['x-auth-subject'], 'alice');
    assert.equal(passed.json.headers.dpop, undefined);
  }

  const proof = await alice.proof('GET', `${world.gateway.url}/api/things`, { accessToken });
  assert.equal((await call(alice, '/api/things', accessToken, { proof })).status, 200);
  const replayed = await call(alice, '/api/things', accessToken, { proof });
  assert.equal(replayed.status, 401);
  assert.match(replayed.headers['www-authenticate'], /^DPoP .*error="invalid_dpop_proof".*used before/);

  const mallory = await Holder.make();
  const stolen = await call(mallory, '/api/things', accessToken);
  assert.equal(stolen.status, 401);
  assert.match(stolen.headers['www-authenticate'], /^DPoP .*error="invalid_token".*another key/);

  const downgraded = await call(alice, '/api/things', accessToken, { scheme: 'Bearer' });
  assert.equal(downgraded.status, 401);
  assert.match(downgraded.headers['www-authenticate'], /^Bearer .*error="invalid_token".*DPoP algs="ES256 /);

  const elsewhere = await alice.proof('GET', `${world.gateway.url}/api/other`, { accessToken });
  assert.equal((await call(alice, '/api/things', accessToken, { proof: elsewhere })).status, 401);
});

test('a page without a key gets what it got before, and a route may refuse that', async () => {
  const browser = new Browser();
  const signedIn = await world.signIn(browser);
  assert.equal(signedIn.json.token_type, 'Bearer');
  assert.equal((await world.call(browser, '/api/things', signedIn.json.access_token)).status, 200);
  const refused = await world.call(browser, '/api/bound/things', signedIn.json.access_token);
  assert.equal(refused.status, 401);
  assert.match(refused.headers['www-authenticate'], /^DPoP .*error="invalid_token"/);
});

test('keys of other kinds', async () => {
  for (const alg of ['Ed25519', 'EdDSA']) {
    const browser = new Browser();
    await world.signIn(browser);
    const holder = await Holder.make(alg);
    const answer = await refresh(browser, holder);
    assert.equal(answer.status, 200, `${alg}: ${answer.text}`);
    assert.equal((await call(holder, '/api/things', answer.json.access_token)).status, 200, alg);
  }
});

test('a code is exchanged for a token that is bound to the key of the page that signed in', async () => {
  const browser = new Browser();
  const { code, verifier } = await world.authorize(browser);
  const fields = { grant_type: 'authorization_code', code, code_verifier: verifier, redirect_uri: world.redirectUri };
  const answer = await world.token(browser, fields, { headers: { dpop: await alice.proof('POST', await tokenEndpoint()) } });
  assert.equal(answer.status, 200, answer.text);
  assert.equal(answer.json.token_type, 'DPoP');
  assert.ok(browser.cookie(COOKIE));
  assert.equal((await call(alice, '/api/bound/things', answer.json.access_token)).status, 200);
  // The refresh token is the gateway's, and of no key: another one may follow.
  const other = await Holder.make();
  const next = await refresh(browser, other);
  assert.equal(next.status, 200, next.text);
  assert.equal(decodeJwt(next.json.access_token).cnf.jkt, other.thumbprint);
});

test('a server that wants its nonce says so to the page, and the session goes on', async (t) => {
  const browser = new Browser();
  await world.signIn(browser);
  const cookie = browser.cookie(COOKIE);
  requiresNonce = true;
  t.after(() => (requiresNonce = false));
  const asked = await refresh(browser, alice);
  assert.deepEqual([asked.status, asked.json.error], [400, 'use_dpop_nonce'], asked.text);
  const nonce = asked.headers['dpop-nonce'];
  assert.ok(nonce);
  assert.match(asked.headers['access-control-expose-headers'], /\bDPoP-Nonce\b/);
  assert.equal(browser.cookie(COOKIE), cookie, 'the cookie stays');
  const answer = await refresh(browser, alice, { nonce });
  assert.equal(answer.status, 200, answer.text);
  assert.equal(decodeJwt(answer.json.access_token).cnf.jkt, alice.thumbprint);
  // A clock that is an hour late does not matter with it.
  const late = await refresh(browser, alice, { nonce: answer.headers['dpop-nonce'] ?? nonce, claims: { iat: Math.floor(Date.now() / 1000) - 3600 } });
  assert.equal(late.status, 200, late.text);
});

test('an answer is shared among the tabs that prove one key, and with nobody else', async () => {
  const browser = new Browser();
  await world.signIn(browser);
  const calls = () => world.as.callsOf('refresh_token').length;
  const before = calls();
  const cookie = { cookie: `${COOKIE}=${browser.cookie(COOKIE)}` };
  const url = await tokenEndpoint();
  const tab = async (holder) => world.refresh(new Browser(), { headers: { ...cookie, ...(holder && { dpop: await holder.proof('POST', url) }) } });
  const mallory = await Holder.make();
  const answers = await Promise.all([...Array(10).fill(alice), ...Array(3).fill(mallory), ...Array(3).fill(undefined)].map(async (holder) => [holder, await tab(holder)]));
  const tokens = new Map();
  for (const [holder, answer] of answers) {
    assert.equal(answer.status, 200, answer.text);
    assert.equal(decodeJwt(answer.json.access_token).cnf?.jkt, holder?.thumbprint);
    tokens.set(holder, (tokens.get(holder) ?? new Set()).add(answer.json.access_token));
  }
  assert.deepEqual([...tokens.values()].map((all) => all.size), [1, 1, 1]);
  assert.equal(calls() - before, 3, 'one call for each key');

  // Whoever has the cookie and no key gets none of it.
  const forged = await world.refresh(new Browser(), { headers: { ...cookie, dpop: `${(await alice.proof('POST', url)).slice(0, -8)}AAAAAAAA` } });
  assert.deepEqual([forged.status, forged.json.error], [400, 'invalid_dpop_proof'], forged.text);
  const proof = await alice.proof('POST', url);
  const once = await world.refresh(new Browser(), { headers: { ...cookie, dpop: proof } });
  assert.equal(once.status, 200, once.text);
  const twice = await world.refresh(new Browser(), { headers: { ...cookie, dpop: proof } });
  assert.deepEqual([twice.status, twice.json.error], [400, 'invalid_dpop_proof']);
});

test('a proof for the gateway is none for the authorization server, and says what would be right', async () => {
  const browser = new Browser();
  await world.signIn(browser);
  const calls = world.as.callsOf('refresh_token').length;
  const wrong = await world.refresh(browser, { headers: { dpop: await alice.proof('POST', `${world.gateway.url}/oauth/token`) } });
  assert.deepEqual([wrong.status, wrong.json.error], [400, 'invalid_dpop_proof']);
  assert.match(wrong.json.error_description, /htu must be the authorization server's token endpoint/);
  assert.equal(world.as.callsOf('refresh_token').length, calls, 'nobody was asked');
  assert.equal((await refresh(browser, alice)).status, 200);
});

test('a native client brings its own proofs', async () => {
  const signedIn = await world.authorize(new Browser(), 'alice', { client: 'cli', redirectUri: world.redirect });
  const ask = async (fields, options) => {
    const { headers, body } = form({ client_id: 'cli', ...fields });
    const dpop = await alice.proof('POST', await tokenEndpoint(), options);
    return request('POST', `${world.gateway.url}/oauth/token`, { headers: { ...headers, dpop }, body });
  };
  const answer = await ask({ grant_type: 'authorization_code', code: signedIn.code, code_verifier: signedIn.verifier, redirect_uri: world.redirect, resource: AUDIENCE, scope: SCOPE });
  assert.equal(answer.status, 200, answer.text);
  assert.equal(answer.json.token_type, 'DPoP');
  assert.ok(answer.headers['dpop-nonce']);
  assert.equal((await call(alice, '/api/bound/things', answer.json.access_token)).status, 200);
  // The refresh token of a public client is bound as well (section 5): that is between it and its server.
  const refreshed = await ask({ grant_type: 'refresh_token', refresh_token: answer.json.refresh_token, resource: AUDIENCE });
  assert.equal(refreshed.status, 200, refreshed.text);
  assert.equal((await call(alice, '/api/things', refreshed.json.access_token)).status, 200);
});

test('an opaque token is bound by the word of its issuer', async (t) => {
  const introspector = { client_id: 'the gateway', client_secret: SECRET, grant_types: [], response_types: [], redirect_uris: [] };
  const opaque = await World.start({
    opaque: true,
    accessTokenSeconds: 600,
    issuer: { introspection: { client_id: introspector.client_id, secret: '${WEB_APP_SECRET}', cache: '60s' } },
    moreClients: [introspector],
  });
  t.after(() => opaque.stop());
  const browser = new Browser();
  await opaque.signIn(browser);
  const answer = await opaque.refresh(browser, { headers: { dpop: await alice.proof('POST', `${opaque.as.url}/token`) } });
  assert.equal(answer.status, 200, answer.text);
  const accessToken = answer.json.access_token;
  assert.ok(!accessToken.includes('.') && answer.json.token_type === 'DPoP');
  const url = `${opaque.gateway.url}/api/things`;
  const call = async (holder, scheme = 'DPoP') =>
    new Browser().fetch('GET', url, { headers: { authorization: `${scheme} ${accessToken}`, dpop: await holder.proof('GET', url, { accessToken }) } });
  for (let time = 0; time < 3; time += 1) assert.equal((await call(alice)).status, 200);
  assert.match((await call(await Holder.make())).headers['www-authenticate'], /another key/);
  assert.match((await call(alice, 'Bearer')).headers['www-authenticate'], /bound to a key/);
  assert.equal(opaque.as.introspections.filter(({ token }) => token === accessToken).length, 1, 'its issuer was asked once');
});

test('the code of docs/spa.md makes proofs that count', async (t) => {
  const code = blocksOfSpaMd('js').find((block) => block.startsWith('// dpop.js'));
  const { newKey, proof } = await import(`data:text/javascript,${encodeURIComponent(code)}`);
  const key = await newKey();
  assert.equal(key.privateKey.extractable, false);
  const browser = new Browser();
  await world.signIn(browser);
  const answer = await world.refresh(browser, { headers: { dpop: await proof(key, 'POST', await tokenEndpoint()) } });
  assert.equal(answer.status, 200, answer.text);
  const accessToken = answer.json.access_token;
  for (const url of ['/api/bound/things?x=1#y', '/api/public/x', '/api/b\u00fccher und \u{1f4d6}?t=\u00fc', '/api/x/../bound/./things'].map((path) => world.gateway.url + path)) {
    const headers = { authorization: `DPoP ${accessToken}`, dpop: await proof(key, 'GET', url, { accessToken }) };
    // As browsers' `fetch` sends it.
    const passed = await fetch(url, { headers });
    assert.equal(passed.status, 200, `${url} ${await passed.text()}`);
  }
  // A page writes paths, from where it is.
  t.after(() => delete globalThis.location);
  globalThis.location = { href: `${world.gateway.url}/api/shop/cart?x=1#y` };
  for (const [path, url] of [['/api/bound/things?x=1', '/api/bound/things'], ['../b\u00fccher', '/api/b%C3%BCcher'], ['?page=2', '/api/shop/cart']]) {
    const headers = { authorization: `DPoP ${accessToken}`, dpop: await proof(key, 'GET', path, { accessToken }) };
    const passed = await fetch(world.gateway.url + url, { headers });
    assert.equal(passed.status, 200, `${path} ${await passed.text()}`);
  }
  const nonce = answer.headers['dpop-nonce'];
  assert.equal((await world.refresh(browser, { headers: { dpop: await proof(key, 'POST', await tokenEndpoint(), { nonce }) } })).status, 200);
});
