// What the tests' browser leaves behind on the machine of whoever runs them: nothing.

import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { IS_FIREFOX, launch } from '../support/browsers.mjs';

test('a browser leaves nothing in the home of whoever runs the tests', { skip: IS_FIREFOX && 'it is about Chromium' }, async (t) => {
  const home = await mkdtemp(path.join(tmpdir(), 'tollgate-home-'));
  t.after(() => rm(home, { recursive: true, force: true }));
  process.env.HOME = home;
  for (const name of ['XDG_CONFIG_HOME', 'XDG_CACHE_HOME', 'XDG_DATA_HOME']) delete process.env[name];
  const browser = await launch();
  const page = await browser.newPage();
  await page.setContent('<p>here</p>');
  assert.equal(await page.textContent('p'), 'here');
  await browser.close();
  assert.deepEqual(await readdir(home, { recursive: true }), []);
});
