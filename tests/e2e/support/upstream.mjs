// The API behind the gateway: says what it received, and holds requests to /api/held until it is
// told to let go. What ends in `?no-store` is answered so. /api/feed is a stream of one event, which ends when its reader leaves. A WebSocket is told the same in its first message; `?choose=` is the subprotocol that is chosen.

import { createHash } from 'node:crypto';
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
        outgoing.writeHead(200, { 'content-type': 'application/json', ...(incoming.url.endsWith('?no-store') && { 'cache-control': 'no-store' }) });
        outgoing.end(JSON.stringify(request));
      };
      if (incoming.url.startsWith('/api/feed')) this.#feed(outgoing);
      else if (incoming.url.startsWith('/api/held')) this.#held.push(answer);
      else if (incoming.url.startsWith('/api/slow')) setTimeout(answer, 50);
      else answer();
    });
  });

  #sockets = new Set();
  /** How many read /api/feed. */
  readers = 0;

  #feed(outgoing) {
    this.readers += 1;
    outgoing.on('close', () => (this.readers -= 1));
    outgoing.writeHead(200, { 'content-type': 'text/event-stream' });
    outgoing.write('data: first\n\n');
  }

  static async start() {
    const upstream = new Upstream();
    upstream.#server.on('upgrade', (incoming, socket) => upstream.#upgrade(incoming, socket));
    upstream.#server.listen(0, '127.0.0.1');
    await once(upstream.#server, 'listening');
    return upstream;
  }

  /** The handshake of RFC 6455 section 4.2.2, and one text frame. */
  #upgrade({ method, url, headers, rawHeaders }, socket) {
    this.#sockets.add(socket);
    socket.on('error', () => {}).on('close', () => this.#sockets.delete(socket));
    this.received.push({ method, url, headers, rawHeaders });
    const chosen = new URL(url, 'http://upstream.invalid').searchParams.get('choose');
    const accept = createHash('sha1').update(`${headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
    const fields = ['Upgrade: websocket', 'Connection: Upgrade', `Sec-WebSocket-Accept: ${accept}`, ...(chosen ? [`Sec-WebSocket-Protocol: ${chosen}`] : [])];
    const text = Buffer.from(JSON.stringify({ url, headers }));
    const length = Buffer.from([0x81, 126, text.length >> 8, text.length & 255]);
    socket.write(Buffer.concat([Buffer.from(`HTTP/1.1 101 Switching Protocols\r\n${fields.join('\r\n')}\r\n\r\n`), length, text]));
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
    this.#sockets.forEach((socket) => socket.destroy());
    this.#server.close();
    this.#server.closeAllConnections();
  }
}
