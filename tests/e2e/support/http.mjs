// HTTP as a browser speaks it: every header under our control, cookies kept by host (ports do not
// separate them) and path, and every answer remembered, so that a test can look for what must never
// have been in one.

import http from 'node:http';

/** Sends one request and reads the whole answer. Each request has a connection of its own unless `agent` is given. */
export function request(method, url, { headers = {}, body, agent = false, signal } = {}) {
  const target = new URL(url);
  return new Promise((resolve, reject) => {
    const outgoing = http.request(
      target,
      { method, headers: body === undefined ? headers : { 'content-length': Buffer.byteLength(body), ...headers }, agent, lookup: loopback, signal },
      (incoming) => {
        const chunks = [];
        incoming.on('data', (chunk) => chunks.push(chunk));
        incoming.on('error', reject);
        incoming.on('end', () => {
          if (!incoming.complete) return reject(new Error(`${method} ${url}: the answer broke off`));
          const text = Buffer.concat(chunks).toString();
          resolve({
            status: incoming.statusCode,
            headers: incoming.headers,
            setCookies: incoming.headers['set-cookie'] ?? [],
            text,
            get json() {
              return JSON.parse(text);
            },
          });
        });
      },
    );
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

/** Every name of these tests is this machine's, also `gate.app.localhost`. */
const loopback = (_, options, found) => (options.all ? found(null, [{ address: '127.0.0.1', family: 4 }]) : found(null, '127.0.0.1', 4));

/** A form body and its content type. */
export const form = (fields) => ({
  headers: { 'content-type': 'application/x-www-form-urlencoded' },
  body: new URLSearchParams(fields).toString(),
});

/** One browser profile: cookies, and what a page of `origin` sends with a fetch of its own. */
export class Browser {
  /** Every answer that any browser of this process ever got, with its headers. */
  static answers = [];
  cookies = [];

  /** A fetch by script: from `page` (an origin) to `url`. */
  async fetch(method, url, { page = new URL(url).origin, headers = {}, body, ...rest } = {}) {
    const target = new URL(url);
    const sameOrigin = page === target.origin;
    const sameSite = new URL(page).hostname === target.hostname;
    return this.#send(method, url, {
      headers: {
        ...(sameOrigin && method === 'GET' ? {} : { origin: page }),
        'sec-fetch-site': sameOrigin ? 'same-origin' : sameSite ? 'same-site' : 'cross-site',
        'sec-fetch-mode': 'cors',
        'sec-fetch-dest': 'empty',
        ...headers,
      },
      body,
      ...rest,
    });
  }

  /** A navigation that follows redirects until `stopAt(url)` says that it has arrived. */
  async navigate(url, { method = 'GET', headers = {}, body, stopAt = () => false } = {}) {
    let next = { method, url, headers, body };
    for (let hops = 0; hops < 20; hops += 1) {
      const answer = await this.#send(next.method, next.url, {
        headers: { 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document', ...next.headers },
        body: next.body,
      });
      if (answer.status < 300 || answer.status > 399) return { url: next.url, answer };
      const location = new URL(answer.headers.location, next.url).href;
      if (stopAt(location)) return { url: location, answer };
      next = { method: 'GET', url: location, headers: {} };
    }
    throw new Error(`too many redirects from ${url}`);
  }

  async #send(method, url, { headers, body, ...rest }) {
    const cookie = this.cookieHeader(url);
    const answer = await request(method, url, { headers: cookie ? { cookie, ...headers } : headers, body, ...rest });
    for (const line of answer.setCookies) this.#store(url, line);
    Browser.answers.push({ url, id: answer.headers['x-request-id'], text: JSON.stringify(answer.headers) + answer.text });
    return answer;
  }

  /** The `Cookie` header that goes to `url`, or an empty text. */
  cookieHeader(url) {
    const { hostname, pathname } = new URL(url);
    return this.#kept()
      .filter((it) => it.host === hostname && (pathname === it.path || pathname.startsWith(it.path.replace(/\/?$/, '/'))))
      .map((it) => `${it.name}=${it.value}`)
      .join('; ');
  }

  cookie(name) {
    return this.#kept().find((it) => it.name === name)?.value;
  }

  /** What a browser would still have: it forgets a cookie when its time is over. */
  #kept() {
    this.cookies = this.cookies.filter((it) => it.until > Date.now());
    return this.cookies;
  }

  #store(url, line) {
    const { hostname, pathname } = new URL(url);
    const [pair, ...attributes] = line.split(';').map((part) => part.trim());
    const at = pair.indexOf('=');
    const cookie = { host: hostname, path: pathname.replace(/\/[^/]*$/, '') || '/', name: pair.slice(0, at), value: pair.slice(at + 1), until: Infinity };
    let maxAge;
    for (const attribute of attributes) {
      const [name, value = ''] = attribute.split('=');
      if (/^path$/i.test(name)) cookie.path = value;
      if (/^max-age$/i.test(name)) maxAge = Number(value);
      if (/^expires$/i.test(name)) cookie.until = Date.parse(value);
    }
    // RFC 6265 section 5.3: Max-Age has precedence.
    if (maxAge !== undefined) cookie.until = Date.now() + maxAge * 1000;
    this.cookies = this.cookies.filter((it) => it.host !== cookie.host || it.name !== cookie.name || it.path !== cookie.path);
    if (cookie.until > Date.now()) this.cookies.push(cookie);
  }
}

/**
 * What `ask()` is answered in the end. As a page does, whoever hears 503 comes again: on a busy machine a store here can be
 * late. Not at once: hundreds that do would keep it so.
 */
export const answered = (ask, patience) =>
  until('an answer', async () => {
    const answer = await ask();
    if (answer.status !== 503) return answer;
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 1000 * Number(answer.headers['retry-after'] ?? 1)));
  }, patience);

/** Waits until `condition()` gives something true, and returns it. Nothing here takes as long, however busy the machine is. */
export async function until(what, condition, { seconds = 60 } = {}) {
  const end = performance.now() + seconds * 1000;
  let last;
  while (performance.now() < end) {
    try {
      const result = await condition();
      if (result) return result;
      last = undefined;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`waited ${seconds} s for: ${what}${last ? ` (${last.message})` : ''}`);
}
