// The API behind the gateway: says what it received, and holds requests to /api/held until it is
// told to let go.

import http from 'node:http';
import { once } from 'node:events';

export class Upstream {
  /** What arrived: method, url, headers as received (rawHeaders). */
  received = [];
  #held = [];
  #server = http.createServer((incoming, outgoing) => {
    const chunks = [];
    incoming.on('data', (chunk) => chunks.push(chunk));
    incoming.on('end', () => {
      const request = {
        method: incoming.method,
        url: incoming.url,
        headers: incoming.headers,
        rawHeaders: incoming.rawHeaders,
        body: Buffer.concat(chunks).toString(),
      };
      this.received.push(request);
      const answer = () => {
        outgoing.writeHead(200, { 'content-type': 'application/json' });
        outgoing.end(JSON.stringify(request));
      };
      if (incoming.url.startsWith('/api/held')) this.#held.push(answer);
      else if (incoming.url.startsWith('/api/slow')) setTimeout(answer, 50);
      else answer();
    });
  });

  static async start() {
    const upstream = new Upstream();
    upstream.#server.listen(0, '127.0.0.1');
    await once(upstream.#server, 'listening');
    return upstream;
  }

  get url() {
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  get heldCount() {
    return this.#held.length;
  }

  release() {
    for (const answer of this.#held.splice(0)) answer();
  }

  stop() {
    this.release();
    this.#server.close();
    this.#server.closeAllConnections();
  }
}
