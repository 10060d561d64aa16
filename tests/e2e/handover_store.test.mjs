// SIGQUIT with a store in a folder, which one process at a time can have open: what the old process still has to answer
// it answers with the store of the new one. No refresh, no sign-out and no revocation is lost.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import { test } from 'node:test';
import { askers } from './support/askers.mjs';
import { hasEnded } from './support/gateway.mjs';
import { Browser, request, until } from './support/http.mjs';
import { World } from './support/world.mjs';

async function start(t) {
  const world = await World.start({
    auth: 'none',
    features: { backchannelLogout: { enabled: true } },
    registration: (gateway) => ({ backchannel_logout_uri: `${gateway.url}/oauth/backchannel-logout`, backchannel_logout_session_required: true }),
  });
  t.after(() => world.stop());
  world.headers = { authorization: `Bearer ${(await readFile(world.gateway.file('data/admin.token'), 'utf8')).trim()}`, 'content-type': 'application/json' };
  return world;
}

/** One connection that is kept, at which the gateway that serves now has answered once. */
async function kept(world) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  assert.equal((await request('GET', `${world.gateway.url}/api/public/x`, { agent })).status, 200);
  return { agent };
}

/** The kernel's list of connections (proc_net_tcp). */
function connections() {
  try {
    return readFileSync('/proc/net/tcp', 'utf8');
  } catch (error) {
    throw new Error(`these tests ask the kernel which connections were taken, in /proc/net/tcp, which Linux alone has: ${error.message}`);
  }
}

/** Whether the process that listens there has taken this connection: one that waits to be has no inode yet (proc_net_tcp). */
function isAccepted({ localPort, remotePort }) {
  const at = (address, port) => address.endsWith(`:${port.toString(16).toUpperCase().padStart(4, '0')}`);
  const rows = connections().split('\n').slice(1, -1).map((row) => row.trim().split(/\s+/));
  return rows.some(([, local, remote, , , , , , , inode]) => at(local, remotePort) && at(remote, localPort) && inode !== '0');
}

/** A request to the admin listener that has begun, and that ends when its body does: `end()`. */
async function begun(world, method, target, body = '') {
  const socket = net.connect(world.gateway.adminPort, '127.0.0.1');
  await once(socket, 'connect');
  const whole = Buffer.from(`${method} ${target} HTTP/1.1\r\nhost: 127.0.0.1\r\n${Object.entries(world.headers).map(([name, value]) => `${name}: ${value}\r\n`).join('')}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
  const most = whole.length - 1;
  socket.write(whole.subarray(0, most));
  await until('the gateway to take it', () => isAccepted(socket));
  return async () => {
    socket.write(whole.subarray(most));
    let text = '';
    for await (const chunk of socket) text += chunk;
    const [head, json] = text.split('\r\n\r\n');
    return { status: Number(head.split(' ')[1]), text, json: json && JSON.parse(json) };
  };
}

const revoking = (world, value) => begun(world, 'POST', '/revocations', JSON.stringify({ kind: 'sub', value }));

async function signedIn(world, account, options) {
  const browser = new Browser();
  const answer = await world.signIn(browser, account, options);
  assert.equal(answer.status, 200, answer.text);
  return { browser, token: answer.json.access_token };
}

test('connections of before a hand-over refresh, sign out, revoke and list after it, at the old process', async (t) => {
  const world = await start(t);
  const { gateway } = world;
  const [alice, bob, carol] = [await signedIn(world, 'alice'), await signedIn(world, 'bob'), await signedIn(world, 'carol')];
  const lines = [await kept(world), await kept(world), await kept(world), await kept(world)];
  const ends = [await revoking(world, 'carol'), await begun(world, 'GET', '/revocations?kind=sub')];
  const copy = new Browser();
  copy.cookies.push(...bob.browser.cookies.map((cookie) => ({ ...cookie })));

  await gateway.handOver();
  const refreshed = await world.refresh(alice.browser, lines[0]);
  assert.deepEqual([refreshed.status, refreshed.headers.connection], [200, 'close'], refreshed.text);
  const out = await world.signOut(bob.browser, lines[1]);
  assert.deepEqual([out.status, out.headers.connection], [204, 'close'], out.text);
  const revoked = await ends[0]();
  assert.equal(revoked.status, 201, revoked.text);
  const there = await world.call(carol.browser, '/api/things', carol.token);
  const here = await world.call(carol.browser, '/api/things', carol.token, lines[2]);
  assert.deepEqual([there.status, here.status, here.headers.connection], [401, 401, 'close'], 'at both processes, at once');
  const listed = await ends[1]();
  assert.deepEqual([listed.status, listed.json?.revocations?.map(({ value }) => value)], [200, ['carol']], listed.text);

  // The new process knows all of it.
  assert.equal((await world.refresh(alice.browser)).status, 200);
  assert.equal((await world.refresh(copy)).json.error, 'invalid_grant', 'the sign-out holds');
  assert.equal((await world.refresh(copy, lines[3])).status, 400, 'at the old one, too');
  assert.ok(!/"level":"ERROR"/i.test(gateway.output), gateway.output);
  await world.assertNoTokenLeaked();
});

test('hand-overs in a row lose no sign-in, no refresh, no sign-out and no revocation', async (t) => {
  const world = await start(t);
  const { gateway } = world;
  const { asked, failures, client, everyoneAsksAgain: moved, stop } = askers();
  const expect = (answer, status) => assert.equal(answer.status, status, answer.text);
  const keeping = () => ({ agent: new http.Agent({ keepAlive: true, maxSockets: 1 }) });
  const [refreshing, leaving] = [keeping(), keeping()];
  const { browser } = await signedIn(world, 'alice');
  let count = 0;
  const clients = [
    client('refresh', async () => expect(await world.refresh(browser, refreshing), 200)),
    client('sign-in and sign-out', async () => {
      const { browser: other } = await signedIn(world, 'bob', leaving);
      const copy = new Browser();
      copy.cookies.push(...other.cookies.map((cookie) => ({ ...cookie })));
      expect(await world.signOut(other, leaving), 204);
      expect(await world.refresh(copy, leaving), 400);
    }),
    client('back-channel logout', async () => {
      const { browser: other } = await signedIn(world, 'carol');
      await world.signOutThere(other); // over connections that it keeps
      expect(await world.refresh(other), 400);
    }),
    client('revocation', async () => {
      const body = JSON.stringify({ kind: 'jti', value: `leaked-${(count += 1)}` });
      expect(await request('POST', `${gateway.admin}/revocations`, { headers: world.headers, body }), 201);
    }),
  ];
  await moved();
  const old = [];
  for (let round = 0; round < 4; round += 1) {
    const end = await revoking(world, `person-${round}`);
    const { before } = await gateway.handOver();
    expect(await end(), 201);
    old.push(before);
    await moved();
  }
  for (const pid of old) await until(`process ${pid} to end`, () => hasEnded(pid));
  await moved();
  stop();
  await Promise.all(clients);
  assert.deepEqual(failures, [], `of ${JSON.stringify(asked)}`);
  assert.deepEqual(world.as.logouts.filter(({ error }) => error), [], 'the authorization server was heard each time');
  assert.equal(await gateway.metric('tollgate_revocations', { kind: 'jti' }), count, 'each of them counts');
  assert.ok(!gateway.output.includes('cut off'), gateway.output);
});

test('a process that handed over itself serves the one before it, and leaves after it', async (t) => {
  const world = await start(t);
  const { gateway } = world;
  const carol = await signedIn(world, 'carol');
  const held = world.call(carol.browser, '/api/held', carol.token);
  await until('the upstream to hold it', () => world.upstream.heldCount === 1);
  const ends = [await revoking(world, 'alice'), await revoking(world, 'bob')];
  const { before: first } = await gateway.handOver();
  const { before: second } = await gateway.handOver();
  assert.equal((await ends[0]()).status, 201);
  const list = async () => (await request('GET', `${gateway.admin}/revocations?kind=sub`, { headers: world.headers })).json.revocations.map(({ value }) => value);
  assert.deepEqual(await list(), ['alice'], 'the third has it');
  const end = await ends[1]();
  assert.equal(end.status, 201, end.text);
  assert.deepEqual([await hasEnded(first), await hasEnded(second)], [false, false], 'the second has nothing to do for itself');
  // What the third takes back ends at the first.
  const { status } = await request('POST', `${gateway.admin}/revocations`, { headers: world.headers, body: JSON.stringify({ kind: 'sub', value: 'carol' }) });
  assert.equal(status, 201);
  await assert.rejects(held, 'ended, by the first');
  await until('the first to end', () => hasEnded(first));
  await until('the second to end', () => hasEnded(second));
});

test('when the new process is killed the old one lets nobody in any more', async (t) => {
  const world = await start(t);
  const { gateway } = world;
  const [alice, bob] = [await signedIn(world, 'alice'), await signedIn(world, 'bob')];
  const lines = [await kept(world), await kept(world)];
  const end = await revoking(world, 'alice');
  const { before, after } = await gateway.handOver();
  process.kill(after, 'SIGKILL');
  await until('its end', () => hasEnded(after));
  const answers = [await world.refresh(alice.browser, lines[0]), await world.call(bob.browser, '/api/things', bob.token, lines[1]), await end()];
  assert.deepEqual(answers.map(({ status }) => status), [503, 503, 503]);
  await until('the old process to end', () => hasEnded(before));
});
