// `mode: session` in Chromium, with the authorization server on another site: a page that holds no token.

import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { until } from '../support/http.mjs';
import { call, COOKIE, SessionScene } from '../support/session_scene.mjs';

const subjectOf = (answer) => answer.json?.headers?.['x-auth-subject'] ?? JSON.stringify(answer);
/** In seconds. A token is replaced in its last ten seconds, and not before half of its life is over. */
const SHORT_LIFE = 10;

describe('a page without tokens', () => {
  let scene;
  before(async () => {
    const routes = (to) => [
      { path: '/portal/gold/*', to, sign_in: 'web-app', require: { acr: 'gold' } },
      { path: '/portal/bobs/*', to, sign_in: 'web-app', require: { claims: { sub: 'bob' } } },
      { path: '/portal/fresh/*', to, sign_in: 'web-app', require: { signed_in_within: '10s' } },
    ];
    scene = await SessionScene.start({ routes, host: 'gate.app.localhost' });
  });
  after(() => scene?.stop());
  beforeEach(() => {
    scene.world.as.accessTokenSeconds = 60;
    return scene.newPerson();
  });

  const received = (pathname) => scene.world.upstream.received.filter(({ url }) => url.startsWith(pathname));
  /** A person whose access token must be replaced with the next request; later ones live longer. */
  async function withTokenThatEnds(account = 'alice', life = SHORT_LIFE) {
    scene.world.as.accessTokenSeconds = life;
    const tab = await scene.signInAt('/portal/in', account);
    const cameBefore = Date.now();
    scene.world.as.accessTokenSeconds = 60;
    await until('the token to be due', () => Date.now() > cameBefore + Math.max(life / 2, life - 10) * 1000);
    return tab;
  }

  test('a navigation goes to sign-in and comes back to where it was; script sees no token', async () => {
    const before = scene.world.upstream.received.length;
    const tab = await scene.signInAt('/portal/deep/page?x=1&y=%20');
    assert.equal(JSON.parse(await tab.innerText('body')).headers['x-auth-subject'], 'alice');
    const answer = await call(tab, '/api/things');
    assert.deepEqual([answer.status, subjectOf(answer)], [200, 'alice']);
    for (const { url, headers } of scene.world.upstream.received.slice(before)) {
      assert.deepEqual([headers.cookie, headers.authorization], [undefined, undefined], url);
    }
    assert.deepEqual(await tab.evaluate(async () => [document.cookie, await cookieStore.getAll()]), ['', []]);
    assert.deepEqual(await tab.evaluate(async () => [localStorage.length, sessionStorage.length, (await indexedDB.databases()).length]), [0, 0, 0]);
    const [{ name, path, domain, httpOnly, secure, sameSite }, ...others] = await scene.ownCookies();
    assert.deepEqual(others, [], 'the cookie of the sign-in is gone');
    assert.deepEqual(
      { name, path, domain, httpOnly, secure, sameSite },
      { name: COOKIE, path: '/', domain: 'gate.app.localhost', httpOnly: true, secure: true, sameSite: 'Strict' },
    );
    const said = await Promise.all(scene.requests.filter(({ url }) => url.startsWith(scene.url)).map(async ({ answer }) => {
      const came = await answer();
      return came ? JSON.stringify(await came.allHeaders()) + (await came.text().catch(() => '')) : '';
    }));
    const { accessTokens, refreshTokens } = scene.world.as;
    assert.ok(accessTokens.size > 0 && refreshTokens.size > 0);
    for (const token of [...accessTokens, ...refreshTokens]) assert.ok(!said.some((text) => text.includes(token)), 'a token came to the browser');
  });

  test('who is signed in, and until when', async () => {
    const page = await scene.open();
    const nobody = await call(page, '/oauth/session?client_id=web-app');
    assert.equal(nobody.status, 401);
    assert.equal((await call(page)).status, 401);
    assert.match((await call(page)).json.login_url, /\/oauth\/login\?client_id=web-app&return_to=/);
    const tab = await scene.signInAt('/portal/in');
    const { status, json, headers } = await call(tab, '/oauth/session?client_id=web-app');
    assert.deepEqual([status, json.sub, headers['cache-control']], [200, 'alice', 'no-store']);
    assert.ok(json.session_expires_in > 3600, JSON.stringify(json));
  });

  test('without the header of its own, a call is refused before anybody is asked', async () => {
    const tab = await scene.signInAt('/portal/in');
    const before = received('/api/').length;
    assert.equal((await call(tab, '/api/things', { headers: { 'X-CSRF': '' } })).status, 403);
    assert.equal(received('/api/').length, before);
  });

  test('twenty calls at the end of a token cost one exchange, and all succeed', async () => {
    const tab = await withTokenThatEnds();
    const [before, exchanges] = [await scene.sessionCookie(), scene.exchanges];
    const answers = await tab.evaluate(() =>
      Promise.all(Array.from({ length: 20 }, async (_, at) => (await fetch(`/api/slow?${at}`, { headers: { 'X-CSRF': '1' } })).status)),
    );
    assert.deepEqual(answers, Array(20).fill(200));
    assert.equal(scene.exchanges, exchanges + 1);
    assert.notEqual(await scene.sessionCookie(), before, 'the new cookie rode on an answer');
    assert.equal((await call(tab)).status, 200);
    assert.equal(scene.exchanges, exchanges + 1);
  });

  test('the new cookie rides on a stream and on the opening of a WebSocket', async () => {
    for (const open of ['socket', 'events']) {
      await scene.newPerson();
      const tab = await withTokenThatEnds();
      const before = await scene.sessionCookie();
      const came = await tab.evaluate(
        (open) =>
          new Promise((resolve) => {
            if (open === 'socket') {
              const socket = new WebSocket('/api/socket');
              socket.onmessage = ({ data }) => resolve(JSON.parse(data).headers['x-auth-subject']);
              socket.onerror = () => resolve('failed');
            } else {
              // The API answers no stream of events, and so it ends; that it was let through is seen behind it.
              const events = new EventSource('/api/events');
              events.onerror = () => resolve(events.close());
            }
          }),
        open,
      );
      if (open === 'socket') assert.equal(came, 'alice');
      else await until('the stream to arrive', () => received('/api/events').some(({ headers }) => headers['x-auth-subject'] === 'alice'));
      await until(`the new cookie after ${open}`, async () => (await scene.sessionCookie()) !== before);
    }
  });

  test('a stream lives while its session gets access tokens, and ends with the session', async () => {
    scene.world.as.accessTokenSeconds = SHORT_LIFE;
    const tab = await scene.signInAt('/portal/in');
    const opened = Date.now();
    await tab.evaluate(() => {
      window.events = new EventSource('/api/feed');
      window.seen = { came: 0, failed: 0 };
      events.onmessage = () => (seen.came += 1);
      events.onerror = () => (seen.failed += 1);
    });
    const seen = () => tab.evaluate(() => ({ ...seen, state: events.readyState }));
    await until('the first event', async () => (await seen()).came === 1);
    const exchanges = scene.exchanges;
    scene.world.as.accessTokenSeconds = 60;
    await until('another token', async () => (await call(tab)).status === 200 && scene.exchanges > exchanges);
    await until('the end of the first token', () => Date.now() > opened + (SHORT_LIFE + 2) * 1000);
    assert.deepEqual(await seen(), { came: 1, failed: 0, state: 1 });
    await tab.evaluate(() => fetch('/oauth/logout?client_id=web-app', { method: 'POST' }));
    // The browser connects again by itself, is told 401, and does not ask once more.
    await until('the stream to be over', async () => (await seen()).state === 2, { seconds: 20 });
    assert.equal(scene.world.upstream.readers, 0);
    assert.equal((await seen()).came, 1);
  });

  test('an authorization server that is away costs no session, nor a call whose token still lives', async () => {
    // It lives for ten seconds more, in which a busy machine must come to the call.
    const tab = await withTokenThatEnds('alice', 30);
    const cookie = await scene.sessionCookie();
    await scene.world.as.pause();
    try {
      assert.equal((await call(tab)).status, 200, 'the token ends soon, but has not ended');
      assert.equal(await scene.sessionCookie(), cookie);
    } finally {
      await scene.world.as.resume();
    }
    assert.equal((await call(tab)).status, 200);
    assert.notEqual(await scene.sessionCookie(), cookie);
  });

  test('two tabs are one session: signed out in one, signed out in the other', async () => {
    const tab = await scene.signInAt('/portal/in');
    const other = await scene.open(`${scene.url}/portal/other`);
    assert.equal((await call(other)).status, 200);
    const copy = await scene.sessionCookie();
    const signedOut = await tab.evaluate(async () => {
      const answer = await fetch('/oauth/logout?client_id=web-app', { method: 'POST' });
      return [answer.status, await answer.json()];
    });
    assert.equal(signedOut[0], 200);
    assert.ok(signedOut[1].end_session_url.startsWith(`${scene.world.as.url}/`), JSON.stringify(signedOut));
    assert.ok(!signedOut[1].end_session_url.includes('id_token_hint'), 'no token comes to script');
    const answer = await call(other);
    assert.equal(answer.status, 401);
    assert.match(answer.json.login_url, /\/oauth\/login\?client_id=web-app&return_to=%2Fportal%2Fother/);
    assert.deepEqual(await scene.ownCookies(), []);
    await scene.context.addCookies([{ name: COOKIE, value: copy, url: `https://gate.app.localhost/`, httpOnly: true, secure: true, sameSite: 'Strict' }].map(({ url, ...cookie }) => ({ ...cookie, domain: 'gate.app.localhost', path: '/' })));
    assert.equal(await scene.sessionCookie(), copy, 'the browser has it');
    assert.equal((await call(other)).status, 401, 'and a copy of the cookie is of no use');
  });

  test('signing out with a form ends the session at the authorization server too', async () => {
    const tab = await scene.signInAt('/portal/in');
    await tab.goto(`${scene.url}/page/`);
    await tab.evaluate(() => {
      const form = Object.assign(document.createElement('form'), { method: 'POST', action: '/oauth/logout?client_id=web-app' });
      document.body.append(form);
      form.submit();
    });
    await tab.waitForURL((url) => url.href.startsWith(`${scene.world.as.url}/session/end`));
    assert.match(tab.url(), /id_token_hint=/);
    assert.deepEqual((await scene.ownCookies()).map(({ name }) => name), []);
  });

  test('who may not open a page signs out there, and comes back as somebody who may', async () => {
    const tab = await scene.signInAt('/portal/in', 'alice');
    const refused = await tab.goto(`${scene.url}/portal/bobs/x`);
    assert.equal(refused.status(), 403);
    await tab.click('button:has-text("Sign out")');
    await tab.waitForURL((url) => url.href.startsWith(`${scene.world.as.url}/session/end`));
    assert.match(tab.url(), /id_token_hint=/);
    assert.deepEqual((await scene.ownCookies()).map(({ name }) => name), []);
    await scene.signInAt('/portal/bobs/x', 'bob', tab);
    assert.equal(JSON.parse(await tab.innerText('body')).headers['x-auth-subject'], 'bob');
  });

  test('a link in a mail works, whoever follows it', async () => {
    const link = async () => {
      const mail = await scene.open(`http://127.0.0.1:${scene.pages.port}/`);
      await mail.evaluate((href) => {
        const link = Object.assign(document.createElement('a'), { href, textContent: 'read it' });
        document.body.append(link);
      }, `${scene.url}/portal/mail?id=7`);
      return mail;
    };
    const stranger = await link();
    await stranger.click('a');
    await scene.pass(stranger, 'bob');
    await stranger.waitForURL(`${scene.url}/portal/mail?id=7`);
    const from = scene.requests.length;
    const mail = await link();
    await mail.click('a');
    await until('the page of the link', async () => /"x-auth-subject":\s*"bob"/.test(await mail.innerText('body')));
    const visited = scene.requests.slice(from).map(({ url }) => url);
    assert.equal(visited.filter((url) => url === `${scene.url}/portal/mail?id=7`).length, 2, 'the browser withheld the cookie once');
    assert.ok(!visited.some((url) => url.startsWith(scene.world.as.url) || url.includes('/oauth/login')), visited.join('\n'));
  });

  test('who was signed in before is signed out by a sign-in', async () => {
    const tab = await scene.signInAt('/portal/in', 'alice');
    const copy = await scene.sessionCookie();
    await tab.goto(`${scene.url}/oauth/login?client_id=web-app&return_to=/portal/again`);
    await scene.pass(tab, 'bob');
    await tab.waitForURL(`${scene.url}/portal/again`);
    assert.equal(subjectOf(await call(tab)), 'bob');
    const headers = { cookie: `${COOKIE}=${copy}`, 'X-CSRF': '1', 'Sec-Fetch-Site': 'same-origin' };
    const { request } = await import('../support/http.mjs');
    assert.equal((await request('GET', `${scene.url}/api/things`, { headers })).status, 401);
  });

  test('step-up leads to sign-in and back; where the server does not do it, a page says so', async () => {
    const tab = await scene.signInAt('/portal/in');
    const signedInAt = Date.now();
    await until('the sign-in to be too old', () => Date.now() > signedInAt + 11_000);
    const script = await call(tab, '/portal/fresh/x');
    assert.equal(script.status, 401);
    assert.match(script.headers['www-authenticate'], /insufficient_user_authentication.*max_age="?10/);
    await scene.signInAt('/portal/fresh/x', 'alice', tab);
    assert.equal(JSON.parse(await tab.innerText('body')).headers['x-auth-subject'], 'alice');
    await tab.goto(`${scene.url}/portal/gold/x`);
    await scene.pass(tab, 'alice');
    await tab.waitForURL((url) => url.pathname === '/oauth/callback');
    await until('the page that says so', async () => /gold|strong|not what was asked/i.test(await tab.innerText('body')));
    const other = await scene.open(`${scene.url}/portal/other`);
    assert.equal((await call(other)).status, 200, 'signed in all the same');
  });

  test('no page of anybody else can use the session', async () => {
    const tab = await withTokenThatEnds();
    assert.ok(tab);
    const cookie = await scene.sessionCookie();
    const exchanges = scene.exchanges;
    const attackers = {
      'another site': `http://127.0.0.1:${scene.pages.port}/`,
      'a sibling sub-domain': `http://evil.app.localhost:${scene.pages.port}/`,
      'another origin of the same host': `http://gate.app.localhost:${scene.pages.port}/`,
    };
    const before = scene.world.upstream.received.length;
    for (const [name, url] of Object.entries(attackers)) {
      const foreign = await scene.open(url);
      const got = await foreign.evaluate(async (gateway) => {
        const got = {};
        const attempt = async (kind, work) => {
          try {
            got[kind] = String(await work());
          } catch ({ name }) {
            got[kind] = name;
          }
        };
        const credentials = 'include';
        await attempt('fetch', async () => (await fetch(`${gateway}/api/a`, { credentials })).status);
        await attempt('fetch with header', async () => (await fetch(`${gateway}/api/b`, { credentials, headers: { 'X-CSRF': '1' } })).status);
        await attempt('no-cors POST', async () => (await fetch(`${gateway}/api/c`, { method: 'POST', mode: 'no-cors', credentials, body: 'x' })).type);
        await attempt('session', async () => (await fetch(`${gateway}/oauth/session?client_id=web-app`, { credentials })).status);
        await attempt('logout', async () => (await fetch(`${gateway}/oauth/logout?client_id=web-app`, { method: 'POST', mode: 'no-cors', credentials })).type);
        const ended = (element, add) => new Promise((done) => {
          element.onload = () => done('load');
          element.onerror = () => done('error');
          add?.(element);
        });
        await attempt('img', () => ended(Object.assign(document.createElement('img'), { src: `${gateway}/api/d` }), (image) => document.body.append(image)));
        await attempt('EventSource', () => ended(new EventSource(`${gateway}/api/e`, { withCredentials: true })));
        await attempt('WebSocket', () => new Promise((done) => {
          const socket = new WebSocket(`${gateway.replace('http', 'ws')}/api/f`);
          socket.onopen = () => done('open');
          socket.onerror = () => done('error');
        }));
        await attempt('frame', async () => {
          const frame = Object.assign(document.createElement('iframe'), { src: `${gateway}/portal/frame` });
          document.body.append(frame);
          return ended(frame);
        });
        return got;
      }, scene.url);
      assert.deepEqual(
        { ...got, frame: undefined },
        { fetch: 'TypeError', 'fetch with header': 'TypeError', 'no-cors POST': 'opaque', session: 'TypeError', logout: 'opaque', img: 'error', EventSource: 'error', WebSocket: 'error', frame: undefined },
        name,
      );
    }
    const arrived = scene.world.upstream.received.slice(before).filter(({ headers }) => headers['x-auth-subject']);
    assert.deepEqual(arrived.map(({ url }) => url), [], 'nothing went on with her name');
    assert.equal(scene.exchanges, exchanges, 'the authorization server was not asked');
    assert.equal(await scene.sessionCookie(), cookie);
    assert.equal((await call(tab)).status, 200, 'she is still signed in');
  });

  test('a restart keeps the session, and its access token', async () => {
    const tab = await scene.signInAt('/portal/in');
    const exchanges = scene.exchanges;
    scene.world.gateway.signal('SIGTERM');
    await scene.world.gateway.exited;
    await scene.world.restartGateway();
    assert.equal(subjectOf(await call(tab)), 'alice');
    assert.equal(scene.exchanges, exchanges);
  });
});

test('an ID token of 3,000 bytes is where the identity comes from, and the cookie stays small', async () => {
  const person = { email: 'alice@example.com', groups: Array.from({ length: 120 }, (_, at) => `group-${at}-of-the-example`) };
  const scene = await SessionScene.start({
    person,
    client: { identity: 'id_token' },
    config: { identity: { headers: { 'X-Auth-Subject': 'sub', 'X-Auth-Email': 'email' } } },
  });
  try {
    const tab = await scene.signInAt('/portal/in');
    const { json } = await call(tab);
    assert.deepEqual([json.headers['x-auth-subject'], json.headers['x-auth-email']], ['alice', 'alice@example.com']);
    const [{ name, value }] = await scene.ownCookies();
    assert.ok(name.length + value.length < 4_000, `${name.length + value.length} bytes`);
    scene.world.gateway.signal('SIGTERM');
    await scene.world.gateway.exited;
    await scene.world.restartGateway();
    assert.equal((await call(tab)).json.headers['x-auth-email'], 'alice@example.com', 'after a restart too');
  } finally {
    await scene.stop();
  }
});
