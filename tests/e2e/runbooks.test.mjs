// What docs/security.md says to do when something went wrong, done: against a real authorization server, with the
// commands as a person types them.

import assert from 'node:assert/strict';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { run } from './support/gateway.mjs';
import { Browser, request, until } from './support/http.mjs';
import { CLIENT, COOKIE, World } from './support/world.mjs';

const claimsOf = (token) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));
const headerOf = (token) => JSON.parse(Buffer.from(token.split('.')[0], 'base64url'));

/** Somebody who is signed in, with the newest access token of their page. */
async function person(world, name) {
  const browser = new Browser();
  const answer = await world.signIn(browser, name);
  assert.equal(answer.status, 200, answer.text);
  return { name, browser, token: answer.json.access_token };
}

/** `tollgate revoke …` beside the gateway. */
async function revoke(world, ...args) {
  const done = await run(['revoke', ...args], { cwd: world.gateway.file(''), env: { ...world.startOptions.env, USER: 'operator' } });
  assert.equal(done.code, 0, done.text);
  return done.text;
}

const idOf = (text) => /\(id ([0-9a-f]{32})\)/.exec(text)[1];
const api = async (world, { browser, token }) => (await world.call(browser, '/api/hello', token)).status;

async function assertOut(world, who, what) {
  const call = await world.call(who.browser, '/api/hello', who.token);
  assert.equal(call.status, 401, `${what}: the access token`);
  assert.match(call.headers['www-authenticate'], /invalid_token/);
  const refresh = await world.refresh(who.browser);
  assert.equal(refresh.status, 400, `${what}: the cookie: ${refresh.text}`);
  assert.equal(refresh.json.error, 'invalid_grant');
  assert.equal(who.browser.cookie(COOKIE), undefined, `${what}: the cookie is cleared`);
}

async function assertIn(world, who, what) {
  assert.equal(await api(world, who), 200, `${what}: the access token`);
  const refresh = await world.refresh(who.browser);
  assert.equal(refresh.status, 200, `${what}: ${refresh.text}`);
  who.token = refresh.json.access_token;
  assert.equal(await api(world, who), 200, `${what}: the next one`);
}

/** Whoever signs in after a watermark must do so in a later second. */
async function nextSecond() {
  const second = Math.floor(Date.now() / 1000);
  await until('the next second', () => Math.floor(Date.now() / 1000) > second);
}

async function start(t, options = {}) {
  const world = await World.start({ auth: 'none', ...options });
  t.after(() => world.stop());
  return world;
}

test('a leaked access token: it alone is refused, and the session goes on', async (t) => {
  const world = await start(t);
  const alice = await person(world, 'alice');
  const leaked = { ...alice };
  await revoke(world, '--jti', claimsOf(leaked.token).jti, '--reason', 'in a public repository');
  assert.equal(await api(world, leaked), 401);
  const refresh = await world.refresh(alice.browser);
  assert.equal(refresh.status, 200, refresh.text);
  alice.token = refresh.json.access_token;
  await assertIn(world, alice, 'her session');
  assert.match(world.gateway.output, /"event":"audit"[^\n]*"name":"operator"[^\n]*"kind":"jti"[^\n]*"reason":"in a public repository"/);
});

test('a stolen refresh cookie: the session that the log names ends for thief and owner, and at the authorization server', async (t) => {
  const world = await start(t);
  const [alice, bob] = [await person(world, 'alice'), await person(world, 'bob')];
  const thief = { browser: new Browser(), token: alice.token };
  thief.browser.cookies = alice.browser.cookies.map((cookie) => ({ ...cookie }));
  const line = await until('the access log', () => world.gateway.requests.find(({ subject, outcome }) => subject === 'alice' && outcome === 'signed_in'));
  assert.match(line.family, /^[0-9a-f]{32}$/);
  await revoke(world, '--family', line.family, '--reason', 'cookie in a HAR file');
  await assertOut(world, alice, 'the owner');
  await assertOut(world, thief, 'the thief');
  await until('the authorization server to be told', () => world.as.revocations.length > 0);
  await assertIn(world, bob, 'somebody else');
});

test('a suspended account stays out with old and new tokens, and comes back when the block is lifted', async (t) => {
  const world = await start(t);
  const [alice, bob] = [await person(world, 'alice'), await person(world, 'bob')];
  await revoke(world, '--sub', 'alice', '--block', '--reason', 'left the company');
  await assertOut(world, alice, 'alice');
  await nextSecond();
  const again = await world.signIn(new Browser(), 'alice');
  assert.equal(again.status, 400, again.text);
  const listed = await revoke(world, '--list', '--sub', 'alice');
  const entry = JSON.parse(listed);
  assert.deepEqual({ kind: entry.kind, value: entry.value, block: entry.block, by: entry.made_by, reason: entry.reason }, { kind: 'sub', value: 'alice', block: true, by: 'operator', reason: 'left the company' });
  await revoke(world, '--lift', entry.id);
  assert.equal(await revoke(world, '--list', '--sub', 'alice'), '');
  await assertIn(world, await person(world, 'alice'), 'alice is back');
  await assertIn(world, bob, 'bob all the while');
});

test('a lost device: everything until now ends, and whoever signs in again is in', async (t) => {
  const world = await start(t);
  const [laptop, phone] = [await person(world, 'alice'), await person(world, 'alice')];
  await revoke(world, '--sub', 'alice', '--reason', 'lost laptop');
  await assertOut(world, laptop, 'the laptop');
  await assertOut(world, phone, 'the phone');
  await nextSecond();
  await assertIn(world, await person(world, 'alice'), 'signed in again');

  // The same by the person, from another device.
  await nextSecond();
  const [lost, other] = [await person(world, 'bob'), await person(world, 'bob')];
  const out = await other.browser.fetch('DELETE', `${world.gateway.url}/oauth/token?client_id=${CLIENT}&everywhere=true`);
  assert.equal(out.status, 204, out.text);
  await assertOut(world, lost, 'the lost one');
  assert.equal(await api(world, other), 401);
});

test('a lost device by its session at the issuer: the access tokens go too, although they do not name it', async (t) => {
  const registration = { backchannel_logout_uri: 'http://127.0.0.1:9/', backchannel_logout_session_required: true };
  const world = await start(t, { features: { backchannelLogout: { enabled: true } }, registration });
  const browsers = [new Browser(), new Browser()];
  const [lost, kept] = await Promise.all(browsers.map(async (browser) => {
    const answer = await world.signIn(browser, 'alice');
    return { browser, token: answer.json.access_token, sid: claimsOf(answer.json.id_token).sid };
  }));
  assert.ok(lost.sid && lost.sid !== kept.sid);
  assert.equal(claimsOf(lost.token).sid, undefined, 'the access token does not name its session');
  await revoke(world, '--sid', lost.sid);
  await assertOut(world, lost, 'the lost one');
  await assertIn(world, kept, 'the other one');
});

test('a compromised signing key: what it signed is refused at once, whatever it says', async (t) => {
  const world = await start(t);
  const alice = await person(world, 'alice');
  const text = await revoke(world, '--kid', headerOf(alice.token).kid, '--reason', 'key file was readable');
  assert.equal(await api(world, alice), 401);
  const token = await readFile(world.gateway.file('data/admin.token'), 'utf8');
  const headers = { authorization: `Basic ${Buffer.from(`me:${token.trim()}`).toString('base64')}` };
  const refreshed = await request('POST', `${world.gateway.admin}/issuers/as/refresh`, { headers });
  assert.equal(refreshed.status, 200, refreshed.text);
  await world.gateway.says(/"event":"audit"[^\n]*"name":"me"[^\n]*"issuer":"as"[^\n]*"outcome":"fetched"/);
  await revoke(world, '--lift', idOf(text));
  assert.equal(await api(world, alice), 200);
});

const newCookieKey = {
  'a fresh one in its place and a reload': async (world) => {
    const reloads = () => world.gateway.metric('tollgate_config_reloads_total', { result: 'ok' });
    const before = await reloads();
    await writeFile(world.gateway.file('cookie.1'), (await run(['keys', 'cookie'])).text);
    world.gateway.signal('SIGHUP');
    await until('the reload', async () => (await reloads()) > before);
  },
  'one that is made at a restart': async (world) => {
    await rm(world.gateway.file('data/cookie.key'));
    world.gateway.signal('SIGTERM');
    await world.gateway.exited;
    await world.restartGateway();
  },
};

for (const [how, change] of Object.entries(newCookieKey)) {
  test(`a compromised cookie key, ${how}: no cookie of before opens, and nothing that was taken out of one is good`, async (t) => {
    const isMade = how.includes('made');
    const world = await start(t, isMade ? {} : { config: { sessions: { keys: [{ file: 'cookie.1' }] } }, files: { 'cookie.1': randomBytes(32).toString('hex') } });
    const alice = await person(world, 'alice');
    await change(world);
    const refresh = await world.refresh(alice.browser);
    assert.equal(refresh.status, 400, 'a cookie that does not open is as none');
    assert.match(refresh.json.error_description, /does not open/);
    assert.ok(alice.browser.cookie(COOKIE), 'and is left alone');
    assert.equal(await api(world, alice), 200, 'what came out of it is good until it is taken back');
    await revoke(world, '--client', CLIENT, '--reason', 'cookie key leaked');
    assert.equal(await api(world, alice), 401);
    await nextSecond();
    await assertIn(world, await person(world, 'alice'), 'signed in again');
  });
}

test('a compromised authorization server: nothing that it says counts until it is sound again', async (t) => {
  const world = await start(t);
  const alice = await person(world, 'alice');
  const text = await revoke(world, '--issuer', 'as', '--reason', 'incident 17');
  await assertOut(world, alice, 'what it said before');
  assert.equal((await world.signIn(new Browser(), 'alice')).status, 400);
  await nextSecond();
  await revoke(world, '--issuer', 'as', '--before', new Date(Date.now() - 1000).toISOString());
  await revoke(world, '--lift', idOf(text));
  assert.equal(await api(world, alice), 401, 'what it said in the incident');
  await assertIn(world, await person(world, 'alice'), 'what it says now');
});

test('docs/security.md types no command that these tests do not try', async () => {
  const docs = await readFile(new URL('../../docs/security.md', import.meta.url), 'utf8');
  const own = await readFile(new URL(import.meta.url), 'utf8');
  const flags = [...docs.matchAll(/^tollgate revoke (.*)$/gm)].flatMap(([, line]) => line.match(/--[a-z-]+/g));
  assert.ok(flags.length > 10);
  for (const flag of new Set(flags)) assert.ok(own.includes(`'${flag}'`), flag);
});
