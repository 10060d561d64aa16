// Free ports for programs that must be told theirs in advance. They are taken from below the range
// that the kernel gives to outgoing connections, so none can be snatched before the program binds.

import net from 'node:net';

const given = new Set();

export async function freePort() {
  for (;;) {
    const port = 12_000 + Math.floor(Math.random() * 18_000);
    if (!given.has(port) && (await canBind(port))) {
      given.add(port);
      return port;
    }
  }
}

function canBind(port) {
  return new Promise((resolve) => {
    const server = net.createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
