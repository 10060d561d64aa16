// `mode: session` in WebKitGTK: a page that holds no token, links and downloads, what lasts, the back button, and what other pages get.

import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { until } from '../support/http.mjs';
import { installWorker } from '../support/pages.mjs';
import { COOKIE, sessionMode } from '../support/session_scene.mjs';
import { submit, WebKitScene } from '../support/webkit_scene.mjs';

/** In the page: a call as a page of session mode makes it. */
const call = (tab, input = '/api/things', init = {}) =>
  tab.evaluate(async (input, init) => {
    const answer = await fetch(input, { ...init, headers: { 'X-CSRF': '1' } });
    return { status: answer.status, isRedirected: answer.redirected, ...(await answer.json()) };
  }, input, init);
const subjectOf = ({ headers }) => headers?.['x-auth-subject'];
/** Runs in a page: follows a link. */
const follow = (href) => {
  const link = Object.assign(document.createElement('a'), { href, id: 'to', textContent: 'there' });
  document.body.append(link);
};
describe('a page without tokens', () => {
  let scene;
  before(async () => {
    scene = await WebKitScene.start({ ...sessionMode(), routes: (_, pages) => [{ path: '/page/*', to: pages, public: true }] });
  });
  after(() => scene?.stop());
  beforeEach(() => scene.newPerson());

  const received = (path) => scene.world.upstream.received.filter(({ url }) => url.startsWith(path));
  const asHers = () => scene.world.upstream.received.filter(({ headers }) => headers['x-auth-subject']).map(({ method, url }) => `${method} ${url}`);
  const logged = (path) => scene.world.gateway.requests.filter((request) => request.path === path);
  const logout = '/oauth/logout?client_id=web-app';

  test('a navigation goes to sign-in and comes back; script sees no token, and upstreams no cookie', async () => {
    const tab = await scene.signInAt('/portal/deep?x=1&y=%20');
    assert.match(await tab.text(), /"x-auth-subject":\s*"alice"/);
    const answer = await call(tab);
    assert.deepEqual([answer.status, subjectOf(answer), answer.headers.cookie], [200, 'alice', undefined]);
    assert.deepEqual(await tab.evaluate(() => [document.cookie, localStorage.length, sessionStorage.length]), ['', 0, 0]);
    const [{ name, path, httpOnly, secure, sameSite }, ...others] = await scene.cookiesAt('/page/');
    assert.deepEqual(others, [], 'the cookie of the sign-in is gone');
    assert.deepEqual([name, path, httpOnly, secure, sameSite], [COOKIE, '/', true, true, 'Strict']);
  });

  test('a call without a session is told where sign-in is, is not redirected, and the way leads back to its page', async () => {
    const tab = await scene.person.open(`${scene.url}/page/here`);
    const { status, isRedirected, login_url } = await call(tab);
    assert.deepEqual([status, isRedirected], [401, false]);
    assert.match(login_url, /return_to=%2Fpage%2Fhere/);
    await tab.evaluate((url) => location.assign(url), login_url);
    await scene.pass(tab);
    await tab.waitForURL(`${scene.url}/page/here`);
    assert.equal(subjectOf(await call(tab)), 'alice');
  });

  test('links of other pages lead in, for who is signed in without another sign-in', async () => {
    await scene.signInAt('/portal/in');
    for (const [name, url] of Object.entries(scene.others)) {
      const tab = await scene.person.open(url);
      await tab.evaluate(follow, `${scene.url}/portal/mail?id=7`);
      await tab.click('#to');
      await until(`the page of the link of ${name}`, async () => /"x-auth-subject":\s*"alice"/.test(await tab.text()));
      assert.equal(await tab.url(), `${scene.url}/portal/mail?id=7`);
      await tab.close();
    }
  });

  test('an event stream and a WebSocket are hers, and end with her session', async () => {
    const tab = await scene.signInAt('/portal/in');
    await tab.evaluate(() => {
      window.seen = { came: 0, failed: 0 };
      window.events = new EventSource('/api/feed');
      events.onmessage = () => (seen.came += 1);
      events.onerror = () => (seen.failed += 1);
      window.socket = new WebSocket('/api/socket');
      socket.onmessage = ({ data }) => (seen.socket = JSON.parse(data).headers['x-auth-subject']);
      socket.onclose = () => (seen.closed = true);
    });
    const seen = () => tab.evaluate(() => ({ ...seen, state: events.readyState }));
    await until('both to be open', async () => (({ came, socket }) => came === 1 && socket === 'alice')(await seen()));
    assert.equal(subjectOf(received('/api/feed').at(-1)), 'alice');
    assert.equal((await call(tab, logout, { method: 'POST' })).status, 200);
    await until('the socket to be closed', async () => (await seen()).closed);
    // Over HTTP/2 the stream is reset, and libsoup 3.2, which is not Safari's, tells the page nothing of that.
    await until('the stream to be over', () => scene.world.upstream.readers === 0);
    assert.equal((await seen()).came, 1);
  });

  test('a link that downloads brings the file', async () => {
    const tab = await scene.signInAt('/portal/in');
    await tab.evaluate((href) => {
      const link = Object.assign(document.createElement('a'), { href, download: 'file.txt', id: 'file', textContent: 'file' });
      document.body.append(link);
    }, '/portal/file');
    await tab.click('#file');
    await until('the file to be asked for', () => logged('/portal/file').length > 0);
    assert.equal(logged('/portal/file')[0].status, 200);
    assert.equal(subjectOf(received('/portal/file')[0]), 'alice');
  });

  test('a form signs out, and leads to the server; the way back to a page with no-store leads to sign-in', async () => {
    const tab = await scene.signInAt('/portal/in');
    await tab.goto(`${scene.url}/portal/personal?no-store`);
    await tab.evaluate(submit, logout, 'unsafe-url');
    await tab.waitForURL(`${scene.world.as.url}/session/end*`);
    assert.match(await tab.url(), /id_token_hint=/);
    assert.deepEqual(await scene.cookiesAt('/page/'), []);
    await tab.back();
    await tab.waitFor('input[name=login]');
  });

  test('no page of anybody else uses the session, plants one or ends it, a form that is sent again neither', async () => {
    const tab = await scene.signInAt('/portal/in');
    const [before, { as, gateway }] = [asHers().length, scene.world];
    const calls = as.tokenCalls.length;
    for (const [name, url] of Object.entries(scene.others)) {
      const foreign = await scene.person.open(url);
      const got = await foreign.evaluate(async (gateway) => {
        const credentials = 'include';
        const of = (promise) => promise.then(({ type }) => type, ({ name }) => name);
        const ended = (element) => new Promise((done) => ((element.onload = () => done('load')), (element.onerror = () => done('error'))));
        const loads = (tag, attributes) => {
          const element = Object.assign(document.createElement(tag), attributes);
          const end = ended(element);
          document.body.append(element);
          return end;
        };
        return [
          await of(fetch(`${gateway}/api/a`, { credentials })),
          await of(fetch(`${gateway}/api/b`, { credentials, headers: { 'X-CSRF': '1' } })),
          await of(fetch(`${gateway}/api/c`, { credentials, method: 'POST', mode: 'no-cors', body: 'x' })),
          await of(fetch(`${gateway}/oauth/logout?client_id=web-app`, { credentials, method: 'POST', mode: 'no-cors', referrerPolicy: 'no-referrer' })),
          await of(fetch(`${gateway}/oauth/session?client_id=web-app`, { credentials })),
          await loads('img', { src: `${gateway}/api/d` }),
          await ended(new EventSource(`${gateway}/api/e`, { withCredentials: true })),
        ];
      }, scene.url);
      assert.deepEqual(got, ['TypeError', 'TypeError', 'opaque', 'opaque', 'TypeError', 'error', 'error'], name);
      for (const referrer of ['unsafe-url', 'no-referrer']) {
        await foreign.goto(url);
        const sent = logged('/oauth/logout').length;
        await foreign.evaluate(submit, `${scene.url}${logout}`, referrer);
        await until('the form to arrive', () => logged('/oauth/logout').length > sent);
        await foreign.waitForURL(`${scene.url}${logout}`);
        await foreign.reload();
        await until('it to arrive again', () => logged('/oauth/logout').length > sent + 1);
        assert.deepEqual(logged('/oauth/logout').slice(sent).map(({ status }) => status), [403, 403], `${name}, ${referrer}`);
      }
      await foreign.close();
    }
    assert.deepEqual([asHers().length, as.tokenCalls.length], [before, calls], 'nothing went on in her name');
    assert.ok(gateway.requests.some(({ status }) => status === 403));
    assert.equal(subjectOf(await call(tab)), 'alice', 'she is still signed in');
  });

  test('with a service worker that passes navigations on people sign in, and pages are not its business', async () => {
    const tab = await scene.person.open(`${scene.url}/page/`);
    await installWorker(tab, '/page/worker.js');
    await tab.evaluate((login) => location.assign(login), '/oauth/login?client_id=web-app&return_to=/page/here');
    await scene.pass(tab);
    await tab.waitForURL(`${scene.url}/page/here`);
    assert.equal(subjectOf(await call(tab)), 'alice');
    await tab.goto(`${scene.url}/portal/here`);
    assert.equal(await tab.text('h1'), 'Your browser does not say that it is opening this page');
  });

  test('the pages of the gateway look as they should, with a policy that lets in nothing else', async () => {
    const tab = await scene.person.open(`${scene.url}/nothing`);
    assert.equal(await tab.text('h1'), 'Nothing is served at this path');
    assert.equal(await tab.evaluate(() => getComputedStyle(document.querySelector('main')).maxWidth), '512px');
  });
});
