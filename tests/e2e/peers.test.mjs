// Programs that others wrote and everybody uses: curl and nghttp2 as clients, openssl at the TLS listeners, nginx as an
// upstream. They are less forgiving than a client that was written for a test.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { Gateway } from './support/gateway.mjs';
import { Browser, request, until } from './support/http.mjs';
import { blocksOf } from './support/pages.mjs';
import { freePort } from './support/ports.mjs';
import { Authority, Folder, Nginx, tool } from './support/tools.mjs';
import { Upstream } from './support/upstream.mjs';
import { COOKIE, World } from './support/world.mjs';

const MIB = 1024 * 1024;
/** What nginx serves as a file. */
const TEXT = 'nginx'.repeat(200_000);
/** After so many requests nginx closes a connection. */
const REQUESTS_OF_ONE_CONNECTION = 10;

let folder, gateway, upstream, nginx, authority, strangers, me;
/** Origins: in clear text, over TLS, and over TLS with a certificate of the client's, which may or must come. */
let clear, secure, asking, demanding;
/** In clear text: a listener that sends everybody to TLS, and nginx before the first. */
let redirecting, inFront;
/** Where curl speaks as a balancer of layer 4 does, in clear text and over TLS. */
let announcedClear, announcedSecure;

before(async () => {
  folder = await Folder.make();
  upstream = await Upstream.start();
  authority = await Authority.make(folder, 'authority');
  strangers = await Authority.make(folder, 'strangers');
  me = await authority.gives('client', 'DNS:client.example');
  const [first, second, behind] = [await authority.gives('first', 'DNS:localhost'), await authority.gives('second', 'DNS:second.localhost'), await authority.gives('behind', 'DNS:behind.example')];
  await strangers.gives('stranger', 'DNS:client.example');
  await writeFile(folder.file('file.txt'), TEXT);
  const files = `root ${folder.path}; gzip on; gzip_types *;
                 location / { if ($request_method = POST) { return 200; } }
                 location /put/ { dav_methods PUT; create_full_put_path on; client_max_body_size 10m; }`;
  gateway = await Gateway.reserve();
  nginx = await Nginx.start(folder, {
    log: '$connection $connection_requests $server_protocol $request_method $uri $status $ssl_client_verify',
    servers: [
      (port) => `server { listen 127.0.0.1:${port}; keepalive_requests ${REQUESTS_OF_ONE_CONNECTION}; ${files} }`,
      (port) => `server { listen 127.0.0.1:${port} ssl http2; ssl_certificate ${behind.certificate}; ssl_certificate_key ${behind.key};
                          ssl_client_certificate ${authority.ca}; ssl_verify_client on; ${files} }`,
      (port) => `server { listen 127.0.0.1:${port}; location / { proxy_http_version 1.0; proxy_pass http://127.0.0.1:${gateway.port}; proxy_set_header Host localhost; } }`,
    ],
  });
  const [nginxClear, nginxSecure] = nginx.ports;
  const ports = [await freePort(), await freePort(), await freePort(), await freePort(), await freePort(), await freePort()];
  const tls = (port, more) => ({ address: `127.0.0.1:${port}`, tls: [first, second], ...more });
  const over = (tls) => ({ url: `https://127.0.0.1:${nginxSecure}`, tls: { server_name: 'behind.example', ...tls } });
  await gateway.start({
    public_url: `https://localhost:${ports[0]}`,
    listen: [
      `127.0.0.1:${gateway.port}`,
      tls(ports[0]),
      tls(ports[1], { client_certificates: { ca: authority.ca, required: false } }),
      tls(ports[2], { client_certificates: { ca: authority.ca, required: true } }),
      { address: `127.0.0.1:${ports[3]}`, redirect: 'https' },
      { address: `127.0.0.1:${ports[4]}`, proxy_protocol: '127.0.0.1' },
      tls(ports[5], { proxy_protocol: '127.0.0.1' }),
    ],
    issuers: { as: { url: 'http://127.0.0.1:9', audience: 'https://api.example.com', shared_secret: '0123456789abcdef'.repeat(4) } },
    upstreams: { secure: over({ ca: authority.ca, ...me }), mistaken: over({ ca: strangers.ca, ...me }), unknown: over({ ca: authority.ca }) },
    routes: [
      { path: '/api/*', to: upstream.url, public: true },
      { path: '/api/small/*', to: upstream.url, public: true, body_limit: '64KiB' },
      { path: '/api/closed/*', to: upstream.url, require: { scope: 'none' } },
      { path: '/nginx/*', to: `http://127.0.0.1:${nginxClear}`, public: true, strip_prefix: '/nginx' },
      ...['secure', 'mistaken', 'unknown'].map((name) => ({ path: `/${name}/*`, to: name, public: true, strip_prefix: `/${name}` })),
    ],
  });
  clear = `http://localhost:${gateway.port}`;
  [secure, asking, demanding] = ports.map((port) => `https://localhost:${port}`);
  [announcedClear, announcedSecure] = [`http://localhost:${ports[4]}`, `https://localhost:${ports[5]}`];
  [redirecting, inFront] = [ports[3], nginx.ports[2]].map((port) => `http://localhost:${port}`);
});

after(() => Promise.all([gateway?.stop(), upstream?.stop(), nginx?.stop(), folder?.remove()]));

/** Runs curl; the answer's facts come beside its body. An object among the arguments is for `tool`. */
async function curl(...given) {
  const args = given.filter((argument) => typeof argument === 'string');
  const options = Object.assign({}, ...given.filter((argument) => typeof argument === 'object'));
  const facts = '\\n%{http_version} %{response_code} %{num_connects} %{size_upload}\\n';
  const ran = await tool('curl', ['-sS', '-4', '--max-time', '60', '--cacert', authority.ca, '-w', facts, ...args], options);
  const lines = ran.stdout.trimEnd().split('\n');
  const [version, status, connects, sent] = lines.at(-1).split(' ');
  return { ...ran, version, status: Number(status), connects: Number(connects), sent: Number(sent), body: lines.slice(0, -1).join('\n') };
}

/** How curl may ask, and which version of HTTP comes of it. */
const ways = () => [
  [clear, ['--http1.1'], '1.1'],
  [clear, ['--http2-prior-knowledge'], '2'],
  [secure, ['--http1.1'], '1.1'],
  [secure, ['--http2'], '2'],
];

test('curl: HTTP/1.1 and HTTP/2, over TLS 1.2 and 1.3 and in clear text', async () => {
  const rest = [
    // It asks for an upgrade to HTTP/2, which RFC 9113 has given up, and takes no for an answer.
    [clear, ['--http2'], '1.1'],
    [secure, ['--tls-max', '1.2'], '2'],
    [secure, ['--tlsv1.3'], '2'],
  ];
  for (const [origin, options, version] of [...ways(), ...rest]) {
    const told = `${origin} ${options}`;
    const answer = await curl(...options, `${origin}/api/x?q=1`);
    assert.deepEqual([answer.code, answer.status, answer.version, JSON.parse(answer.body).url], [0, 200, version, '/api/x?q=1'], `${told}: ${answer.text}`);
    const head = await curl(...options, '--head', `${origin}/api/x`);
    assert.deepEqual([head.code, head.status], [0, 200], `${told}: ${head.text}`);
    const refused = await curl(...options, '--head', `${origin}/api/closed/x`);
    assert.deepEqual([refused.code, refused.status], [0, 401], `${told}: ${refused.text}`);
    // This curl (7.88) cannot use such a connection again, at no server.
    if (options.includes('--http2-prior-knowledge')) continue;
    const twice = await curl(...options, `${origin}/api/1`, `${origin}/api/2`);
    assert.deepEqual([twice.code, twice.status, twice.connects], [0, 200, 0], `${told}: the second on the connection of the first: ${twice.text}`);
  }
  const old = await curl('--http1.0', `${clear}/api/x`);
  assert.deepEqual([old.code, old.status], [0, 200], old.text);
  const dots = await curl('--path-as-is', `${clear}/api/../x`);
  assert.deepEqual([dots.code, dots.status], [0, 400], dots.text);
});

test('curl: the PROXY protocol comes before HTTP and before TLS where the listener asks for it, and only there', async () => {
  for (const [origin, options, version] of [[announcedClear, ['--http1.1'], '1.1'], [announcedSecure, ['--http1.1'], '1.1'], [announcedSecure, ['--http2'], '2']]) {
    const told = `${origin} ${options}`;
    const answer = await curl('--haproxy-protocol', ...options, `${origin}/api/x`);
    assert.deepEqual([answer.code, answer.status, answer.version], [0, 200, version], `${told}: ${answer.text}`);
    assert.equal(JSON.parse(answer.body).headers['x-forwarded-for'], '127.0.0.1', told);
    const without = await curl(...options, `${origin}/api/x`);
    assert.deepEqual([without.code !== 0, without.status], [true, 0], `${told}: ${without.text}`);
  }
  const unasked = await curl('--haproxy-protocol', '--http1.1', `${clear}/api/x`);
  assert.notEqual(unasked.status, 200, unasked.text);
});

test('curl follows the redirect to https with method and body', async () => {
  const answer = await curl('--location', '--data', 'kept', `${redirecting}/api/x?y`);
  const { method, url, body, headers } = JSON.parse(answer.body);
  assert.deepEqual([answer.status, method, url, body, headers['x-forwarded-proto']], [200, 'POST', '/api/x?y', 'kept', 'https']);
});

test('curl: uploads arrive whole, with and without a length, and after 100 Continue', async () => {
  const file = folder.file('upload.txt');
  await writeFile(file, 'x'.repeat(3 * MIB));
  for (const [origin, options, version] of ways()) {
    const whole = (answer) => {
      const told = `${origin} ${options}: ${answer.stderr.slice(-2000)}`;
      assert.deepEqual([answer.code, answer.status, answer.version], [0, 200, version], told);
      assert.equal(JSON.parse(answer.body).body.length, 3 * MIB, told);
      return answer;
    };
    const expecting = whole(await curl(...options, '-v', '--expect100-timeout', '50', '-H', 'Expect: 100-continue', '-T', file, `${origin}/api/up`));
    if (version === '1.1') assert.match(expecting.stderr, /< HTTP\/1\.1 100 Continue/);
    const { body } = whole(await curl(...options, '-H', 'Expect:', '-T', file, `${origin}/api/up`));
    assert.equal(JSON.parse(body).headers['content-length'], String(3 * MIB));
    const piped = whole(await curl(...options, '-H', 'Expect:', '-T', '-', `${origin}/api/up`, { input: 'x'.repeat(3 * MIB) }));
    assert.equal(JSON.parse(piped.body).headers['content-length'], undefined, 'nobody knew its length');
  }
});

test('curl hears why an upload is refused, and does not send it when it asked first', async () => {
  const file = folder.file('refused.bin');
  await writeFile(file, Buffer.alloc(2 * MIB, 'x'));
  for (const [origin, options, version] of ways()) {
    for (const [path, status] of [['/api/small/up', 413], ['/api/closed/up', 401]]) {
      const asked = await curl(...options, '--expect100-timeout', '50', '-H', 'Expect: 100-continue', '-T', file, `${origin}${path}`);
      assert.deepEqual([asked.code, asked.status, asked.version], [0, status, version], `${origin}${path} ${options}: ${asked.text}`);
      if (version === '1.1') assert.equal(asked.sent, 0, 'nothing of the body');
      // It may be stopped in the midst of sending, which is a failure to some versions; it has heard why all the same.
      const straight = await curl(...options, '-H', 'Expect:', '-T', file, `${origin}${path}`);
      assert.equal(straight.status, status, `${origin}${path} ${options}: ${straight.text}`);
    }
  }
});

test('nghttp and h2load: many streams on few connections, and none fails', async () => {
  const { port } = new URL(secure);
  for (const [origin, options, asked] of [
    [secure, ['-m', '20'], 1000],
    [clear, ['-m', '20'], 1000],
    [secure, ['--h1'], 300],
    [clear, ['--h1'], 300],
  ]) {
    const ran = await tool('h2load', ['-n', String(asked), '-c', '10', ...options, `${origin}/api/x`]);
    assert.equal(ran.code, 0, ran.text);
    assert.match(ran.stdout, new RegExp(`${asked} succeeded, 0 failed, 0 errored, 0 timeout`), ran.text);
    assert.match(ran.stdout, new RegExp(`status codes: ${asked} 2xx, 0 3xx, 0 4xx, 0 5xx`), ran.text);
  }
  const file = folder.file('h2load.txt');
  await writeFile(file, 'x'.repeat(100_000));
  const uploads = await tool('h2load', ['-n', '300', '-c', '4', '-m', '10', '-d', file, `${secure}/api/up`]);
  assert.match(uploads.stdout, /status codes: 300 2xx, 0 3xx, 0 4xx, 0 5xx/, uploads.text);

  // Shows frames, so that more than the outcome can be seen.
  const two = await tool('nghttp', ['-nv', '-d', file, `https://127.0.0.1:${port}/api/1`, `https://127.0.0.1:${port}/api/2`, '-H', `:authority: localhost:${port}`]);
  assert.equal(two.code, 0, two.text);
  assert.equal(two.stdout.match(/:status: 200/g)?.length, 2, two.text);
  assert.doesNotMatch(two.stdout, /RST_STREAM|error_code=(?!NO_ERROR)/, two.text);
  // Names of hosts must be ours here, too.
  const foreign = await tool('nghttp', ['-nv', `https://127.0.0.1:${port}/api/1`, '-H', ':authority: elsewhere.example']);
  assert.match(foreign.stdout, /:status: 421/, foreign.text);
});

/** One handshake by openssl, with a request after it. */
async function handshake(origin, ...args) {
  const { port, host } = new URL(origin);
  const answered = /HTTP\/1\.1 \d{3}|alert|unable|errno|error:/;
  const ran = await tool('openssl', ['s_client', '-connect', `127.0.0.1:${port}`, '-CAfile', authority.ca, '-ign_eof', ...args], {
    input: `GET /api/x HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`,
    until: answered,
  });
  return {
    ...ran,
    subject: /subject=CN = (\S+)/.exec(ran.text)?.[1],
    protocol: /Protocol\s*: (\S+)|New, (TLSv[\d.]+)/.exec(ran.text)?.slice(1).find(Boolean),
    verified: /Verify return code: 0 \(ok\)/.test(ran.text),
    status: /HTTP\/1\.1 (\d{3})/.exec(ran.text)?.[1],
  };
}

test('openssl: TLS 1.2 and 1.3 and nothing older, the certificate by name, HTTP/2 where it is asked for', async () => {
  for (const [options, protocol] of [[['-tls1_2'], 'TLSv1.2'], [['-tls1_3'], 'TLSv1.3']]) {
    const shaken = await handshake(secure, ...options, '-servername', 'localhost', '-verify_hostname', 'localhost');
    assert.deepEqual([shaken.protocol, shaken.subject, shaken.verified, shaken.status], [protocol, 'first', true, '200'], shaken.text);
  }
  const old = await handshake(secure, '-tls1_1', '-cipher', 'DEFAULT:@SECLEVEL=0', '-servername', 'localhost');
  assert.match(old.text, /alert (protocol version|handshake failure)/);
  assert.equal(old.status, undefined);
  for (const [names, subject] of [
    [['-servername', 'second.localhost'], 'second'],
    [['-servername', 'SECOND.localhost'], 'second'],
    [['-servername', 'elsewhere.example'], 'first'],
    [['-noservername'], 'first'],
  ]) {
    const shaken = await handshake(secure, ...names);
    assert.deepEqual([shaken.subject, shaken.verified, shaken.status], [subject, true, '200'], shaken.text);
  }
  const { port } = new URL(secure);
  const alpn = async (offer) => /ALPN protocol: (\S+)|(No ALPN)/.exec((await tool('openssl', ['s_client', '-connect', `127.0.0.1:${port}`, '-alpn', offer])).stdout)?.slice(1).find(Boolean);
  assert.deepEqual([await alpn('h2,http/1.1'), await alpn('http/1.1,h2'), await alpn('http/1.1')], ['h2', 'h2', 'http/1.1']);
});

test('openssl: a session is resumed over TLS 1.2 and 1.3', async () => {
  for (const version of ['-tls1_2', '-tls1_3']) {
    const kept = folder.file(`session${version}`);
    const fresh = await handshake(secure, version, '-servername', 'localhost', '-sess_out', kept);
    assert.match(fresh.text, /^New, TLS/m);
    const resumed = await handshake(secure, version, '-servername', 'localhost', '-sess_in', kept);
    assert.match(resumed.text, /^Reused, TLS/m, version);
    assert.equal(resumed.status, '200');
  }
});

test('openssl: a certificate of the client is taken where it is asked for, and missed where it must come', async () => {
  const mine = ['-cert', me.certificate, '-key', me.key];
  const stranger = ['-cert', folder.file('stranger.pem'), '-key', folder.file('stranger.key')];
  for (const version of ['-tls1_2', '-tls1_3']) {
    for (const [origin, certificate, served] of [
      [secure, [], true],
      [asking, [], true],
      [asking, mine, true],
      [asking, stranger, false],
      [demanding, mine, true],
      [demanding, [], false],
      [demanding, stranger, false],
    ]) {
      const shaken = await handshake(origin, version, '-servername', 'localhost', ...certificate);
      assert.equal(shaken.status, served ? '200' : undefined, `${origin} ${version} ${certificate}: ${shaken.text}`);
      if (!served) assert.match(shaken.text, /alert (certificate required|unknown ca|handshake failure|bad certificate)/, shaken.text);
    }
  }
});

test('nginx as an upstream: its connections are kept, and its closing of them loses no request', async () => {
  const before = (await nginx.log()).length;
  const agents = Array.from({ length: 4 }, () => new http.Agent({ keepAlive: true, maxSockets: 1 }));
  const client = async (agent, number) => {
    for (let round = 0; round < 50; round += 1) {
      const [method, body] = (number + round) % 2 ? ['POST', 'b'.repeat(1000)] : ['GET'];
      const answer = await request(method, `${clear}/nginx/empty.txt`, { agent, body });
      assert.equal(answer.status, method === 'POST' ? 200 : 404, answer.text);
    }
  };
  await Promise.all(agents.map(client));
  // One more than it was asked would be one that was sent twice.
  const asked = await until('200 lines in the log', async () => {
    const lines = (await nginx.log()).slice(before);
    return lines.length >= 200 && lines;
  });
  assert.equal(asked.length, 200);
  const connections = new Set(asked.map(([connection]) => connection));
  assert.ok(connections.size <= 200 / REQUESTS_OF_ONE_CONNECTION + 2 * agents.length, `${connections.size} connections`);
  assert.equal(Math.max(...asked.map(([, requests]) => Number(requests))), REQUESTS_OF_ONE_CONNECTION);
  assert.ok(asked.every(([, , protocol]) => protocol === 'HTTP/1.1'));
});

test('nginx as an upstream: what it says of a file arrives, over HTTP/1.1 and over TLS with HTTP/2', async () => {
  const before = (await nginx.log()).length;
  const sent = [];
  for (const route of ['nginx', 'secure']) {
    for (const [origin, options] of ways()) {
      const url = `${origin}/${route}/file.txt`;
      const told = `${url} ${options}`;
      const whole = await curl(...options, url);
      assert.deepEqual([whole.code, whole.status, whole.body.length], [0, 200, TEXT.length], `${told}: ${whole.stderr}`);
      const compressed = await curl(...options, '--compressed', '-D', folder.file('headers'), url);
      assert.deepEqual([compressed.code, compressed.body.length], [0, TEXT.length], `${told}: ${compressed.stderr}`);
      const range = await curl(...options, '-r', '5-9', url);
      assert.deepEqual([range.status, range.body], [206, 'nginx'], told);
      const head = await curl(...options, '--head', url);
      const field = (name) => new RegExp(`^${name}: (.*?)\\r?$`, 'im').exec(head.body)?.[1];
      assert.equal(field('content-length'), String(TEXT.length), told);
      const known = await curl(...options, '-H', `If-None-Match: ${field('etag')}`, url);
      assert.deepEqual([known.code, known.status, known.body], [0, 304, ''], told);
      const name = `${route}-${sent.length}.txt`;
      sent.push(name);
      const put = await curl(...options, '-T', folder.file('file.txt'), `${origin}/${route}/put/${name}`);
      assert.deepEqual([put.code, put.status], [0, 201], `${told}: ${put.text}`);
      assert.equal(await readFile(folder.file(`put/${name}`), 'utf8'), TEXT, told);
    }
  }
  const over = (await nginx.log()).slice(before).filter(([, , , , , , verified]) => verified === 'SUCCESS');
  assert.ok(over.length > 0 && over.every(([, , protocol]) => protocol === 'HTTP/2.0'), 'HTTP/2, and our certificate');
});

test('nginx as an upstream over TLS: a wrong authority or a missing certificate of ours is told and not gone around', async () => {
  const mistaken = await curl(`${clear}/mistaken/file.txt`);
  assert.deepEqual([mistaken.status, JSON.parse(mistaken.body).status], [502, 502], mistaken.text);
  const unknown = await curl(`${clear}/unknown/file.txt`);
  assert.equal(unknown.status, 400, 'what nginx says to whom it does not know');
});

test('nginx in front: it speaks HTTP/1.0, and gets whole answers', async () => {
  const echo = await request('GET', `${inFront}/api/x`);
  assert.deepEqual([echo.status, echo.json.url], [200, '/api/x'], 'in chunks from the service');
  const file = await request('GET', `${inFront}/nginx/file.txt`, { headers: { 'accept-encoding': 'gzip' } });
  assert.equal(file.status, 200);
  assert.equal(file.headers['content-length'] ?? String(TEXT.length), String(TEXT.length));
  assert.equal((await request('POST', `${inFront}/api/x`, { body: 'whole' })).json.body, 'whole');
  assert.equal((await request('GET', `${inFront}/api/closed/x`)).json.status, 401);
});

test('nginx in front by the block of docs/deployment.md: a session whose cookie just fits is refreshed and signed out, and a body of 3 MiB passes', async (t) => {
  const world = await World.start({ startGateway: false, client: { accept_any_access_token: true }, config: { trusted_proxies: ['127.0.0.1/32'] } });
  t.after(() => world.stop());
  const [location, map] = ['location / {', 'map '].map((begin) => blocksOf('deployment.md', 'nginx').find((block) => block.startsWith(begin)));
  const behind = location.replace('http://127.0.0.1:8080', `http://127.0.0.1:${world.gateway.port}`);
  assert.notEqual(behind, location);
  const place = await Folder.make();
  t.after(() => place.remove());
  const front = await Nginx.start(place, { log: '$status', servers: [(port) => `${map} server { listen 127.0.0.1:${port}; ${behind} }`] });
  t.after(() => front.stop());
  // What browsers see is nginx.
  Object.defineProperty(world.gateway, 'url', { value: `http://localhost:${front.ports[0]}` });
  await world.startGateway();
  const browser = new Browser();
  let size = 3000;
  world.as.tokenFault = (_, answer) => {
    answer.writeHead(200, { 'content-type': 'application/json' });
    answer.end(JSON.stringify({ access_token: randomBytes(16).toString('hex'), token_type: 'Bearer', expires_in: 60, refresh_token: 'r'.repeat(size) }));
  };
  const signIn = () => world.token(browser, { grant_type: 'authorization_code', code: 'any', code_verifier: 'v'.repeat(43), redirect_uri: world.redirectUri });
  let answer;
  for (answer = await signIn(); answer.status === 502 && size > 2000; size -= 8) answer = await signIn();
  assert.equal(answer.status, 200, answer.text);
  const cookies = [browser.cookie(COOKIE)];
  for (let round = 0; round < 2; round += 1) {
    const refreshed = await world.refresh(browser);
    assert.equal(refreshed.status, 200, refreshed.text);
    cookies.push(browser.cookie(COOKIE));
  }
  assert.equal(new Set(cookies).size, 3);
  assert.ok(cookies.every((cookie) => cookie.length > 3850), cookies.map(({ length }) => length).join());
  const body = 'b'.repeat(3 * MIB);
  const echo = await request('POST', `${world.gateway.url}/api/public/x`, { body });
  assert.deepEqual([echo.status, echo.json.body.length], [200, body.length]);
  world.as.endFault();
  assert.equal((await world.signOut(browser)).status, 204);
  assert.equal(browser.cookie(COOKIE), undefined);
});
