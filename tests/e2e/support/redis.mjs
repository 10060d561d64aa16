// A real Redis on a port of its own, with nothing kept on disk.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { until } from './http.mjs';
import { freePort } from './ports.mjs';

const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

export class Redis {
  #child;
  #folder;

  static async start() {
    const redis = new Redis();
    redis.port = await freePort();
    redis.#folder = await mkdtemp(path.join(tmpdir(), 'tollgate-redis-'));
    await redis.#run();
    return redis;
  }

  get url() {
    return `redis://127.0.0.1:${this.port}/0`;
  }

  async #run() {
    const settings = ['--port', String(this.port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', this.#folder];
    this.#child = spawn('redis-server', settings, { stdio: 'ignore' });
    running.add(this.#child);
    await until('Redis to answer', () => this.command('PING'));
  }

  /** One command in the inline form; gives the first line of the answer. */
  command(line) {
    return new Promise((resolve, reject) => {
      const socket = net.connect(this.port, '127.0.0.1', () => socket.write(`${line}\r\n`));
      socket.once('data', (data) => {
        socket.destroy();
        resolve(data.toString().split('\r\n')[0]);
      });
      socket.once('error', reject);
    });
  }

  signal(name) {
    this.#child.kill(name);
  }

  async kill() {
    const closed = once(this.#child, 'close');
    this.#child.kill('SIGKILL');
    await closed;
    running.delete(this.#child);
  }

  /** Starts it again on its port, empty. */
  restart() {
    return this.#run();
  }

  async stop() {
    if (this.#child.exitCode === null && this.#child.signalCode === null) await this.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }
}
