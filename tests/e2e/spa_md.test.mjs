// docs/spa.md shows what page authors may copy; what it shows is what there is.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { blocksOfSpaMd, tollgateJs } from './support/pages.mjs';

test('docs/spa.md quotes docs/tollgate.js whole', () => {
  assert.ok(blocksOfSpaMd('js').includes(tollgateJs()), 'copy docs/tollgate.js into the block of docs/spa.md again');
});

test('a page of session mode goes to the sign-in of its gateway alone, and calls nobody else', async () => {
  const gateway = 'https://gate.example';
  const [gone, asked] = [[], []];
  let body;
  globalThis.location = { origin: gateway, href: `${gateway}/app/`, assign: (url) => gone.push(String(url)) };
  const { fetch } = globalThis;
  globalThis.fetch = async (url, { headers, credentials }) => {
    asked.push([String(url), headers.get('X-CSRF'), credentials]);
    return new Response(body, { status: 401 });
  };
  try {
    const code = blocksOfSpaMd('js').find((block) => block.startsWith('// api.js'));
    const { call } = await import(`data:text/javascript,${encodeURIComponent(code)}`);
    const login = `${gateway}/oauth/login?client_id=portal&return_to=%2Fapp%2F`;
    for (const [login_url, goes] of [
      [login, true],
      ['https://evil.example/oauth/login?client_id=portal', false],
      ['https://gate.example.evil.example/oauth/login', false],
      [`${gateway}/oauth/logout`, false],
      ['javascript:alert(1)//oauth/login', false],
      ['/oauth/login', false],
      [null, false],
      [undefined, false],
    ]) {
      body = JSON.stringify({ login_url });
      gone.length = 0;
      assert.equal((await call('/api/orders')).status, 401);
      assert.deepEqual(gone, goes ? [login] : [], String(login_url));
    }
    for (body of ['no JSON', 'null', '[]']) {
      gone.length = 0;
      await call('/api/orders');
      assert.deepEqual(gone, [], body);
    }
    assert.deepEqual(asked[0], [`${gateway}/api/orders`, '1', 'include']);
    asked.length = 0;
    for (const url of ['https://evil.example/api', '//evil.example/api', 'http://gate.example/api']) await assert.rejects(call(url), TypeError, url);
    assert.deepEqual(asked, [], 'nobody else gets the header');
  } finally {
    globalThis.fetch = fetch;
    delete globalThis.location;
  }
});
