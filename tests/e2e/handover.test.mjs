// SIGQUIT: the gateway starts its successor, hands over its sockets, finishes what it has begun and ends. Clients
// notice nothing. A successor that fails changes nothing.

import assert from 'node:assert/strict';
import { readFile, rename, writeFile } from 'node:fs/promises';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import net from 'node:net';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { test } from 'node:test';
import { askers } from './support/askers.mjs';
import { Gateway, hasEnded } from './support/gateway.mjs';
import { Browser, request, until } from './support/http.mjs';
import { freePort } from './support/ports.mjs';
import { Upstream } from './support/upstream.mjs';
import { World } from './support/world.mjs';

const tls = (name) => readFile(new URL(`../data/tls/${name}`, import.meta.url), 'utf8');

const [ISSUER, AUDIENCE, SECRET] = ['http://127.0.0.1:9', 'https://api.example.com', '0123456789abcdef'.repeat(4)];

/** An access token of that issuer, which lives for longer than any test. */
function accessToken() {
  const now = Math.floor(Date.now() / 1000);
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${part({ alg: 'HS256', typ: 'at+jwt' })}.${part({ iss: ISSUER, aud: AUDIENCE, sub: 'alice', client_id: 'c', jti: 'j', iat: now, exp: now + 3600 })}`;
  return `${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}`;
}

/** A gateway with all kinds of listeners. Its issuer shares a secret with it (`shared_secret`), so nothing else is needed. */
async function scene(t) {
  const upstream = await Upstream.start();
  const gateway = await Gateway.reserve();
  t.after(() => Promise.all([gateway.stop(), upstream.stop()]));
  const [securePort, redirectPort] = [await freePort(), await freePort()];
  const config = {
    public_url: `https://localhost:${securePort}`,
    listen: [
      `127.0.0.1:${gateway.port}`,
      { address: `127.0.0.1:${securePort}`, tls: [{ certificate: 'gate.pem', key: 'gate.key' }] },
      { address: `127.0.0.1:${redirectPort}`, redirect: 'https' },
    ],
    issuers: { as: { url: ISSUER, audience: AUDIENCE, shared_secret: SECRET } },
    routes: [{ path: '/api/*', to: upstream.url, public: true }, { path: '/private/*', to: upstream.url }],
  };
  const files = { 'gate.pem': await tls('localhost.pem'), 'gate.key': await tls('localhost.key') };
  await gateway.start(config, { files });
  const written = JSON.parse(await readFile(gateway.file('config.yaml'), 'utf8'));
  /** Changes the file as editors do: whole, under another name first. */
  const write = async (change) => {
    await writeFile(gateway.file('new.yaml'), typeof change === 'string' ? change : JSON.stringify({ ...written, ...change }));
    await rename(gateway.file('new.yaml'), gateway.file('config.yaml'));
  };
  return { gateway, upstream, written, write, secure: `https://localhost:${securePort}`, redirect: `http://localhost:${redirectPort}` };
}

/** Clients of every kind that ask over and over until `stop()`, which returns how often each asked; failures end up in `failures`. */
async function load({ gateway, secure, redirect }) {
  const ca = await tls('ca.pem');
  const all = askers();
  const { client } = all;
  const expect = (answer, status) => assert.equal(answer.status, status, answer.text);
  const kept = () => new http.Agent({ keepAlive: true, maxSockets: 1 });
  const keeping = () => {
    const agent = kept();
    return async () => expect(await request('GET', `${gateway.url}/api/x`, { agent }), 200);
  };
  const keptSecure = new https.Agent({ keepAlive: true, maxSockets: 1, ca });
  const posting = kept();
  // One token all along: whoever accepted it before accepts it after, and so does whoever comes next.
  const headers = { authorization: `Bearer ${accessToken()}` };
  const clients = [
    client('new connections', async () => expect(await request('GET', `${gateway.url}/api/x`), 200)),
    client('new connections, slow', async () => expect(await request('GET', `${gateway.url}/api/slow`), 200)),
    client('kept connection', keeping()),
    client('another kept connection', keeping()),
    client('kept connection, POST', async () => {
      const answer = await request('POST', `${gateway.url}/api/slow`, { agent: posting, body: 'b'.repeat(100_000) });
      expect(answer, 200);
      assert.equal(answer.json.body.length, 100_000);
    }),
    client('new TLS connections', () => getSecurely(`${secure}/api/x`, { ca, agent: false })),
    client('kept TLS connection', () => getSecurely(`${secure}/api/slow`, { agent: keptSecure })),
    client('one access token', async () => expect(await request('GET', `${gateway.url}/private/x`, { headers }), 200)),
    client('redirect', async () => expect(await request('GET', `${redirect}/api/x`), 308)),
    client('readiness', async () => expect(await request('GET', `${gateway.admin}/readyz`), 200)),
    client('metrics', async () => expect(await request('GET', `${gateway.admin}/metrics`), 200)),
    client('HTTP/2', http2Client(secure, { ca })),
    client('HTTP/2 in clear text', http2Client(gateway.url)),
  ];
  return {
    ...all,
    async stop() {
      all.stop();
      await Promise.all(clients);
      return all.asked;
    },
  };
}

function getSecurely(url, options) {
  return new Promise((resolve, reject) => {
    const outgoing = https.get(url, { lookup: (_, { all }, found) => (all ? found(null, [{ address: '127.0.0.1', family: 4 }]) : found(null, '127.0.0.1', 4)), ...options }, (incoming) => {
      incoming.resume();
      incoming.on('error', reject);
      incoming.on('end', () => (incoming.complete && incoming.statusCode === 200 ? resolve() : reject(new Error(`status ${incoming.statusCode}`))));
    });
    outgoing.on('error', reject);
  });
}

/** Four streams at a time on one connection, and on another once the gateway says that the connection ends (GOAWAY). */
function http2Client(origin, options = {}) {
  let session;
  const ask = () =>
    new Promise((resolve, reject) => {
      if (!session || session.closed || session.destroyed) {
        session = http2.connect(origin.replace('localhost', '127.0.0.1'), { servername: 'localhost', ...options });
        session.on('error', reject);
      }
      const mine = session;
      const stream = mine.request({ ':path': '/api/slow', ':authority': new URL(origin).host });
      let status;
      let unsent = false;
      stream.on('response', (headers) => (status = headers[':status']));
      stream.on('error', (error) => {
        // Node had read the GOAWAY and not told us yet: it sends nothing then, and calls the stream refused. Such
        // a request goes on another connection (RFC 9113 section 8.7).
        unsent = status === undefined && stream.rstCode === http2.constants.NGHTTP2_REFUSED_STREAM && mine.closed;
        if (!unsent) reject(error);
      });
      stream.on('close', () => {
        if (unsent) ask().then(resolve, reject);
        else if (status === 200 && stream.rstCode === 0) resolve();
        else reject(new Error(`status ${status}, reset ${stream.rstCode}`));
      });
      stream.resume();
      stream.end();
    });
  return async () => {
    await Promise.all([ask(), ask(), ask(), ask()]);
  };
}

test('hand-overs in a row under load refuse no connection and lose no request', async (t) => {
  const world = await scene(t);
  const { gateway } = world;
  const clients = await load(world);
  const moved = clients.everyoneAsksAgain;
  await moved();
  const old = [];
  for (let round = 0; round < 5; round += 1) {
    const { before, after } = await gateway.handOver();
    assert.notEqual(before, after);
    old.push(before);
    await moved();
  }
  for (const pid of old) await until(`process ${pid} to end`, () => hasEnded(pid));
  await moved();
  const asked = await clients.stop();
  assert.deepEqual(clients.failures, [], `of ${JSON.stringify(asked)}`);
  assert.equal(await hasEnded(gateway.pid), false);
  await gateway.says('"message":"stopped"');
  assert.ok(!gateway.output.includes('cut off'), gateway.output);
});

test('a request under way ends on the old process, and an idle connection is answered once more', async (t) => {
  const { gateway, upstream } = await scene(t);
  const held = request('GET', `${gateway.url}/api/held`);
  await until('the upstream to hold it', () => upstream.heldCount === 1);
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const idle = () => request('GET', `${gateway.url}/api/x`, { agent });
  assert.notEqual((await idle()).headers.connection, 'close');

  const { before } = await gateway.handOver();
  const last = await idle();
  assert.deepEqual([last.status, last.headers.connection], [200, 'close'], 'the old process says that this connection ends');
  assert.equal(await hasEnded(before), false, 'the old process waits for the request');
  upstream.release();
  assert.equal((await held).status, 200);
  await until('the old process to end', () => hasEnded(before));
  assert.deepEqual((await Promise.all([idle(), request('GET', `${gateway.url}/api/x`)])).map(({ status }) => status), [200, 200]);
});

test('a successor that cannot start changes nothing, and the next one can', async (t) => {
  const { gateway, write } = await scene(t);
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const ask = (options) => request('GET', `${gateway.url}/api/x`, options);
  await ask({ agent });
  const pid = gateway.pid;
  const failsBecause = async (told) => {
    await gateway.says(/the new process did not take over[^\n]*"status":"exit status: 1"/, () => gateway.signal('SIGQUIT'));
    await gateway.says(told);
    const [kept, fresh] = [await ask({ agent }), await ask()];
    assert.deepEqual([kept.status, kept.headers.connection, fresh.status, gateway.isGone], [200, 'keep-alive', 200, false]);
  };

  await write({ routes: [{ path: '/api/*', too: 'http://127.0.0.1:9' }] });
  await failsBecause('did you mean `to`?');
  // A listener that it would have to bind, at an address that somebody has.
  const taken = net.createServer().listen(0, '127.0.0.1');
  t.after(() => taken.close());
  await once(taken, 'listening');
  await write({ listen: `127.0.0.1:${taken.address().port}` });
  await failsBecause('is in use');

  await write({});
  assert.deepEqual(await gateway.handOver().then(({ before, after }) => [before, after === pid]), [pid, false]);
  assert.deepEqual([(await ask({ agent })).status, (await ask()).status], [200, 200]);
});

test('listeners that moved are bound anew, and those that nobody takes are closed', async (t) => {
  const { gateway, write, written, redirect } = await scene(t);
  const port = await freePort();
  await write({ listen: [written.listen[0], `127.0.0.1:${port}`] });
  const { before } = await gateway.handOver();
  assert.deepEqual([await request('GET', `http://localhost:${port}/api/x`), await request('GET', `${gateway.url}/api/x`)].map(({ status }) => status), [200, 200]);
  await until('the old process to end', () => hasEnded(before));
  await assert.rejects(request('GET', redirect), { code: 'ECONNREFUSED' });
});

test('SIGTERM in the midst of a hand-over ends both processes', async (t) => {
  const { gateway } = await scene(t);
  const [, pid] = await gateway.says(/"message":"handing over to a new process","process":(\d+)/, () => gateway.signal('SIGQUIT'));
  if (!gateway.ended) gateway.signal('SIGTERM');
  await until('the old process to end', () => gateway.ended);
  // It may have been too late to stop the hand-over; then it is the new process that is left.
  let isTold = false;
  await until('the new process to end', async () => {
    if (await hasEnded(Number(pid))) return true;
    if (!isTold && gateway.output.includes('"message":"handed over')) isTold = process.kill(Number(pid), 'SIGTERM');
    return false;
  });
  await assert.rejects(request('GET', gateway.url), { code: 'ECONNREFUSED' });
});

test('what was exchanged goes along with a hand-over', async (t) => {
  // oidc-provider rotates the refresh tokens of public clients always.
  const world = await World.start({ auth: 'none' });
  t.after(() => world.stop());
  const { gateway } = world;
  const [browser, signedOut] = [new Browser(), new Browser()];
  await world.signIn(browser);
  await world.signIn(signedOut, 'bob');
  const ended = new Browser();
  ended.cookies.push(...signedOut.cookies.map((cookie) => ({ ...cookie })));
  const before = new Browser();
  before.cookies.push(...browser.cookies.map((cookie) => ({ ...cookie })));
  const first = await world.refresh(browser);
  assert.equal((await world.signOut(signedOut)).status, 204);

  await gateway.handOver();
  const again = await world.refresh(before);
  assert.deepEqual([again.status, again.json.access_token], [200, first.json.access_token], 'the same answer within grace');
  assert.equal(world.as.callsOf('refresh_token').length, 1);
  assert.equal((await world.refresh(ended)).json.error, 'invalid_grant', 'the sign-out holds');

  await writeFile(gateway.file('config.yaml'), 'listen: [');
  await gateway.says('the new process did not take over', () => gateway.signal('SIGQUIT'));
  assert.equal((await world.refresh(browser)).status, 200, 'the old process has its store');
  assert.equal(world.as.callsOf('refresh_token').length, 2);
});

test('an exchange under way is finished before the store is handed over, and costs nobody the session', async (t) => {
  const world = await World.start({ auth: 'none' });
  t.after(() => world.stop());
  const [browser, other] = [new Browser(), new Browser()];
  await world.signIn(browser);
  await world.signIn(other, 'bob');
  const held = new Promise((resolve) => world.as.holdNextTokenAnswer(resolve));
  const underWay = world.refresh(browser);
  const answerIt = await held; // the server has replaced the token
  const handedOver = world.gateway.handOver();
  await world.gateway.says('exchanges under way are finished before the store is handed over');
  const waiting = world.refresh(other); // and new ones wait
  answerIt();
  const [told, next] = await Promise.all([underWay, waiting]);
  assert.equal(told.status, 200, told.text);
  await handedOver;
  // The new process knows of it: the session goes on, and the token that was replaced was sent once.
  const after = await world.refresh(browser);
  assert.equal(after.status, 200, after.text);
  assert.equal(next.status, 200, next.text);
  assert.deepEqual(world.as.callsOf('refresh_token').map(({ status }) => status), [200, 200, 200]);
});
