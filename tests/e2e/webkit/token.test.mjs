// A single-page app in WebKitGTK, with docs/tollgate.js as it stands there and signed in by the gateway: over a page's life, in
// several tabs, and what other pages get.

import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { until } from '../support/http.mjs';
import { submit, tokenMode, WebKitScene } from '../support/webkit_scene.mjs';
import { CLIENT, COOKIE } from '../support/world.mjs';

const DUE = 50_000;

/** In the page: a call of the API by the wrapper; gives what came of it. */
const call = (tab, input = '/api/things') =>
  tab.evaluate(async (input) => {
    try {
      const answer = await gate.fetch(input);
      const { headers } = await answer.json();
      return { status: answer.status, subject: headers?.['x-auth-subject'] };
    } catch ({ error, status, message }) {
      return { error: error ?? message, status };
    }
  }, input);
const timesSignedOut = (tab) => tab.evaluate(() => timesSignedOut);
/** Asks for a token, and waits for it later: `window.asked`. */
const ask = (tab) => tab.evaluate(() => void (window.asked = gate.token().catch(({ error }) => error)));
const asked = (tab) => tab.evaluate(() => window.asked);
const turn = (tab, milliseconds) =>
  tab.evaluate((milliseconds) => {
    const now = Date.now.bind(Date);
    Date.now = () => now() + milliseconds;
  }, milliseconds);

describe('a page in token mode', () => {
  let scene;
  before(async () => (scene = await WebKitScene.start(tokenMode)));
  after(() => scene?.stop());
  beforeEach(() => scene.newPerson());

  const signedIn = async (account) => scene.signIn(await scene.open(), account);
  /** How many exchanges the authorization server saw during `work`. */
  const exchangesDuring = async (work) => {
    const before = scene.exchanges;
    await work();
    return scene.exchanges - before;
  };

  test('signs in and comes back to where it was; the API answers, and script sees nothing of the cookie', async () => {
    const tab = await scene.open('/app/deep?x=1#part');
    assert.equal((await call(tab)).error, 'invalid_grant', 'nobody is signed in');
    await scene.signIn(tab);
    assert.deepEqual(await call(tab), { status: 200, subject: 'alice' });
    assert.deepEqual(await tab.evaluate(async () => [document.cookie, localStorage.length, sessionStorage.length]), ['', 0, 0]);
    const [{ name, path, httpOnly, secure, sameSite }, ...others] = await scene.cookiesAt('/oauth/token');
    assert.deepEqual(others, [], 'the cookie of the sign-in is gone');
    assert.deepEqual({ name, path, httpOnly, secure, sameSite }, { name: COOKIE, path: '/oauth/token', httpOnly: true, secure: true, sameSite: 'Strict' });
    for (const { url, headers } of scene.world.upstream.received) {
      assert.deepEqual([headers.cookie, headers.authorization], [undefined, undefined], url);
    }
  });

  test('no foreign page swaps or ends the session, by forms neither', async () => {
    const tab = await signedIn();
    const { as, gateway } = scene.world;
    const [[{ value }], calls] = [await scene.cookiesAt('/oauth/token'), as.tokenCalls.length];
    const answered = () => gateway.requests.filter(({ path, method }) => path === '/oauth/token' && method !== 'GET');
    for (const [name, url] of Object.entries(scene.others)) {
      const sent = answered().length;
      const foreign = await scene.person.open(url);
      const read = await foreign.evaluate(async (endpoint, client_id) => {
        const body = () => new URLSearchParams({ client_id, grant_type: 'refresh_token' });
        const of = (init, query = '') => fetch(`${endpoint}${query}`, { credentials: 'include', ...init }).then(({ type }) => type, ({ name }) => name);
        const json = { 'Content-Type': 'application/json' };
        return [
          await of({ method: 'POST', body: body() }),
          await of({ method: 'POST', headers: json, body: JSON.stringify(Object.fromEntries(body())) }),
          await of({ method: 'POST', mode: 'no-cors', referrerPolicy: 'no-referrer', body: body() }),
          await of({ method: 'DELETE', keepalive: true }, `?client_id=${client_id}`),
        ];
      }, `${scene.url}/oauth/token`, CLIENT);
      assert.deepEqual(read, ['TypeError', 'TypeError', 'opaque', 'TypeError'], name);
      for (const referrer of ['unsafe-url', 'no-referrer']) {
        await foreign.goto(url);
        const before = answered().length;
        await foreign.evaluate(submit, `${scene.url}/oauth/token`, referrer, { client_id: CLIENT, grant_type: 'refresh_token' });
        await foreign.waitForURL(`${scene.url}/oauth/token`);
        await foreign.reload();
        await until('the form to arrive twice', () => answered().length >= before + 2);
      }
      assert.deepEqual(new Set(answered().slice(sent).map(({ status }) => status)), new Set([403]), name);
      await foreign.close();
    }
    assert.equal(as.tokenCalls.length, calls, 'the server was not asked');
    assert.equal((await scene.cookiesAt('/oauth/token'))[0].value, value);
    assert.deepEqual(await call(tab), { status: 200, subject: 'alice' });
  });

  test('a reload keeps the session, in the midst of an exchange too', async () => {
    const tab = await signedIn();
    assert.equal(await exchangesDuring(async () => {
      const release = await scene.held(() => ask(tab));
      await tab.reload();
      await ask(tab);
      release();
      assert.match(await asked(tab), /\./);
    }), 1);
    assert.deepEqual(await call(tab), { status: 200, subject: 'alice' });
    await tab.reload();
    assert.deepEqual(await call(tab), { status: 200, subject: 'alice' });
  });

  test('tabs that ask at once sign nobody out, with the wrapper or without', async () => {
    const tabs = [await signedIn()];
    while (tabs.length < 4) tabs.push(await scene.open());
    const waiting = () => tabs[0].evaluate(async () => (await navigator.locks.query()).pending.length);
    const exchanges = await exchangesDuring(async () => {
      const release = await scene.held(() => ask(tabs[0]));
      for (const tab of tabs.slice(1)) await ask(tab);
      await until('the others to wait for their turn', async () => (await waiting()) === tabs.length - 1);
      release();
      for (const tab of tabs) assert.match(await asked(tab), /\./);
    });
    // WebKit may give a tab the lock before the word of the one that had it.
    assert.ok(exchanges < tabs.length, `${exchanges}`);
    const post = (client_id) => {
      const body = new URLSearchParams({ client_id, grant_type: 'refresh_token' });
      window.posted = fetch('/oauth/token', { method: 'POST', body }).then(({ status }) => status);
      return 0;
    };
    await Promise.all(tabs.map((tab) => tab.evaluate(post, CLIENT)));
    for (const tab of tabs) assert.equal(await tab.evaluate(() => posted), 200);
    for (const tab of tabs) {
      await turn(tab, DUE);
      assert.deepEqual(await call(tab), { status: 200, subject: 'alice' });
    }
  });

  test('a token that is refused is replaced', async () => {
    const tab = await signedIn();
    const token = await tab.evaluate(() => gate.token());
    const { jti } = JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));
    await scene.revoke({ kind: 'jti', value: jti });
    assert.equal(await exchangesDuring(async () => assert.deepEqual(await call(tab), { status: 200, subject: 'alice' })), 1);
  });

  test('a server that wants the person first gets them, and the session stays until then', async () => {
    const tab = await signedIn();
    const { as } = scene.world;
    as.tokenFault = (incoming, outgoing) => outgoing.writeHead(400, { 'content-type': 'application/json' }).end('{"error":"login_required"}');
    try {
      assert.deepEqual(await call(tab), { error: 'login_required', status: 400 });
    } finally {
      as.endFault();
    }
    assert.equal((await scene.cookiesAt('/oauth/token')).length, 1);
    await scene.signIn(tab, 'bob');
    assert.deepEqual(await call(tab), { status: 200, subject: 'bob' });
  });

  test('a sign-out is seen in all tabs, here and everywhere, and by the server', async () => {
    const tab = await signedIn('carol');
    const other = await scene.open();
    await call(other);
    await tab.evaluate(() => gate.signOut({ everywhere: true }));
    for (const each of [tab, other]) {
      await until('the tab to be told', async () => (await timesSignedOut(each)) === 1);
      assert.equal((await call(each)).error, 'invalid_grant');
    }
    assert.deepEqual(await scene.cookiesAt('/oauth/token'), []);
    await scene.signIn(tab, 'bob');
    assert.equal((await call(other)).subject, 'bob');
    await tab.evaluate(() => void leaveForGood());
    await tab.waitForURL(`${scene.world.as.url}/session/end*`);
    assert.deepEqual(await scene.cookiesAt('/oauth/token'), []);
  });

  test('a block ends the session, and keeps out', async () => {
    const tab = await signedIn('dave');
    await scene.revoke({ kind: 'sub', value: 'dave', block: true });
    assert.equal((await call(tab)).error, 'invalid_grant');
    assert.deepEqual(await scene.cookiesAt('/oauth/token'), []);
    await tab.evaluate(() => leave());
    await scene.pass(tab, 'dave');
    await tab.waitForURL(`${scene.url}/oauth/callback*`);
    assert.match(await tab.text(), /access was revoked/i);
  });

  test('the way back into a page after a sign-out finds no token there', async () => {
    const tab = await signedIn();
    assert.equal((await call(tab)).status, 200);
    await tab.evaluate(() => addEventListener('pageshow', ({ persisted }) => (window.cameBack = persisted)));
    await tab.goto(scene.others['another site']);
    await tab.back();
    await tab.waitForURL(`${scene.url}/app/`);
    assert.equal((await call(tab)).subject, 'alice', 'the session goes on');
    await tab.goto(scene.others['another site']);
    const other = await scene.open();
    await other.evaluate(() => gate.signOut());
    await tab.back();
    await tab.waitForURL(`${scene.url}/app/`);
    assert.equal((await call(tab)).error, 'invalid_grant');
  });

  test('opens a WebSocket with its token, and a foreign page opens none', async () => {
    const tab = await signedIn();
    const socket = `${scene.url.replace('http', 'ws')}/api/socket`;
    const told = await tab.evaluate(async (url) => {
      const socket = await openSocket(url, ['chat']);
      const data = await new Promise((done) => ((socket.onmessage = ({ data }) => done(data)), (socket.onerror = () => done('null'))));
      return { protocol: socket.protocol, ...JSON.parse(data) };
    }, socket);
    assert.deepEqual([told.protocol, told.headers?.['x-auth-subject'], told.headers?.['sec-websocket-protocol']], ['tollgate.bearer', 'alice', 'chat']);
    const token = Buffer.from(await tab.evaluate(() => gate.token())).toString('base64url');
    for (const [name, url] of Object.entries(scene.others)) {
      const foreign = await scene.person.open(url);
      const outcome = await foreign.evaluate((url, offered) => new Promise((done) => {
        const socket = new WebSocket(url, offered);
        socket.onopen = () => done('open');
        socket.onerror = () => done('failed');
      }), socket, ['tollgate.bearer', `tollgate.bearer.${token}`]);
      assert.equal(outcome, 'failed', name);
      await foreign.close();
    }
  });
});
