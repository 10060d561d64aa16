// OpenID Connect back-channel logout with a real authorization server: whoever signs out there is out here.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Browser, until } from './support/http.mjs';
import { COOKIE as SESSION, sessionMode, signInByGateway } from './support/session_scene.mjs';
import { COOKIE, World } from './support/world.mjs';

async function start(t, { sessionRequired, ...more }) {
  const world = await World.start({
    auth: 'none',
    features: { backchannelLogout: { enabled: true } },
    registration: (gateway) => ({
      backchannel_logout_uri: `${gateway.url}/oauth/backchannel-logout`,
      backchannel_logout_session_required: sessionRequired,
    }),
    ...more,
  });
  t.after(() => world.stop());
  return world;
}

async function signedIn(world, account) {
  const browser = new Browser();
  const { status, json, text } = await world.signIn(browser, account);
  assert.equal(status, 200, text);
  assert.equal((await world.call(browser, '/api/things', json.access_token)).status, 200);
  return { browser, token: json.access_token };
}

async function isOut(world, { browser, token }) {
  const asked = world.as.callsOf('refresh_token').length;
  assert.equal((await world.call(browser, '/api/things', token)).status, 401, 'the access token that was already out');
  const refused = await world.refresh(browser);
  assert.deepEqual([refused.status, refused.json.error], [400, 'invalid_grant']);
  assert.equal(browser.cookie(COOKIE), undefined, 'the cookie is cleared');
  assert.equal(world.as.callsOf('refresh_token').length, asked, 'the authorization server was not asked');
}

async function isIn(world, { browser, token }) {
  assert.equal((await world.call(browser, '/api/things', token)).status, 200);
  assert.equal((await world.refresh(browser)).status, 200);
}

describe('back-channel logout', () => {
  for (const [what, sessionRequired] of [['a sid', true], ['a sub alone', false]]) {
    test(`who signs out at the authorization server is out here at once, by ${what}`, async (t) => {
      const world = await start(t, { sessionRequired });
      const [here, there, other] = [await signedIn(world, 'alice'), await signedIn(world, 'alice'), await signedIn(world, 'bob')];
      const [began, begun] = [Date.now(), performance.now()];
      await world.signOutThere(here.browser);
      assert.deepEqual(world.as.logouts.map(({ client, sub, error }) => [client, sub, error]), [['web-app', 'alice', undefined]]);
      await isOut(world, here);
      assert.ok(performance.now() - begun < 25_000, `${performance.now() - begun} ms`);
      await (sessionRequired ? isIn : isOut)(world, there);
      await isIn(world, other);
      await until('its line in the access log', () => world.gateway.requests.some(({ route, outcome, client }) => route === '/oauth/backchannel-logout' && outcome === 'backchannel_logout' && client === 'web-app'));
      await world.gateway.says(new RegExp(`"event":"audit"[^\n]*"name":"${world.as.url}"[^\n]*"kind":"${sessionRequired ? 'sid' : 'sub'}"[^\n]*"reason":"back-channel logout"`));
      // Whoever signs in again is in again, also after a restart.
      await until('the next second', () => Math.floor(Date.now() / 1000) > Math.floor(began / 1000) + 1);
      const again = await signedIn(world, 'alice');
      world.gateway.signal('SIGTERM');
      await world.gateway.exited;
      await world.restartGateway();
      await isIn(world, again);
      assert.equal((await world.call(new Browser(), '/api/things', here.token)).status, 401, 'what was over stays over');
      await world.assertNoTokenLeaked();
    });
  }

  for (const [what, sessionRequired] of [['a sid', true], ['a sub alone', false]]) {
    test(`a session without tokens in the browser ends just so, by ${what}`, async (t) => {
      const world = await start(t, sessionMode({ sessionRequired }));
      const call = (browser) => browser.fetch('GET', `${world.gateway.url}/api/things`, { headers: { 'x-csrf': '1' } });
      const [here, there, other] = [await signInByGateway(world), await signInByGateway(world), await signInByGateway(world, 'bob')];
      for (const browser of [here, there, other]) assert.equal((await call(browser)).status, 200);
      const [began, begun] = [Date.now(), performance.now()];
      await world.signOutThere(here);
      assert.deepEqual(world.as.logouts.map(({ sub, error }) => [sub, error]), [['alice', undefined]]);
      assert.equal((await call(here)).status, 401);
      assert.ok(performance.now() - begun < 25_000, `${performance.now() - begun} ms`);
      assert.equal(here.cookie(SESSION), undefined, 'the cookie is cleared');
      assert.equal((await call(there)).status, sessionRequired ? 200 : 401);
      assert.equal((await call(other)).status, 200);
      await until('the next second', () => Math.floor(Date.now() / 1000) > Math.floor(began / 1000) + 1);
      assert.equal((await call(await signInByGateway(world))).status, 200, 'whoever signs in again is in again');
    });
  }
});
