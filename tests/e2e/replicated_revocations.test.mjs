// What is revoked at one replica is refused at all of them, also when their Redis goes and comes.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { Browser, answered, request, until } from './support/http.mjs';
import { Replicas } from './support/replicas.mjs';
import { COOKIE } from './support/world.mjs';

async function start(t, options = {}) {
  const replicas = await Replicas.start({ auth: 'none', ...options });
  t.after(() => replicas.stop());
  return replicas;
}

/** `POST /revocations` at one replica. */
async function revoke(gateway, wanted) {
  const token = (await readFile(gateway.file('admin.key'), 'utf8')).trim();
  return request('POST', `${gateway.admin}/revocations`, {
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify(wanted),
  });
}

/** The same, until it is done: a store here can be late. */
async function takeBack(gateway, wanted) {
  const { status, text } = await answered(() => revoke(gateway, wanted));
  assert.equal(status, 201, text);
}

/** Reads /api/feed; `ended` says whether it is over. */
async function feed(gateway, token) {
  const answer = await fetch(`${gateway.url}/api/feed`, { headers: { authorization: `Bearer ${token}` } });
  assert.equal(answer.status, 200);
  const reader = answer.body.getReader();
  assert.match(Buffer.from((await reader.read()).value).toString(), /first/);
  const feed = { ended: false };
  reader.read().then(() => (feed.ended = 'whole'), () => (feed.ended = 'broken off'));
  return feed;
}

const call = async (gateway, token) => (await request('GET', `${gateway.url}/api/hello`, { headers: { authorization: `Bearer ${token}` } })).status;
const claimsOf = (token) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));

test('every replica soon refuses what one has revoked: tokens, and the cookie of the session', async (t) => {
  const replicas = await start(t);
  const { world, gateways } = replicas;
  const browser = new Browser();
  const signedIn = await world.signIn(browser);
  const token = signedIn.json.access_token;
  for (const gateway of gateways) assert.equal(await call(gateway, token), 200);
  const line = await until('the access log', () => world.gateway.requests.find(({ outcome }) => outcome === 'signed_in'));
  const began = performance.now();
  await takeBack(gateways[1], { kind: 'family', value: line.family });
  assert.equal(await call(gateways[1], token), 401, 'where it was revoked: at once');
  for (const gateway of gateways) await until('the others', async () => (await call(gateway, token)) === 401);
  const took = performance.now() - began;
  assert.ok(took < 25_000, `${took} ms; a second is promised, and these machines are shared`);
  for (const gateway of gateways) {
    const copy = new Browser();
    copy.cookies = browser.cookies.map((cookie) => ({ ...cookie }));
    const refused = await answered(() => replicas.refresh(copy, gateway));
    assert.equal(refused.status, 400, refused.text);
    assert.match(refused.setCookies[0], new RegExp(`^${COOKIE}=;`));
  }
  for (const gateway of gateways) assert.ok((await gateway.metric('tollgate_revocation_lag_seconds')) < 10);
});

test('what is under way at one replica ends when another takes its session back, and goes on by a token that another has got', async (t) => {
  const replicas = await start(t, { count: 2, accessTokenSeconds: 6 });
  const { world, gateways } = replicas;
  const [here, there] = gateways;
  const browser = new Browser();
  const token = (await world.signIn(browser)).json.access_token;
  const opened = Date.now();
  const feeds = await Promise.all(gateways.map((gateway) => feed(gateway, token)));
  world.as.accessTokenSeconds = 60;
  const next = (await answered(() => replicas.refresh(browser, there))).json.access_token;
  assert.equal(await call(here, next), 200);
  await until('the end of the first token', () => Date.now() > opened + 8_000);
  assert.deepEqual(feeds.map(({ ended }) => ended), [false, false]);
  const line = await until('the access log', () => gateways.flatMap(({ requests }) => requests).find(({ outcome }) => outcome === 'signed_in'));
  const began = performance.now();
  await takeBack(there, { kind: 'family', value: line.family });
  await until('both to end', () => feeds.every(({ ended }) => ended));
  const took = performance.now() - began;
  assert.ok(took < 25_000, `${took} ms; a second is promised, and these machines are shared`);
  await until('the service to hear of it', () => world.upstream.readers === 0);
  for (const gateway of gateways) assert.equal(await gateway.metric('tollgate_streams_ended_total', { cause: 'revoked' }), 1);
});

async function outage(t, onOutage) {
  const replicas = await start(t, { count: 2, store: { max_staleness: '20s', on_outage: onOutage } });
  const { world, gateways, redis } = replicas;
  const [revoked, good] = [(await world.signIn(new Browser())).json.access_token, (await world.signIn(new Browser(), 'bob')).json.access_token];
  await takeBack(gateways[0], { kind: 'jti', value: claimsOf(revoked).jti });
  for (const gateway of gateways) await until('all to know', async () => (await call(gateway, revoked)) === 401);
  await redis.kill();
  for (const gateway of gateways) {
    assert.equal(await call(gateway, revoked), 401);
    const refused = await revoke(gateway, { kind: 'jti', value: 'late' });
    assert.equal(refused.status, 503);
    assert.equal(refused.headers['retry-after'], '2');
  }
  for (const gateway of gateways) {
    await until('the gate to shut', async () => (await call(gateway, good)) === 503);
    const ready = await request('GET', `${gateway.admin}/readyz`);
    assert.equal(ready.status, 503);
    assert.match(ready.json.because, /list of revocations is too old/);
  }
  await redis.restart(); // empty: the replicas put back what they know
  for (const gateway of gateways) {
    await until('the gate to open', async () => (await call(gateway, good)) === 200);
    assert.equal(await call(gateway, revoked), 401, 'what was revoked before');
    assert.equal((await request('GET', `${gateway.admin}/readyz`)).status, 200);
  }
}

test('while Redis is away the list is enforced, nothing new is said to be revoked, and in the end the gate shuts', (t) => outage(t, 'refuse'));

test('with on_outage: serve the list is enforced all the same, nothing new is said to be revoked, and in the end the gate shuts', (t) => outage(t, 'serve'));

/** What the store then lacks of a session, and how. */
const losses = {
  'was lost by a Redis that came back empty': async ({ world, redis }, browser) => {
    assert.equal((await world.signIn(browser)).status, 200);
    assert.equal(await redis.command('FLUSHALL'), '+OK');
  },
  'began while Redis was away (on_outage: serve)': async ({ world, redis, gateways }, browser) => {
    const isUp = (up) => until(`store_up to be ${up}`, async () => (await Promise.all(gateways.map((gateway) => gateway.metric('tollgate_store_up')))).every((value) => value === up));
    await redis.kill();
    await isUp(0);
    assert.equal((await world.signIn(browser)).status, 200);
    await redis.restart();
    await isUp(1);
  },
};

for (const [loss, lose] of Object.entries(losses)) {
  test(`what a session hands out that ${loss} is taken back when its issuer says that it has ended`, async (t) => {
    const logout = (gateway) => ({ backchannel_logout_uri: `${gateway.url}/oauth/backchannel-logout`, backchannel_logout_session_required: true });
    const features = { backchannelLogout: { enabled: true } };
    const replicas = await start(t, { count: 2, accessTokenSeconds: 300, store: { on_outage: 'serve' }, features, registration: logout });
    const { world, gateways } = replicas;
    const browser = new Browser();
    await lose(replicas, browser);
    const next = await answered(() => replicas.refresh(browser, gateways[1]));
    assert.equal(next.status, 200, next.text);
    const token = next.json.access_token;
    assert.equal(claimsOf(token).sid, undefined, 'it does not say of which session it is');
    for (const gateway of gateways) assert.equal(await call(gateway, token), 200);
    await world.signOutThere(browser);
    for (const gateway of gateways) await until('all to refuse it', async () => (await call(gateway, token)) === 401);
  });
}

test('a replica that starts while Redis is away knows what it knew', async (t) => {
  const replicas = await start(t, { count: 1 });
  const { world, gateways: [gateway], redis } = replicas;
  const [revoked, good] = [(await world.signIn(new Browser())).json.access_token, (await world.signIn(new Browser(), 'bob')).json.access_token];
  await takeBack(gateway, { kind: 'jti', value: claimsOf(revoked).jti });
  gateway.signal('SIGTERM');
  await gateway.exited;
  await redis.stop();
  await world.gateway.start(undefined, world.startOptions);
  assert.equal(await call(gateway, good), 200);
  assert.equal(await call(gateway, revoked), 401);
});
