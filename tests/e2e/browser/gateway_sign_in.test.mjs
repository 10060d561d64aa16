// Sign-in and sign-out by the gateway for a client in `token` mode, in Chromium, with what docs/spa.md gives page authors
// to copy. The authorization server is on another site than the gateway; the page is at the gateway, or at a third origin.

import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { IS_FIREFOX } from '../support/browsers.mjs';
import { request, until } from '../support/http.mjs';
import { installWorker } from '../support/pages.mjs';
import { call, Scene } from '../support/scene.mjs';
import { call as sessionCall, SessionScene } from '../support/session_scene.mjs';
import { CLIENT, COOKIE } from '../support/world.mjs';

const subjectOf = (answer) => answer.json?.headers?.['x-auth-subject'] ?? JSON.stringify(answer);
const TRANSACTION = `__Host-Http-tollgate-${CLIENT}-tx-`;

for (const atThirdOrigin of [false, true]) {
  describe(atThirdOrigin ? 'a page at a third origin' : "a page at the gateway's origin", () => {
    let scene;
    before(async () => {
      // `consent`: without it there is no refresh token. `login`: a form even when somebody is signed in.
      const client = { login: 'gateway', redirect_uri: undefined, authorize: { prompt: 'login consent' } };
      scene = await Scene.start({ atThirdOrigin, byGateway: true, client });
    });
    after(() => scene?.stop());
    beforeEach(() => scene.newPerson());

    const gate = () => scene.world.gateway.url;
    const codes = () => scene.world.as.callsOf('authorization_code').length;
    const transactions = async () => (await scene.ownCookies()).filter(({ name }) => name.startsWith(TRANSACTION));

    /** From a click in the page to the authorization server's form. */
    async function leave(tab, more = {}) {
      await tab.bringToFront();
      await tab.evaluate((more) => leave(more), more);
      await tab.waitForSelector('input[name=login]');
    }

    /** The pages of the authorization server, up to the last click or with it. */
    async function pass(tab, account = 'alice', { click = true } = {}) {
      await tab.bringToFront();
      await tab.fill('input[name=login]', account);
      await tab.fill('input[name=password]', 'any');
      await tab.click('button[type=submit]');
      await tab.waitForSelector('button[type=submit]:has-text("Continue")');
      if (click) await tab.click('button[type=submit]:has-text("Continue")');
    }

    /** The address of the callback that a tab went to last. */
    const lastCallback = () => scene.requests.findLast(({ url }) => url.startsWith(`${gate()}/oauth/callback?`)).url;

    test('a click leads to the server and back to where one was; the page gets a token and the API answers', async () => {
      const tab = await scene.open('/app/deep?x=1#part');
      assert.equal((await call(tab)).failed?.error, 'invalid_grant', 'nobody is signed in');
      await leave(tab);
      assert.equal((await transactions()).length, 1);
      await pass(tab);
      await tab.waitForURL(`${scene.origin}/app/deep?x=1#part`);
      assert.equal(subjectOf(await call(tab)), 'alice');
      const [{ name, path, httpOnly, secure, sameSite }, ...others] = await scene.ownCookies();
      assert.deepEqual(others, [], 'the cookie of the sign-in is gone');
      assert.deepEqual({ name, path, httpOnly, secure, sameSite }, { name: COOKIE, path: '/oauth/token', httpOnly: true, secure: true, sameSite: 'Strict' });
      assert.deepEqual(await tab.evaluate(async () => [document.cookie, sessionStorage.length, localStorage.length]), ['', 0, 0]);

      const callback = scene.requests.findLast(({ url }) => url === lastCallback());
      const answer = await callback.answer();
      assert.equal(answer.status(), 200, 'no redirect');
      const seen = [...scene.world.upstream.received, ...scene.pages.received];
      for (const { url, headers } of seen) {
        assert.ok(!headers.cookie?.includes('tollgate'), `${url} got ${headers.cookie}`);
        assert.ok(!headers.referer?.includes('/oauth/'), `${url} came from ${headers.referer}`);
      }
    });

    test('the way back with the button, and the callback once more, lead to a page that starts again', async () => {
      const tab = await scene.open('/app/here');
      await leave(tab);
      await pass(tab);
      await tab.waitForURL(`${scene.origin}/app/here`);
      const spent = codes();
      await tab.goto(lastCallback());
      assert.equal(await tab.innerText('h1'), 'This sign-in cannot be continued');
      assert.equal(codes(), spent, 'the code is not sent again');
      const token = await scene.open('/app/');
      assert.equal(subjectOf(await call(token)), 'alice', 'the session goes on');
      await tab.click('main a');
      await pass(tab, 'bob');
      await tab.waitForURL(`${scene.origin}/`);
      assert.equal(subjectOf(await call(await scene.open('/app/'))), 'bob');
    });

    for (const mode of ['query', 'fragment']) {
      test(`script of the gateway's origin sees no code of a sign-in that was begun elsewhere, answered in the ${mode}`, async () => {
        // Somebody else begins, and has the page's script open where that leads.
        const headers = { 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document', 'sec-fetch-site': 'none' };
        const begun = await request('GET', `${gate()}/oauth/login?client_id=${CLIENT}`, { headers });
        const theirs = begun.headers.location.replace('response_mode=query', `response_mode=${mode}`);
        assert.ok(theirs.includes(`response_mode=${mode}`), theirs);
        const tab = await scene.open('/app/here');
        const opened = scene.context.waitForEvent('page');
        await tab.evaluate((theirs) => {
          window.seen = [];
          window.theirs = open(theirs, 'x');
          const look = () => {
            try {
              seen.push(window.theirs.location.href);
            } catch {
              // It is another origin's.
            }
            if (!window.theirs.closed) setTimeout(look);
          };
          look();
        }, theirs);
        const window = await opened;
        await pass(window);
        await window.waitForURL(/\/oauth\/login\/again/);
        assert.equal(await window.innerText('h1'), 'This sign-in cannot be continued');
        assert.ok(scene.requests.some(({ url }) => url.startsWith(`${gate()}/oauth/callback`)), 'it came back');
        await until('the window to be out of reach', () => tab.evaluate(() => window.theirs.closed));
        const seen = await tab.evaluate(() => seen);
        assert.ok(seen.length > 0 && seen.every((url) => !url.includes('code=')), `${seen}`);
        const history = await window.evaluate(() => [location.href, ...navigation.entries().map(({ url }) => url)]);
        assert.ok(history.every((url) => !url.includes('code=')), `${history}`);
      });
    }

    test('five tabs at once all arrive where they were', async () => {
      const tabs = [];
      for (let at = 0; at < 5; at += 1) {
        const tab = await scene.open(`/app/tab${at}`);
        await leave(tab);
        tabs.push(tab);
      }
      assert.equal((await transactions()).length, 5);
      // The server has one sign-in at a time in a browser; only the way back is at once.
      const back = [];
      for (const [at, tab] of tabs.entries()) {
        await pass(tab, 'alice', { click: false });
        back.push([at, tab]);
        await tab.bringToFront();
        await tab.click('button[type=submit]:has-text("Continue")', { noWaitAfter: true });
      }
      await Promise.all(back.map(([at, tab]) => tab.waitForURL(`${scene.origin}/app/tab${at}`)));
      for (const tab of tabs) assert.equal(subjectOf(await call(tab)), 'alice');
      assert.deepEqual(await transactions(), []);
    });

    test('a state of somebody else, and a consent that is denied, sign nobody in and touch no session', async () => {
      const tab = await scene.open('/app/here');
      await leave(tab);
      await pass(tab, 'alice', { click: false });
      // Somebody else brings this browser's answer to a browser of his own.
      const others = await scene.browser.newContext();
      const thief = await others.newPage();
      const arrived = tab.waitForURL(`${scene.origin}/app/here`);
      await tab.click('button[type=submit]:has-text("Continue")');
      await arrived;
      const spent = codes();
      await thief.goto(lastCallback());
      assert.equal(await thief.innerText('h1'), 'This sign-in cannot be continued');
      assert.deepEqual([codes(), await others.cookies(gate())], [spent, []]);
      await others.close();

      const [{ value: before }] = await scene.ownCookies();
      await leave(tab);
      await tab.click('text=Cancel');
      await tab.waitForSelector('text=You were not signed in');
      assert.match(await tab.innerText('body'), /access_denied/);
      assert.equal((await scene.ownCookies()).find(({ name }) => name === COOKIE).value, before);
      assert.deepEqual(await transactions(), []);
      await tab.click('main a');
      await pass(tab, 'carol');
      await tab.waitForURL(`${scene.origin}/app/here`);
      assert.equal(subjectOf(await call(tab)), 'carol');
    });

    test('a page of anybody else begins nothing with a script, a frame or an image, and nothing leads to it', async () => {
      const evil = await scene.openForeign(`http://127.0.0.1:${scene.pages.port}`);
      const login = `${gate()}/oauth/login?client_id=${CLIENT}`;
      await evil.evaluate(async (login) => {
        await fetch(login, { mode: 'no-cors', credentials: 'include' }).catch(() => {});
        const loaded = (element) => new Promise((done) => {
          element.onload = element.onerror = done;
          document.body.append(element);
        });
        await loaded(Object.assign(new Image(), { src: `${login}&i` }));
        await loaded(Object.assign(document.createElement('iframe'), { src: `${login}&f` }));
      }, login);
      assert.deepEqual(await transactions(), []);
      await evil.goto(`${login}&return_to=${encodeURIComponent(`http://127.0.0.1:${scene.pages.port}/`)}`);
      assert.match(await evil.innerText('body'), /return_to must be/);
      assert.deepEqual(await transactions(), []);
    });

    test('a sign-out ends the session here and the one at the server', async () => {
      const tab = await scene.open('/app/here');
      await leave(tab);
      await pass(tab);
      await tab.waitForURL(`${scene.origin}/app/here`);
      assert.equal(subjectOf(await call(tab)), 'alice');
      await tab.evaluate(() => leaveForGood());
      await tab.waitForURL(`${scene.world.as.url}/session/end?**`);
      assert.deepEqual(await scene.ownCookies(), []);
      await tab.click('button:has-text("Yes")');
      await until('the session at the server to end', async () => {
        const there = await scene.context.cookies(scene.world.as.url);
        return !there.some(({ name }) => name === '_session');
      });
      await scene.world.gateway.hasLogged([]);
      assert.equal((await call(await scene.open('/app/'))).failed?.error, 'invalid_grant');
    });

    test('a form signs out too, from a page that allows it the gateway alone, and a form of anybody else does not', async () => {
      const from = `/app/here?csp=${encodeURIComponent(`form-action ${gate()}`)}`;
      const tab = await scene.open(from);
      await leave(tab);
      await pass(tab);
      await tab.waitForURL(`${scene.origin}${from}`);
      const submit = (page) => page.evaluate((action) => {
        const form = Object.assign(document.createElement('form'), { method: 'POST', action });
        document.body.append(form);
        form.submit();
      }, `${gate()}/oauth/logout?client_id=${CLIENT}`);
      const evil = await scene.openForeign(`http://127.0.0.1:${scene.pages.port}`);
      await submit(evil);
      await evil.waitForURL(`${gate()}/oauth/logout?client_id=${CLIENT}`);
      assert.equal(await evil.innerText('h1'), 'This origin may not do this');
      assert.equal((await scene.ownCookies()).length, 1);
      await submit(tab);
      await tab.waitForURL(`${scene.world.as.url}/session/end?**`);
      assert.deepEqual(await scene.ownCookies(), []);
    });
  });
}

describe('a client in session mode', () => {
  let scene;
  before(async () => (scene = await SessionScene.start()));
  after(() => scene?.stop());

  test('the callback comes twice, the second time with the session before, which is over then', async () => {
    await scene.newPerson();
    const { gateway, as } = scene.world;
    const signIn = async (account) => {
      const tab = await scene.context.newPage();
      await tab.goto(`${gateway.url}/oauth/login?client_id=${CLIENT}&return_to=/page/here`);
      await scene.pass(tab, account);
      await tab.waitForURL(`${gateway.url}/page/here`);
    };
    const outcomes = () => gateway.requests.filter(({ path }) => path === '/oauth/callback').map(({ outcome }) => outcome);
    await signIn('alice');
    const first = await scene.sessionCookie();
    assert.ok(first);
    assert.deepEqual(as.revocations, []);
    await signIn('bob');
    assert.notEqual(await scene.sessionCookie(), first);
    await until('the log', () => outcomes().length === 4);
    assert.deepEqual(outcomes(), ['sign_in_goes_on', 'signed_in', 'sign_in_goes_on', 'signed_in']);
    await until("alice's refresh token to be revoked", () => as.revocations.length === 1);
  });

  test('a service worker that passes navigations on keeps nobody from signing in, and hears that pages are not its business', { skip: IS_FIREFOX }, async () => {
    await scene.newPerson();
    const { gateway } = scene.world;
    const tab = await scene.open();
    await installWorker(tab, '/page/worker.js');
    await tab.evaluate((login) => location.assign(login), `/oauth/login?client_id=${CLIENT}&return_to=/page/here`);
    await scene.pass(tab, 'alice');
    await tab.waitForURL(`${gateway.url}/page/here`);
    const { headers } = scene.pages.received.findLast(({ url }) => url === '/page/here');
    assert.deepEqual([headers['sec-fetch-mode'], headers['sec-fetch-dest']], ['navigate', 'empty'], 'the worker asked for it');
    assert.equal((await sessionCall(tab)).status, 200);
    await tab.goto(`${gateway.url}/portal/here`);
    assert.equal(await tab.innerText('h1'), 'Your browser does not say that it is opening this page');
    assert.match(await tab.innerText('body'), /Service workers/);
    await tab.goto(`${gateway.url}/page/`);
    assert.equal((await sessionCall(tab)).status, 200, 'the session goes on');
  });

  test('in Firefox such a worker shuts out of sign-in, and the refusal says what to change', { skip: !IS_FIREFOX }, async () => {
    await scene.newPerson();
    const tab = await scene.open();
    await installWorker(tab, '/page/worker.js');
    await tab.evaluate((login) => location.assign(login), `/oauth/login?client_id=${CLIENT}&return_to=/page/here`);
    await until('the refusal', async () => /have it leave \/oauth\/ to the network/.test(await tab.innerText('body')));
    assert.deepEqual(await scene.ownCookies(), []);
  });

  test('a sign-out by a form goes to the server with the ID token as a hint, a script gets none', async () => {
    await scene.newPerson();
    const { gateway, as } = scene.world;
    const tab = await scene.context.newPage();
    await tab.goto(`${gateway.url}/oauth/login?client_id=${CLIENT}&return_to=/page/here`);
    await scene.pass(tab, 'alice');
    await tab.waitForURL(`${gateway.url}/page/here`);
    const logout = `${gateway.url}/oauth/logout?client_id=${CLIENT}`;
    const page = await scene.context.newPage();
    await page.goto(`${gateway.url}/page/other`);
    await tab.evaluate((action) => {
      const form = Object.assign(document.createElement('form'), { method: 'POST', action });
      document.body.append(form);
      form.submit();
    }, logout);
    await tab.waitForURL(`${as.url}/session/end?**`);
    const { searchParams } = new URL(tab.url());
    assert.deepEqual([searchParams.get('id_token_hint')?.split('.').length, searchParams.get('client_id')], [3, CLIENT]);
    assert.equal(await tab.evaluate(() => document.referrer), '');
    assert.equal(await scene.sessionCookie(), undefined);
    const told = await page.evaluate(async (logout) => (await fetch(logout, { method: 'POST' })).json(), logout);
    assert.deepEqual(told, { end_session_url: `${as.url}/session/end?client_id=${CLIENT}` });
  });

  for (const spy of ['opener', 'worker']) {
    test(`the ID token of a sign-out is not seen by script at the gateway's origin, as ${spy} of its window`, { skip: IS_FIREFOX && spy === 'worker' && 'a form that a worker passes on signs nobody out there' }, async () => {
      await scene.newPerson();
      const { gateway, as } = scene.world;
      const tab = await scene.context.newPage();
      await tab.goto(`${gateway.url}/oauth/login?client_id=${CLIENT}&return_to=/page/here`);
      await scene.pass(tab, 'alice');
      await tab.waitForURL(`${gateway.url}/page/here`);
      if (spy === 'worker') {
        await tab.evaluate(async () => {
          await navigator.serviceWorker.register('/page/spy.js', { scope: '/' });
          await navigator.serviceWorker.ready;
        });
        await until('the worker to answer for the page', () => tab.evaluate(() => navigator.serviceWorker.controller !== null));
      }
      const opened = scene.context.waitForEvent('page');
      await tab.evaluate((action) => {
        window.seen = [];
        window.channel = new BroadcastChannel('spied');
        channel.onmessage = ({ data }) => seen.push(data);
        const theirs = open('about:blank', 'x');
        const look = () => {
          try {
            seen.push(`${theirs.location.href} ${theirs.document.documentElement.outerHTML}`);
          } catch {
            return; // it is another origin's
          }
          setTimeout(look);
        };
        look();
        const form = Object.assign(document.createElement('form'), { method: 'POST', action, target: 'x' });
        document.body.append(form);
        form.submit();
      }, `${gateway.url}/oauth/logout?client_id=${CLIENT}`);
      const window = await opened;
      await window.waitForURL(`${as.url}/session/end?**`);
      assert.equal(new URL(window.url()).searchParams.get('id_token_hint')?.split('.').length, 3);
      const own = '/oauth/logout/next?client_id=';
      if (spy === 'worker') await until('the worker to have seen the way on', () => tab.evaluate((own) => seen.some((told) => told.includes(own) && told.includes('opaqueredirect')), own));
      const seen = await tab.evaluate(() => seen);
      assert.ok(seen.length > 0, 'it looked');
      for (const told of seen) assert.ok(!told.includes('id_token_hint') && !told.includes('session/end'), told);
      const byScript = await tab.evaluate(async (next) => (await fetch(next, { redirect: 'manual' })).status, `${own}${CLIENT}`);
      assert.equal(byScript, 403);
    });
  }
});
