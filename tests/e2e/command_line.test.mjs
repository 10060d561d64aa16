// The commands as a person types them.

import assert from 'node:assert/strict';
import { createPrivateKey, generateKeyPairSync, sign } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { run } from './support/gateway.mjs';

async function folder(t, files = {}) {
  const made = await mkdtemp(path.join(tmpdir(), 'tollgate-e2e-'));
  t.after(() => rm(made, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) await writeFile(path.join(made, name), text);
  return made;
}

const HEAD = `
public_url: http://localhost:8080
listen: 127.0.0.1:8080
admin: 127.0.0.1:8081
issuers:
  demo:
    url: http://127.0.0.1:8082
    audience: https://api.example.com`;

const GOOD = `${HEAD}
routes:
  - path: /api/*
    to: http://127.0.0.1:8083
    require: { scope: api:read }
`;

const BAD = `${HEAD}
    clock_skew: 5M
routes:
  - path: /api/*
    too: http://127.0.0.1:8083
  - path: api
    to: http://127.0.0.1:8083
    require: { scope: "\${NOT_SET}" }
`;

test('malloc is the one that the program was built with, for all that asks for memory', async (t) => {
  const { code, text } = await run(['--version'], { cwd: await folder(t), env: { MIMALLOC_VERBOSE: '1' } });
  assert.equal(code, 0, text);
  // It speaks only where `malloc` leads to it: nothing else of its library is asked for by name.
  assert.match(text, /mimalloc: process init/);
});

test('check accepts a good config', async (t) => {
  const { code, text } = await run(['check'], { cwd: await folder(t, { 'config.yaml': GOOD }) });
  assert.equal(code, 0, text);
});

test('check names every fault at once, with its path, its line and what would be right', async (t) => {
  const cwd = await folder(t, { 'bad.yaml': BAD });
  const { code, text } = await run(['check', 'bad.yaml'], { cwd });
  assert.notEqual(code, 0);
  for (const wanted of ['issuers.demo.clock_skew', 'routes[0].too', 'routes[1].path', 'NOT_SET']) assert.ok(text.includes(wanted), `${wanted} in:\n${text}`);
  for (const line of [9, 12, 13, 15]) assert.match(text, new RegExp(`\\b${line}\\b`), `line ${line} in:\n${text}`);
  assert.match(text, /did you mean `to`/);
  // `run` refuses with the same words.
  const refused = await run(['run', 'bad.yaml'], { cwd });
  assert.notEqual(refused.code, 0);
  assert.ok(refused.text.includes('routes[0].too'), refused.text);
});

// Where there is one at the second place, that is somebody's gateway.
test('run without a config says where it looked', { skip: existsSync('/etc/tollgate/config.yaml') }, async (t) => {
  const { code, text } = await run(['run'], { cwd: await folder(t) });
  assert.notEqual(code, 0);
  assert.match(text, /config\.yaml/);
});

test('keys assertion prints a new private key each time', async () => {
  const made = await Promise.all([1, 2].map(() => run(['keys', 'assertion'])));
  for (const { code, text } of made) {
    assert.equal(code, 0, text);
    assert.equal(createPrivateKey(text).asymmetricKeyType, 'ec');
  }
  assert.notEqual(made[0].text, made[1].text);
});

test('keys cookie prints a new key each time', async (t) => {
  const cwd = await folder(t);
  const [first, second] = [await run(['keys', 'cookie'], { cwd }), await run(['keys', 'cookie'], { cwd })];
  assert.equal(first.code, 0, first.text);
  assert.ok(first.text.trim().length >= 43, first.text);
  assert.notEqual(first.text, second.text);
});

test('explain says what would become of a request, offline, and ends with 0, 1 or 2', async (t) => {
  // Nobody listens there, whichever demo runs beside this.
  const issuer = 'http://127.0.0.1:9';
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwks = JSON.stringify({ keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'k1', use: 'sig', alg: 'ES256' }] });
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const now = Math.floor(Date.now() / 1000);
  const token = (claims) => {
    const all = { iss: issuer, aud: 'https://api.example.com', sub: 'alice', iat: now, exp: now + 300, ...claims };
    const signed = `${part({ alg: 'ES256', typ: 'at+jwt', kid: 'k1' })}.${part(all)}`;
    return `${signed}.${sign('sha256', Buffer.from(signed), { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`;
  };
  const [good, poor] = [token({ scope: 'api:read' }), token({ scope: 'other' })];
  const cwd = await folder(t, { 'config.yaml': GOOD.replace('http://127.0.0.1:8082', issuer), 'jwks.json': jwks, good, poor });
  const explain = (...args) => run(['explain', 'GET', ...args], { cwd });
  const passes = await explain('http://localhost:8080/api/orders?page=2', '--jwks', 'jwks.json', '--token-file', 'good');
  assert.equal(passes.code, 0, passes.text);
  for (const line of [/^route +ok +\/api\/\*/m, /^ +ok +signature/m, /^require +ok +scope api:read/m, /^upstream +GET http:\/\/127\.0\.0\.1:8083\/api\/orders/m, /x-auth-subject: alice/, /^verdict +passes$/m]) {
    assert.match(passes.text, line);
  }
  const lacks = await explain('/api/orders', '--jwks', 'jwks.json', '--token-file', 'poor');
  assert.equal(lacks.code, 1, lacks.text);
  assert.match(lacks.text, /^require +NO +scope api:read/m);
  assert.match(lacks.text, /^verdict +refused: 403 insufficient_scope/m);
  assert.match(lacks.text, /WWW-Authenticate: Bearer .*scope="api:read"/);
  const unknown = await explain('/api/orders', '--token-file', 'good');
  assert.equal(unknown.code, 2, unknown.text);
  assert.match(unknown.text, /--jwks/);
  assert.equal((await explain('orders')).code, 2);
  for (const { text } of [passes, lacks, unknown]) {
    for (const secret of [good, poor]) assert.ok(!text.includes(secret) && !text.includes(secret.split('.')[2]), text);
  }
});

test('--version prints the version', async () => {
  const { code, text } = await run(['--version']);
  assert.equal(code, 0);
  assert.match(text, /^tollgate \d+\.\d+\.\d+/);
});

test('demo --once walks its whole story and ends with 0', async (t) => {
  const { code, text } = await run(['demo', '--once'], { cwd: await folder(t), seconds: 120 });
  assert.equal(code, 0, text);
  assert.match(text, /50/);
});
