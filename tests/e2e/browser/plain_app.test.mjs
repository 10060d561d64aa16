// `csrf: fetch_metadata` in Chromium: an application that knows nothing of Tollgate works behind `mode: session`, and no page of
// another origin gets anything of it, those of the same site neither.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { IS_FIREFOX } from '../support/browsers.mjs';
import { until } from '../support/http.mjs';
import { installWorker } from '../support/pages.mjs';
import { PlainApp } from '../support/plain_app.mjs';
import { SessionScene } from '../support/session_scene.mjs';

describe('an application that knows nothing of the gateway', () => {
  let app;
  let scene;
  let tab;
  before(async () => {
    app = await PlainApp.start();
    scene = await SessionScene.start({
      host: 'gate.app.localhost',
      client: { csrf: 'fetch_metadata' },
      routes: () => [{ path: '/plain/*', to: app.url, sign_in: 'web-app' }],
    });
    tab = await scene.signInAt('/plain/page');
  });
  after(async () => {
    await scene?.stop();
    app?.stop();
  });

  /** What went to the application, or to the API, as hers. */
  const asHers = () => [...app.received, ...scene.world.upstream.received].filter(({ headers }) => headers['x-auth-subject'] === 'alice').map(({ method, url }) => `${method} ${url}`);

  test('loads what it needs, calls what is behind it and sends its forms', async () => {
    const all = ['frame', 'module', 'picture', 'script'];
    await until('the page to have all of it', async () => (await tab.evaluate(() => loaded.length)) === all.length);
    assert.deepEqual(await tab.evaluate(() => loaded.sort()), all);
    assert.equal(await tab.evaluate(() => getComputedStyle(document.body).marginLeft), '7px');
    const statuses = await tab.evaluate(async () => {
      const of = async (url, init) => (await fetch(url, init)).status;
      return [await of('data'), await of('data', { method: 'PUT', body: 'x' }), await of('/api/things'), navigator.sendBeacon('beacon', 'x')];
    });
    assert.deepEqual(statuses, [200, 200, 200, true]);
    await until('the beacon to arrive', () => asHers().includes('POST /plain/beacon'));
    await tab.click('form button');
    await tab.waitForURL(`${scene.url}/plain/save`);
    assert.equal(await tab.innerText('body'), 'POST /plain/save');
    const { headers } = app.received.at(-1);
    assert.deepEqual([headers['x-auth-subject'], headers.cookie], ['alice', undefined]);
  });

  // Browsers ask for it without cookies (HTML, link type `manifest`).
  test('is an application to be installed where the link of its manifest lets cookies come along', { skip: IS_FIREFOX }, async () => {
    const page = await scene.open(`${scene.url}/plain/page`);
    const devtools = await scene.context.newCDPSession(page);
    const manifest = async () => (await devtools.send('Page.getAppManifest')).data;
    assert.equal(await manifest(), '');
    await page.evaluate(() => (document.querySelector('[rel=manifest]').crossOrigin = 'use-credentials'));
    await until('the manifest', async () => (await manifest()) === '{"name":"plain"}');
    assert.ok(asHers().includes('GET /plain/app.webmanifest'));
  });

  test('where a link or a redirect leads that another origin made, a page opens and nothing else does', async () => {
    await tab.goto(`${scene.url}/plain/page`);
    await until('the page to have all of it', async () => (await tab.evaluate(() => loaded.length)) === 4);
    const before = asHers();
    // A redirect from our own page over a sibling is the sibling's.
    const back = (name) => `http://evil.app.localhost:${scene.pages.port}/redirect?to=${encodeURIComponent(`${scene.url}/plain/${name}`)}`;
    const got = await tab.evaluate(async ([picture, data]) => {
      const image = new Image();
      image.src = picture;
      const shown = await new Promise((done) => ((image.onload = () => done('shown')), (image.onerror = () => done('error'))));
      const read = await fetch(data, { credentials: 'include', mode: 'no-cors' }).then(({ type }) => type);
      return [shown, read];
    }, [back('picture.svg'), back('data')]);
    assert.deepEqual(got, ['error', 'opaque']);
    // A sign-in leads wherever a link says, from a page of the gateway's own origin.
    const window = await scene.open(`http://127.0.0.1:${scene.pages.port}/`);
    await window.goto(`${scene.url}/oauth/login?client_id=web-app&return_to=${encodeURIComponent('/api/delete?all')}`);
    await scene.pass(window, 'alice');
    await window.waitForURL(`${scene.url}/api/delete?all`);
    assert.match(await window.innerText('body'), /A session cannot open a page here[^]*needs sign_in/);
    assert.deepEqual(asHers(), before, 'nothing went on in her name');
    // Where the route signs in, it is a page like any other.
    await window.goto(`http://127.0.0.1:${scene.pages.port}/`);
    await window.evaluate((to) => location.assign(to), `${scene.url}/plain/frame`);
    await until('the page to open', async () => (await window.title()) === 'frame');
  });

  test('no page of another origin gets anything of it', async () => {
    await tab.goto(`${scene.url}/plain/page`);
    await until('the page to have all of it', async () => (await tab.evaluate(() => loaded.length)) === 4);
    const before = asHers();
    for (const host of ['127.0.0.1', 'evil.app.localhost', 'gate.app.localhost']) {
      const foreign = await scene.open(`http://${host}:${scene.pages.port}/`);
      const got = await foreign.evaluate(async (gateway) => {
        const ended = (element) => new Promise((done) => ((element.onload = () => done('load')), (element.onerror = () => done('error'))));
        const loads = async (tag, attributes) => {
          const element = Object.assign(document.createElement(tag), attributes);
          const end = ended(element);
          document.body.append(element);
          return end;
        };
        const credentials = 'include';
        return [
          await loads('img', { src: `${gateway}/plain/picture.svg` }),
          await loads('script', { src: `${gateway}/plain/script.js` }),
          await loads('link', { rel: 'stylesheet', href: `${gateway}/plain/style.css` }),
          await fetch(`${gateway}/plain/data`, { credentials }).then(({ status }) => status, ({ name }) => name),
          await fetch(`${gateway}/plain/data`, { credentials, mode: 'no-cors', method: 'POST', body: 'x' }).then(({ type }) => type),
          navigator.sendBeacon(`${gateway}/plain/beacon`, 'x'),
        ];
      }, scene.url);
      assert.deepEqual(got, ['error', 'error', 'error', 'TypeError', 'opaque', true], host);
      await foreign.evaluate((gateway) => {
        const form = Object.assign(document.createElement('form'), { method: 'post', action: `${gateway}/plain/save` });
        document.body.append(form);
        form.submit();
      }, scene.url);
      await foreign.waitForURL(`${scene.url}/plain/save`);
      assert.doesNotMatch(await foreign.innerText('body'), /POST/, host);
      await foreign.close();
    }
    assert.deepEqual(asHers(), before, 'nothing went on in her name');
    assert.equal(await tab.evaluate(async () => (await fetch('data')).status), 200, 'she is still signed in');
  });

  test('nor by a form that a service worker passes on', async () => {
    const own = await scene.open();
    await installWorker(own, '/page/worker.js');
    const { requests } = scene.world.gateway;
    for (const referrer of ['unsafe-url', 'no-referrer']) {
      const before = asHers();
      const posts = () => requests.filter(({ method, path }) => method === 'POST' && path === '/plain/save');
      const sent = posts().length;
      const foreign = await scene.open(`http://evil.app.localhost:${scene.pages.port}/`);
      await foreign.evaluate(({ gateway, referrer }) => {
        document.head.append(Object.assign(document.createElement('meta'), { name: 'referrer', content: referrer }));
        const form = Object.assign(document.createElement('form'), { method: 'post', action: `${gateway}/plain/save` });
        document.body.append(form);
        form.submit();
      }, { gateway: scene.url, referrer });
      await until('the form to arrive', () => posts().length > sent);
      assert.equal(posts().at(-1).status, 403, referrer);
      assert.deepEqual(asHers(), before, 'nothing went on in her name');
      await foreign.close();
    }
  });
});
