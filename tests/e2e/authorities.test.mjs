// Whom the system trusts is trusted where no `ca` is named: authorization servers, and upstreams, whether they were there
// when the gateway started or a reload brings the first of them.

import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { readFile, rename, writeFile } from 'node:fs/promises';
import https from 'node:https';
import { test } from 'node:test';
import { Gateway } from './support/gateway.mjs';
import { request, until } from './support/http.mjs';
import { Authority, Folder } from './support/tools.mjs';
import { Upstream } from './support/upstream.mjs';

/** Answers everything with a key set, over TLS. */
async function secureServer(certificate) {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const keys = JSON.stringify({ keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'one', alg: 'ES256' }] });
  const [cert, key] = await Promise.all([readFile(certificate.certificate), readFile(certificate.key)]);
  const server = https.createServer({ cert, key }, (_, outgoing) => outgoing.setHeader('content-type', 'application/json').end(keys));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, url: `https://127.0.0.1:${server.address().port}`, keys };
}

test('whom the system trusts is trusted, also by an upstream that a reload brings', async (t) => {
  const folder = await Folder.make();
  const [system, strangers] = [await Authority.make(folder, 'system'), await Authority.make(folder, 'strangers')];
  const trusted = await secureServer(await system.gives('trusted', 'IP:127.0.0.1'));
  const strange = await secureServer(await strangers.gives('strange', 'IP:127.0.0.1'));
  const clear = await Upstream.start();
  const [gateway, another] = [await Gateway.reserve(), await Gateway.reserve()];
  t.after(async () => {
    trusted.server.close().closeAllConnections();
    strange.server.close().closeAllConnections();
    await Promise.all([gateway.stop(), another.stop(), clear.stop(), folder.remove()]);
  });
  const issuers = { as: { url: trusted.url, audience: 'https://api.example.com', jwks_uri: `${trusted.url}/jwks` } };
  const routes = (to) => Object.entries(to).map(([name, url]) => ({ path: `/${name}`, to: url, public: true }));
  const env = { SSL_CERT_FILE: system.ca };
  const get = async (from, path) => request('GET', `${from.url}${path}`);

  // It is ready when it has the issuer's keys.
  await gateway.start({ issuers, routes: routes({ clear: clear.url }) }, { env });
  assert.equal((await get(gateway, '/clear')).status, 200);

  const file = gateway.file('config.yaml');
  const config = { ...JSON.parse(await readFile(file, 'utf8')), routes: routes({ trusted: trusted.url, strange: strange.url }) };
  await writeFile(`${file}.new`, JSON.stringify(config));
  await rename(`${file}.new`, file);
  gateway.signal('SIGHUP');
  await until('the upstream that the reload brings', async () => (await get(gateway, '/trusted')).status === 200);
  assert.equal((await get(gateway, '/trusted')).text, trusted.keys);
  assert.equal((await get(gateway, '/strange')).status, 502);

  await another.start({ issuers, routes: routes({ trusted: trusted.url, strange: strange.url }) }, { env });
  assert.equal((await get(another, '/trusted')).text, trusted.keys);
  assert.equal((await get(another, '/strange')).status, 502);
});

test('where nobody can be trusted, a gateway with an upstream over TLS does not start, and a reload with one changes nothing', async (t) => {
  const folder = await Folder.make();
  const clear = await Upstream.start();
  const [gateway, another] = [await Gateway.reserve(), await Gateway.reserve()];
  t.after(() => Promise.all([gateway.stop(), another.stop(), clear.stop(), folder.remove()]));
  const issuers = { as: { url: 'http://127.0.0.1:9', audience: 'https://api.example.com' } };
  const env = { SSL_CERT_FILE: folder.file('gone.pem') };
  await gateway.start({ issuers, routes: [{ path: '/x', to: clear.url, public: true }] }, { env, ready: false });
  const file = gateway.file('config.yaml');
  const config = { ...JSON.parse(await readFile(file, 'utf8')), routes: [{ path: '/x', to: 'https://127.0.0.1:9', public: true }] };
  await writeFile(`${file}.new`, JSON.stringify(config));
  await rename(`${file}.new`, file);
  gateway.signal('SIGHUP');
  await gateway.says('install ca-certificates, or set SSL_CERT_FILE');
  assert.equal((await request('GET', `${gateway.url}/x`)).status, 200);
  await assert.rejects(another.start({ issuers, routes: config.routes }, { env, ready: false }), /install ca-certificates, or set SSL_CERT_FILE/);
});

test('a reload with the first health check changes nothing when the certificates of the system cannot be read any more', async (t) => {
  const folder = await Folder.make();
  const system = await Authority.make(folder, 'system');
  const trusted = await secureServer(await system.gives('trusted', 'IP:127.0.0.1'));
  const gateway = await Gateway.reserve();
  t.after(async () => {
    trusted.server.close().closeAllConnections();
    await Promise.all([gateway.stop(), folder.remove()]);
  });
  const issuers = { as: { url: 'http://127.0.0.1:9', audience: 'https://api.example.com' } };
  const upstream = (more) => ({ upstreams: { trusted: { url: trusted.url, ...more } }, routes: [{ path: '/x', to: 'trusted', public: true }] });
  await gateway.start({ issuers, ...upstream({}) }, { env: { SSL_CERT_FILE: system.ca }, ready: false });
  await rename(system.ca, folder.file('gone.pem'));
  const file = gateway.file('config.yaml');
  const config = { ...JSON.parse(await readFile(file, 'utf8')), ...upstream({ health: { path: '/healthz' } }) };
  await writeFile(`${file}.new`, JSON.stringify(config));
  await rename(`${file}.new`, file);
  gateway.signal('SIGHUP');
  await gateway.says('install ca-certificates, or set SSL_CERT_FILE');
  assert.equal((await request('GET', `${gateway.url}/x`)).status, 200);
  // Once they can be read again it counts.
  await rename(folder.file('gone.pem'), system.ca);
  gateway.signal('SIGHUP');
  await until('the health check', async () => (await gateway.metric('tollgate_config_reloads_total', { result: 'ok' })) > 0);
  assert.equal((await request('GET', `${gateway.url}/x`)).status, 200);
});
