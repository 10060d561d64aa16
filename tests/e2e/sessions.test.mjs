// How long a session lasts, and which cookie opens it. Time passes as it does; the timeouts are short.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { AUDIENCE } from './support/authorization_server.mjs';
import { Browser, until } from './support/http.mjs';
import { CLIENT, COOKIE, SCOPE, SECRET, World } from './support/world.mjs';

/** How much shorter than it was a time may be when it is told, in seconds: a busy machine needs some to tell it. */
const SLACK = 10;

const poll = (world, browser, options) => world.token(browser, { grant_type: 'refresh_token', background: 'true' }, options);
const maxAge = (answer) => Number(/; Max-Age=(\d+)/.exec(answer.setCookies[0])[1]);
const sent = (cookie) => ({ headers: { cookie: `${COOKIE}=${cookie}` } });

/** Repeats `request` until its answer is not 200, and returns that answer. */
const untilRefused = (what, request) =>
  until(
    what,
    async () => {
      const answer = await request();
      return answer.status !== 200 && answer;
    },
    { seconds: 120 },
  );

/** Does it, and gives what tells how many seconds ago that was, at least and at most. */
async function clockOf(work) {
  const begun = performance.now();
  await work();
  const done = performance.now();
  return () => ({ least: (performance.now() - done) / 1000, most: (performance.now() - begun) / 1000 });
}

async function assertEnded(world, browser, answer, why) {
  assert.deepEqual([answer.status, answer.json.error], [400, 'invalid_grant'], answer.text);
  assert.match(answer.json.error_description, why);
  assert.match(answer.setCookies[0], new RegExp(`^${COOKIE}=; Path=/oauth/token; Max-Age=0; Secure; HttpOnly; SameSite=Strict$`));
  assert.equal(browser.cookie(COOKIE), undefined);
  const last = [...world.as.refreshTokens].at(-1);
  await until('the refresh token to be revoked', () => world.as.revocations.some(({ token }) => token === last));
}

test('a page that only polls goes idle: the cookie is cleared, the refresh token revoked', async (t) => {
  const world = await World.start({ auth: 'none', client: { idle_timeout: '3s' } });
  t.after(() => world.stop());
  const browser = new Browser();
  const elapsed = await clockOf(() => world.signIn(browser));
  let left = Infinity;
  const answer = await untilRefused('the session to go idle', async () => {
    const polled = await poll(world, browser);
    if (polled.status === 200) {
      assert.ok(polled.json.session_expires_in <= left, 'a poll leaves the timeout alone');
      left = polled.json.session_expires_in;
      assert.ok([0, 1].includes(maxAge(polled) - left), polled.setCookies[0]);
    }
    return polled;
  });
  const { least, most } = elapsed();
  assert.ok(most >= 3 && least < 30, `went idle after ${least} to ${most} s`);
  await assertEnded(world, browser, answer, /not used for too long/);
  assert.ok((await world.gateway.metric('tollgate_exchanges_total', { outcome: 'expired' })) >= 1);
  assert.equal((await world.refresh(browser)).status, 400, 'and stays so');
});

test('a page that is used does not go idle, and ends at the absolute timeout', async (t) => {
  const world = await World.start({ auth: 'none', client: { idle_timeout: '5s', absolute_timeout: '11s' } });
  t.after(() => world.stop());
  const browser = new Browser();
  const elapsed = await clockOf(() => world.signIn(browser));
  const answer = await untilRefused('the session to end', () => world.refresh(browser));
  const { least, most } = elapsed();
  assert.ok(most >= 11 && least < 110, `ended after ${least} to ${most} s`);
  await assertEnded(world, browser, answer, /maximum age/);
});

test('an answer says how long all of it lasts, less by its age when it is given again', async (t) => {
  const world = await World.start({ client: { idle_timeout: '80s' }, accessTokenSeconds: 60 });
  t.after(() => world.stop());
  const browser = new Browser();
  const times = (answer) => ['expires_in', 'refresh_after', 'session_expires_in'].map((name) => answer.json[name]).concat(maxAge(answer));
  const whole = [60, 40, 80, 80];
  const areWhole = (times) => assert.ok(times.every((time, at) => time <= whole[at] && time >= whole[at] - SLACK), times.join());
  areWhole(times(await world.signIn(browser)));
  const cookie = browser.cookie(COOKIE);
  const first = await world.refresh(browser);
  areWhole(times(first));
  const again = await until('the answer to be older', async () => {
    const answer = await world.refresh(new Browser(), sent(cookie));
    assert.equal(answer.json.access_token, first.json.access_token);
    return answer.json.expires_in < 58 && answer;
  });
  const [age, ...ages] = times(again).map((time, at) => whole[at] - time);
  assert.ok(ages.every((other) => Math.abs(other - age) <= 1), times(again).join());
  // The life of a shorter token decides: 80 % of 40 s.
  world.as.accessTokenSeconds = 40;
  const { refresh_after: short } = (await world.refresh(browser)).json;
  assert.ok(short <= 32 && short > 32 - SLACK, `refresh_after ${short}`);
});

test('a use that finds the answer of a poll still counts', async (t) => {
  const world = await World.start({ client: { idle_timeout: '300s' } });
  t.after(() => world.stop());
  const browser = new Browser();
  await world.signIn(browser);
  const cookie = browser.cookie(COOKIE);
  // Two tabs with one cookie: one polls, and the other is used a while later.
  const polled = await until('some of the idle timeout to pass', async () => {
    const answer = await poll(world, new Browser(), sent(cookie));
    return answer.json.session_expires_in <= 297 && answer;
  });
  const used = await world.refresh(new Browser(), sent(cookie));
  assert.ok(used.json.session_expires_in > polled.json.session_expires_in, `${polled.text} ${used.text}`);
  assert.ok(maxAge(used) > maxAge(polled) && maxAge(used) <= 300, used.setCookies[0]);
});

test('access tokens that outlive the idle timeout are warned about once, at a refresh too', async (t) => {
  const world = await World.start({ client: { idle_timeout: '30s' }, accessTokenSeconds: 60 });
  t.after(() => world.stop());
  const browser = new Browser();
  const warnings = () => world.gateway.output.split('live longer than idle_timeout').length - 1;
  await world.signIn(browser);
  await world.refresh(browser);
  await world.signIn(new Browser());
  // What was said is counted when nothing more can come.
  const stop = () => (world.gateway.signal('SIGTERM'), world.gateway.exited);
  await stop();
  assert.equal(warnings(), 1);
  await world.restartGateway();
  assert.equal((await world.refresh(browser)).status, 200);
  assert.equal((await world.refresh(browser)).status, 200);
  await stop();
  assert.equal(warnings(), 2);
});

describe('two clients on one host', () => {
  const OTHER = 'other-app';
  const OTHER_COOKIE = `__Secure-tollgate-${OTHER}`;
  const key = () => randomBytes(32).toString('hex');
  const keys = [key(), key()];
  let world;
  before(async () => {
    const registered = { grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'], token_endpoint_auth_method: 'client_secret_basic', client_secret: SECRET };
    const redirect = 'http://localhost/app/callback';
    const client = { mode: 'token', login: 'page', scope: SCOPE, resource: AUDIENCE, redirect_uri: redirect, secret: '${WEB_APP_SECRET}' };
    world = await World.start({
      clients: [CLIENT, OTHER].map((client_id) => ({ client_id, redirect_uris: [redirect], ...registered })),
      config: { clients: { [CLIENT]: client, [OTHER]: client }, sessions: { keys: [{ file: 'first' }] } },
      files: { first: keys[0], second: keys[1] },
    });
    world.redirectUri = redirect;
  });
  after(() => world.stop());

  const refresh = (browser, cookie, client = CLIENT) => world.token(browser, { grant_type: 'refresh_token', client_id: client }, cookie === undefined ? {} : { headers: { cookie } });

  async function signIn(browser, client) {
    const { code, verifier } = await world.authorize(browser, 'alice', { client });
    const answer = await world.token(browser, { client_id: client, grant_type: 'authorization_code', code, code_verifier: verifier, redirect_uri: world.redirectUri });
    assert.equal(answer.status, 200, answer.text);
  }

  test('each has its cookie, and neither opens as the other', async () => {
    const browser = new Browser();
    await signIn(browser, CLIENT);
    await signIn(browser, OTHER);
    const [ours, theirs] = [browser.cookie(COOKIE), browser.cookie(OTHER_COOKIE)];
    assert.ok(ours && theirs);
    const calls = world.as.tokenCalls.length;
    for (const [what, cookie] of [
      ["the other client's", `${COOKIE}=${theirs}`],
      ['of the other name', `${OTHER_COOKIE}=${theirs}`],
      ['truncated', `${COOKIE}=${ours.slice(0, -8)}`],
      ['longer', `${COOKIE}=${ours}AAAA`],
      ['changed', `${COOKIE}=${ours.slice(0, 40)}${ours[40] === 'A' ? 'B' : 'A'}${ours.slice(41)}`],
      ['garbage', `${COOKIE}=x`],
      ['empty', `${COOKIE}=`],
      ['of another case', `${COOKIE.toLowerCase()}=${ours}`],
    ]) {
      const answer = await refresh(new Browser(), cookie);
      assert.deepEqual([answer.status, answer.json.error, answer.setCookies], [400, 'invalid_grant', []], `${what}: ${answer.text}`);
      assert.match(answer.json.error_description, /no cookie of this client/);
    }
    for (const cookie of [`${COOKIE}=${ours}; ${COOKIE}=${ours}`, `${COOKIE}=${ours}; a=1; ${COOKIE}=x`]) {
      const answer = await refresh(new Browser(), cookie);
      assert.deepEqual([answer.status, answer.json.error, answer.setCookies], [400, 'invalid_request', []], answer.text);
    }
    assert.equal(world.as.tokenCalls.length, calls, 'nobody was asked');
    for (const client of [CLIENT, OTHER]) assert.equal((await refresh(browser, undefined, client)).status, 200);
  });

  test('a cookie of another key is no session and stays; an added key opens it again', async () => {
    const browser = new Browser();
    await signIn(browser, CLIENT);
    const cookie = browser.cookie(COOKIE);
    const restart = async (...files) => {
      world.gateway.signal('SIGTERM');
      await world.gateway.exited;
      world.config.sessions.keys = files.map((file) => ({ file }));
      await world.startGateway();
    };
    await restart('second');
    const answer = await refresh(browser);
    assert.deepEqual([answer.status, answer.json.error, answer.setCookies], [400, 'invalid_grant', []], answer.text);
    assert.equal(browser.cookie(COOKIE), cookie);
    await restart('second', 'first');
    assert.equal((await refresh(browser)).status, 200);
    assert.notEqual(browser.cookie(COOKIE), cookie);
  });

  test('no cookie of ours reaches an upstream', async () => {
    const browser = new Browser();
    await signIn(browser, CLIENT);
    const { access_token: token } = (await refresh(browser)).json;
    const cookie = `a=1; ${COOKIE}=${browser.cookie(COOKIE)}; ${OTHER_COOKIE}=x; b=2`;
    const answer = await world.call(new Browser(), '/api/things', token, { headers: { cookie } });
    assert.equal(answer.json.headers.cookie, 'a=1; b=2');
  });
});

test('a session that fits no cookie is an error that names the part, and its refresh token is revoked', async (t) => {
  const world = await World.start({ client: { accept_any_access_token: true } });
  t.after(() => world.stop());
  const large = randomBytes(3000).toString('base64url');
  const answerLarge = (incoming, answer) => {
    answer.writeHead(200, { 'content-type': 'application/json' });
    answer.end(JSON.stringify({ access_token: 'opaque', token_type: 'Bearer', expires_in: 60, refresh_token: large }));
  };
  const browser = new Browser();
  const { code, verifier } = await world.authorize(browser);
  world.as.tokenFault = answerLarge;
  const answer = await world.token(browser, { grant_type: 'authorization_code', code, code_verifier: verifier, redirect_uri: world.redirectUri });
  world.as.endFault();
  assert.deepEqual([answer.status, answer.setCookies], [502, []], answer.text);
  await world.gateway.says(/^(?=.*does not fit its cookie)(?=.*"part":"the refresh token")(?=.*"bytes":4000).*$/m);
  assert.ok(!world.gateway.output.includes(large));
  await until('the refresh token to be revoked', () => world.as.revocations.some(({ token }) => token === large));
});
