// SIGTERM: readiness fails, what is under way is finished, then the process ends with 0.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Gateway, hasEnded } from './support/gateway.mjs';
import { Browser, request, until } from './support/http.mjs';
import { World } from './support/world.mjs';

test('SIGTERM under load loses no request in flight', async (t) => {
  const world = await World.start({ accessTokenSeconds: 600 });
  t.after(() => world.stop());
  const { access_token: token } = (await world.signIn(new Browser())).json;
  const call = (path) => world.call(new Browser(), path, token);

  // Some requests wait in the upstream while the gateway is told to stop …
  const held = Array.from({ length: 40 }, () => call('/api/held'));
  await until('the upstream to hold them all', () => world.upstream.heldCount === 40);

  // … and others keep coming until readiness fails, as from a load balancer.
  let stopped = false;
  let readiness = 200;
  const results = [];
  const workers = Array.from({ length: 8 }, async () => {
    while (readiness === 200) {
      results.push(await call('/api/slow').then(({ status }) => status, (error) => error.code));
    }
  });
  const balancer = (async () => {
    while (readiness === 200) {
      readiness = await request('GET', `${world.gateway.admin}/readyz`).then((answer) => answer.status, (error) => error.code);
    }
  })();
  await until('load', () => results.length > 20);
  world.gateway.signal('SIGTERM');
  world.gateway.exited.then(() => (stopped = true));
  await balancer;
  await Promise.all(workers);
  assert.equal(readiness, 503);
  assert.equal(stopped, false, 'the process waits for what is in flight');
  world.upstream.release();

  const statuses = (await Promise.all(held)).map((answer) => answer.status);
  assert.deepEqual(statuses, Array(40).fill(200));
  // Whoever was too slow to see that readiness failed was refused; that never was a request.
  assert.deepEqual(results.filter((result) => result !== 200 && result !== 'ECONNREFUSED'), []);
  assert.deepEqual(await world.gateway.exited, { code: 0, signal: null });
});

test('SIGTERM with nothing to do ends at once', async (t) => {
  const world = await World.start();
  t.after(() => world.stop());
  const begun = performance.now();
  world.gateway.signal('SIGTERM');
  assert.deepEqual(await world.gateway.exited, { code: 0, signal: null });
  assert.ok(performance.now() - begun < 25_000, `ended after ${performance.now() - begun} ms`);
});

/** A gateway that is to be a lame duck for five minutes. */
async function lameDuck(t) {
  const gateway = await Gateway.reserve();
  t.after(() => gateway.stop());
  return gateway.start({
    issuers: { test: { url: 'http://127.0.0.1:9', audience: 'api', shared_secret: '0123456789abcdef0123456789abcdef' } },
    routes: [{ path: '/api/*', to: 'http://127.0.0.1:9' }],
    timeouts: { lame_duck: '5m' },
  });
}

const readiness = (gateway) => request('GET', `${gateway.admin}/readyz`).then((answer) => answer.status);

test('after SIGTERM new connections are served for as long as lame_duck says, while it is not ready; a second one ends it', async (t) => {
  const gateway = await lameDuck(t);
  gateway.signal('SIGTERM');
  await until('readiness to fail', async () => (await readiness(gateway)) === 503);
  // Longer than the default: each request has a connection of its own, and an answer of the gateway's.
  for (const begun = performance.now(); performance.now() - begun < 2500; ) {
    assert.equal((await request('GET', `${gateway.url}/api/x`)).status, 401);
  }
  assert.equal(await readiness(gateway), 503);
  gateway.signal('SIGTERM');
  assert.deepEqual(await gateway.exited, { code: 0, signal: null });
});

test('a hand-over waits for no lame duck, and readiness does not fail', async (t) => {
  const gateway = await lameDuck(t);
  const { before } = await gateway.handOver();
  await until('the old process to end', async () => {
    assert.equal(await readiness(gateway), 200);
    return hasEnded(before);
  });
  assert.equal((await request('GET', `${gateway.url}/api/x`)).status, 401);
});
