// From sign-in to sign-out as a single-page app does it, with each way in which the gateway can
// authenticate itself at the authorization server, and with each kind of key that signs the tokens.

import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { Browser, until } from './support/http.mjs';
import { CLIENT, COOKIE, World } from './support/world.mjs';

const clientKey = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const byPrivateKey = {
  client: { private_key: { file: 'client.pem' } },
  registration: { jwks: { keys: [{ ...clientKey.publicKey.export({ format: 'jwk' }), kid: 'client', use: 'sig', alg: 'ES256' }] } },
  files: { 'client.pem': clientKey.privateKey.export({ type: 'pkcs8', format: 'pem' }) },
};

// Of two keys of one kind, one is named; and the server is called as Okta wants to be, by the endpoint that is asked.
const [ours] = byPrivateKey.registration.jwks.keys;
const byNamedKey = {
  ...byPrivateKey,
  client: { ...byPrivateKey.client, kid: 'client', assertion_audience: 'endpoint' },
  registration: { jwks: { keys: [{ ...generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'jwk' }), kid: 'next', use: 'sig', alg: 'ES256' }, ours] } },
};

for (const [auth, alg, options, more = ''] of [
  ['client_secret_basic', 'ES256', {}],
  ['client_secret_post', 'RS256', {}],
  ['private_key_jwt', 'EdDSA', byPrivateKey],
  ['private_key_jwt', 'ES256', byNamedKey, ', of a key with a name, for an endpoint'],
  ['none', 'ES256', {}],
]) {
  test(`sign in, call, refresh, sign out: ${auth}, ${alg}${more}`, async (t) => {
    const world = await World.start({ auth, alg, ...options });
    t.after(() => world.stop());
    const browser = new Browser();

    const denied = await world.call(browser, '/api/things');
    assert.equal(denied.status, 401);
    assert.match(denied.headers['www-authenticate'], /^Bearer\b/);
    assert.match(denied.headers['content-type'], /^application\/problem\+json/);
    assert.equal(world.upstream.received.length, 0);

    const signedIn = await world.signIn(browser);
    assert.equal(signedIn.status, 200, signedIn.text);
    assert.equal(signedIn.headers['cache-control'], 'no-store');
    assertTokenAnswer(signedIn.json);
    const [line, ...cleared] = signedIn.setCookies;
    assertCookieLine([line]);
    const elsewhere = ['/', '/oauth', '/oauth/'].map((path) => `${COOKIE}=; Path=${path}; Max-Age=0; Secure; HttpOnly; SameSite=Strict`);
    assert.deepEqual(cleared, elsewhere, 'and nothing else has its name');

    const answer = await world.call(browser, '/api/things?x=1', signedIn.json.access_token);
    assert.equal(answer.status, 200, answer.text);
    const seen = world.upstream.received.at(-1);
    assert.equal(seen.url, '/api/things?x=1');
    assert.equal(seen.headers['x-auth-subject'], 'alice');
    assert.equal(seen.headers['x-auth-client'], CLIENT);
    assert.equal(seen.headers['x-auth-scope'], 'api:read');
    assert.equal(seen.headers['x-auth-issuer'], world.as.url);
    assert.equal(seen.headers.authorization, undefined);

    const cookieBefore = browser.cookie(COOKIE);
    const refreshed = await world.refresh(browser);
    assert.equal(refreshed.status, 200, refreshed.text);
    assertTokenAnswer(refreshed.json);
    assertCookieLine(refreshed.setCookies);
    assert.notEqual(refreshed.json.access_token, signedIn.json.access_token);
    assert.notEqual(browser.cookie(COOKIE), cookieBefore);
    assert.equal((await world.call(browser, '/api/things', refreshed.json.access_token)).status, 200);

    assert.deepEqual(
      world.as.tokenCalls.map((call) => [call.grant_type, call.auth, call.status]),
      [
        ['authorization_code', auth, 200],
        ['refresh_token', auth, 200],
      ],
    );

    const lastCookie = browser.cookie(COOKIE);
    const signedOut = await world.signOut(browser);
    assert.equal(signedOut.status, 204, signedOut.text);
    assert.equal(browser.cookie(COOKIE), undefined);
    await until('the refresh token to be revoked at the authorization server', () => world.as.revocations.some((it) => it.status === 200));

    // A copy of the cookie is worth nothing any more.
    const replay = await world.refresh(new Browser(), { headers: { cookie: `${COOKIE}=${lastCookie}` } });
    assert.equal(replay.status, 400);
    assert.equal(replay.json.error, 'invalid_grant');
    assert.equal(world.as.callsOf('refresh_token').length, 1);

    await world.assertNoTokenLeaked();
  });
}

function assertTokenAnswer(json) {
  assert.equal(json.token_type.toLowerCase(), 'bearer');
  assert.ok(json.expires_in > 50 && json.expires_in <= 60, `expires_in ${json.expires_in}`);
  assert.ok(json.refresh_after > 0 && json.refresh_after < json.expires_in, `refresh_after ${json.refresh_after}`);
  assert.ok(json.session_expires_in > 0, `session_expires_in ${json.session_expires_in}`);
  assert.equal(json.refresh_token, undefined);
}

function assertCookieLine(lines) {
  assert.equal(lines.length, 1, `one cookie: ${lines}`);
  const [pair, ...attributes] = lines[0].split(';').map((part) => part.trim());
  assert.ok(pair.startsWith(`${COOKIE}=`), pair);
  const names = attributes.map((attribute) => attribute.toLowerCase());
  for (const wanted of ['secure', 'httponly', 'samesite=strict', 'path=/oauth/token']) assert.ok(names.includes(wanted), `${wanted} in ${lines[0]}`);
  assert.ok(!names.some((name) => name.startsWith('domain')), lines[0]);
}

describe('with one gateway', () => {
  let world;
  before(async () => (world = await World.start()));
  after(() => world.stop());

  test('an upstream sees who calls and nothing that a caller made up', async () => {
    const browser = new Browser();
    const { access_token: token } = (await world.signIn(browser)).json;
    const spoofed = {
      'x-auth-subject': 'root',
      X_Auth_Scope: 'admin',
      'x-auth-issuer': 'evil',
      'x-forwarded-for': '6.6.6.6',
      forwarded: 'for=6.6.6.6',
      'x-original-url': '/api/admin/x',
      connection: 'x-auth-client, x-auth-subject',
    };
    const cookie = `theme=dark; ${COOKIE}=${browser.cookie(COOKIE)}; lang=de`;
    const answer = await world.call(browser, '/api/things', token, { headers: { ...spoofed, cookie } });
    assert.equal(answer.status, 200, answer.text);
    const { headers, rawHeaders } = world.upstream.received.at(-1);
    assert.equal(headers['x-auth-subject'], 'alice');
    assert.equal(headers['x-auth-client'], CLIENT);
    assert.equal(headers['x-auth-scope'], 'api:read');
    assert.equal(headers['x-auth-issuer'], world.as.url);
    assert.equal(headers['x_auth_scope'], undefined);
    assert.equal(headers['x-original-url'], undefined);
    assert.equal(headers.authorization, undefined);
    assert.equal(headers.cookie, 'theme=dark; lang=de');
    assert.equal(headers['x-forwarded-for'], '127.0.0.1');
    assert.ok(headers['x-request-id']);
    assert.match(headers.traceparent, /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/);
    assert.ok(!rawHeaders.some((value) => value.includes('6.6.6.6') || value === 'root'), rawHeaders.join('\n'));

    const open = await world.call(new Browser(), '/api/public/x', undefined, { headers: { 'x-auth-subject': 'root' } });
    assert.equal(open.status, 200);
    assert.equal(world.upstream.received.at(-1).headers['x-auth-subject'], undefined);
  });

  test('a token without the scope is refused, and so is one that was changed', async () => {
    const browser = new Browser();
    const { access_token: token } = (await world.signIn(browser)).json;
    const before = world.upstream.received.length;
    const denied = await world.call(browser, '/api/admin/x', token);
    assert.equal(denied.status, 403);
    assert.match(denied.headers['www-authenticate'], /error="insufficient_scope"/);
    assert.match(denied.headers['www-authenticate'], /scope="admin"/);

    const [head, claims, signature] = token.split('.');
    const forged = Buffer.from(JSON.stringify({ ...JSON.parse(Buffer.from(claims, 'base64url')), scope: 'api:read admin' })).toString('base64url');
    for (const bad of [`${head}.${forged}.${signature}`, `${head}.${claims}.`, 'x'.repeat(40), `${head}.${claims}`]) {
      const answer = await world.call(browser, '/api/things', bad);
      assert.equal(answer.status, 401);
      assert.match(answer.headers['www-authenticate'], /error="invalid_token"/);
    }
    assert.equal((await world.call(browser, '/api/public/x', 'x.y.z')).status, 401, 'a bad token on a public route');
    assert.equal((await world.call(browser, `/api/things?access_token=${token}`)).status, 400);
    assert.equal(world.upstream.received.length, before);
  });

  test('a page of another origin can neither use nor plant a session', async () => {
    const browser = new Browser();
    await world.signIn(browser);
    const calls = world.as.tokenCalls.length;
    const page = 'https://evil.example';
    const cookie = browser.cookie(COOKIE);
    const refused = [
      await world.refresh(browser, { page }),
      await world.refresh(browser, { page: 'http://localhost:1' }),
      await world.refresh(browser, { headers: { origin: 'null', 'sec-fetch-site': 'cross-site' } }),
      await world.token(browser, { grant_type: 'authorization_code', code: 'x', code_verifier: 'y'.repeat(43), redirect_uri: world.redirectUri }, { page }),
    ];
    for (const answer of refused) {
      assert.equal(answer.status, 403, answer.text);
      assert.deepEqual(answer.setCookies, []);
    }
    assert.equal(browser.cookie(COOKIE), cookie);
    assert.equal(world.as.tokenCalls.length, calls, 'the authorization server was not asked');
    assert.equal((await world.refresh(browser)).status, 200);
  });

  test('the gateway lends its secret to nothing but a code and its own cookie', async () => {
    const browser = new Browser();
    await world.signIn(browser);
    const calls = world.as.tokenCalls.length;
    const { code, verifier } = await world.authorize(browser, 'bob');
    for (const [fields, error] of [
      [{ grant_type: 'client_credentials' }, ['unauthorized_client']],
      [{ grant_type: 'password', username: 'a', password: 'b' }, ['unsupported_grant_type']],
      [{ grant_type: 'refresh_token', refresh_token: 'mine' }, ['invalid_request']],
      [{ grant_type: 'refresh_token', client_secret: 'mine' }, ['invalid_request']],
      [{ grant_type: 'authorization_code', code, redirect_uri: world.redirectUri }, ['invalid_request']],
      [{ grant_type: 'authorization_code', code, code_verifier: verifier, redirect_uri: 'https://evil.example/' }, ['invalid_request', 'invalid_grant']],
    ]) {
      const answer = await world.token(browser, fields);
      assert.equal(answer.status, 400, answer.text);
      assert.ok(error.includes(answer.json.error), `${answer.json.error} for ${JSON.stringify(fields)}`);
    }
    assert.equal(world.as.tokenCalls.length, calls, 'the authorization server was not asked');
    // What the authorization server itself refuses reaches the page.
    const wrong = await world.token(browser, { grant_type: 'authorization_code', code, code_verifier: 'x'.repeat(43), redirect_uri: world.redirectUri });
    assert.equal(wrong.status, 400);
    assert.equal(wrong.json.error, 'invalid_grant');
  });

  test('a second sign-in replaces the first, of the same person and of another', async () => {
    const browser = new Browser();
    for (const account of ['alice', 'alice', 'bob']) {
      const before = browser.cookie(COOKIE);
      const signedIn = await world.signIn(browser, account);
      assert.equal(signedIn.status, 200, signedIn.text);
      assert.equal(browser.cookies.filter((cookie) => cookie.name === COOKIE).length, 1);
      const refreshed = await world.refresh(browser);
      assert.equal(refreshed.status, 200, refreshed.text);
      await world.call(browser, '/api/things', refreshed.json.access_token);
      assert.equal(world.upstream.received.at(-1).headers['x-auth-subject'], account);
      if (before) {
        const old = await world.refresh(new Browser(), { headers: { cookie: `${COOKIE}=${before}` } });
        assert.equal(old.json.error, 'invalid_grant');
      }
    }
  });
});
