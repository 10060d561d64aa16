// What docs/security.md says to do when something went wrong, done: against a real authorization server, with the
// commands as a person types them.

import assert from 'node:assert/strict';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile, rm, writeFile } from 'node:fs/promises';
import https from 'node:https';
import { test } from 'node:test';
import { SignJWT } from 'jose';
import { AUDIENCE } from './support/authorization_server.mjs';
import { Gateway, run } from './support/gateway.mjs';
import { Browser, request, until } from './support/http.mjs';
import { Authority, Folder } from './support/tools.mjs';
import { Upstream } from './support/upstream.mjs';
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

/** Every subcommand that was typed here, by the names of its flags. */
const typed = new Set();
const flagsOf = (words) => words.filter((word) => word.startsWith('--')).join(' ');

/** `tollgate revoke …` beside the gateway. What changes something is in the log: who, what, why. */
async function revoke({ gateway, startOptions }, ...args) {
  typed.add(flagsOf(args));
  const from = gateway.output.length;
  const done = await run(['revoke', ...args], { cwd: gateway.file(''), env: { ...startOptions?.env, USER: 'operator' } });
  assert.equal(done.code, 0, done.text);
  if (args.includes('--list')) return done.text;
  const given = (flag) => (args.includes(flag) ? args[args.indexOf(flag) + 1] : undefined);
  const kind = ['jti', 'sid', 'sub', 'client', 'kid', 'family', 'issuer'].find((kind) => given(`--${kind}`));
  const id = given('--lift') ?? idOf(done.text);
  const said = await until('the audit', () => audits(gateway, from).find((line) => line.id === id));
  assert.deepEqual([said.name, said.who], ['operator', '127.0.0.1'], JSON.stringify(said));
  if (!kind) {
    assert.match(said.message, /^lifted/);
    return done.text;
  }
  assert.match(said.message, /^revoked/);
  assert.deepEqual([said.kind, said.reason, said.block], [kind, given('--reason'), args.includes('--block') || undefined]);
  // An issuer is written down by its `iss`.
  if (kind !== 'issuer') assert.equal(said.value, given(`--${kind}`));
  return done.text;
}

/** What was audited since then. */
function audits(gateway, from) {
  const lines = gateway.output.slice(from).split('\n').filter((line) => line.includes('"event":"audit"') && line.endsWith('}'));
  return lines.map((line) => JSON.parse(line)).map(({ fields, ...line }) => ({ ...line, ...fields }));
}

/** `POST /issuers/as/refresh`, as the runbooks type it. */
async function refreshKeys(gateway) {
  const token = await readFile(gateway.file('data/admin.token'), 'utf8');
  const headers = { authorization: `Basic ${Buffer.from(`me:${token.trim()}`).toString('base64')}` };
  return request('POST', `${gateway.admin}/issuers/as/refresh`, { headers });
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
  const compromised = headerOf(alice.token).kid;
  await revoke(world, '--kid', compromised, '--reason', 'key file was readable');
  assert.equal(await api(world, alice), 401);
  // The authorization server still signs with it.
  const cookie = alice.browser.cookie(COOKIE);
  const early = await world.refresh(alice.browser);
  assert.equal(early.status, 502, early.text);
  assert.ok(!early.text.includes('access_token'), early.text);
  assert.ok(cookie && alice.browser.cookie(COOKIE), 'the cookie stays');
  world.as.rotateKey('fresh');
  const refreshed = await refreshKeys(world.gateway);
  assert.equal(refreshed.status, 200, refreshed.text);
  await world.gateway.says(/"event":"audit"[^\n]*"name":"me"[^\n]*"issuer":"as"[^\n]*"outcome":"fetched"/);
  const late = await world.refresh(alice.browser);
  assert.equal(late.status, 200, `the session stays: ${late.text}`);
  assert.equal(headerOf(late.json.access_token).kid, 'fresh');
  assert.equal(await api(world, alice), 401, 'what the old key signed');
  alice.token = late.json.access_token;
  await assertIn(world, alice, 'what the new key signs');
  // What whoever had the key may have begun.
  await nextSecond();
  await revoke(world, '--issuer', 'as', '--before', new Date(Date.now() - 1000).toISOString());
  await assertOut(world, alice, 'who was there in the time in question');
  await assertIn(world, await person(world, 'alice'), 'signed in again');
});

test('an authority of an issuer that cannot be trusted any more: with a refresh the keys that it vouched for are gone, or after a restart', async (t) => {
  const folder = await Folder.make();
  const [bad, good] = [await Authority.make(folder, 'bad'), await Authority.make(folder, 'good')];
  const [theirs, ours] = [await bad.gives('theirs', 'IP:127.0.0.1'), await good.gives('ours', 'IP:127.0.0.1')];
  const [forged, real] = [signer('theirs'), signer('ours')];
  const issuer = await KeyServer.start(theirs, forged);
  const [upstream, gateway] = [await Upstream.start(), await Gateway.reserve()];
  t.after(() => Promise.all([gateway.stop(), upstream.stop(), issuer.stop(), folder.remove()]));
  const both = `${await readFile(bad.ca, 'utf8')}${await readFile(good.ca, 'utf8')}`;
  const keys = { url: issuer.url, audience: AUDIENCE, jwks_uri: `${issuer.url}/jwks` };
  await gateway.start({ issuers: { as: { ...keys, ca: 'ca.pem' } }, routes: [{ path: '/api', to: upstream.url }] }, { files: { 'ca.pem': both } });
  const tokens = { forged: await forged.token(issuer.url), real: await real.token(issuer.url) };
  const ask = async (token) => (await request('GET', `${gateway.url}/api`, { headers: { authorization: `Bearer ${token}` } })).status;
  assert.equal(await ask(tokens.forged), 200, 'somebody stood in its place');

  await writeFile(gateway.file('ca.pem'), await readFile(good.ca));
  gateway.signal('SIGHUP');
  await until('the reload', async () => (await gateway.metric('tollgate_config_reloads_total', { result: 'ok' })) > 0);
  const refused = await refreshKeys(gateway);
  assert.equal(refused.status, 502, 'who is there is not believed any more');
  assert.equal(await ask(tokens.forged), 200, 'the keys of before still count');
  const revoked = await revoke({ gateway }, '--issuer', 'as', '--reason', 'incident 18');
  assert.equal(await ask(tokens.forged), 401, 'until the issuer is revoked');
  await revoke({ gateway }, '--lift', idOf(revoked));
  assert.equal(await ask(tokens.forged), 200);
  gateway.signal('SIGTERM');
  await gateway.exited;
  await gateway.start(undefined, { ready: false });
  assert.equal(await ask(tokens.forged), 503, 'or it is started again, and has no keys');

  await issuer.becomes(ours, real);
  const refreshed = await refreshKeys(gateway);
  assert.equal(refreshed.status, 200, refreshed.text);
  assert.equal(await ask(tokens.forged), 401, 'the keys of before are gone');
  assert.equal(await ask(tokens.real), 200);
});

/** A key, and tokens of it. */
function signer(kid) {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwks = JSON.stringify({ keys: [{ ...publicKey.export({ format: 'jwk' }), kid, alg: 'ES256', use: 'sig' }] });
  const token = (issuer) => new SignJWT({ sub: 'alice', jti: kid }).setProtectedHeader({ alg: 'ES256', kid, typ: 'at+jwt' }).setIssuer(issuer).setAudience(AUDIENCE).setIssuedAt().setExpirationTime('1h').sign(privateKey);
  return { jwks, token };
}

/** Gives out a key set over TLS. */
class KeyServer {
  static async start(identity, { jwks }) {
    const server = new KeyServer();
    server.jwks = jwks;
    server.server = https.createServer(await server.#read(identity), (_, outgoing) => outgoing.setHeader('content-type', 'application/json').end(server.jwks));
    server.server.listen(0, '127.0.0.1');
    await once(server.server, 'listening');
    server.url = `https://127.0.0.1:${server.server.address().port}`;
    return server;
  }

  /** From now on it shows this certificate and these keys. */
  async becomes(identity, { jwks }) {
    this.jwks = jwks;
    this.server.setSecureContext(await this.#read(identity));
    this.server.closeAllConnections();
  }

  async #read({ certificate, key }) {
    return { cert: await readFile(certificate), key: await readFile(key) };
  }

  stop() {
    this.server.close().closeAllConnections();
  }
}

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
    assert.match(refresh.json.error_description, /cannot be opened/);
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
  const [, runbooks] = docs.split('### What to do when');
  const section = runbooks.split('\n## ')[0];
  const commands = [...section.matchAll(/tollgate revoke ([^`\n]*)/g)].map(([, line]) => flagsOf(line.replace(/#.*|"[^"]*"/g, '').split(/\s+/)));
  assert.ok(commands.length > 10, section);
  for (const command of new Set(commands)) assert.ok(typed.has(command), `tollgate revoke ${command}: ${[...typed].join(' | ')}`);
});
