// A single-page app in Chromium, with docs/tollgate.js and the sign-in of docs/spa.md as they stand
// there: at the gateway's own origin, and at a third one. The authorization server is on another
// site than both. Access tokens live for 60 seconds and are due after 48; the pages' clock is turned.

import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { IS_FIREFOX } from '../support/browsers.mjs';
import { Browser, until } from '../support/http.mjs';
import { call, Scene } from '../support/scene.mjs';
import { CLIENT, COOKIE } from '../support/world.mjs';

const DUE = 50_000;
const DEAD = 61_000;
const HOUR = 3_600_000;

const subjectOf = (answer) => answer.json?.headers?.['x-auth-subject'] ?? JSON.stringify(answer);
const timesSignedOut = (tab) => tab.evaluate(() => timesSignedOut);
const someoneWaits = (tab) => tab.evaluate(async () => (await navigator.locks.query()).pending.length === 1);
const token = (tab, options) => tab.evaluate((options) => gate.token(options), options);
/** The promise of something in the page whose failure is looked at later. */
const later = (promise) => promise.then((value) => ({ value }), ({ message }) => ({ message }));

for (const atThirdOrigin of [false, true]) {
  describe(atThirdOrigin ? 'a page at a third origin' : "a page at the gateway's origin", () => {
    let scene;
    before(async () => (scene = await Scene.start({ atThirdOrigin })));
    after(() => scene?.stop());
    beforeEach(() => scene.newPerson());

    /** What does not depend on the origin is tried at one. */
    const once = atThirdOrigin ? () => {} : test;
    const turn = (milliseconds) => scene.context.clock.fastForward(milliseconds);
    /** What pages posted to the token endpoint. */
    const posts = () => scene.requests.filter(({ method, url }) => method === 'POST' && url.endsWith('/oauth/token'));
    /** How many exchanges the authorization server saw during `work`, and what came of it. */
    const counted = async (work) => {
      const before = scene.exchanges;
      const result = await work();
      return [scene.exchanges - before, result];
    };

    test('signs in, calls the API, and sees nothing of the cookie', async () => {
      const tab = await scene.signIn(await scene.open());
      const answer = await call(tab, '/api/things?x=1');
      assert.equal(answer.status, 200, JSON.stringify(answer));
      assert.equal(subjectOf(answer), 'alice');
      assert.equal(answer.json.headers.authorization, undefined);
      await turn(DUE);
      assert.equal((await call(tab)).status, 200, 'and again with a new token, for which the cookie went along');

      assert.deepEqual(await tab.evaluate(async () => [document.cookie, await cookieStore.getAll()]), ['', []]);
      assert.deepEqual(await tab.evaluate(async () => [localStorage.length, sessionStorage.length, (await indexedDB.databases()).length, (await caches.keys()).length]), [0, 0, 0, 0]);
      const [{ name, domain, path, httpOnly, secure, sameSite, expires }, ...others] = await scene.ownCookies();
      assert.deepEqual(others, []);
      // No Domain: of a cookie that sub-domains get, the domain begins with a dot here.
      assert.deepEqual(
        { name, domain, path, httpOnly, secure, sameSite },
        { name: COOKIE, domain: 'localhost', path: '/oauth/token', httpOnly: true, secure: true, sameSite: 'Strict' },
      );
      assert.ok(expires > Date.now() / 1000 + 3600, 'the cookie outlives the browser');
      const seen = [...scene.world.upstream.received, ...scene.pages.received];
      assert.ok(scene.world.upstream.received.length > 1 && scene.pages.received.length > 1);
      for (const { url, headers } of seen) assert.ok(!headers.cookie?.includes('tollgate'), `${url} got ${headers.cookie}`);
    });

    test('asks for a new token when a call needs one, and never by itself', async () => {
      const tab = await scene.signedIn();
      assert.equal(subjectOf(await call(tab)), 'alice');
      const before = [scene.requests.length, scene.exchanges];
      await turn(10 * HOUR);
      await turn(10 * HOUR);
      assert.deepEqual([scene.requests.length, scene.exchanges], before, 'nobody uses the page: no request');
      const [exchanges, answer] = await counted(() => call(tab));
      assert.deepEqual([exchanges, subjectOf(answer)], [1, 'alice']);
      assert.deepEqual((await counted(() => call(tab)))[0], 0, 'the new one is kept');
    });

    test('is signed in still after a reload', async () => {
      const tab = await scene.signedIn();
      await tab.goto(`${scene.origin}/app/`);
      const [exchanges, answer] = await counted(() => call(tab));
      assert.deepEqual([exchanges, subjectOf(answer)], [1, 'alice']);
    });

    test('in five tabs at once: one exchange', async () => {
      const tabs = [await scene.signedIn()];
      while (tabs.length < 5) tabs.push(await scene.open());
      for (let round = 0; round < 10; round += 1) {
        const [exchanges, answers] = await counted(() => Promise.all(tabs.map((tab) => token(tab))));
        assert.equal(exchanges, 1, `round ${round}`);
        if (round > 0) assert.equal(new Set(answers).size, 1, 'all have the same token');
        await turn(round % 2 ? DUE : DEAD);
      }
    });

    test('calls 20 times in parallel: one exchange', async () => {
      const tab = await scene.signedIn();
      await turn(DEAD);
      const [exchanges, statuses] = await counted(() =>
        tab.evaluate(() => Promise.all(Array.from({ length: 20 }, async (_, n) => (await gate.fetch(`/api/things?n=${n}`)).status))),
      );
      assert.deepEqual([exchanges, new Set(statuses)], [1, new Set([200])]);
    });

    test('sends every kind of body and request', async () => {
      const tab = await scene.signedIn();
      const bodies = await tab.evaluate(async (base) => {
        const form = new FormData();
        form.set('a', new File(['file'], 'f.txt'));
        const send = async (...how) => (await (await gate.fetch(...how)).json()).body;
        return [
          await send('/api/x', { method: 'POST', body: 'text' }),
          await send(new URL('/api/x', base), { method: 'PUT', body: new Blob(['blob']) }),
          await send(new Request(new URL('/api/x', base), { method: 'PATCH', body: new URLSearchParams({ b: 'c' }) })),
          (await send('/api/x', { method: 'POST', body: form })).includes('file'),
        ];
      }, scene.world.gateway.url);
      assert.deepEqual(bodies, ['text', 'blob', 'b=c', true]);
    });

    test('gives its token to nobody but the gateway', async () => {
      const tab = await scene.signedIn();
      const elsewhere = `http://127.0.0.1:${scene.pages.port}/elsewhere`;
      for (const to of [elsewhere, '//127.0.0.1/x', 'https://localhost/x', 'data:text/plain,x']) {
        const { failed } = await call(tab, to);
        assert.equal(failed?.name, 'TypeError', to);
      }
      assert.ok(!scene.pages.received.some(({ url }) => url === '/elsewhere'));
      // An API that sends the browser on to another host does not send the token there.
      await call(tab, `/app/redirect?to=${encodeURIComponent(elsewhere)}`);
      const landed = scene.pages.received.filter(({ url }) => url === '/elsewhere');
      for (const { headers } of scene.pages.received) assert.equal(headers.authorization, undefined);
      assert.equal(landed.length, 1);
    });

    test('reads errors: 403, 401, 503', async () => {
      const tab = await scene.signedIn();
      const forbidden = await call(tab, '/api/admin/x');
      assert.equal(forbidden.status, 403);
      assert.match(forbidden.headers['www-authenticate'], /error="insufficient_scope".*scope="admin"/);
      assert.match(forbidden.json.detail, /scope/);
      assert.match(forbidden.headers['x-request-id'], /./);

      const [exchanges, stepUp] = await counted(() => call(tab, '/api/gold/x'));
      assert.deepEqual([exchanges, stepUp.status], [0, 401], 'a stronger sign-in is asked for, which no new token is');
      assert.match(stepUp.headers['www-authenticate'], /error="insufficient_user_authentication".*acr_values="gold"/);

      const bare = await tab.evaluate(async (base) => {
        const answer = await fetch(`${base}/api/things`);
        return [answer.status, answer.headers.get('WWW-Authenticate'), (await answer.json()).title];
      }, scene.world.gateway.url);
      assert.deepEqual([bare[0], bare[2]], [401, 'This needs an access token']);
      assert.match(bare[1], /^Bearer(?!.*error)/);

      await scene.world.as.pause();
      try {
        await turn(DEAD);
        const { failed } = await call(tab);
        assert.deepEqual([failed?.status, failed?.error, failed?.retryAfter], [503, 'temporarily_unavailable', 2]);
      } finally {
        await scene.world.as.resume();
      }
    });

    test('keeps its session through an outage, and uses the old token while it lives', async () => {
      const tab = await scene.signedIn();
      const other = await scene.open();
      await scene.world.as.pause();
      const before = posts().length;
      try {
        // The page's clock stands still, so that Retry-After cannot be over between two calls.
        await scene.context.clock.pauseAt((await tab.evaluate(() => Date.now())) + DUE);
        assert.equal(subjectOf(await call(tab)), 'alice');
        assert.equal(subjectOf(await call(tab)), 'alice');
        assert.equal(posts().length - before, 1, 'Retry-After is kept');
        assert.equal((await call(other)).failed?.status, 503, 'a tab that has no token yet');
        await turn(DEAD);
        assert.equal((await call(tab)).failed?.status, 503);
      } finally {
        await scene.world.as.resume();
      }
      assert.equal(subjectOf(await call(tab)), 'alice');
      assert.deepEqual([await timesSignedOut(tab), await timesSignedOut(other)], [0, 0]);
    });

    test('signs out in all tabs', async () => {
      const tab = await scene.signedIn();
      const others = [await scene.open(), await scene.open()];
      await Promise.all(others.map((other) => token(other)));
      await tab.evaluate(() => gate.signOut());
      for (const each of [tab, ...others]) {
        await until('the tab to be told', () => timesSignedOut(each));
        const [exchanges, answer] = await counted(() => call(each));
        assert.deepEqual([exchanges, answer.failed?.error], [0, 'invalid_grant']);
        assert.equal(await timesSignedOut(each), 1);
      }
      assert.deepEqual(await scene.ownCookies(), []);
      await until('the refresh token to be revoked', () => scene.world.as.revocations.some(({ status }) => status === 200));
      // Somebody else signs in: all tabs are theirs.
      await scene.signIn(tab, 'bob');
      for (const each of [tab, ...others]) assert.equal(subjectOf(await call(each)), 'bob');
    });

    once('signs out on every device', async () => {
      // Nobody else's test is about her: who signs in again in the same second is out, too.
      const tab = await scene.signedIn('carol');
      const elsewhere = new Browser();
      assert.equal((await scene.world.signIn(elsewhere, 'carol')).status, 200);
      await tab.evaluate(() => gate.signOut({ everywhere: true }));
      assert.equal((await scene.world.refresh(elsewhere)).json.error, 'invalid_grant');
      assert.deepEqual(await scene.ownCookies(), []);
      const again = await tab.evaluate(() => gate.signOut({ everywhere: true }).catch(({ error }) => error));
      assert.equal(again, 'invalid_grant', 'nobody is signed in here who could be signed out elsewhere');
    });

    once('forgets its token also when the gateway cannot be told', async () => {
      const tab = await scene.signedIn();
      const other = await scene.open();
      await token(other);
      const deletes = (url) => url.pathname === '/oauth/token' && url.search !== '';
      await scene.context.route(deletes, (route) => (route.request().method() === 'DELETE' ? route.abort() : route.continue()));
      const { message } = await later(tab.evaluate(() => gate.signOut()));
      assert.match(message, /Failed to fetch|NetworkError/);
      await until('the other tab to be told', () => timesSignedOut(other));
      assert.equal(await timesSignedOut(tab), 1);
      assert.equal((await scene.ownCookies()).length, 1, 'so whoever reloads is signed in again');
      await scene.context.unroute(deletes);
      await tab.evaluate(() => gate.signOut());
      assert.deepEqual(await scene.ownCookies(), []);
    });

    test('learns in all tabs that the session is over', async () => {
      const tab = await scene.signedIn();
      const other = await scene.open();
      await token(other);
      const [{ value }] = await scene.ownCookies();
      const elsewhere = new Browser();
      const headers = { cookie: `${COOKIE}=${value}` };
      await elsewhere.fetch('DELETE', `${scene.world.gateway.url}/oauth/token?client_id=${CLIENT}`, { page: scene.origin, headers });
      await turn(DUE);
      const { failed } = await call(tab);
      assert.deepEqual([failed?.error, failed?.status], ['invalid_grant', 400], 'although the old token lives');
      await until('the other tab to be told', () => timesSignedOut(other));
      assert.equal(await timesSignedOut(tab), 1);
      assert.deepEqual(await scene.ownCookies(), []);
    });

    /** The next answer of the authorization server waits; gives what lets it go on, once it is asked. */
    const heldAtTheServer = (ask) =>
      new Promise((arrived) => {
        scene.world.as.holdNextTokenCall(arrived);
        ask();
      });
    /** The same with the gateway's answer, which is on its way already. */
    const heldOnItsWay = (ask) =>
      new Promise((arrived) => {
        const hold = async (route) => {
          const response = await route.fetch();
          await new Promise((release) => arrived(release));
          await route.fulfill({ response });
        };
        scene.context.route((url) => url.pathname === '/oauth/token', hold, { times: 1 }).then(ask);
      });

    for (const [where, held] of Object.entries({ heldAtTheServer, heldOnItsWay })) {
      once(`an answer that comes after a sign-out brings nothing back: ${where}`, { skip: IS_FIREFOX && where === 'heldOnItsWay' && 'Playwright fetches it without the browser there' }, async () => {
        const tab = await scene.signedIn();
        const other = await scene.open();
        await token(other);
        await turn(DUE);
        const release = await held(() => tab.evaluate(() => void (window.late = gate.token().then(() => 'a token', ({ error }) => error))));
        const waiting = later(token(other));
        await until('the other tab to wait for its turn', () => someoneWaits(other));
        await other.evaluate(() => gate.signOut());
        release();
        assert.equal(await tab.evaluate(() => late), 'invalid_grant');
        assert.match((await waiting).message, /signed out/);
        for (const each of [tab, other]) {
          assert.equal(await timesSignedOut(each), 1);
          assert.equal((await call(each)).failed?.error, 'invalid_grant');
        }
        assert.deepEqual(await scene.ownCookies(), []);
      });
    }

    once('a tab that closes while it refreshes leaves the answer to the others', async () => {
      const tab = await scene.signedIn();
      const other = await scene.open();
      await turn(DUE);
      const before = scene.exchanges;
      const release = await heldAtTheServer(() => later(token(tab)));
      await tab.close();
      const asked = posts().length;
      const waiting = later(token(other));
      await until('the other tab to ask', () => posts().length > asked);
      release();
      assert.equal((await waiting).message, undefined);
      assert.equal(scene.exchanges - before, 1);
      assert.equal(subjectOf(await call(other)), 'alice');
    });

    once('an answer that comes during a newer sign-in does not stay', async () => {
      const tab = await scene.signedIn();
      const other = await scene.open();
      await scene.beginSignIn(other, 'bob');
      await turn(DUE);
      const release = await heldAtTheServer(() => tab.evaluate(() => void (window.late = gate.token())));
      await scene.endSignIn(other);
      await until('the sign-in to wait for its turn', () => someoneWaits(tab));
      release();
      await other.evaluate(() => arrived);
      await tab.evaluate(() => late);
      assert.deepEqual([subjectOf(await call(other)), subjectOf(await call(tab))], ['bob', 'bob']);
      await turn(DEAD);
      assert.deepEqual([subjectOf(await call(tab)), subjectOf(await call(other))], ['bob', 'bob']);
    });

    once('a poll does not count as use, and the next use does', { skip: IS_FIREFOX && 'WebDriver BiDi tells no body' }, async () => {
      const tab = await scene.signedIn();
      const backgrounds = () => posts().map(({ body }) => new URLSearchParams(body).get('background'));
      await turn(DUE);
      const before = backgrounds().length;
      await token(tab, { background: true });
      await tab.evaluate(() => gate.fetch('/api/things', { background: true }).then(({ status }) => status));
      assert.deepEqual(backgrounds().slice(before), ['true']);
      await token(tab);
      await token(tab);
      await token(tab, { background: true });
      assert.deepEqual(backgrounds().slice(before), ['true', null]);
    });
  });
}

describe('a page whose clock is wrong', () => {
  let scene;
  before(async () => (scene = await Scene.start({ atThirdOrigin: true, accessTokenSeconds: 2, issuer: { clock_skew: '0s' } })));
  after(() => scene?.stop());

  test('swaps a token that the gateway refuses, once, and sends the body again', async () => {
    const tab = await scene.signedIn();
    await scene.context.clock.pauseAt(new Date(Date.now() + 30_000));
    const held = await token(tab);
    const { gateway, upstream, as } = scene.world;
    const person = new Browser();
    await until('the token to expire', async () => (await scene.world.call(person, '/api/things', held)).status === 401);
    as.accessTokenSeconds = 8;
    const [before, received] = [scene.exchanges, upstream.received.length];
    const form = await tab.evaluate(async () => {
      const body = new FormData();
      body.set('name', 'value');
      const answer = await gate.fetch('/api/things', { method: 'POST', body });
      return [answer.status, (await answer.json()).body.includes('value')];
    });
    assert.deepEqual(form, [200, true]);
    assert.equal(scene.exchanges - before, 1);
    assert.equal(upstream.received.length - received, 1, 'the refused one did not reach the API');

    // A second refusal is the page's to read: no call costs an exchange each time.
    const newest = await token(tab);
    await until('the token to expire', async () => (await scene.world.call(person, '/api/things', newest)).status === 401);
    const refused = await call(tab);
    assert.equal(refused.status, 401);
    assert.match(refused.headers['www-authenticate'], /error="invalid_token"/);
    assert.equal(scene.exchanges - before, 1);
    await gateway.says('token_expired');
  });
});
