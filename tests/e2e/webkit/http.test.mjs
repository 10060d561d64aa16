// What people meet who try it in WebKit over http://localhost, where that keeps no `Secure` cookie: they are told so.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Demo } from '../support/demo.mjs';
import { WebKit } from '../support/webkit.mjs';

let demo, webkit;
before(async () => ([demo, webkit] = await Promise.all([Demo.start(), WebKit.launch()])));
after(async () => {
  await webkit?.stop();
  await demo?.stop();
});

test('the demo says that this browser keeps no such cookie', async () => {
  const person = await webkit.newPerson();
  const tab = await person.open(`${demo.url}/`);
  await tab.waitFor('body[data-ready=true]');
  assert.match(await tab.text('#sign-in-result'), /keeps no Secure cookie/);
  for (const [button, result] of [['#sign-in-button', '#sign-in-result'], ['#session-sign-in', '#session-result']]) {
    await tab.evaluate((button) => document.querySelector(button).click(), button);
    await tab.waitFor(`${result}[data-done=true]`);
    assert.match(await tab.text(result), /keeps no Secure cookie/);
  }
  assert.equal(await tab.url(), `${demo.url}/`, 'nobody leaves for a sign-in that cannot end well');
  // Whoever begins one all the same, from a link.
  await tab.goto(`${demo.url}/oauth/login?client_id=web-app`);
  await tab.click('button[value=alice]');
  await tab.waitForURL(`${demo.url}/oauth/login/again*`);
  assert.match(await tab.text(), /Safari keeps no cookie of the gateway there/);
});
