// Programs of others on both sides of the gateway: curl, OpenSSL and h2load as clients, nginx behind it and before it.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Gateway } from './support/gateway.mjs';
import { request, until } from './support/http.mjs';
import { freePort } from './support/ports.mjs';
import { Upstream } from './support/upstream.mjs';

const HOST = 'gate.localhost';
const LARGE = randomBytes(20 << 20);
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

/** Runs a program to its end; gives code, standard output and error. */
function run(program, args, { input, seconds = 60 } = {}) {
  return new Promise((resolve) => {
    const options = { timeout: seconds * 1000, maxBuffer: 64 << 20, encoding: 'buffer', env: { PATH: `${process.env.PATH}:/usr/sbin` } };
    const child = execFile(program, args, options, (error, stdout, stderr) =>
      resolve({ code: error ? (error.code ?? error.signal) : 0, stdout, text: stdout.toString('latin1'), stderr: stderr.toString('latin1') }));
    child.stdin.on('error', () => {}); // it may end before it has read all
    child.stdin.end(input);
  });
}

describe('programs of others', () => {
  let folder, upstream, gateway, nginx, ports;
  const file = (name) => path.join(folder, name);

  /** A key, and a certificate for it that `ca` signed; without one it signs itself. */
  async function certificate(name, subject, ca) {
    const key = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
    const names = ca ? ['-CA', file('ca.pem'), '-CAkey', file('ca.key'), '-addext', `subjectAltName=DNS:${subject}`, '-addext', 'basicConstraints=critical,CA:false'] : [];
    const { code, stderr } = await run('openssl', [...key, ...names, '-subj', `/CN=${subject}`, '-keyout', file(`${name}.key`), '-out', file(`${name}.pem`)]);
    assert.equal(code, 0, stderr);
  }

  /** nginx with files and WebDAV, which hangs up after every third request; and another before the gateway. */
  async function startNginx() {
    await Promise.all(['www', 'temp'].map((name) => mkdir(file(name))));
    await writeFile(file('www/large'), LARGE);
    await writeFile(file('www/text.txt'), 'hello '.repeat(1000));
    const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path temp/${name};`).join(' ');
    await writeFile(
      file('nginx.conf'),
      `daemon off; master_process off; pid nginx.pid; error_log error.log;
      events {}
      http {
        access_log off; ${temp} types { text/plain txt; } default_type application/octet-stream;
        server {
          listen 127.0.0.1:${ports.behind}; root www; keepalive_requests 3; client_max_body_size 0; dav_methods PUT DELETE;
          gzip on; gzip_types text/plain; gzip_proxied any;
        }
        server {
          listen 127.0.0.1:${ports.before};
          location / { proxy_http_version 1.0; proxy_pass http://127.0.0.1:${ports.clear}; proxy_set_header Host ${HOST}; }
        }
      }`,
    );
    nginx = spawn('nginx', ['-p', folder, '-c', file('nginx.conf'), '-e', file('error.log')], { env: { PATH: `${process.env.PATH}:/usr/sbin` }, stdio: 'inherit' });
    process.on('exit', () => nginx.kill('SIGKILL'));
    await until('nginx to serve', () => request('GET', `http://127.0.0.1:${ports.behind}/text.txt`).then(({ status }) => status === 200, () => false));
  }

  before(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'tollgate-peers-'));
    ports = { behind: await freePort(), before: await freePort(), clear: await freePort(), redirect: await freePort() };
    await certificate('ca', 'authority');
    await certificate('gate', HOST, true);
    await certificate('other', 'other.test', true);
    upstream = await Upstream.start();
    await startNginx();
    gateway = await Gateway.reserve(HOST);
    const tls = ['gate', 'other'].map((name) => ({ certificate: file(`${name}.pem`), key: file(`${name}.key`) }));
    const config = {
      public_url: `https://${HOST}:${gateway.port}`,
      listen: [{ address: `127.0.0.1:${gateway.port}`, tls }, { address: `127.0.0.1:${ports.redirect}`, redirect: 'https' }, `127.0.0.1:${ports.clear}`],
      issuers: { as: { url: 'http://127.0.0.1:9', audience: 'https://api.example.com' } },
      limits: { body: '1GiB' },
      routes: [
        { path: '/files/*', to: `http://127.0.0.1:${ports.behind}`, strip_prefix: '/files', public: true },
        { path: '/echo/*', to: upstream.url, public: true },
        { path: '/api/*', to: upstream.url },
      ],
    };
    await gateway.start(config, { ready: false });
  });
  after(async () => {
    await gateway?.stop();
    upstream?.stop();
    if (nginx?.exitCode === null) {
      nginx.kill('SIGKILL');
      await once(nginx, 'close');
    }
    await rm(folder, { recursive: true, force: true });
  });

  /** curl in one of the ways to reach the gateway; `told` is what `--write-out` says. */
  async function curl(way, pathname, args = [], options = {}) {
    const port = way.scheme === 'https' ? gateway.port : ports.clear;
    const base = ['--silent', '--show-error', '--cacert', file('ca.pem'), '--resolve', `${HOST}:${port}:127.0.0.1`, '--write-out', '%{stderr}%{response_code} %{http_version}', way.version];
    const result = await run('curl', [...base, ...args, `${way.scheme}://${HOST}:${port}${pathname}`], options);
    return { ...result, told: result.stderr };
  }

  const WAYS = [
    { scheme: 'https', version: '--http1.1', http: '1.1' },
    { scheme: 'https', version: '--http2', http: '2' },
    { scheme: 'http', version: '--http1.1', http: '1.1' },
    { scheme: 'http', version: '--http2-prior-knowledge', http: '2' },
  ];

  for (const way of WAYS) {
    test(`curl: ${way.scheme} ${way.version}`, async () => {
      const told = `200 ${way.http}`;
      const down = await curl(way, '/files/large');
      assert.deepEqual([down.code, down.told, sha256(down.stdout)], [0, told, sha256(LARGE)]);
      const head = await curl(way, '/files/large', ['--head']);
      assert.deepEqual([head.code, head.told], [0, told]);
      assert.match(head.text, new RegExp(`content-length: ${LARGE.length}\r\n`, 'i'));
      // With a length (over HTTP/1.1 curl asks with Expect: 100-continue), and in pieces.
      for (const from of [file('www/large'), '-']) {
        const name = `up-${way.scheme}${way.http}${from === '-' ? '-pieces' : ''}`;
        const up = await curl(way, `/files/${name}`, ['--upload-file', from], { input: from === '-' ? LARGE : undefined });
        assert.deepEqual([up.code, up.told], [0, `201 ${way.http}`], up.text);
        assert.equal(sha256(await readFile(file(`www/${name}`))), sha256(LARGE));
      }
      const echo = await curl(way, '/echo/x?y=%41', ['--request', 'OPTIONS', '--header', 'X-Auth-Subject: admin', '--data', 'some body']);
      const seen = JSON.parse(echo.text);
      assert.deepEqual([echo.told, seen.method, seen.url, seen.body, seen.headers['x-auth-subject']], [told, 'OPTIONS', '/echo/x?y=%41', 'some body', undefined]);
      assert.equal(seen.headers['x-forwarded-proto'], way.scheme);
      // A refusal is heard although megabytes are still on their way.
      for (const from of [file('www/large'), '-']) {
        const refused = await curl(way, '/api/x', ['--upload-file', from], { input: from === '-' ? LARGE : undefined });
        assert.equal(refused.told.trim().split('\n').pop(), `401 ${way.http}`, refused.stderr);
        assert.equal(JSON.parse(refused.text).status, 401);
      }
    });
  }

  test('curl follows the redirect to https', async () => {
    const resolve = [ports.redirect, gateway.port].flatMap((port) => ['--resolve', `${HOST}:${port}:127.0.0.1`]);
    const { code, text } = await run('curl', ['--silent', '--show-error', '--location', '--cacert', file('ca.pem'), ...resolve, '--data', 'kept', `http://${HOST}:${ports.redirect}/echo/x?y`]);
    assert.equal(code, 0);
    const { method, url, body, headers } = JSON.parse(text);
    assert.deepEqual([method, url, body, headers['x-forwarded-proto']], ['POST', '/echo/x?y', 'kept', 'https'], '308 keeps method and body');
  });

  test('OpenSSL: TLS 1.2 and 1.3, the certificate of the name, the protocol that is offered', async () => {
    const shake = (args) => run('openssl', ['s_client', '-connect', `127.0.0.1:${gateway.port}`, '-CAfile', file('ca.pem'), '-verify_return_error', ...args], { input: '' });
    for (const version of ['-tls1_2', '-tls1_3']) {
      for (const [name, offered, chosen] of [[HOST, 'h2,http/1.1', 'h2'], ['other.test', 'http/1.1', 'http/1.1']]) {
        const { code, text, stderr } = await shake([version, '-servername', name, '-verify_hostname', name, '-alpn', offered]);
        assert.equal(code, 0, stderr);
        assert.match(text, new RegExp(`subject=CN = ${name}\n`));
        assert.match(text, new RegExp(`ALPN protocol: ${chosen}\n`));
        assert.match(text, /Verify return code: 0/);
        assert.doesNotMatch(text, /Cipher is .*(CBC|RC4|DES|NULL)/);
      }
    }
    for (const old of ['-tls1_1', '-tls1']) {
      const { code } = await shake([old, '-cipher', 'ALL:@SECLEVEL=0']);
      assert.notEqual(code, 0, old);
    }
    // A whole request, by hand.
    const input = `GET /echo/x HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`;
    const { text } = await run('openssl', ['s_client', '-connect', `127.0.0.1:${gateway.port}`, '-servername', HOST, '-quiet', '-ign_eof'], { input });
    assert.match(text, /^HTTP\/1\.1 200 OK\r\n/);
  });

  test('h2load: a thousand requests on few connections, none fails', async () => {
    const load = async (url, ...args) => {
      const { text, stderr } = await run('h2load', ['--requests=1000', '--clients=5', `--connect-to=127.0.0.1:${new URL(url).port}`, ...args, url], { seconds: 120 });
      assert.match(text, /requests: 1000 total, 1000 started, 1000 done, 1000 succeeded, 0 failed, 0 errored, 0 timeout/, text + stderr);
      assert.match(text, /status codes: 1000 2xx/, text);
    };
    const [tls, clear] = [`https://${HOST}:${gateway.port}`, `http://${HOST}:${ports.clear}`];
    await load(`${tls}/files/text.txt`, '--max-concurrent-streams=20');
    await load(`${clear}/files/text.txt`, '--max-concurrent-streams=20');
    await load(`${tls}/echo/x`, '--h1');
    await writeFile(file('body'), 'x'.repeat(10_000));
    await load(`${tls}/echo/x`, '--max-concurrent-streams=20', `--data=${file('body')}`);
  });

  test('nginx behind: it hangs up after every third request, and nobody notices', async () => {
    for (let turn = 0; turn < 20; turn += 1) {
      const { told } = await curl(WAYS[turn % 4], '/files/text.txt');
      assert.match(told, /^200/);
    }
    const plain = 'hello '.repeat(1000);
    const packed = await curl(WAYS[2], '/files/text.txt', ['--compressed', '--include']);
    assert.match(packed.text, /content-encoding: gzip\r\n/i);
    assert.match(packed.text, /transfer-encoding: chunked\r\n/i);
    assert.ok(packed.text.endsWith(`\r\n\r\n${plain}`));
    const part = await curl(WAYS[1], '/files/text.txt', ['--range', '6-10']);
    assert.deepEqual([part.told, part.text], ['206 2', 'hello']);
    const tag = /etag: (.*)\r\n/i.exec((await curl(WAYS[0], '/files/text.txt', ['--head'])).text)[1];
    const same = await curl(WAYS[0], '/files/text.txt', ['--header', `If-None-Match: ${tag}`]);
    assert.deepEqual([same.told, same.text], ['304 1.1', '']);
    assert.match((await curl(WAYS[1], '/files/text.txt', ['--data', 'x'])).told, /^405/, "nginx's own refusal");
  });

  test('nginx before: it speaks HTTP/1.0', async () => {
    const { port } = { port: ports.before };
    const get = (pathname, headers = {}) => request('GET', `http://127.0.0.1:${port}${pathname}`, { headers });
    const large = await get('/files/large');
    assert.equal(Number(large.headers['content-length']), LARGE.length);
    const echo = await get('/echo/x');
    assert.deepEqual([echo.status, echo.json.url], [200, '/echo/x'], 'an answer in chunks arrives whole');
    assert.equal((await get('/api/x')).json.title, 'This needs an access token');
  });
});
