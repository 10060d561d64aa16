// The configuration is read again on SIGHUP, and when one of its files changed. A bad one changes nothing.

import assert from 'node:assert/strict';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { Gateway } from './support/gateway.mjs';
import { request, until } from './support/http.mjs';
import { Upstream } from './support/upstream.mjs';

test('SIGHUP and a changed file make it read its configuration again; a bad one changes nothing', async (t) => {
  const upstream = await Upstream.start();
  const gateway = await Gateway.reserve();
  t.after(() => Promise.all([gateway.stop(), upstream.stop()]));
  const issuers = { as: { url: 'http://127.0.0.1:9', audience: 'https://api.example.com' } };
  const routes = (path) => [{ path, to: upstream.url, public: true }];
  await gateway.start({ issuers, routes: routes('/one') }, { ready: false });
  const status = async (path) => (await request('GET', `${gateway.url}${path}`)).status;
  assert.deepEqual([await status('/one'), await status('/two')], [200, 404]);

  const token = (await readFile(gateway.file('data/admin.token'), 'utf8')).trim();
  const Authorization = `Basic ${Buffer.from(`olga:${token}`).toString('base64')}`;
  const operator = (path) => request('GET', `${gateway.admin}${path}`, { headers: { Authorization } });
  assert.deepEqual((await operator('/status')).json.config, { taken_over_at: null, after_restart: [] });

  const file = gateway.file('config.yaml');
  const before = JSON.parse(await readFile(file, 'utf8'));
  const write = async (change) => {
    // As editors and orchestrators do it: whole, under another name first.
    await writeFile(`${file}.new`, typeof change === 'string' ? change : JSON.stringify({ ...before, ...change }));
    await rename(`${file}.new`, file);
  };

  await write({ routes: routes('/two') });
  gateway.signal('SIGHUP');
  await until('the second configuration, by SIGHUP', async () => (await status('/two')) === 200);
  assert.equal(await status('/one'), 404);

  await write({ routes: routes('/three'), log: { format: 'text' } });
  await until('the third configuration, by the change of the file', async () => (await status('/three')) === 200);
  await gateway.says(/"key":"log".*counts only after a restart|counts only after a restart.*"key":"log"/);

  for (const [bad, told] of [
    [{ routes: [{ path: '/four', to: upstream.url, publik: true }] }, 'did you mean `public`?'],
    ['routes: [', 'config.yaml:1'],
  ]) {
    const failed = await gateway.metric('tollgate_config_reloads_total', { result: 'failed' });
    await write(bad);
    gateway.signal('SIGHUP');
    await until('the refusal', async () => (await gateway.metric('tollgate_config_reloads_total', { result: 'failed' })) > failed);
    await gateway.says(told);
    assert.deepEqual([await status('/three'), await status('/four')], [200, 404]);
    const { config } = (await operator('/status')).json;
    assert.deepEqual(config.after_restart, ['log'], 'of the one that counts');
    assert.equal(config.refused.mistakes.length, 1);
    assert.ok(config.refused.mistakes[0].includes(told), config.refused.mistakes[0]);
    assert.ok(config.taken_over_at <= config.refused.at, JSON.stringify(config));
    const page = (await operator('/')).text;
    assert.match(page, /is refused, and does not count:/);
    assert.match(page, /counts only after a restart: log</);
  }
  // Operators hear what became of it.
  const reload = () => request('POST', `${gateway.admin}/reload`, { headers: { Authorization } });
  const audited = (outcome) => gateway.says(new RegExp(`"event":"audit"[^\n]*"who":"127\\.0\\.0\\.1"[^\n]*"name":"olga"[^\n]*"outcome":"${outcome}"`));
  const refused = await reload();
  assert.deepEqual([refused.status, refused.json.reloaded, refused.json.mistakes.length], [422, false, 1]);
  await audited('refused');
  await write({ routes: routes('/five'), log: { format: 'text' } });
  assert.deepEqual((await reload()).json, { reloaded: true, after_restart: ['log'] });
  const { refused: over, after_restart: waits } = (await operator('/status')).json.config;
  assert.deepEqual([over, waits], [undefined, ['log']]);
  await audited('taken_over');
  assert.equal(await status('/five'), 200);
});
