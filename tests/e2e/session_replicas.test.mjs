// `mode: session` on three gateways that share a Redis: they are one.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Browser, answered, request, until } from './support/http.mjs';
import { Replicas } from './support/replicas.mjs';
import { COOKIE, sessionMode, signInByGateway } from './support/session_scene.mjs';

describe('a session on three replicas', () => {
  let replicas, world;
  before(async () => {
    replicas = await Replicas.start(sessionMode());
    world = replicas.world;
  });
  after(() => replicas?.stop());

  const signedIn = (account = 'alice', at = world) => signInByGateway(at, account);

  /** A call at one replica, from a page of the public address. */
  const call = (browser, gateway, pathname = '/api/things', method = 'GET', of = world) =>
    answered(() => browser.fetch(method, `${gateway.url}${pathname}`, { page: of.gateway.url, headers: { 'x-csrf': '1', origin: of.gateway.url } }));

  test('each knows who signed in at another, without asking the authorization server', async () => {
    const browser = await signedIn();
    const before = world.as.callsOf('refresh_token').length;
    for (const gateway of replicas.gateways) {
      const answer = await call(browser, gateway);
      assert.deepEqual([answer.status, answer.json.headers?.['x-auth-subject']], [200, 'alice'], answer.text);
    }
    assert.equal(world.as.callsOf('refresh_token').length, before);
  });

  test('thirty calls at the end of a token, ten at each: one exchange, and all succeed', async () => {
    world.as.accessTokenSeconds = 10;
    const browser = await signedIn();
    const cameBefore = Date.now();
    world.as.accessTokenSeconds = 60;
    await until('the token to be due, at half of its life', () => Date.now() > cameBefore + 5_000);
    const cookie = browser.cookie(COOKIE);
    const before = world.as.callsOf('refresh_token').length;
    const answers = await Promise.all(Array.from({ length: 30 }, (_, at) => call(browser, replicas.gateways[at % 3])));
    assert.deepEqual(answers.map(({ status }) => status), Array(30).fill(200));
    assert.equal(world.as.callsOf('refresh_token').length, before + 1);
    assert.notEqual(browser.cookie(COOKIE), cookie);
    for (const gateway of replicas.gateways) assert.equal((await call(browser, gateway)).status, 200);
    assert.equal(world.as.callsOf('refresh_token').length, before + 1);
  });

  test('signed out at one, signed out at all', async () => {
    const browser = await signedIn();
    for (const gateway of replicas.gateways) assert.equal((await call(browser, gateway)).status, 200);
    const copy = browser.cookie(COOKIE);
    assert.equal((await call(browser, replicas.gateways[1], '/oauth/logout?client_id=web-app', 'POST')).status, 200);
    assert.equal(browser.cookie(COOKIE), undefined);
    const began = performance.now();
    for (const gateway of replicas.gateways) {
      const headers = { 'x-csrf': '1', cookie: `${COOKIE}=${copy}` };
      const status = async () => (await new Browser().fetch('GET', `${gateway.url}/api/things`, { page: world.gateway.url, headers })).status;
      await until('the end of it', async () => (await status()) === 401);
    }
    assert.ok(performance.now() - began < 25_000, 'a second is promised, and these machines are shared');
  });

  test('signed out at one, signed out at all, also when Redis came back empty meanwhile', async () => {
    const browser = await signedIn();
    const [here, there] = replicas.gateways;
    for (const gateway of replicas.gateways) assert.equal((await call(browser, gateway)).status, 200);
    const headers = { 'x-csrf': '1', origin: world.gateway.url, cookie: `${COOKIE}=${browser.cookie(COOKIE)}` };
    const feed = await fetch(`${here.url}/api/feed`, { headers });
    assert.equal(feed.status, 200);
    let hasEnded = false;
    const end = () => (hasEnded = true);
    feed.text().then(end, end);
    assert.equal(await replicas.redis.command('FLUSHALL'), '+OK');
    const began = performance.now();
    assert.equal((await call(browser, there, '/oauth/logout?client_id=web-app', 'POST')).status, 200);
    await until('the stream to end', () => hasEnded);
    for (const gateway of replicas.gateways) {
      const status = async () => (await request('GET', `${gateway.url}/api/things`, { headers })).status;
      await until('the end of it', async () => (await status()) === 401);
    }
    assert.ok(performance.now() - began < 25_000, 'a second is promised, these machines are shared, and an access token lives for a minute');
  });

  test('what is used at one does not go idle at another, and what nobody uses does', async () => {
    const idle = await Replicas.start({ ...sessionMode({ client: { idle_timeout: '12s' } }), count: 2 });
    try {
      const [browser, other] = [await signedIn('alice', idle.world), await signedIn('bob', idle.world)];
      const [first, second] = idle.gateways;
      const began = performance.now();
      // An access token lives for a minute, so that no exchange is use of it.
      await until('fifteen seconds of use', async () => {
        assert.equal((await call(browser, first, '/api/things', 'GET', idle.world)).status, 200);
        return performance.now() > began + 15_000;
      });
      assert.equal((await call(browser, second, '/api/things', 'GET', idle.world)).status, 200);
      assert.equal((await call(other, second, '/api/things', 'GET', idle.world)).status, 401);
      assert.equal(other.cookie(COOKIE), undefined, 'and its cookie is cleared');
    } finally {
      await idle.stop();
    }
  });
});
