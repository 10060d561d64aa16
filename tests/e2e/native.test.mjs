// Applications without a browser: they bring their own credentials and keep their own refresh tokens.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { AUDIENCE, faults } from './support/authorization_server.mjs';
import { Browser, form, request, until } from './support/http.mjs';
import { SCOPE, SECRET, World } from './support/world.mjs';

/** As registered; the application listens on whatever port it was given. */
const REGISTERED = 'http://127.0.0.1/signed-in';
const REDIRECT = 'http://127.0.0.1:49152/signed-in';
const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code';

const clients = [
  { client_id: 'cli', application_type: 'native', token_endpoint_auth_method: 'none', grant_types: ['authorization_code', 'refresh_token', DEVICE], redirect_uris: [REGISTERED] },
  { client_id: 'by basic', token_endpoint_auth_method: 'client_secret_basic', grant_types: ['client_credentials'], response_types: [], redirect_uris: [], client_secret: SECRET },
  { client_id: 'by post', token_endpoint_auth_method: 'client_secret_post', grant_types: ['client_credentials'], response_types: [], redirect_uris: [], client_secret: SECRET },
  { client_id: 'lent', application_type: 'native', token_endpoint_auth_method: 'client_secret_basic', grant_types: ['authorization_code', 'refresh_token', 'client_credentials'], redirect_uris: [REGISTERED], client_secret: SECRET },
];
const native = { mode: 'native', resource: AUDIENCE };
const server = {
  clients,
  authMethods: ['none', 'client_secret_basic', 'client_secret_post'],
  features: { clientCredentials: { enabled: true }, deviceFlow: { enabled: true } },
};
const service = { mode: 'native', scope: 'api:read', resource: AUDIENCE, grants: ['client_credentials'] };

const basic = (id, secret) => ({ authorization: `Basic ${Buffer.from([id, secret].map((part) => new URLSearchParams({ '': part }).toString().slice(1)).join(':')).toString('base64')}` });

/** As an application asks: no origin, no fetch metadata; a cookie that comes along means nothing. */
async function askAt(world, fields, headers = {}) {
  const sent = form(fields);
  const cookie = '__Secure-tollgate-cli=x; __Secure-tollgate-lent=y';
  const answer = await request('POST', `${world.gateway.url}/oauth/token`, { headers: { ...sent.headers, cookie, ...headers }, body: sent.body });
  assert.deepEqual(answer.setCookies, []);
  assert.equal(answer.headers['cache-control'], 'no-store');
  return answer;
}

describe('a native client', () => {
  let world;
  before(async () => {
    world = await World.start({
      ...server,
      config: {
        clients: {
          cli: { ...native, grants: ['authorization_code', 'refresh_token', DEVICE] },
          'by-basic': { ...service, client_id: 'by basic' },
          'by-post': { ...service, client_id: 'by post' },
          lent: { ...native, secret: '${WEB_APP_SECRET}', redirect_uri: REGISTERED },
        },
      },
    });
  });
  after(() => world?.stop());

  const ids = [];
  async function ask(fields, headers) {
    const answer = await askAt(world, fields, headers);
    ids.push(answer.headers['x-request-id']);
    return answer;
  }

  async function signIn(client) {
    const { code, verifier } = await world.authorize(new Browser(), 'alice', { client, redirectUri: REDIRECT });
    return { grant_type: 'authorization_code', client_id: client, code, code_verifier: verifier, redirect_uri: REDIRECT };
  }

  test('public, with PKCE and a refresh token of its own', async () => {
    const signedIn = await ask(await signIn('cli'));
    assert.equal(signedIn.status, 200, signedIn.text);
    assert.ok(world.as.refreshTokens.has(signedIn.json.refresh_token), 'untouched');
    assert.deepEqual(Object.keys(signedIn.json).sort(), ['access_token', 'expires_in', 'id_token', 'refresh_token', 'scope', 'token_type']);
    assert.equal((await world.call(new Browser(), '/api/things', signedIn.json.access_token)).status, 200);

    const refresh = { grant_type: 'refresh_token', client_id: 'cli', refresh_token: signedIn.json.refresh_token };
    const refreshed = await ask(refresh);
    assert.equal(refreshed.status, 200, refreshed.text);
    assert.notEqual(refreshed.json.refresh_token, signedIn.json.refresh_token);
    assert.equal((await world.call(new Browser(), '/api/things', refreshed.json.access_token)).status, 200);

    const again = await ask(refresh);
    assert.deepEqual([again.status, again.json.error], [400, 'invalid_grant']);
    assert.equal(await world.gateway.metric('tollgate_sign_ins_total', { client: 'cli', result: 'ok' }), 1);
    assert.equal(await world.gateway.metric('tollgate_exchanges_total', { client: 'cli', outcome: 'rotated' }), 1);
    assert.equal(await world.gateway.metric('tollgate_exchanges_total', { client: 'cli', outcome: 'invalid_grant' }), 1);
  });

  test('a device learns what its user does', async () => {
    const begun = form({ client_id: 'cli', scope: SCOPE });
    const { device_code: deviceCode } = (await request('POST', `${world.as.url}/device/auth`, begun)).json;
    const answer = await ask({ grant_type: DEVICE, client_id: 'cli', device_code: deviceCode });
    assert.deepEqual([answer.status, answer.json.error], [400, 'authorization_pending'], answer.text);
  });

  test('confidential, by Basic and by post: its own credentials go on', async () => {
    for (const [method, client, credentials, headers] of [
      ['client_secret_basic', 'by basic', {}, basic('by basic', SECRET)],
      ['client_secret_post', 'by post', { client_id: 'by post', client_secret: SECRET }, {}],
    ]) {
      const answer = await ask({ grant_type: 'client_credentials', ...credentials }, headers);
      assert.equal(answer.status, 200, `${client}: ${answer.text}`);
      assert.equal(answer.json.refresh_token, undefined);
      assert.equal(world.as.tokenCalls.at(-1).auth, method);
      assert.equal((await world.call(new Browser(), '/api/things', answer.json.access_token)).status, 200);
    }
  });

  test('wrong credentials are 401 invalid_client, with a challenge where Basic was used', async () => {
    const byBasic = await ask({ grant_type: 'client_credentials' }, basic('by basic', 'wrong'));
    assert.deepEqual([byBasic.status, byBasic.json.error], [401, 'invalid_client'], byBasic.text);
    assert.match(byBasic.headers['www-authenticate'], /^Basic /);
    const byPost = await ask({ grant_type: 'client_credentials', client_id: 'by post', client_secret: 'wrong' });
    assert.deepEqual([byPost.status, byPost.json.error], [401, 'invalid_client'], byPost.text);
    assert.equal(byPost.headers['www-authenticate'], undefined);
  });

  test("the gateway's secret is lent to a bound code and to a refresh token", async () => {
    const signedIn = await ask(await signIn('lent'));
    assert.equal(signedIn.status, 200, signedIn.text);
    assert.equal(world.as.tokenCalls.at(-1).auth, 'client_secret_basic');
    const refreshed = await ask({ grant_type: 'refresh_token', client_id: 'lent', refresh_token: signedIn.json.refresh_token });
    assert.equal(refreshed.status, 200, refreshed.text);
    assert.equal((await world.call(new Browser(), '/api/things', refreshed.json.access_token)).status, 200);
  });

  test('nothing of ours is lent for another grant, without a verifier, or beside a credential', async () => {
    const calls = world.as.tokenCalls.length;
    const refresh = { grant_type: 'refresh_token', client_id: 'lent', refresh_token: 'any' };
    const code = { grant_type: 'authorization_code', client_id: 'lent', code: 'any', redirect_uri: REDIRECT };
    const verifier = 'v'.repeat(43);
    for (const [fields, headers, error] of [
      [{ grant_type: 'client_credentials', client_id: 'lent' }, {}, 'unauthorized_client'],
      [{ ...refresh, client_id: 'other' }, {}, 'invalid_client'],
      [{ grant_type: DEVICE, client_id: 'lent', device_code: 'any' }, {}, 'unauthorized_client'],
      [{ grant_type: 'password', client_id: 'lent', username: 'a', password: 'b' }, {}, 'unsupported_grant_type'],
      [code, {}, 'invalid_request'],
      [{ ...code, code_verifier: verifier, redirect_uri: 'http://127.0.0.1:49152/other' }, {}, 'invalid_request'],
      [{ ...refresh, client_secret: SECRET }, {}, 'invalid_request'],
      [{ ...refresh, client_assertion: 'a', client_assertion_type: 'b' }, {}, 'invalid_request'],
      [refresh, basic('lent', SECRET), 'invalid_request'],
      [{ grant_type: 'client_credentials', client_id: 'by post', client_secret: SECRET }, basic('by post', SECRET), 'invalid_request'],
      [{ grant_type: 'client_credentials', client_id: 'by post' }, basic('by basic', SECRET), 'invalid_request'],
    ]) {
      const answer = await ask(fields, headers);
      assert.deepEqual([answer.status, answer.json.error], [400, error], JSON.stringify(fields));
    }
    assert.equal(world.as.tokenCalls.length, calls, 'the authorization server was not asked');
  });

  test('it has no session here to end', async () => {
    const answer = await request('DELETE', `${world.gateway.url}/oauth/token?client_id=cli`);
    assert.deepEqual([answer.status, answer.json.error], [400, 'invalid_request']);
    assert.deepEqual(answer.setCookies, []);
  });

  test('no token and no credential was printed', async () => {
    await world.gateway.hasLogged(ids);
    assert.ok(world.as.refreshTokens.size > 2 && world.as.accessTokens.size > 2);
    for (const token of [...world.as.refreshTokens, ...[...world.as.accessTokens].map((it) => it.slice(it.lastIndexOf('.') + 1))]) {
      assert.ok(!world.gateway.output.includes(token));
    }
    assert.ok(!world.gateway.output.includes(SECRET) && !world.gateway.output.includes(basic('by basic', SECRET).authorization));
  });
});

describe('a native client whose authorization server does not answer in time', () => {
  let world;
  before(async () => {
    world = await World.start({
      ...server,
      issuer: { timeout: '3s' }, // longer than a busy machine takes to reach it
      config: { clients: { cli: native, lent: { ...native, secret: '${WEB_APP_SECRET}', redirect_uri: REGISTERED } } },
    });
  });
  after(() => world?.stop());
  const ask = (fields) => askAt(world, fields);

  test('the authorization server fails: 503, and nothing is repeated', async () => {
    const refresh = { grant_type: 'refresh_token', client_id: 'lent', refresh_token: 'any' };
    const code = { grant_type: 'authorization_code', client_id: 'lent', code: 'any', code_verifier: 'v'.repeat(43), redirect_uri: REGISTERED };
    for (const [name, fault] of Object.entries(faults)) {
      // A refresh is waited for much longer.
      const hangs = ['never answers', 'sends its header and then nothing'].includes(name);
      const calls = world.as.callsOf('fault').length;
      world.as.tokenFault = fault;
      const answer = await ask(hangs ? code : refresh);
      world.as.endFault();
      assert.equal(answer.status, 503, `${name}: ${answer.text}`);
      assert.ok(Number(answer.headers['retry-after']) > 0, 'Retry-After');
      assert.equal(world.as.callsOf('fault').length, calls + 1, name);
      // Nothing is remembered of it, also no connection that the fault broke.
      await until('the authorization server to answer', async () => (await ask(refresh)).json.error === 'invalid_grant');
    }
    await world.gateway.says("the client's credential in the configuration does not count there");
    await world.as.pause();
    const answer = await ask({ grant_type: 'authorization_code', client_id: 'cli', code: 'any' });
    await world.as.resume();
    assert.equal(answer.status, 503, answer.text);
  });

  test('a refresh gets the answer of an authorization server that is late', async () => {
    const held = () => new Promise((resolve) => world.as.holdNextTokenCall(resolve));
    let isAnswered = false;
    let arrived = held();
    const refreshed = ask({ grant_type: 'refresh_token', client_id: 'cli', refresh_token: 'any' }).finally(() => (isAnswered = true));
    const answersRefresh = await arrived;
    // Whoever asks for something else after it is told that the server is late.
    arrived = held();
    const code = await ask({ grant_type: 'authorization_code', client_id: 'cli', code: 'any' });
    assert.deepEqual([code.status, isAnswered], [503, false], code.text);
    (await arrived)();
    answersRefresh();
    assert.equal((await refreshed).json.error, 'invalid_grant');
  });
});
