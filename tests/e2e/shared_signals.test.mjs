// Shared signals about people who are signed in with a real authorization server: what a transmitter pushes to one replica
// ends their access at all of them.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Browser, until } from './support/http.mjs';
import { Replicas } from './support/replicas.mjs';
import { COOKIE as SESSION, sessionMode, signInByGateway } from './support/session_scene.mjs';
import { EVENTS, Transmitter } from './support/transmitter.mjs';
import { COOKIE, World } from './support/world.mjs';

const bearer = (token) => ({ headers: { authorization: `Bearer ${token}` } });

async function start(t, { events, ...options } = {}) {
  const transmitter = await Transmitter.start();
  t.after(() => transmitter.stop());
  const replicas = await Replicas.start({ auth: 'none', count: 2, config: { signals: { idp: transmitter.config(events && { events }) } }, ...options });
  t.after(() => replicas.stop());
  const { world, gateways } = replicas;
  const about = (sub) => ({ format: 'iss_sub', iss: world.as.url, sub });
  return { transmitter, replicas, world, gateways, about };
}

async function signedIn(world, account) {
  const browser = new Browser();
  const { status, json, text } = await world.signIn(browser, account);
  assert.equal(status, 200, text);
  return { browser, token: json.access_token };
}

const call = async (gateway, { token }) => (await new Browser().fetch('GET', `${gateway.url}/api/things`, bearer(token))).status;

/** Whoever signs in within the second of a signal is taken for one of before. */
const nextSecond = (began) => until('the next second', () => Math.floor(Date.now() / 1000) > Math.floor(began / 1000) + 1);

describe('shared signals', () => {
  test('whose sessions were revoked is out at every replica, with streams under way; nobody else is', async (t) => {
    const { transmitter, replicas, world, gateways, about } = await start(t);
    const [here, there, other] = [await signedIn(world, 'alice'), await signedIn(world, 'alice'), await signedIn(world, 'bob')];
    for (const gateway of gateways) for (const one of [here, there, other]) assert.equal(await call(gateway, one), 200);
    const stream = await fetch(`${gateways[0].url}/api/feed`, bearer(here.token));
    const reader = stream.body.getReader();
    assert.match(Buffer.from((await reader.read()).value).toString(), /first/);
    let isOver = false;
    reader.read().then(() => (isOver = true), () => (isOver = true));

    const verified = await transmitter.push(gateways[1], await transmitter.set(EVENTS.verification, { format: 'opaque', id: 'stream-1' }, { state: 'x' }));
    assert.deepEqual([verified.status, verified.text], [202, '']);
    const set = await transmitter.set(EVENTS.sessionRevoked, about('alice'), { initiating_entity: 'policy', reason_admin: { en: 'Device lost' }, event_timestamp: Math.floor(Date.now() / 1000) });
    const asked = world.as.callsOf('refresh_token').length;
    const [began, begun] = [Date.now(), performance.now()];
    const told = await transmitter.push(gateways[1], set);
    assert.deepEqual([told.status, told.text, told.headers['cache-control']], [202, '', 'no-store']);
    assert.equal(await call(gateways[1], here), 401, 'where it was told: at once');
    await until('the other replica', async () => (await call(gateways[0], here)) === 401);
    await until('the stream to end', () => isOver);
    assert.ok(performance.now() - begun < 25_000, 'a second is promised, and these machines are shared');
    for (const one of [here, there]) {
      for (const gateway of gateways) {
        assert.equal(await call(gateway, one), 401);
        const copy = new Browser();
        copy.cookies = one.browser.cookies.map((cookie) => ({ ...cookie }));
        const refused = await replicas.refresh(copy, gateway);
        assert.deepEqual([refused.status, refused.json.error], [400, 'invalid_grant']);
        assert.match(refused.setCookies[0], new RegExp(`^${COOKIE}=;`), 'the cookie is cleared');
      }
    }
    assert.equal(world.as.callsOf('refresh_token').length, asked, 'the authorization server was not asked');
    for (const gateway of gateways) assert.equal(await call(gateway, other), 200);
    assert.equal((await transmitter.push(gateways[0], set)).status, 202, 'the same once more, at the other one');
    await gateways[1].says(new RegExp(`"event":"audit"[^\n]*"name":"${transmitter.url}"[^\n]*"kind":"sub"[^\n]*"reason":"session-revoked by policy: Device lost"`));
    assert.equal(await gateways[0].metric('tollgate_signals_total', { signal: 'idp', event: 'session-revoked', result: 'repeated' }), 1);

    await nextSecond(began);
    const again = await signedIn(world, 'alice');
    for (const gateway of gateways) assert.equal(await call(gateway, again), 200, 'whoever signs in again is in again');
    const line = await until('its line in the access log', () => gateways[1].requests.find(({ outcome, subject }) => outcome === 'shared_signal' && subject === 'alice'));
    assert.deepEqual([line.route, line.status, line.client], ['/oauth/events', 202, 'idp']);
    for (const gateway of gateways) assert.ok(!gateway.output.includes(set.split('.')[2]), 'no token was printed');
  });

  test('an account that is disabled is shut out of every replica, also after a restart, until it is enabled', async (t) => {
    const { transmitter, replicas, world, gateways, about } = await start(t);
    const before = await signedIn(world, 'alice');
    assert.equal((await transmitter.push(gateways[1], await transmitter.set(EVENTS.accountDisabled, about('alice'), { reason: 'hijacking' }))).status, 202);
    for (const gateway of gateways) await until('every replica', async () => (await call(gateway, before)) === 401);
    const began = Date.now();
    await nextSecond(began);
    const refused = await world.signIn(new Browser(), 'alice');
    assert.equal(refused.status, 400, `who signs in gets nothing: ${refused.text}`);
    world.gateway.signal('SIGTERM');
    await world.gateway.exited;
    await world.gateway.start(replicas.configOf(world.gateway), world.startOptions);
    assert.equal((await world.signIn(new Browser(), 'alice')).status, 400);
    assert.equal((await world.signIn(new Browser(), 'bob')).status, 200);
    assert.equal((await transmitter.push(gateways[0], await transmitter.set(EVENTS.accountEnabled, about('alice')))).status, 202);
    const after = await until('every replica', async () => {
      const browser = new Browser();
      const { status, json } = await world.signIn(browser, 'alice');
      return status === 200 && { browser, token: json.access_token };
    });
    for (const gateway of gateways) await until('every replica', async () => (await call(gateway, after)) === 200);
  });

  test('a session without tokens in the browser ends just so, by a changed credential and by its own name', async (t) => {
    const transmitter = await Transmitter.start();
    t.after(() => transmitter.stop());
    const world = await World.start(sessionMode({ config: { signals: { idp: transmitter.config() }, log: { subject: 'hash' } } }));
    t.after(() => world.stop());
    const asks = (browser) => browser.fetch('GET', `${world.gateway.url}/api/things`, { headers: { 'x-csrf': '1' } });
    const [here, other] = [await signInByGateway(world), await signInByGateway(world, 'bob')];
    for (const browser of [here, other]) assert.equal((await asks(browser)).status, 200);
    const about = { format: 'complex', user: { format: 'iss_sub', iss: world.as.url, sub: 'alice' }, device: { format: 'opaque', id: 'phone' } };
    const created = await transmitter.set(EVENTS.credentialChange, about, { credential_type: 'fido2-roaming', change_type: 'create' });
    assert.equal((await transmitter.push(world.gateway, created)).status, 202);
    assert.equal((await asks(here)).status, 200, 'a new credential takes nothing away');
    const changed = await transmitter.set(EVENTS.credentialChange, about, { credential_type: 'password', change_type: 'update' });
    assert.equal((await transmitter.push(world.gateway, changed)).status, 202);
    assert.equal((await asks(here)).status, 401);
    assert.equal(here.cookie(SESSION), undefined, 'the cookie is cleared');
    assert.equal((await asks(other)).status, 200);
    const [audit] = await world.gateway.says(/^.*"event":"audit".*\n/m);
    assert.match(audit, /"kind":"sub".*"reason":"credential-change"/);
    assert.ok(!audit.includes('alice'), `log.subject: ${audit}`);
    const email = await transmitter.set(EVENTS.sessionRevoked, { format: 'email', email: 'alice@example.com' });
    assert.equal((await transmitter.push(world.gateway, email)).status, 400);
    await until('its line in the log', () => /a shared signal was refused although its transmitter made it/.test(world.gateway.output));
  });

  test('a transmitter that may not is told so, and so is one who is none', async (t) => {
    const { transmitter, gateways: [gateway], world, about } = await start(t, { events: ['session-revoked'] });
    const alice = await signedIn(world, 'alice');
    const stranger = await Transmitter.start();
    t.after(() => stranger.stop());
    const denied = async (set, err, headers) => {
      const answer = await transmitter.push(gateway, await set, headers);
      assert.deepEqual([answer.status, answer.json.err, typeof answer.json.description], [400, err, 'string'], answer.text);
    };
    await denied(transmitter.set(EVENTS.accountDisabled, about('alice')), 'access_denied');
    await denied(transmitter.set(EVENTS.sessionRevoked, { format: 'iss_sub', iss: 'https://else.example', sub: 'alice' }), 'access_denied');
    await denied(transmitter.set(EVENTS.sessionRevoked, { format: 'email', email: 'alice@example.com' }), 'invalid_request');
    const [bob, alices] = [await transmitter.set(EVENTS.sessionRevoked, about('bob')), await transmitter.set(EVENTS.sessionRevoked, about('alice'))];
    await denied([...alices.split('.').slice(0, 2), bob.split('.')[2]].join('.'), 'authentication_failed');
    await denied(transmitter.set(EVENTS.sessionRevoked, about('alice')), 'authentication_failed', { authorization: 'Bearer guessed' });
    await denied(stranger.set(EVENTS.sessionRevoked, about('alice')), 'invalid_issuer');
    assert.equal(await call(gateway, alice), 200);
  });
});
