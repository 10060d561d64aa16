// The demo's page in Chromium, as a person uses it: every button, two tabs, the keyboard, and what a
// screen reader gets (axe-core).

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, describe, test } from 'node:test';
import { launch } from '../support/browsers.mjs';
import { Demo, DemoPerson } from '../support/demo.mjs';
import { until } from '../support/http.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const COOKIE = '__Secure-tollgate-web-app';
const signedIn = (tab) => tab.getAttribute('body', 'data-signed-in');

describe('the page of the demo', () => {
  let demo, browser, person, shared;
  before(async () => {
    [demo, browser] = await Promise.all([Demo.start(), launch()]);
    person = await newPerson();
    shared = await person.open();
  });
  after(async () => {
    await browser?.close();
    await demo?.stop();
  });

  async function newPerson() {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
    context.setDefaultTimeout(60_000);
    return new DemoPerson(context, demo);
  }

  /** One tab for all tests that need no more than somebody who is signed in. */
  async function alice() {
    if ((await signedIn(shared)) !== 'alice') await person.signIn(shared, 'alice');
    return shared;
  }

  const jar = async () => (await person.context.cookies()).filter(({ name }) => name.includes('tollgate'));

  test('a person signs in, calls the API and cannot read the cookie', async () => {
    const tab = shared;
    assert.match(await person.press(tab, '#call-hello', '#call-result'), /401/);
    assert.match(await person.press(tab, '#cookie-button', '#cookie-result'), /Sign in first/);
    await person.signIn(tab, 'alice');
    assert.match(await tab.innerText('#sign-in-result'), /Alice is signed in/);
    assert.match(await person.press(tab, '#call-hello', '#call-result'), /200[^]*x-auth-subject\s+alice/);
    assert.match(await person.press(tab, '#call-bob', '#call-result'), /403/);
    assert.match(await person.press(tab, '#call-admin', '#call-result'), /200/);

    const read = await person.press(tab, '#cookie-button', '#cookie-result');
    assert.equal(await tab.getAttribute('#cookie-result', 'data-read'), '0', read);
    assert.match(read, /HttpOnly/);
    assert.equal(await tab.evaluate(() => document.cookie), '');
    const [{ name, path, httpOnly, secure, sameSite, domain }, ...others] = await jar();
    assert.deepEqual(others, []);
    const wanted = { name: COOKIE, path: '/oauth/token', httpOnly: true, secure: true, sameSite: 'Strict', domain: 'localhost' };
    assert.deepEqual({ name, path, httpOnly, secure, sameSite, domain }, wanted);

    await tab.reload();
    await tab.waitForSelector('body[data-signed-in=alice]');
  });

  test('without any token: the page signs in, calls, and sees nothing but who is there', async () => {
    const somebody = await newPerson();
    const tab = await somebody.open();
    assert.match(await somebody.press(tab, '#session-call', '#session-result'), /401[^]*\/oauth\/login\?client_id=portal/);
    await somebody.leaveAndChoose(tab, 'bob', '#session-sign-in');
    await tab.waitForSelector('#session-result[data-read=bob]');
    assert.match(await tab.innerText('#session-result'), /bob, from GET \/oauth\/session/);
    assert.equal(await signedIn(tab), '', 'the page has no token');
    assert.match(await somebody.press(tab, '#session-call', '#session-result'), /200[^]*x-auth-client\s+portal[^]*x-auth-subject\s+bob/);
    assert.equal(await tab.evaluate(() => document.cookie), '');
    const [{ name, path, httpOnly, secure, sameSite }, ...others] = (await somebody.context.cookies()).filter(({ name }) => name.includes('tollgate'));
    assert.deepEqual(others, []);
    assert.deepEqual([name, path, httpOnly, secure, sameSite], ['__Host-Http-tollgate-portal', '/', true, true, 'Strict']);
    const portal = await somebody.context.newPage();
    await portal.goto(`${demo.url}/portal/`);
    assert.equal(await portal.getAttribute('body', 'data-subject'), 'bob');
    assert.match(await somebody.press(tab, '#session-sign-out', '#session-result'), /200/);
    assert.match(await somebody.press(tab, '#session-call', '#session-result'), /401/);
    await portal.reload();
    await portal.waitForSelector('button[value=bob]');
    await portal.click('button[value=bob]');
    await portal.waitForSelector('body[data-subject=bob]');
    assert.equal(new URL(portal.url()).pathname, '/portal/', 'back where it was');
    await somebody.context.close();
  });

  test('fifty tabs at once cost one question', async () => {
    const tab = await alice();
    // A browser that is slower than the first answer sends the last requests with its cookie. The page says so then.
    for (let tries = 1; ; tries += 1) {
      const said = await person.press(tab, '#fifty-button', '#fifty-result');
      assert.match(said, /50 answers: 50 × 200/);
      assert.equal(await signedIn(tab), 'alice');
      if (/was asked once; all tabs got the same access token/.test(said)) break;
      assert.match(said, /More than once: this browser took so long/);
      assert.ok(tries < 5, said);
    }
  });

  test('the token ends, nothing happens, and the next call swaps it', async () => {
    const bob = await newPerson();
    await bob.context.clock.install();
    const tab = await bob.open();
    await bob.signIn(tab, 'bob');
    const requests = [];
    bob.context.on('request', (request) => requests.push(request.url()));
    // Three seconds before its end, and there the page's clock stands still.
    const [now, left] = await tab.evaluate(() => [Date.now(), document.querySelector('#token-left').value]);
    await bob.context.clock.pauseAt(now + (left - 3) * 1000);
    await until('the page to say so', async () => /the next call swaps first/.test(await tab.innerText('#token-text')));
    assert.deepEqual(requests, [], 'no timer asks for anything');
    assert.match(await bob.press(tab, '#expiry-call', '#expiry-result'), /200[^]*swapped for a new token first/);
    assert.equal(requests.filter((url) => url.endsWith('/oauth/token')).length, 1);
    const before = requests.length;
    await bob.context.clock.runFor(600_000);
    await until('the page to say so', async () => /nothing happens until the next call/.test(await tab.innerText('#token-text')));
    assert.equal(requests.length, before);
    await bob.context.close();
  });

  test('a step-up is asked for, and passed by signing in again', async () => {
    const tab = shared;
    await person.signIn(tab, 'alice', { anHourAgo: true });
    assert.match(await person.press(tab, '#call-admin', '#call-result'), /401[^]*insufficient_user_authentication[^]*300/);
    await person.signIn(tab, 'alice', { button: '#step-up-button' });
    await until('the call to be made again', async () => /200/.test(await tab.innerText('#call-result')));
  });

  test('a stopped authorization server ends no session', async () => {
    const tab = await alice();
    await tab.reload(); // its token is new
    await tab.waitForSelector('body[data-ready=true][data-signed-in=alice]');
    await person.press(tab, '#stop-button', '#outage-result');
    await tab.waitForSelector('#as-state[data-state=stopped]');
    const [before] = await jar();
    assert.match(await person.press(tab, '#outage-call', '#outage-result'), /200/);
    assert.match(await person.press(tab, '#outage-swap', '#outage-result'), /503 temporarily_unavailable[^]*Retry-After: 2/);
    assert.equal((await jar())[0].value, before.value);
    await person.press(tab, '#start-button', '#outage-result');
    await tab.waitForSelector('#as-state[data-state=up]');
    assert.match(await person.press(tab, '#outage-swap', '#outage-result'), /200/);
    assert.notEqual((await jar())[0].value, before.value);
    assert.equal(await signedIn(tab), 'alice');
  });

  test('a replayed cookie ends the session, for thief and victim', async () => {
    const tab = await alice();
    const said = await person.press(tab, '#replay-button', '#replay-result');
    const [thief, victim] = [await tab.getAttribute('#replay-result', 'data-thief'), await tab.getAttribute('#replay-result', 'data-victim')];
    assert.deepEqual([thief, victim], ['400', '400'], said);
    assert.equal(await signedIn(tab), '');
    assert.deepEqual(await jar(), []);
  });

  const outcome = '#revoke-result[data-told=true]';
  const revoke = (tab, button) => person.press(tab, button, '#revoke-result');

  test('a suspended account is out on every open page until that is lifted', async (t) => {
    t.after(() => revoke(shared, '#lift-account-button'));
    const tab = await alice();
    const sibling = await person.open();
    const [elsewhere, bob] = [await newPerson(), await newPerson()];
    const [other, bobs] = [await elsewhere.open(), await bob.open()];
    await elsewhere.signIn(other, 'alice');
    await bob.signIn(bobs, 'bob');
    const said = await revoke(tab, '#suspend-button');
    assert.match(said, /201 POST \/revocations \{"kind":"sub","value":"alice","block":true[^]*401 for this page’s next call\. The token was revoked\.[^]*40[01] for its next swap/);
    assert.equal(await signedIn(tab), '');
    await sibling.waitForSelector(outcome); // of the two that share the cookie, one has it cleared
    assert.match(await sibling.innerText('#revoke-result'), /not from this page[^]*401 for this page[^]*40[01] for its next swap/);
    assert.equal(await signedIn(sibling), '');
    await sibling.close();
    assert.deepEqual(await jar(), []);
    await other.waitForSelector(outcome);
    assert.match(await other.innerText('#revoke-result'), /not from this page[^]*401 for this page[^]*400 for its next swap\. The cookie is cleared/);
    assert.equal(await signedIn(other), '');
    await bobs.waitForSelector(outcome);
    assert.match(await bobs.innerText('#revoke-result'), /200 for this page’s next call/);
    assert.equal(await signedIn(bobs), 'bob');

    await tab.click('#sign-in-button');
    await tab.click('button[value=alice]');
    await tab.waitForURL((url) => url.pathname === '/oauth/callback');
    await until('the gateway to say why', async () => /access was revoked/i.test(await tab.innerText('body')));
    await tab.goto(`${demo.url}/`);
    await tab.waitForSelector('body[data-ready=true]');
    assert.match(await tab.innerText('#sign-in-result'), /came back without a sign-in/);
    assert.ok(await tab.isVisible('#account-state'), 'a page that was opened later says so');

    await other.evaluate(() => delete document.getElementById('revoke-result').dataset.told);
    assert.match(await revoke(tab, '#lift-account-button'), /200 DELETE \/revocations\/[0-9a-f]{32}/);
    await other.waitForSelector(outcome);
    assert.ok(!(await tab.isVisible('#account-state')) && !(await other.isVisible('#account-state')));
    assert.match(await revoke(tab, '#lift-account-button'), /nothing to lift/);
    await person.signIn(tab, 'alice');
    await Promise.all([elsewhere.context.close(), bob.context.close()]);
  });

  test('after a lost device every session of before has ended, and a later sign-in is good', async () => {
    const tab = await alice();
    const phone = await newPerson();
    const lost = await phone.open();
    await phone.signIn(lost, 'alice');
    assert.match(await revoke(tab, '#lost-button'), /201 POST \/revocations \{"kind":"sub","value":"alice","reason"[^]*401[^]*400/);
    await lost.waitForSelector(outcome);
    assert.match(await lost.innerText('#revoke-result'), /401[^]*400/);
    assert.deepEqual([await signedIn(tab), await signedIn(lost)], ['', '']);
    const second = Math.floor(Date.now() / 1000);
    await until('the next second', () => Math.floor(Date.now() / 1000) > second);
    await person.signIn(tab, 'alice');
    assert.match(await person.press(tab, '#call-hello', '#call-result'), /200/);
    await phone.context.close();
  });

  test('a revoked key refuses what it signed, whoever it is for, until it is trusted again', async (t) => {
    t.after(() => revoke(shared, '#lift-key-button'));
    const tab = await alice();
    const bob = await newPerson();
    const bobs = await bob.open();
    await bob.signIn(bobs, 'bob');
    assert.match(await revoke(tab, '#revoke-key-button'), /201 POST \/revocations \{"kind":"kid"[^]*401 for this page[^]*502 for its next swap/);
    await bobs.waitForSelector(outcome);
    assert.match(await bobs.innerText('#revoke-result'), /401 for this page[^]*502 for its next swap[^]*the cookie stays/);
    assert.ok(await bobs.isVisible('#key-state'));
    assert.match(await revoke(bobs, '#lift-key-button'), /200 DELETE/);
    await tab.waitForSelector(outcome);
    assert.ok(!(await tab.isVisible('#key-state')));
    assert.equal(await signedIn(tab), 'alice', 'her session stayed');
    assert.match(await person.press(tab, '#call-hello', '#call-result'), /200/);
    await bob.context.close();
  });

  test('sign-out is seen in the other tab', async () => {
    const tab = await alice();
    const other = await person.open();
    await until('the other tab to be signed in', async () => (await signedIn(other)) === 'alice');
    await person.press(tab, '#sign-out-button', '#sign-out-result');
    await until('the other tab to be signed out', async () => (await signedIn(other)) === '');
    assert.deepEqual(await jar(), []);
    assert.match(await person.press(other, '#call-hello', '#call-result'), /401/);
    await other.close();
  });

  test('the wire shows each leg, without secrets, and is used with the keyboard', async () => {
    const tab = await alice();
    await person.signIn(tab, 'alice');
    await tab.waitForSelector('#wire-state[data-state=live]');
    await person.press(tab, '#call-hello', '#call-result');
    const legs = () => tab.$$eval('#wire-entries > li', (items) => [...new Set(items.map((item) => item.dataset.leg))].sort());
    const wanted = ['browser-as', 'browser-gateway', 'gateway-as', 'gateway-upstream'];
    await until('all legs to be shown', async () => wanted.every(((shown) => (leg) => shown.includes(leg))(await legs())));
    await tab.focus('#wire-entries summary[tabindex="0"]');
    await tab.keyboard.press('Home');
    const opened = '#wire-entries > li:not([hidden]) details[open]';
    await tab.keyboard.press('Enter');
    await tab.waitForSelector(opened);
    await tab.keyboard.press('Escape');
    await until('it to close', async () => (await tab.$(opened)) === null);
    await tab.$$eval('#wire-entries details', (all) => all.forEach((details) => (details.open = true)));
    const [{ value }] = await jar();
    await until('all to be unfolded', async () => /set-cookie/i.test(await tab.innerText('#wire-entries')));
    assert.ok(!(await tab.innerText('#wire-entries')).includes(value.slice(0, 20)));
  });

  test('everybody can use it: axe-core finds nothing, light or dark', async (t) => {
    t.after(() => revoke(shared, '#lift-key-button'));
    const somebody = await newPerson();
    const tab = await somebody.open();
    const faults = async () => {
      await tab.evaluate(axe);
      const found = [];
      for (const [colorScheme, how] of [['light', {}], ['dark', { runOnly: ['color-contrast'] }]]) {
        await tab.emulateMedia({ colorScheme });
        const { violations, passes } = await tab.evaluate((how) => axe.run(how), how);
        assert.ok(passes.some(({ id }) => id === 'color-contrast'));
        found.push(...violations.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => `${colorScheme} ${id} ${target}: ${failureSummary}`)));
      }
      return found;
    };
    await tab.click('#sign-in-button');
    await tab.waitForSelector('button[value=alice]');
    assert.deepEqual(await faults(), [], 'the sign-in page');
    await tab.click('button[value=alice]');
    await tab.waitForSelector('body[data-ready=true][data-signed-in=alice]');
    await tab.click('#wire-clear');
    for (const [button, result] of [['#call-hello', '#call-result'], ['#cookie-button', '#cookie-result'], ['#outage-swap', '#outage-result'], ['#call-bob', '#call-result'], ['#revoke-key-button', '#revoke-result']]) {
      await somebody.press(tab, button, result);
    }
    await tab.click('#wire-entries > li:last-child summary');
    assert.deepEqual(await faults(), [], 'the page with results and the wire');
    await somebody.context.close();
  });
});
