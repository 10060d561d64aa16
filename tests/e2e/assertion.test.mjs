// The gateway's assertion, checked as a service would do it: by `jose`, with the keys that the gateway publishes.

import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { createRemoteJWKSet, exportJWK, jwtVerify, SignJWT } from 'jose';
import { Gateway, run } from './support/gateway.mjs';
import { request, until } from './support/http.mjs';
import { Upstream } from './support/upstream.mjs';

const AUDIENCE = 'https://api.example.com';
const ISSUER = 'http://127.0.0.1:9/issuer';

/** An issuer without a server: tokens, and the file with its key. */
async function issuer() {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwks = JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: 'k1', alg: 'ES256', use: 'sig' }] });
  const token = (sub) =>
    new SignJWT({ sub, client_id: 'web-app', scope: 'api:read' })
      .setProtectedHeader({ alg: 'ES256', kid: 'k1', typ: 'at+jwt' })
      .setIssuer(ISSUER).setAudience(AUDIENCE).setIssuedAt().setExpirationTime('5m').sign(privateKey);
  return { jwks, token };
}

async function newKey() {
  const made = await run(['keys', 'assertion']);
  assert.equal(made.code, 0, made.text);
  return made.text;
}

for (const bind of ['upstream', 'request']) {
  test(`a service checks the assertion with another library while keys rotate under load: bind ${bind}`, async (t) => {
    const [upstream, gateway, as] = [await Upstream.start(), await Gateway.reserve(), await issuer()];
    t.after(() => Promise.all([gateway.stop(), upstream.stop()]));
    const config = (keys) => ({
      issuers: { as: { url: ISSUER, audience: AUDIENCE, jwks_file: 'jwks.json' } },
      identity: { assertion: { ttl: '10s', bind, keys: keys.map((file) => ({ file })) } },
      routes: [{ path: '/api/*', to: upstream.url }],
    });
    const files = { 'jwks.json': as.jwks, 'key.1': await newKey(), 'key.2': await newKey() };
    await gateway.start(config(['key.1']), { files });

    // What a service does: the keys are fetched, and fetched again when a new one comes along.
    const keys = createRemoteJWKSet(new URL(`${gateway.url}/.well-known/jwks.json`), { cooldownDuration: 0 });
    const checked = new Set();
    const jtis = new Set();
    const tokens = await Promise.all(['alice', 'bob', 'carol', 'dave'].map(as.token));
    let failure;
    let stopped = false;
    const clients = tokens.map(async (token, at) => {
      while (!stopped && !failure) {
        const path = `/api/${at}`;
        const answer = await request('PUT', `${gateway.url}${path}`, { headers: { Authorization: `Bearer ${token}` } });
        assert.equal(answer.status, 200);
        const assertion = answer.json.headers['x-auth-assertion'];
        const { payload, protectedHeader } = await jwtVerify(assertion, keys, { issuer: gateway.url, audience: upstream.url, typ: 'tollgate+jwt', maxTokenAge: '10s' });
        assert.equal(payload.sub, ['alice', 'bob', 'carol', 'dave'][at]);
        if (bind === 'request') {
          assert.deepEqual([payload.method, payload.path, jtis.has(payload.jti)], ['PUT', path, false]);
          jtis.add(payload.jti);
        }
        checked.add(protectedHeader.kid);
      }
    }).map((client) => client.catch((error) => (failure ??= error)));
    const published = async () => (await request('GET', `${gateway.url}/.well-known/jwks.json`)).json.keys.map((key) => key.kid);
    const rotate = async (names) => {
      const before = JSON.parse(await readFile(gateway.file('config.yaml'), 'utf8'));
      await writeFile(gateway.file('next'), JSON.stringify({ ...before, ...config(names) }));
      await rename(gateway.file('next'), gateway.file('config.yaml'));
      gateway.signal('SIGHUP');
    };

    const [first] = await published();
    await until('the first key in use', () => failure || checked.has(first));
    // Publish the new key, then sign with it, then take the old one away.
    await rotate(['key.1', 'key.2']);
    await until('both keys published', async () => failure || (await published()).length === 2);
    const second = (await published())[1];
    await rotate(['key.2', 'key.1']);
    await until('the second key in use', () => failure || checked.has(second));
    await rotate(['key.2']);
    await until('the first key gone', async () => failure || (await published()).length === 1);
    stopped = true;
    await Promise.all(clients);
    if (failure) throw failure;
    assert.deepEqual([...checked], [first, second]);

    // It is no access token, whoever takes it for one.
    const last = upstream.received.at(-1).headers['x-auth-assertion'];
    const answer = await request('GET', `${gateway.url}/api/x`, { headers: { Authorization: `Bearer ${last}` } });
    assert.equal(answer.status, 401);
  });
}

test('routes before one service say who calls each in its own way, and nobody else does', async (t) => {
  const [upstream, gateway, as] = [await Upstream.start(), await Gateway.reserve(), await issuer()];
  t.after(() => Promise.all([gateway.stop(), upstream.stop()]));
  await gateway.start({
    issuers: { as: { url: ISSUER, audience: AUDIENCE, jwks_file: 'jwks.json' } },
    routes: [
      { path: '/plain/*', to: upstream.url },
      { path: '/signed/*', to: upstream.url, identity: { headers: { 'X-User': 'sub' }, assertion: { header: 'X-Signed' } } },
      { path: '/open/*', to: upstream.url, public: true },
    ],
  }, { files: { 'jwks.json': as.jwks } });
  const keys = createRemoteJWKSet(new URL(`${gateway.url}/.well-known/jwks.json`));
  const token = await as.token('alice');
  const forged = { 'X-User': 'forged', X_User: 'forged', 'X-Signed': 'forged', 'X-Auth-Subject': 'forged' };
  const told = async (path, headers) => {
    const answer = await request('GET', `${gateway.url}${path}`, { headers: { ...forged, ...headers } });
    assert.equal(answer.status, 200);
    const names = Object.entries(answer.json.headers).filter(([, value]) => `${value}`.includes('forged'));
    assert.deepEqual(names, [], path);
    const { 'x-user': user, 'x-auth-subject': subject, 'x-signed': signed } = answer.json.headers;
    return { user, subject, signed };
  };
  const Authorization = `Bearer ${token}`;
  for (let round = 0; round < 2; round += 1) {
    assert.deepEqual(await told('/plain/x', { Authorization }), { user: undefined, subject: 'alice', signed: undefined });
    const { user, subject, signed } = await told('/signed/x', { Authorization });
    assert.deepEqual([user, subject], ['alice', undefined]);
    const { payload } = await jwtVerify(signed, keys, { issuer: gateway.url, audience: upstream.url, typ: 'tollgate+jwt' });
    assert.equal(payload.sub, 'alice');
    assert.deepEqual(await told('/open/x', {}), { user: undefined, subject: undefined, signed: undefined });
  }
});
