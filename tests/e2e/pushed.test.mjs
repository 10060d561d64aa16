// Pushed authorization requests (RFC 9126) at a real authorization server.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Browser } from './support/http.mjs';
import { sessionMode, signInByGateway } from './support/session_scene.mjs';
import { World } from './support/world.mjs';

const features = (requirePushedAuthorizationRequests) => ({
  pushedAuthorizationRequests: { enabled: true, requirePushedAuthorizationRequests },
});

/** The first redirect of a sign-in. */
async function redirect(world) {
  const browser = new Browser();
  const page = await browser.navigate(`${world.gateway.url}/oauth/login?client_id=web-app&return_to=/`, { stopAt: (url) => url.startsWith(world.as.url) });
  return new URL(page.url);
}

for (const auth of ['client_secret_basic', 'client_secret_post', 'none']) {
  test(`a server that takes only pushed requests signs people in, and the browser brings no parameters (${auth})`, async (t) => {
    const world = await World.start({ ...sessionMode(), auth, features: features(true) });
    t.after(() => world.stop());
    const { searchParams } = await redirect(world);
    assert.deepEqual([...searchParams.keys()], ['client_id', 'request_uri']);
    assert.match(searchParams.get('request_uri'), /^urn:ietf:params:oauth:request_uri:/);

    const browser = await signInByGateway(world);
    const answer = await browser.fetch('GET', `${world.gateway.url}/api/things`, { page: world.gateway.url, headers: { 'x-csrf': '1' } });
    assert.deepEqual([answer.status, answer.json.headers?.['x-auth-subject']], [200, 'alice'], answer.text);
    assert.deepEqual(world.as.pushes.map((push) => [push.auth, push.status]), [[auth, 201], [auth, 201]]);
    assert.equal(world.as.pushes[1].params.code_challenge_method, 'S256');
  });
}

test('where a client says so its requests are pushed to a server that would take others, and an outage costs only that attempt', async (t) => {
  const world = await World.start({ ...sessionMode({ client: { pushed: true } }), features: features(false) });
  t.after(() => world.stop());
  await signInByGateway(world);
  assert.equal(world.as.pushes.length, 1);
  await world.as.pause();
  const page = await new Browser().navigate(`${world.gateway.url}/oauth/login?client_id=web-app&return_to=/`);
  assert.equal(page.answer.status, 503, page.answer.text);
  await world.as.resume();
  await signInByGateway(world, 'bob');
  assert.equal(world.as.pushes.length, 2);
});
