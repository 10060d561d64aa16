// The pages of the browser tests: a single-page app made of what docs/ gives page authors to copy
// (tollgate.js as it is, sign_in.js and socket.js out of spa.md), and empty pages for everybody else.

import http from 'node:http';
import https from 'node:https';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const doc = (name) => readFileSync(fileURLToPath(new URL(`../../../docs/${name}`, import.meta.url)), 'utf8');

/** The fenced blocks of a page of docs/ of one language, without their fences. */
export const blocksOf = (page, language) => [...doc(page).matchAll(new RegExp(`^\`\`\`${language}\n([^]*?)^\`\`\`$`, 'gm'))].map(([, code]) => code);
export const blocksOfSpaMd = (language) => blocksOf('spa.md', language);
export const tollgateJs = () => doc('tollgate.js');

/** A service worker that passes navigations on, and changes nothing of them. */
const WORKER = `
addEventListener('install', () => skipWaiting());
addEventListener('activate', (event) => event.waitUntil(clients.claim()));
addEventListener('fetch', (event) => event.request.mode === 'navigate' && event.respondWith(fetch(event.request)));
`;

/** In a page: installs a worker of these, and waits until it sees all navigations to the page's origin. */
export const installWorker = (tab, url) =>
  tab.evaluate(async (url) => {
    const { serviceWorker } = navigator;
    await serviceWorker.register(url, { scope: '/' });
    await serviceWorker.ready;
    if (!serviceWorker.controller) await new Promise((done) => (serviceWorker.oncontrollerchange = done));
  }, url);

/** One that tells on the channel `spied` whatever it gets to see of navigations. */
const SPY = `
addEventListener('install', () => skipWaiting());
addEventListener('activate', (event) => event.waitUntil(clients.claim()));
const passOn = async (request) => {
  const answer = await fetch(request);
  const told = [request.url, answer.type, answer.url, ...answer.headers, answer.type === 'opaqueredirect' ? '' : await answer.clone().text()];
  new BroadcastChannel('spied').postMessage(told.join(' '));
  return answer;
};
addEventListener('fetch', (event) => event.request.mode === 'navigate' && event.respondWith(passOn(event.request)));
`;

export class Pages {
  /** What arrived: method, url, headers. */
  received = [];
  /** What the app is told; set before it is opened. */
  settings;
  #servers;

  #answer(incoming, outgoing) {
    const { method, url, headers } = incoming;
    this.received.push({ method, url, headers });
    incoming.resume();
    const { pathname, searchParams } = new URL(url, 'http://pages.invalid');
    const policy = searchParams.has('csp') && { 'content-security-policy': searchParams.get('csp') };
    const answer = (type, body, more = policy) => outgoing.writeHead(200, { 'content-type': `${type}; charset=utf-8`, 'cache-control': 'no-store', ...more }).end(body);
    if (pathname === '/app/tollgate.js') return answer('text/javascript', tollgateJs());
    if (pathname === '/app/sign_in.js') return answer('text/javascript', blocksOfSpaMd('js').find((code) => code.startsWith('// sign_in.js')));
    if (pathname === '/app/by_gateway.js') return answer('text/javascript', blocksOfSpaMd('js').find((code) => code.startsWith('// by_gateway.js')));
    if (pathname === '/app/socket.js') return answer('text/javascript', blocksOfSpaMd('js').find((code) => code.startsWith('// socket.js')));
    if (pathname.endsWith('/spy.js')) return answer('text/javascript', SPY, { 'service-worker-allowed': '/' });
    if (pathname.endsWith('/worker.js')) return answer('text/javascript', WORKER, { 'service-worker-allowed': '/' });
    if (pathname.endsWith('/redirect')) return outgoing.writeHead(302, { location: searchParams.get('to') }).end();
    if (pathname.startsWith('/app/')) return answer('text/html', app(this.settings));
    if (pathname === '/clears') return outgoing.writeHead(204, { 'clear-site-data': '"cookies"' }).end();
    if (pathname === '/plants') return outgoing.writeHead(204, { 'set-cookie': searchParams.getAll('cookie') }).end();
    return answer('text/html', '<!doctype html><title>empty</title>');
  }

  /** tls: the files of a certificate and its key; the pages are then served over TLS too. */
  static async start({ tls } = {}) {
    const pages = new Pages();
    const answer = (incoming, outgoing) => pages.#answer(incoming, outgoing);
    pages.#servers = [http.createServer(answer)];
    if (tls) pages.#servers.push(https.createServer({ cert: readFileSync(tls.certificate), key: readFileSync(tls.key) }, answer));
    for (const server of pages.#servers) await once(server.listen(0, '127.0.0.1'), 'listening');
    return pages;
  }

  get port() {
    return this.#servers[0].address().port;
  }

  get tlsPort() {
    return this.#servers[1].address().port;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  stop() {
    for (const server of this.#servers) {
      server.close();
      server.closeAllConnections();
    }
  }
}

/** settings: issuer, gateway ('' is the page's own origin), parameters of the authorization request. */
const app = (settings) => `<!doctype html>
<title>app</title>
<script type="module">
  import { Tollgate } from './tollgate.js';
  import { signIn, signedIn } from './sign_in.js';
  import * as byGateway from './by_gateway.js';
  import { openSocket } from './socket.js';
  const { issuer, gateway, parameters } = ${JSON.stringify(settings)};
  window.timesSignedOut = 0;
  window.gate = new Tollgate({ clientId: parameters.client_id, gateway, signedOut: () => (window.timesSignedOut += 1) });
  window.signIn = () => signIn(issuer + '/auth', parameters);
  window.leave = (more) => byGateway.signIn(gateway, parameters.client_id, more);
  window.leaveForGood = () => byGateway.signOut(gate, gateway, parameters.client_id);
  window.openSocket = (url, protocols) => openSocket(gate, url, protocols);
  window.arrived = location.pathname === '/app/callback' ? signedIn(gate, issuer, parameters.redirect_uri) : Promise.resolve();
  window.arrived.catch(() => {});
</script>`;
