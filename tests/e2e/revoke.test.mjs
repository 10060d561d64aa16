// `tollgate revoke` as operators use it: files of many lines, mistakes, a gateway that is away, a gateway that is killed.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { SignJWT } from 'jose';
import { BINARY, Gateway, run } from './support/gateway.mjs';
import { request, until } from './support/http.mjs';
import { Upstream } from './support/upstream.mjs';
import { World } from './support/world.mjs';

async function start(t) {
  const world = await World.start({ auth: 'none' });
  t.after(() => world.stop());
  return world;
}

const revoke = (world, ...args) => run(['revoke', ...args], { cwd: world.gateway.file(''), seconds: 170 });
const lines = (count, prefix) => Array.from({ length: count }, (_, at) => JSON.stringify({ kind: 'jti', value: `${prefix}-${at + 1}` })).join('\n');

/** A gateway whose issuer's keys are a file, so that whether it is ready depends on the list alone; and tokens of that issuer. */
async function alone(t) {
  const [upstream, gateway] = [await Upstream.start(), await Gateway.reserve()];
  t.after(() => Promise.all([gateway.stop(), upstream.stop()]));
  const [issuer, audience] = ['http://127.0.0.1:9', 'https://api.example.com'];
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwks = JSON.stringify({ keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'k1', alg: 'ES256', use: 'sig' }] });
  const token = (jti) => new SignJWT({ sub: 'alice', jti }).setProtectedHeader({ alg: 'ES256', kid: 'k1', typ: 'at+jwt' }).setIssuer(issuer).setAudience(audience).setIssuedAt().setExpirationTime('1h').sign(privateKey);
  const config = { issuers: { as: { url: issuer, audience, jwks_file: 'jwks.json' } }, routes: [{ path: '/api', to: upstream.url }] };
  await gateway.start(config, { files: { 'jwks.json': jwks } });
  const ask = async (by) => (await request('GET', `${gateway.url}/api`, { headers: { authorization: `Bearer ${by}` } })).status;
  return { gateway, upstream, token, ask };
}

test('a list of 100,000', async (t) => {
  const world = await alone(t);
  const { gateway, upstream, ask } = world;
  const [taken, kept] = [await world.token('many-100000'), await world.token('kept')];
  assert.equal(await ask(taken), 200);

  await t.test('a file of 100,000 lines is revoked with its progress shown, and again without harm', async () => {
    await writeFile(gateway.file('many.jsonl'), `# leaked\n\n${lines(100_000, 'many')}\n`);
    const done = await revoke(world, '--file', 'many.jsonl', '--reason', 'a leak');
    assert.equal(done.code, 0, done.text.slice(-500));
    assert.match(done.text, /\n50000 of 100000\n/);
    assert.match(done.text, /revoked 100000\n$/);
    assert.equal(await gateway.metric('tollgate_revocations', { kind: 'jti' }), 100_000);
    const again = await revoke(world, '--file', 'many.jsonl', '--from', '99000');
    assert.match(again.text, /revoked 1003\n$/, 'comments and empty lines count as lines');
    assert.equal(await gateway.metric('tollgate_revocations', { kind: 'jti' }), 100_000);
    const [entry] = (await revoke(world, '--list', '--jti', 'many-77')).text.trim().split('\n').map((line) => JSON.parse(line));
    assert.deepEqual([entry.kind, entry.value, entry.issuer, entry.reason], ['jti', 'many-77', 'as', 'a leak']);
    assert.equal(await ask(taken), 401);
  });

  await t.test('the list is loaded before anybody is let in again', async (t) => {
    gateway.signal('SIGKILL');
    await gateway.exited;
    const arrived = upstream.received.length;
    // From the first connection that is taken on. How many answers come before it is ready is the machine's affair: a start
    // waits a second for the list.
    const starting = gateway.start(undefined, { ready: false });
    const isReady = async () => (await request('GET', `${gateway.admin}/readyz`).catch(() => {}))?.status === 200;
    const answers = [];
    for (let wasReady = false; !wasReady; ) {
      wasReady = await isReady();
      // Until it listens there is nobody to refuse.
      const answer = await ask(taken).catch((error) => assert.match(error.code, /ECONNREFUSED|ECONNRESET/));
      if (answer) answers.push({ answer, wasReady });
    }
    await starting;
    t.diagnostic(`${answers.filter(({ wasReady }) => !wasReady).length} answers before it was seen to be ready`);
    for (const { answer, wasReady } of answers) assert.ok(answer === 401 || (answer === 503 && !wasReady), JSON.stringify(answers));
    assert.equal(answers.at(-1).wasReady, true);
    assert.equal(upstream.received.length, arrived, 'none of it came through');
    assert.equal(await gateway.metric('tollgate_revocations', { kind: 'jti' }), 100_000, 'once it is ready all are there');
    assert.equal(await ask(kept), 200, 'another token of the same key is good');
  });
});

test('a file with mistakes says every line, and nothing is revoked', async (t) => {
  const world = await start(t);
  await writeFile(world.gateway.file('unreadable.jsonl'), `${lines(3, 'good')}\nnot JSON\n[]\n`);
  const unreadable = await revoke(world, '--file', 'unreadable.jsonl');
  assert.equal(unreadable.code, 1);
  assert.match(unreadable.text, /line 4: [^]*line 5: [^]*nothing was revoked/);
  await writeFile(world.gateway.file('wrong.jsonl'), `${lines(3, 'good')}\n{"kind":"person","value":"x"}\n{"kind":"jti","value":""}\n`);
  const wrong = await revoke(world, '--file', 'wrong.jsonl');
  assert.equal(wrong.code, 1);
  assert.match(wrong.text, /line 4: kind: is one of [^]*line 5: value: /);
  assert.equal(await world.gateway.metric('tollgate_revocations', { kind: 'jti' }), 0);
});

test('a gateway that is killed in the middle of a file loses nothing that was acknowledged, and the command goes on', async (t) => {
  const world = await start(t);
  await writeFile(world.gateway.file('many.jsonl'), lines(40_000, 'many'));
  const child = spawn(BINARY, ['revoke', '--file', 'many.jsonl'], { cwd: world.gateway.file(''), env: { PATH: process.env.PATH } });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (text += chunk));
  await until('a part of it to be done', () => /^5000 of/m.test(text));
  world.gateway.signal('SIGKILL');
  const [code] = await once(child, 'close');
  assert.equal(code, 1, text);
  const [, done, from] = /(\d+) of 40000 were revoked; go on with --from (\d+)/.exec(text);
  assert.equal(Number(from), Number(done) + 1);
  await world.gateway.exited;
  await world.restartGateway();
  assert.ok((await world.gateway.metric('tollgate_revocations', { kind: 'jti' })) >= Number(done), 'what was acknowledged is there');
  const rest = await revoke(world, '--file', 'many.jsonl', '--from', from);
  assert.match(rest.text, new RegExp(`revoked ${40_000 - Number(done)}\n$`));
  assert.equal(await world.gateway.metric('tollgate_revocations', { kind: 'jti' }), 40_000);
});

test('it says what is missing, and prints nothing that a terminal would obey', async (t) => {
  const world = await start(t);
  for (const [args, said] of [
    [[], /required[^]*--sub <SUB>/],
    [['--jti', 'x', '--sub', 'y'], /cannot be used with/],
    [['--sub', 'a', '--before', 'yesterday'], /before: is a moment such as/],
    [['--lift', '0123456789abcdef0123456789abcdef'], /404[^]*No revocation has this id/],
    [['--list', '--issuer', 'nobody'], /issuer: no issuer is called so/],
    [['--file', 'missing.jsonl'], /missing.jsonl: No such file/],
  ]) {
    const { code, text } = await revoke(world, ...args);
    assert.ok(code === 1 || code === 2, text);
    assert.match(text, said);
  }
  const hyphen = await revoke(world, '--jti', '-Fx', '--reason', 'ids may begin with a hyphen');
  assert.match(hyphen.text, /revoked jti -Fx/);
  await revoke(world, '--lift', /\(id (\w+)\)/.exec(hyphen.text)[1]);
  const made = await revoke(world, '--sub', 'a\u001b[31m\u202eb');
  assert.equal(made.code, 0, made.text);
  const listed = await revoke(world, '--list');
  for (const { text } of [made, listed]) assert.ok(!/[\u001b\u202e]/.test(text), JSON.stringify(text));
  assert.equal(JSON.parse(listed.text).value, 'a\u001b[31m\u202eb');

  // Without a configuration, by address and token.
  const named = await run(['revoke', '--admin', `127.0.0.1:${world.gateway.adminPort}`, '--token-file', world.gateway.file('data/admin.token'), '--list'], { cwd: '/' });
  assert.equal(named.text, listed.text);
  world.gateway.signal('SIGKILL');
  await world.gateway.exited;
  const away = await revoke(world, '--jti', 'x');
  assert.equal(away.code, 1);
  assert.match(away.text, /does not answer; does the gateway run\?/);
});

test('a limit of the size of its files ends no gateway: it is told, what is known goes on, and all is well when it is lifted', async (t) => {
  const { gateway, token, ask } = await alone(t);
  const known = await token('known');
  assert.equal(await ask(known), 200);
  const secret = (await readFile(gateway.file('data/admin.token'), 'utf8')).trim();
  const revoke = (at) =>
    request('POST', `${gateway.admin}/revocations`, {
      headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' },
      body: JSON.stringify({ kind: 'jti', value: `limited-${at}`, reason: 'x'.repeat(900) }),
    });
  const limit = (size) => execFileSync('prlimit', ['--pid', String(gateway.pid), `--fsize=${size}:`]);
  const { size } = await stat(gateway.file('data/revocations.redb'));
  limit(size);
  let made = 0;
  const refused = await until('a refusal', async () => {
    const answer = await revoke(made);
    if (answer.status !== 201) return answer;
    made += 1;
    assert.ok(made * 900 < 2 * size, 'more was written than there is room for');
  });
  assert.equal(refused.status, 503, refused.text);
  assert.equal(gateway.isGone, false);
  assert.equal(await ask(known), 200);
  assert.equal(await gateway.metric('tollgate_store_up'), 0);
  await gateway.says('a quota or the limit of a file');
  limit('unlimited');
  await until('the list to be written again', async () => (await gateway.metric('tollgate_store_up')) === 1);
  assert.equal((await revoke(made)).status, 201);
  assert.equal(await gateway.metric('tollgate_revocations', { kind: 'jti' }), made + 1);
});
