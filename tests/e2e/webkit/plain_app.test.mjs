// `csrf: fetch_metadata` in WebKitGTK: an application that knows nothing of Tollgate works, and no form of another page counts as
// its own, sent again or by way of a service worker neither.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { until } from '../support/http.mjs';
import { installWorker } from '../support/pages.mjs';
import { PlainApp } from '../support/plain_app.mjs';
import { sessionMode } from '../support/session_scene.mjs';
import { submit, WebKitScene } from '../support/webkit_scene.mjs';

let app, scene, tab;
before(async () => {
  app = await PlainApp.start();
  const routes = (_, pages) => [
    { path: '/plain/*', to: app.url, sign_in: 'web-app' },
    { path: '/page/*', to: pages, public: true },
  ];
  scene = await WebKitScene.start({ ...sessionMode({ client: { csrf: 'fetch_metadata' } }), routes });
  tab = await scene.signInAt('/plain/page');
});
after(async () => {
  await scene?.stop();
  app?.stop();
});

/** What went to the application as hers. */
const asHers = () => app.received.filter(({ headers }) => headers['x-auth-subject'] === 'alice').map(({ method, url }) => `${method} ${url}`);
const posts = () => scene.world.gateway.requests.filter(({ method, path }) => method === 'POST' && path === '/plain/save');
/** From some pages no cookie comes along. */
const isRefused = ({ status }) => status === 401 || status === 403;

test('its page loads what it needs, calls what is behind it, downloads and sends its forms', async () => {
  await until('the page to have all of it', async () => (await tab.evaluate(() => loaded.length)) === 4);
  assert.equal(await tab.evaluate(async () => (await fetch('data', { method: 'PUT', body: 'x' })).status), 200);
  await tab.evaluate(() => document.body.append(Object.assign(document.createElement('a'), { href: 'report', download: 'report.txt', id: 'report', textContent: 'report' })));
  await tab.click('#report');
  await until('the download', () => asHers().includes('GET /plain/report'));
  await tab.click('form button');
  await tab.waitForURL(`${scene.url}/plain/save`);
  assert.equal(await tab.text(), 'POST /plain/save');
});

test('no form of another page counts as its own, sent again by a reload neither', async () => {
  for (const [name, url] of Object.entries(scene.others)) {
    for (const referrer of ['unsafe-url', 'no-referrer']) {
      const [before, sent] = [asHers(), posts().length];
      const foreign = await scene.person.open(url);
      await foreign.evaluate(submit, `${scene.url}/plain/save`, referrer);
      await foreign.waitForURL(`${scene.url}/plain/save`);
      await foreign.reload();
      await until('it to come again', () => posts().length >= sent + 2);
      assert.ok(posts().slice(sent).every(isRefused), `${name}, ${referrer}`);
      assert.deepEqual(asHers(), before, `${name}, ${referrer}`);
      await foreign.close();
    }
  }
});

test('nor is one that a service worker passes on, whoever it says that it is of', async () => {
  const own = await scene.person.open(`${scene.url}/page/`);
  await installWorker(own, '/page/worker.js');
  for (const [name, url] of Object.entries(scene.others)) {
    for (const referrer of ['unsafe-url', 'no-referrer']) {
      const [before, sent] = [asHers(), posts().length];
      const foreign = await scene.person.open(url);
      await foreign.evaluate(submit, `${scene.url}/plain/save`, referrer);
      await until('the form to arrive', () => posts().length > sent);
      assert.ok(posts().slice(sent).every(isRefused), `${name}, ${referrer}`);
      assert.deepEqual(asHers(), before, `${name}, ${referrer}`);
      await foreign.close();
    }
  }
  assert.equal(await own.evaluate(async () => (await fetch('/plain/data')).status), 200, 'she is still signed in');
});
