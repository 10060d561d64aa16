// Many tabs, one session; and a stolen cookie.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Browser, until } from './support/http.mjs';
import { COOKIE, World } from './support/world.mjs';

test('50 tabs refresh at once: the authorization server is asked once, all get the same answer', async (t) => {
  const world = await World.start();
  t.after(() => world.stop());
  const browser = new Browser();
  await world.signIn(browser);
  const cookie = browser.cookie(COOKIE);
  const tabs = Array.from({ length: 50 }, () => new Browser());
  const answers = await Promise.all(tabs.map((tab) => world.refresh(tab, { headers: { cookie: `${COOKIE}=${cookie}` } })));

  assert.deepEqual(answers.map((answer) => answer.status), Array(50).fill(200), answers.find((answer) => answer.status !== 200)?.text);
  assert.equal(world.as.callsOf('refresh_token').length, 1);
  assert.equal(new Set(answers.map((answer) => answer.json.access_token)).size, 1);
  assert.equal(new Set(tabs.map((tab) => tab.cookie(COOKIE))).size, 1);

  // A late one gets the same answer again; and the session goes on with the new cookie.
  assert.equal((await world.refresh(new Browser(), { headers: { cookie: `${COOKIE}=${cookie}` } })).json.access_token, answers[0].json.access_token);
  assert.equal(world.as.callsOf('refresh_token').length, 1);
  const next = await world.refresh(tabs[7]);
  assert.equal(next.status, 200, next.text);
  assert.notEqual(next.json.access_token, answers[0].json.access_token);
  assert.equal(world.as.callsOf('refresh_token').length, 2);
  await world.assertNoTokenLeaked();
});

test('a browser that leaves does not cut the exchange short', async (t) => {
  const world = await World.start();
  t.after(() => world.stop());
  const browser = new Browser();
  await world.signIn(browser);
  const cookie = { headers: { cookie: `${COOKIE}=${browser.cookie(COOKIE)}` } };

  let arrived;
  const atServer = new Promise((resolve) => (arrived = resolve));
  world.as.holdNextTokenCall(arrived);
  const leaving = new AbortController();
  const left = world.refresh(new Browser(), { ...cookie, signal: leaving.signal }).catch((error) => error.name);
  const letGo = await atServer;
  leaving.abort();
  assert.equal(await left, 'AbortError');
  letGo();

  const answer = await world.refresh(browser, cookie);
  assert.equal(answer.status, 200, answer.text);
  assert.equal(world.as.callsOf('refresh_token').length, 1);
});

test('a stolen cookie that is used after its owner went on ends the session for both', async (t) => {
  const world = await World.start({ config: { sessions: { grace: '1s' } } });
  t.after(() => world.stop());
  const owner = new Browser();
  await world.signIn(owner);
  const stolen = { headers: { cookie: `${COOKIE}=${owner.cookie(COOKIE)}` } };
  await world.refresh(owner);
  await world.refresh(owner);

  const thief = new Browser();
  const caught = await until('grace to be over', async () => {
    const answer = await world.refresh(thief, stolen);
    return answer.status === 400 && answer;
  });
  assert.equal(caught.json.error, 'invalid_grant');
  const ended = await world.refresh(owner);
  assert.equal(ended.status, 400, ended.text);
  assert.equal(owner.cookie(COOKIE), undefined, 'the cookie is cleared');
  assert.equal(await world.gateway.metric('tollgate_exchanges_total', { outcome: 'reuse_detected' }), 1);
});

test('a restart of the gateway signs nobody out', async (t) => {
  const world = await World.start();
  t.after(() => world.stop());
  const browser = new Browser();
  await world.signIn(browser);
  world.gateway.signal('SIGTERM');
  assert.deepEqual(await world.gateway.exited, { code: 0, signal: null });
  await world.restartGateway();
  const answer = await world.refresh(browser);
  assert.equal(answer.status, 200, answer.text);
});
