// Pages that must get nowhere, in Chromium, while a person is signed in and while nobody is: another
// site, another origin of the same site, a sibling sub-domain, and pages without an origin. They know
// everything but the cookie, and have a code of their own that the authorization server would take.

import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { IS_FIREFOX } from '../support/browsers.mjs';
import { Browser, until } from '../support/http.mjs';
import { installWorker } from '../support/pages.mjs';
import { call, Scene } from '../support/scene.mjs';
import { CLIENT, COOKIE } from '../support/world.mjs';

/** Runs in the foreign page: everything that a page can send. Gives what it could read, by its kind. */
async function attack({ gateway, fields, refresh }) {
  const endpoint = `${gateway}/oauth/token`;
  const read = {};
  const attempt = async (kind, work) => {
    try {
      read[kind] = await work();
    } catch (error) {
      read[kind] = error.name;
    }
  };
  const body = (what) => new URLSearchParams(what);
  const text = async (answer) => answer.type === 'opaque' ? 'opaque' : `${answer.status} ${await answer.text()}`;
  const credentials = 'include';
  for (const [name, what] of [['code', fields], ['refresh', refresh]]) {
    await attempt(`fetch ${name}`, async () => text(await fetch(endpoint, { method: 'POST', credentials, body: body(what) })));
    await attempt(`fetch ${name} as JSON`, async () => text(await fetch(endpoint, { method: 'POST', credentials, headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(what) })));
    await attempt(`no-cors ${name}`, async () => text(await fetch(endpoint, { method: 'POST', mode: 'no-cors', credentials, body: body(what) })));
    await attempt(`beacon ${name}`, async () => String(navigator.sendBeacon(endpoint, body(what))));
  }
  await attempt('fetch DELETE', async () => text(await fetch(`${endpoint}?client_id=${refresh.client_id}`, { method: 'DELETE', credentials })));
  await attempt('fetch API', async () => text(await fetch(`${gateway}/api/things`, { credentials })));
  const ended = (element, add) => new Promise((done) => {
    element.onload = () => done('load');
    element.onerror = () => done('error');
    add?.(element);
  });
  const place = (element) => document.body.append(element);
  // Each at an address of its own, so that no cache of the browser makes one of two.
  await attempt('img', () => ended(Object.assign(document.createElement('img'), { src: `${endpoint}?img` }), place));
  await attempt('script', () => ended(Object.assign(document.createElement('script'), { src: `${endpoint}?script` }), place));
  await attempt('EventSource', () => ended(new EventSource(`${endpoint}?EventSource`, { withCredentials: true })));
  await attempt('prefetch', () => ended(Object.assign(document.createElement('link'), { rel: 'prefetch', href: `${endpoint}?prefetch` }), place));
  await attempt('form in a frame', async () => {
    for (const what of [fields, refresh]) {
      const frame = Object.assign(document.createElement('iframe'), { name: crypto.getRandomValues(new Uint32Array(1)).join() });
      document.body.append(frame);
      const form = Object.assign(document.createElement('form'), { method: 'POST', action: endpoint, target: frame.name });
      for (const [name, value] of Object.entries(what)) form.append(Object.assign(document.createElement('input'), { name, value }));
      document.body.append(form);
      const loaded = ended(frame);
      form.submit();
      await loaded;
    }
    return 'sent';
  });
  return read;
}

/** Runs in a page: sends a form. */
function submit({ action, fields }) {
  const form = Object.assign(document.createElement('form'), { method: 'POST', action });
  for (const [name, value] of Object.entries(fields)) form.append(Object.assign(document.createElement('input'), { name, value }));
  document.body.append(form);
  form.submit();
}

/** What such a page may learn: whether something was sent at all. */
const LEARNT = {
  'fetch code': 'TypeError',
  'fetch code as JSON': 'TypeError',
  'no-cors code': 'opaque',
  'beacon code': 'true',
  'fetch refresh': 'TypeError',
  'fetch refresh as JSON': 'TypeError',
  'no-cors refresh': 'opaque',
  'beacon refresh': 'true',
  'fetch DELETE': 'TypeError',
  'fetch API': 'TypeError',
  img: 'error',
  script: 'error',
  prefetch: IS_FIREFOX ? 'load' : 'error',
  EventSource: 'error',
  'form in a frame': 'sent',
};
/** What the gateway sees of it besides what is loaded. A body of JSON and DELETE do not get past their preflights. */
const SEEN = { 'POST 403': 8, 'OPTIONS 403': 3 };

const refresh = { grant_type: 'refresh_token', client_id: CLIENT };

describe('foreign pages', () => {
  const host = 'gate.app.localhost';
  let scene;
  before(async () => (scene = await Scene.start({ host })));
  after(() => scene?.stop());
  beforeEach(() => scene.newPerson());

  const at = (name) => `http://${name}:${scene.pages.port}`;
  const attackers = {
    'another site': () => scene.openForeign(at('127.0.0.1')),
    'another origin of the same host': () => scene.openForeign(at(host)),
    'a sibling sub-domain': () => scene.openForeign(at('evil.app.localhost')),
    'the domain above': () => scene.openForeign(at('app.localhost')),
    "a sandboxed frame in the gateway's own page": async () => frameWithoutOrigin(await scene.open(), { sandbox: 'allow-scripts allow-forms', srcdoc: '<body>' }),
    'a data: URL in a sibling': async () => frameWithoutOrigin(await scene.openForeign(at('evil.app.localhost')), { src: 'data:text/html,<body>' }),
  };

  async function frameWithoutOrigin(tab, attributes) {
    await tab.evaluate((attributes) => {
      const frame = Object.assign(document.createElement('iframe'), attributes);
      return new Promise((done) => {
        frame.onload = done;
        document.body.append(frame);
      });
    }, attributes);
    const frame = tab.frames()[1];
    assert.equal(await frame.evaluate(() => self.origin), 'null');
    return frame;
  }

  /** A code of the attacker's own that the authorization server would take. */
  async function foreignCode() {
    const { code, verifier } = await scene.world.authorize(new Browser(), 'mallory');
    return { grant_type: 'authorization_code', client_id: CLIENT, code, code_verifier: verifier, redirect_uri: scene.world.redirectUri };
  }

  /** How often the gateway has answered a method with a status at /oauth/token, from an entry of its log on. */
  function seenSince(entry) {
    const kinds = scene.world.gateway.requests.slice(entry).filter(({ path }) => path === '/oauth/token').map(({ method, status }) => `${method} ${status}`);
    return kinds.reduce((counts, kind) => ({ ...counts, [kind]: (counts[kind] ?? 0) + 1 }), {});
  }

  /**
   * What the gateway answered to requests of pages from `from` on: { method, url, status, cookie }, the last is
   * what they sent. No answer sets a cookie. Where CORS kept an answer from a page, there is none here either.
   */
  async function answersSince(from) {
    const toGateway = scene.requests.slice(from).filter(({ url }) => url.startsWith(`${scene.world.gateway.url}/oauth/`));
    const answers = await Promise.all(toGateway.map(({ answer }) => answer()));
    const read = answers.filter(Boolean).map(async (answer) => {
      const request = answer.request();
      assert.equal((await answer.allHeaders())['set-cookie'], undefined, answer.url());
      return { method: request.method(), url: answer.url(), status: answer.status(), cookie: (await request.allHeaders()).cookie ?? '' };
    });
    return Promise.all(read);
  }

  for (const [name, open] of Object.entries(attackers)) {
    const skip = IS_FIREFOX && name.startsWith('a data: URL') && 'a prefetch of such a page ends without a word there';
    test(`${name} can neither use a session nor plant one`, { skip }, async () => {
      const victim = await scene.signedIn();
      const fields = await foreignCode();
      const page = await open();
      const { gateway, as } = scene.world;
      for (const isSignedIn of [true, false]) {
        if (!isSignedIn) await scene.context.clearCookies();
        await scene.allLogged();
        const [jar, calls, from, entry] = [await scene.ownCookies(), as.tokenCalls.length, scene.requests.length, gateway.requests.length];
        assert.equal(jar.length, isSignedIn ? 1 : 0);
        assert.deepEqual(await page.evaluate(attack, { gateway: gateway.url, fields, refresh }), LEARNT);
        const answers = await answersSince(from);
        const loads = scene.requests.slice(from).filter(({ method, url }) => method === 'GET' && url.startsWith(`${gateway.url}/oauth/`));
        const kinds = loads.map(({ url }) => new URL(url).search);
        assert.deepEqual(kinds.filter((kind) => kind !== '?prefetch'), ['?img', '?script', '?EventSource']);
        // A prefetch is a hint, which the browser may leave alone. Of the others pages and tests see no answer.
        const isPrefetched = answers.some(({ url }) => url.endsWith('?prefetch'));
        const seen = { ...SEEN, 'GET 405': isPrefetched ? 4 : 3 };
        await until('the log of all of it', () => isDeepStrictEqual(seenSince(entry), seen)).catch(() => assert.deepEqual(seenSince(entry), seen));
        if (isSignedIn && /origin|sub-domain|above/.test(name) && !name.includes('data:')) {
          assert.ok(answers.some(({ cookie }) => cookie.includes(COOKIE)), 'the same site: it is not the browser that protects');
        }
        assert.deepEqual(await scene.ownCookies(), jar, 'the jar is as it was');
        assert.equal(as.tokenCalls.length, calls, 'the authorization server was not asked');
        if (isSignedIn) {
          await scene.context.clock.fastForward(50_000);
          assert.equal((await call(victim)).json.headers['x-auth-subject'], 'alice');
        }
      }
    });
  }

  for (const [name, from] of Object.entries({
    'another site': () => at('127.0.0.1'),
    'a sibling sub-domain': () => at('evil.app.localhost'),
    'its own origin': () => `${scene.origin}/app/`,
  })) {
    test(`a form that navigates to the gateway plants nothing, from ${name}`, async () => {
      const fields = await foreignCode();
      const [before, calls] = [scene.requests.length, scene.world.as.tokenCalls.length];
      const tab = await scene.openForeign(from(), '');
      const [response] = await Promise.all([
        tab.waitForResponse((response) => response.url() === `${scene.world.gateway.url}/oauth/token`),
        tab.evaluate(submit, { action: `${scene.world.gateway.url}/oauth/token`, fields }),
      ]);
      assert.equal(response.status(), 403);
      assert.equal((await response.request().allHeaders())['sec-fetch-mode'], 'navigate');
      await answersSince(before);
      assert.deepEqual(await scene.ownCookies(), []);
      assert.equal(scene.world.as.tokenCalls.length, calls);
      // It was a good code: the gateway's own page could have used it.
      const own = await scene.world.token(new Browser(), fields);
      assert.equal(own.status, 200, own.text);
    });
  }

  test('a form that a service worker passes on plants nothing', async () => {
    const { gateway, as } = scene.world;
    await installWorker(await scene.open(), '/app/worker.js');
    for (const name of ['127.0.0.1', 'evil.app.localhost']) {
      const fields = await foreignCode();
      const calls = as.tokenCalls.length;
      const posts = () => gateway.requests.filter(({ method, path }) => method === 'POST' && path === '/oauth/token');
      const before = posts().length;
      const page = await scene.openForeign(at(name));
      await page.evaluate(submit, { action: `${gateway.url}/oauth/token`, fields });
      await until('the form to arrive', () => posts().length > before);
      assert.equal(posts().at(-1).status, 403, name);
      assert.deepEqual([await scene.ownCookies(), as.tokenCalls.length], [[], calls], name);
    }
  });

  test('a sibling that plants a cookie of our name breaks nothing for good', async () => {
    const victim = await scene.signedIn();
    const [ours] = await scene.ownCookies();
    const evil = await scene.openForeign(at('evil.app.localhost'));
    const planted = `${COOKIE}=planted; Domain=app.localhost; Path=/oauth/token; Secure; SameSite=Strict`;
    await evil.evaluate((line) => (document.cookie = line), planted);
    assert.equal((await scene.ownCookies()).length, 2, 'it is in the jar beside ours');

    await scene.context.clock.fastForward(61_000);
    const calls = scene.world.as.tokenCalls.length;
    const from = scene.requests.length;
    const { failed } = await call(victim);
    assert.deepEqual([failed?.status, failed?.error], [400, 'invalid_request']);
    assert.match(failed.message, /one credential/);
    assert.equal(await victim.evaluate(() => timesSignedOut), 0, 'the page is not told that it is signed out');
    await answersSince(from);
    assert.equal(scene.world.as.tokenCalls.length, calls, 'neither was used');
    assert.equal((await scene.ownCookies()).find(({ domain }) => domain === host).value, ours.value);

    await evil.evaluate((line) => (document.cookie = `${line}; Max-Age=0`), planted);
    assert.equal((await call(victim)).json.headers['x-auth-subject'], 'alice', 'ours works as before');
  });

  test('a sibling can neither overwrite nor clear nor read our cookie', async () => {
    const victim = await scene.signedIn();
    const jar = await scene.ownCookies();
    const evil = await scene.openForeign(at('evil.app.localhost'));
    const lines = ['planted', ''].flatMap((value) => [
      `${COOKIE}=${value}; Domain=${host}; Path=/oauth/token; Secure`,
      `${COOKIE}=${value}; Domain=localhost; Path=/oauth/token; Secure`,
      `${COOKIE}=${value}; Domain=app.localhost; Path=/oauth/token`,
    ]);
    await evil.evaluate((lines) => lines.forEach((line) => (document.cookie = line)), lines);
    await evil.evaluate((query) => fetch(`/plants?${query}`), new URLSearchParams(lines.map((line) => ['cookie', line])).toString());
    assert.equal(await evil.evaluate(() => document.cookie), '');
    assert.deepEqual(await scene.ownCookies(), jar);
    // Nor can script on the gateway's own page: the cookie is HttpOnly.
    await victim.evaluate((name) => {
      for (const value of ['planted', '']) document.cookie = `${name}=${value}; Path=/oauth/token; Secure; Max-Age=${value.length}`;
    }, COOKIE);
    assert.deepEqual(await scene.ownCookies(), jar);
  });

  test('what a browser does not keep apart, as docs/security.md says', async () => {
    const victim = await scene.signedIn();
    const [{ value }] = await scene.ownCookies();
    // A server on another port of the host: the cookie goes there too.
    const neighbour = await scene.openForeign(at(host));
    await neighbour.evaluate(() => fetch('/oauth/token'));
    assert.ok(scene.pages.received.some(({ url, headers }) => url === '/oauth/token' && headers.cookie === `${COOKIE}=${value}`));
    if (IS_FIREFOX) return; // what follows leaves ours alone there
    // A sibling that clears its own cookies clears those of the whole domain.
    const evil = await scene.openForeign(at('evil.app.localhost'));
    await evil.evaluate(() => fetch('/clears'));
    await until('the jar to be empty', async () => (await scene.ownCookies()).length === 0);
    await scene.context.clock.fastForward(61_000);
    assert.equal((await call(victim)).failed?.error, 'invalid_grant');
    assert.equal(await victim.evaluate(() => timesSignedOut), 1, 'the page is told, once');
  });
});
