// Opaque access tokens: a real authorization server is asked about them (RFC 7662), as rarely as that is safe.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { AUDIENCE } from './support/authorization_server.mjs';
import { run } from './support/gateway.mjs';
import { Browser, form, request, until } from './support/http.mjs';
import { readFile } from 'node:fs/promises';
import { CLIENT, SECRET, World } from './support/world.mjs';

const OTHER = 'https://other.example.com';
const GATEWAY = 'the gateway';
const MACHINE = 'machine';

const basic = (id, secret = SECRET) =>
  `Basic ${Buffer.from([id, secret].map((part) => new URLSearchParams({ '': part }).toString().slice(1)).join(':')).toString('base64')}`;

async function start({ cache = '60s', ...more } = {}) {
  const world = await World.start({
    opaque: true,
    accessTokenSeconds: 600,
    features: { clientCredentials: { enabled: true } },
    issuer: { introspection: { client_id: GATEWAY, secret: '${WEB_APP_SECRET}', cache } },
    moreClients: [GATEWAY, MACHINE].map((client_id) => ({
      client_id,
      client_secret: SECRET,
      grant_types: client_id === MACHINE ? ['client_credentials'] : [],
      response_types: [],
      redirect_uris: [],
    })),
    ...more,
  });
  return world;
}

/** An access token of a program, from the authorization server itself: the gateway has never seen it. */
async function fresh(world, resource = AUDIENCE) {
  const { headers, body } = form({ grant_type: 'client_credentials', scope: 'api:read', resource });
  const answer = await request('POST', `${world.as.url}/token`, { headers: { ...headers, authorization: basic(MACHINE) }, body });
  assert.equal(answer.status, 200, answer.text);
  return answer.json.access_token;
}

async function revokeAtServer(world, token, client) {
  const { headers, body } = form({ token });
  const answer = await request('POST', `${world.as.url}/token/revocation`, { headers: { ...headers, authorization: basic(client) }, body });
  assert.equal(answer.status, 200, answer.text);
}

const api = (world, token, pathname = '/api/things') => world.call(new Browser(), pathname, token);
const questions = (world, token) => world.as.introspections.filter((it) => it.token === token).length;

describe('opaque access tokens', () => {
  let world;
  before(async () => (world = await start()));
  after(() => world?.stop());

  test('a page signs in, calls and refreshes, and the upstream learns who calls', async () => {
    const browser = new Browser();
    const signedIn = await world.signIn(browser);
    assert.equal(signedIn.status, 200, signedIn.text);
    const token = signedIn.json.access_token;
    assert.ok(!token.includes('.'), 'it is opaque');
    const { status, json } = await world.call(browser, '/api/things', token);
    assert.equal(status, 200);
    const { headers } = json;
    assert.deepEqual([headers['x-auth-subject'], headers['x-auth-client'], headers['x-auth-issuer']], ['alice', CLIENT, world.as.url]);
    assert.equal(headers.authorization, undefined);
    assert.equal((await world.call(browser, '/api/admin/x', token)).status, 403, 'its scope counts');
    assert.equal((await world.call(browser, '/api/public/x', token)).json.headers['x-auth-subject'], 'alice');
    assert.equal(questions(world, token), 1, 'it is asked about once');
    const refreshed = await world.refresh(browser);
    assert.equal(refreshed.status, 200, refreshed.text);
    assert.equal((await world.call(browser, '/api/things', refreshed.json.access_token)).status, 200);
    await world.assertNoTokenLeaked();
  });

  test('fifty calls at once with a token that was never seen cost one question', async () => {
    const token = await fresh(world);
    const answers = await Promise.all(Array.from({ length: 50 }, () => api(world, token)));
    assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([200]));
    assert.equal(questions(world, token), 1);
    assert.ok((await world.gateway.metric('tollgate_tokens_verified_total', { path: 'introspected' })) >= 1);
    assert.equal((await api(world, token)).status, 200);
    assert.ok((await world.gateway.metric('tollgate_tokens_verified_total', { path: 'cached' })) >= 1);
    assert.ok((await world.gateway.metric('tollgate_introspections_total', { issuer: 'as', result: 'active' })) >= 1);
  });

  test('a token for another API, and one that is made up, are refused', async () => {
    const foreign = await fresh(world, OTHER);
    const refused = await api(world, foreign);
    assert.equal(refused.status, 401);
    assert.match(refused.headers['www-authenticate'], /error="invalid_token"[^]*not issued for this API/);
    assert.deepEqual(world.as.introspections.find((it) => it.token === foreign)?.active, true, 'active, and not for here');
    for (const pathname of ['/api/things', '/api/public/x']) assert.equal((await api(world, 'made-up', pathname)).status, 401);
  });

  test('a refresh token and an ID token are no access tokens, and no JWT is shown to the server', async () => {
    const browser = new Browser();
    const signedIn = await world.signIn(browser, 'bob');
    const refreshToken = [...world.as.refreshTokens].at(-1);
    assert.equal((await api(world, refreshToken)).status, 401);
    assert.equal(world.as.introspections.find((it) => it.token === refreshToken)?.active, true, 'the server calls it active');
    assert.ok(signedIn.json.id_token, 'there is an ID token');
    assert.equal((await api(world, signedIn.json.id_token)).status, 401);
    assert.equal(questions(world, signedIn.json.id_token), 0);
  });

  test('what is revoked here is refused at once', async () => {
    const browser = new Browser();
    const { json } = await world.signIn(browser, 'carol');
    assert.equal((await api(world, json.access_token)).status, 200);
    const done = await run(['revoke', '--sub', 'carol'], { cwd: world.gateway.file(''), env: world.startOptions.env });
    assert.equal(done.code, 0, done.text);
    assert.equal((await api(world, json.access_token)).status, 401);
    assert.equal(questions(world, json.access_token), 1);
  });

  test('an operator makes it ask again', async () => {
    const token = await fresh(world);
    assert.equal((await api(world, token)).status, 200);
    await revokeAtServer(world, token, MACHINE);
    assert.equal((await api(world, token)).status, 200, 'remembered');
    const authorization = `Bearer ${(await readFile(world.gateway.file('data/admin.token'), 'utf8')).trim()}`;
    const refreshed = await request('POST', `${world.gateway.admin}/issuers/as/refresh`, { headers: { authorization } });
    assert.equal(refreshed.status, 200, refreshed.text);
    assert.equal((await api(world, token)).status, 401);
  });

  test('while the server is away what is remembered goes on, and a new token gets 503', async () => {
    const [known, unknown, another] = [await fresh(world), await fresh(world), await fresh(world)];
    assert.equal((await api(world, known)).status, 200);
    await world.as.pause();
    // A call on a connection that is being closed says nothing of the server; the next one finds nobody.
    assert.equal((await api(world, another)).status, 503);
    const refused = await api(world, unknown);
    assert.equal(refused.status, 503, refused.text);
    assert.ok(Number(refused.headers['retry-after']) > 0, 'Retry-After');
    assert.equal(refused.headers['www-authenticate'], undefined);
    assert.equal((await api(world, known)).status, 200);
    const ready = await request('GET', `${world.gateway.admin}/readyz`);
    assert.equal(ready.status, 200);
    assert.match(ready.text, /could not be asked about an opaque token/);
    await world.as.resume();
    await until('the new token to pass', async () => (await api(world, unknown)).status === 200);
    assert.doesNotMatch((await request('GET', `${world.gateway.admin}/readyz`)).text, /opaque/);
  });
});

test('what is revoked at the server ends here when it is asked again', async (t) => {
  const world = await start({ cache: '2s' });
  t.after(() => world.stop());
  const token = await fresh(world);
  assert.equal((await api(world, token)).status, 200);
  const begun = performance.now();
  await revokeAtServer(world, token, MACHINE);
  await until('the token to be refused', async () => (await api(world, token)).status === 401);
  assert.ok(performance.now() - begun < 25_000, 'not for the life of the token, which is 10 minutes');
});

test('a server that does not take our credentials says nothing of a token', async (t) => {
  const world = await start({ issuer: { introspection: { client_id: GATEWAY, secret: 'wrong' } }, config: {} });
  t.after(() => world.stop());
  assert.equal((await api(world, await fresh(world))).status, 503);
  await world.gateway.says(/could not be asked about an opaque token[^\n]*it answered 401/);
});
