// The authorization server fails in every way that a real one does. The session is never lost by it.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { AUDIENCE, faults } from './support/authorization_server.mjs';
import { Browser, form, request, until } from './support/http.mjs';
import { CLIENT, COOKIE, World } from './support/world.mjs';

/** The issuer's `timeout`, in seconds: longer than a busy machine takes to reach it. */
const DEADLINE = 3;

describe('the token endpoint', () => {
  let world;
  before(async () => (world = await World.start({ issuer: { timeout: `${DEADLINE}s` } })));
  after(() => world?.stop());

  /** A browser in which somebody is signed in. On a busy machine that may take longer than `timeout`. */
  async function signedIn() {
    const browser = new Browser();
    const answer = await until('a sign-in', async () => {
      const answer = await world.signIn(browser);
      return answer.status === 200 && answer;
    });
    return { browser, token: answer.json.access_token };
  }

  for (const [name, fault] of Object.entries(faults)) {
    test(`the token endpoint ${name}: 503, the cookie stays`, async () => {
      const { browser } = await signedIn();
      const cookie = browser.cookie(COOKIE);
      const memory = await world.gateway.peakMemory();

      world.as.tokenFault = fault;
      const calls = world.as.callsOf('fault').length;
      const begun = performance.now();
      const answer = await world.refresh(browser);
      const seconds = (performance.now() - begun) / 1000;
      world.as.endFault();

      assert.equal(answer.status, 503, answer.text);
      assert.ok(Number(answer.headers['retry-after']) > 0, 'Retry-After');
      assert.deepEqual(answer.setCookies, []);
      assert.equal(browser.cookie(COOKIE), cookie);
      assert.ok(seconds < 8 * DEADLINE, `answered after ${seconds} s`);
      assert.equal(world.as.callsOf('fault').length, calls + 1, 'the call was not repeated');
      const grown = (await world.gateway.peakMemory()) - memory;
      assert.ok(grown < 40, `memory grew by ${grown} MiB`);

      // The failure is not remembered.
      const recovered = await until('the exchange to work again', async () => {
        const next = await world.refresh(browser);
        return next.status === 200 && next;
      });
      assert.notEqual(browser.cookie(COOKIE), cookie);
      assert.equal((await world.call(browser, '/api/things', recovered.json.access_token)).status, 200);
    });
  }

  test('no token appeared in an answer or a log line through all of it', async () => {
    await signedIn();
    await world.assertNoTokenLeaked();
  });

  test('the authorization server is down: tokens that are out go on, the session stays', async () => {
    const { browser, token } = await signedIn();
    const cookie = browser.cookie(COOKIE);
    await world.as.pause();
    const answer = await world.refresh(browser);
    assert.equal(answer.status, 503, answer.text);
    assert.ok(Number(answer.headers['retry-after']) > 0, 'Retry-After');
    assert.equal(browser.cookie(COOKIE), cookie);
    assert.equal((await world.call(browser, '/api/things', token)).status, 200);
    assert.equal((await request('GET', `${world.gateway.admin}/readyz`)).status, 200, 'still ready');
    await world.as.resume();
    assert.equal((await until('the refresh', async () => { const it = await world.refresh(browser); return it.status === 200 && it; })).status, 200);
  });
});

test('the gateway starts while the authorization server is down, says so, and recovers by itself', async (t) => {
  const world = await World.start({ auth: 'none', startGateway: false, accessTokenSeconds: 600 });
  t.after(() => world.stop());
  const browser = new Browser();
  const { code, verifier } = await world.authorize(browser);
  const { headers, body } = form({ grant_type: 'authorization_code', code, code_verifier: verifier, redirect_uri: world.redirectUri, client_id: CLIENT, resource: AUDIENCE });
  const { access_token: token } = (await request('POST', `${world.as.url}/token`, { headers, body })).json;
  await world.as.pause();

  await world.startGateway({ ready: false });
  await world.gateway.says(world.as.url);
  assert.equal((await request('GET', `${world.gateway.admin}/readyz`)).status, 503);
  assert.equal((await world.call(browser, '/api/public/x')).status, 200);
  const denied = await world.call(browser, '/api/things', token);
  assert.equal(denied.status, 503, denied.text);
  assert.ok(Number(denied.headers['retry-after']) > 0, 'Retry-After');
  assert.equal(world.upstream.received.filter((it) => it.url === '/api/things').length, 0);

  await world.as.resume();
  await until('readiness', async () => (await request('GET', `${world.gateway.admin}/readyz`)).status === 200);
  await until('the token to be accepted', async () => (await world.call(browser, '/api/things', token)).status === 200);
  assert.equal((await world.signIn(browser)).status, 200);
});
