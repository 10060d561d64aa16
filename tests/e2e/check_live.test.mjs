// `tollgate check --live` with credentials: a real authorization server says whether they count, before anybody signs in.

import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { run } from './support/gateway.mjs';
import { until } from './support/http.mjs';
import { sessionMode, signInByGateway } from './support/session_scene.mjs';
import { CLIENT, SECRET, World } from './support/world.mjs';

const GATEWAY = 'the gateway';

async function check(world, config, { files = {}, secret = SECRET } = {}) {
  for (const [name, text] of Object.entries(files)) await writeFile(world.gateway.file(name), text);
  const { host, port, adminPort } = world.gateway;
  const whole = { public_url: `http://${host}:${port}`, listen: `127.0.0.1:${port}`, admin: `127.0.0.1:${adminPort}`, store: 'data', ...config };
  await writeFile(world.gateway.file('checked.yaml'), JSON.stringify(whole));
  const cwd = world.gateway.file('.');
  const { code, text } = await run(['check', 'checked.yaml', '--live'], { cwd, env: { WEB_APP_SECRET: secret } });
  for (const one of [SECRET, secret]) assert.ok(!text.includes(one), text);
  const line = (of) => text.split('\n').find((line) => line.slice(4).startsWith(of)) ?? assert.fail(`${of}:\n${text}`);
  return { code, text, line };
}

const key = () => generateKeyPairSync('ec', { namedCurve: 'P-256' });
const pem = ({ privateKey }) => privateKey.export({ type: 'pkcs8', format: 'pem' });

for (const auth of ['client_secret_basic', 'client_secret_post', 'none']) {
  test(`what a server takes is said to count, and what it does not is named with what to do (${auth})`, async (t) => {
    const introspects = auth !== 'none';
    const world = await World.start({
      ...sessionMode({ client: { pushed: true } }),
      auth,
      startGateway: false,
      opaque: true,
      features: { pushedAuthorizationRequests: { enabled: true } },
      ...(introspects && {
        issuer: { introspection: { client_id: GATEWAY, secret: '${WEB_APP_SECRET}' } },
        moreClients: [{ client_id: GATEWAY, client_secret: SECRET, token_endpoint_auth_method: auth, grant_types: [], response_types: [], redirect_uris: [] }],
      }),
    });
    t.after(() => world.stop());
    const good = await check(world, world.config);
    assert.equal(good.code, 0, good.text);
    assert.match(good.line(`client ${CLIENT}:`), auth === 'none' ? /^ok .*without a secret/ : new RegExp(`^ok .*its secret counts, by ${auth}`));
    assert.match(good.line(`client ${CLIENT} pushed`), /^ok .*authorization requests are taken/);
    if (introspects) assert.match(good.line('introspection as'), new RegExp(`^ok .*by ${auth}`));
    assert.deepEqual(world.as.tokenCalls.map((call) => [call.grant_type, call.auth, call.error]), [['refresh_token', auth, 'invalid_grant']]);
    assert.deepEqual([world.as.pushes.length, world.as.introspections.length], [1, introspects ? 1 : 0]);

    const [client] = Object.values(world.config.clients);
    const wrong = introspects
      ? await check(world, world.config, { secret: 'ended-0123456789abcdef' })
      : await check(world, { ...world.config, clients: { [CLIENT]: { ...client, client_id: 'another' } } });
    assert.equal(wrong.code, 1, wrong.text);
    assert.match(wrong.line(`client ${CLIENT}:`), /^NO .*invalid_client.*see that/);
    assert.match(wrong.line(`client ${CLIENT} pushed`), /^NO .*invalid_client/);
    if (introspects) assert.match(wrong.line('introspection as'), /^NO .*issuers\.as\.introspection\.secret/);
  });
}

test('a private key counts where its other half is registered, and a method that is not the registered one does not', async (t) => {
  const [registered, another] = [key(), key()];
  const jwk = { ...registered.publicKey.export({ format: 'jwk' }), use: 'sig', alg: 'ES256', kid: 'one' };
  const world = await World.start({
    auth: 'private_key_jwt',
    startGateway: false,
    registration: { jwks: { keys: [jwk] }, token_endpoint_auth_signing_alg: 'ES256' },
    client: { private_key: { file: 'key.pem' } },
  });
  t.after(() => world.stop());
  const good = await check(world, world.config, { files: { 'key.pem': pem(registered) } });
  assert.equal(good.code, 0, good.text);
  assert.match(good.line(`client ${CLIENT}`), /^ok .*private_key_jwt with ES256/);
  const wrong = await check(world, world.config, { files: { 'key.pem': pem(another) } });
  assert.equal(wrong.code, 1, wrong.text);
  assert.match(wrong.line(`client ${CLIENT}`), /^NO .*clients\.web-app\.private_key/);
  const { private_key: _, ...without } = world.config.clients[CLIENT];
  const method = await check(world, { ...world.config, clients: { [CLIENT]: { ...without, secret: SECRET } } });
  assert.match(method.line(`client ${CLIENT}`), /^NO .*client_secret_basic is how that client is registered/);
});

test('a redirect URI that is not registered is found where requests are pushed', async (t) => {
  const world = await World.start({ ...sessionMode({ client: { pushed: true } }), startGateway: false, features: { pushedAuthorizationRequests: { enabled: true } } });
  t.after(() => world.stop());
  const [client] = Object.values(world.config.clients);
  const { host, port } = world.gateway;
  const elsewhere = { ...client, redirect_uri: `http://${host}:${port}/oauth/callback/web-app` };
  const { code, line, text } = await check(world, { ...world.config, clients: { [CLIENT]: elsewhere } });
  assert.equal(code, 1, text);
  assert.match(line(`client ${CLIENT}:`), /^ok /);
  assert.match(line(`client ${CLIENT} pushed`), /^NO .*redirect_uri.*callback\/web-app is registered there/);
});

test('nobody who is signed in notices a check', async (t) => {
  // So short that each request needs an exchange.
  const world = await World.start({ ...sessionMode(), accessTokenSeconds: 1 });
  t.after(() => world.stop());
  const browser = await signInByGateway(world);
  const { code, text } = await check(world, world.config);
  assert.equal(code, 0, text);
  await until('the access token to end', async () => {
    const answer = await browser.fetch('GET', `${world.gateway.url}/api/things`, { page: world.gateway.url, headers: { 'x-csrf': '1' } });
    assert.equal(answer.status, 200, answer.text);
    return world.as.callsOf('refresh_token').some((call) => call.status === 200);
  });
  assert.deepEqual(world.as.revocations, []);
});
