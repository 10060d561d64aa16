// Free ports for programs that must be told theirs in advance. They are taken from below the range
// that the kernel gives to outgoing connections and to whoever asks for any port, so that none can be
// snatched before the program binds, or while it is down for a while. From other runs of these tests
// each is guarded until this process ends: by a socket on the same port of 127.0.0.2.

import { readFileSync } from 'node:fs';
import net from 'node:net';

const FIRST = 12_000;
const END = Math.min(30_000, firstOfTheKernel());

export async function freePort() {
  if (END - FIRST < 1000) throw new Error(`these tests need ports from ${FIRST} on that the kernel gives to nobody: raise the first of /proc/sys/net/ipv4/ip_local_port_range, which is ${END}`);
  for (;;) {
    const port = FIRST + Math.floor(Math.random() * (END - FIRST));
    const guard = await bound(port, '127.0.0.2');
    if (!guard) continue;
    guard.unref();
    const trial = await bound(port, '127.0.0.1');
    if (trial) {
      await new Promise((closed) => trial.close(closed));
      return port;
    }
    guard.close();
  }
}

/** A server on this port, or nothing when that is taken. */
function bound(port, host) {
  return new Promise((resolve) => {
    const server = net.createServer((socket) => socket.destroy());
    server.once('error', () => resolve(undefined));
    server.listen(port, host, () => resolve(server));
  });
}

function firstOfTheKernel() {
  try {
    return Number(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').split(/\s/)[0]);
  } catch {
    return Infinity;
  }
}
