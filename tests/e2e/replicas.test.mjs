// Three gateways on one Redis, in front of an authorization server that rotates refresh tokens and ends
// the session when one comes back.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { hasEnded } from './support/gateway.mjs';
import { Browser, answered, until } from './support/http.mjs';
import { Replicas } from './support/replicas.mjs';
import { COOKIE } from './support/world.mjs';

// So that every exchange rotates: oidc-provider rotates those of public clients always.
const PUBLIC = { auth: 'none' };
const ROUNDS = 20;
const TABS = 300;

test(`${TABS} tabs over three replicas, ${ROUNDS} times: one call a round, and nobody is signed out`, async (t) => {
  const replicas = await Replicas.start(PUBLIC);
  t.after(() => replicas.stop());
  const { world, gateways } = replicas;
  const browser = new Browser();
  await world.signIn(browser);
  for (let round = 1; round <= ROUNDS; round += 1) {
    const cookie = browser.cookie(COOKIE);
    const tab = (index) => answered(() => replicas.refresh(new Browser(), gateways[index % gateways.length], cookie));
    const burst = Array.from({ length: TABS }, (_, index) => tab(index));
    // Tabs whose request is on its way while the flight lands.
    const near = Promise.race(burst).then(() =>
      Promise.all(Array.from({ length: 12 }, async (_, index) => {
        await new Promise((resolve) => setTimeout(resolve, Math.random() * 200));
        return tab(index);
      })),
    );
    const answers = [...(await Promise.all(burst)), ...(await near)];
    const bad = answers.find((answer) => answer.status !== 200);
    assert.equal(bad, undefined, `round ${round}: ${bad?.status} ${bad?.text}`);
    assert.equal(world.as.callsOf('refresh_token').length, round, 'one call a round');
    assert.equal(new Set(answers.map((answer) => answer.json.access_token)).size, 1, `round ${round}`);
    assert.equal(new Set(answers.map((answer) => answer.setCookies[0].split(';')[0])).size, 1, `round ${round}`);
    replicas.adopt(browser, answers[0]);
  }
  assert.equal(await replicas.metric('tollgate_exchanges_total', { outcome: 'rotated' }), ROUNDS);
  assert.equal(await replicas.metric('tollgate_exchanges_total', { outcome: 'reuse_detected' }), 0);
  assert.equal(new Set(world.as.refreshTokens).size, ROUNDS + 1, 'each exchange rotated');
});

/** Refreshes at `gateway` until there is an answer that is not 503; gives it, and how long it took in all. */
async function refreshed(replicas, browser, gateway) {
  const began = performance.now();
  const answer = await answered(() => replicas.refresh(browser, gateway), { seconds: 120 });
  return { answer, seconds: (performance.now() - began) / 1000 };
}

// Longer than any answer may take, for a replica that is silent may be alive and have lost the store.
const SENT_LEASE = 65;

test('a replica that is killed with its calls on their way costs the session alone whose answer was, after the lease', async (t) => {
  const replicas = await Replicas.start({ ...PUBLIC, count: 2 });
  t.after(() => replicas.stop());
  const { world, gateways: [doomed, other] } = replicas;
  const [unworked, unheard, bystander] = [new Browser(), new Browser(), new Browser()];
  await world.signIn(unworked);
  await world.signIn(unheard, 'bob');
  await world.signIn(bystander, 'carol');
  const send = (browser) => replicas.refresh(new Browser(), doomed, browser.cookie(COOKIE)).catch((error) => error);
  const arrived = new Promise((resolve) => world.as.holdNextTokenCall(resolve));
  const cut = [send(unworked)];
  await arrived; // and it is never worked on
  const replaced = new Promise((resolve) => world.as.holdNextTokenAnswer(resolve));
  cut.push(send(unheard));
  await replaced; // and nobody hears of it
  doomed.signal('SIGKILL');
  await doomed.exited;
  assert.ok((await Promise.all(cut)).every((answer) => answer instanceof Error));
  const others = await refreshed(replicas, bystander, other);
  assert.equal(others.answer.status, 200, 'the others go on');
  assert.ok(others.seconds < SENT_LEASE / 2, `and wait for nobody: ${others.seconds} s`);
  const [saved, lost] = await Promise.all([refreshed(replicas, unworked, other), refreshed(replicas, unheard, other)]);
  for (const { seconds } of [saved, lost]) {
    assert.ok(seconds > SENT_LEASE - 5 && seconds < SENT_LEASE + 20, `the lease was respected: ${seconds} s`);
  }
  assert.equal(saved.answer.status, 200, saved.answer.text);
  assert.equal(lost.answer.status, 400, 'the authorization server says that the token was used');
  assert.equal(lost.answer.json.error, 'invalid_grant');
  assert.equal(world.as.callsOf('refresh_token').length, 4, 'one for each, and one for the answer that was lost');
  assert.equal((await refreshed(replicas, unworked, other)).answer.status, 200);
});

test('a replay is caught on another replica, ends the session for both, and is revoked at the authorization server', async (t) => {
  const replicas = await Replicas.start({ ...PUBLIC, count: 2, config: { sessions: { keys: [{ file: 'cookie.1' }], grace: '1s' } } });
  t.after(() => replicas.stop());
  const { world, gateways: [one, two] } = replicas;
  const owner = new Browser();
  await world.signIn(owner);
  const stolen = owner.cookie(COOKIE);
  await replicas.refresh(owner, one);
  await replicas.refresh(owner, two);
  assert.equal(world.as.callsOf('refresh_token').length, 2);
  const caught = await until('grace to be over', async () => {
    const answer = await replicas.refresh(new Browser(), one, stolen);
    return answer.status === 400 && answer;
  });
  assert.equal(caught.json.error, 'invalid_grant');
  const ended = await replicas.refresh(owner, two);
  assert.equal(ended.status, 400, ended.text);
  assert.equal(await replicas.metric('tollgate_exchanges_total', { outcome: 'reuse_detected' }), 1);
  await one.says('"event":"security"');
  await until('the revocations', () => world.as.revocations.length === 2);
});

test('with a Redis a hand-over waits for no exchange, and the old process finishes a slow one', async (t) => {
  const replicas = await Replicas.start({ ...PUBLIC, count: 1, issuer: { timeout: '1s' } });
  t.after(() => replicas.stop());
  const { world, gateways: [gateway] } = replicas;
  const [browser, other] = [new Browser(), new Browser()];
  // On a busy machine that may take longer than `timeout`.
  await until('two sign-ins', async () => (await world.signIn(browser)).status === 200 && (await world.signIn(other, 'bob')).status === 200);
  const held = new Promise((resolve) => world.as.holdNextTokenAnswer(resolve));
  const first = replicas.refresh(new Browser(), gateway, browser.cookie(COOKIE));
  const answerIt = await held; // the server has replaced the token
  const { before } = await gateway.handOver();
  assert.equal((await first).status, 503, 'no browser waits for it');
  assert.equal((await refreshed(replicas, other, gateway)).answer.status, 200);
  await new Promise((resolve) => setTimeout(resolve, 25_000)); // longer than a stop waits
  answerIt();
  const { answer } = await refreshed(replicas, browser, gateway);
  assert.equal(answer.status, 200, answer.text);
  assert.equal(world.as.callsOf('refresh_token').length, 2, 'the token that was replaced was sent once');
  await until('the old process to end', () => hasEnded(before));
});

test('rolling the cookie key over three replicas under load signs nobody out', async (t) => {
  const replicas = await Replicas.start(PUBLIC);
  t.after(() => replicas.stop());
  const { world, gateways } = replicas;
  const people = await Promise.all(['alice', 'bob', 'carol'].map(async (name) => {
    const browser = new Browser();
    await world.signIn(browser, name);
    return browser;
  }));
  const second = randomBytes(32).toString('hex');
  await Promise.all(gateways.map((gateway) => writeFile(gateway.file('cookie.2'), second, { mode: 0o600 })));

  let isOver = false;
  let refreshes = 0;
  const load = people.map(async (browser, index) => {
    for (let turn = index; !isOver; turn += 1) {
      const { answer } = await refreshed(replicas, browser, gateways[turn % gateways.length]);
      assert.equal(answer.status, 200, answer.text);
      refreshes += 1;
    }
  });
  const roll = async () => {
    for (const keys of [['cookie.1', 'cookie.2'], ['cookie.2', 'cookie.1'], ['cookie.2']]) {
      for (const gateway of gateways) {
        const before = await gateway.metric('tollgate_config_reloads_total', { result: 'ok' });
        const config = replicas.configOf(gateway, { sessions: { keys: keys.map((file) => ({ file })) } });
        await writeFile(gateway.file('config.yaml'), JSON.stringify({ listen: `127.0.0.1:${gateway.port}`, ...config }));
        gateway.signal('SIGHUP');
        await until('the reload', async () => (await gateway.metric('tollgate_config_reloads_total', { result: 'ok' })) > before);
      }
      // Every session got a cookie of the new order before the next step.
      const goal = refreshes + 2 * people.length;
      await until('everybody to refresh', () => refreshes >= goal);
    }
  };
  await Promise.race([roll(), Promise.all(load)]).finally(() => (isOver = true));
  await Promise.all(load);
});
