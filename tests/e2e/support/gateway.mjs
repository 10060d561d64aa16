// The real binary with a config of its own in a folder of its own. All that it prints is kept.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { freePort } from './ports.mjs';
import { request, until } from './http.mjs';

const project = fileURLToPath(new URL('../../..', import.meta.url));
export const BINARY = process.env.TOLLGATE ?? path.resolve(project, process.env.CARGO_TARGET_DIR ?? 'target', 'debug/tollgate');

/** Runs the binary to its end: exit code and all that it printed. */
export async function run(args, { cwd, env = {}, seconds = 60 } = {}) {
  const child = spawn(BINARY, args, { cwd, env: environment(env), stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  child.stdout.on('data', (chunk) => (text += chunk));
  child.stderr.on('data', (chunk) => (text += chunk));
  const timer = setTimeout(() => child.kill('SIGKILL'), seconds * 1000);
  const [code, signal] = await once(child, 'close');
  clearTimeout(timer);
  return { code, signal, text };
}

/** What still runs; none of it outlives the tests. */
const children = new Set();
/** Processes that took over from one of those. */
const successors = new Set();
process.on('exit', () => {
  children.forEach((child) => child.kill('SIGKILL'));
  successors.forEach(kill);
});

function kill(pid) {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

/** Whether a process has ended; one that nobody has waited for yet has, too. */
export async function hasEnded(pid) {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ') Z');
  return /\) [ZX]/.test(stat);
}

const environment = (more) => ({ PATH: process.env.PATH, NO_COLOR: '1', ...more });

export class Gateway {
  /** All that it printed, standard output and error. What it says of something may come after its answer. */
  output = '';
  /** Its access log: one object a line, in their order. A line may come after its answer, and after later lines. */
  requests = [];
  /** Resolves to `{ code, signal }` when it has ended. */
  exited;
  /** No process holds what it printed to any more. */
  isGone = false;
  #child;
  #folder;
  /** Who took over from the process that was started, the latest last. */
  #successors = [];

  /** The origin and ports that `config` is then made with. `tls`: browsers come by https, and see this certificate. */
  static async reserve(host = 'localhost', tls) {
    const gateway = new Gateway();
    Object.assign(gateway, { host, tls });
    gateway.port = await freePort();
    gateway.adminPort = await freePort();
    gateway.#folder = await mkdtemp(path.join(tmpdir(), 'tollgate-e2e-'));
    return gateway;
  }

  get url() {
    return `${this.tls ? 'https' : 'http'}://${this.host}:${this.port}`;
  }

  get admin() {
    return `http://127.0.0.1:${this.adminPort}`;
  }

  /** Whether the process that was started has ended; one that took over may go on. */
  get ended() {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** Of the process that serves. */
  get pid() {
    return this.#successors.at(-1) ?? this.#child.pid;
  }

  file(name) {
    return path.join(this.#folder, name);
  }

  /** Starts with `config` (an object; JSON is YAML) and waits until it answers, and until it is ready unless told not to. */
  async start(config, { env = {}, ready = true, files = {} } = {}) {
    for (const [name, content] of Object.entries(files)) await writeFile(this.file(name), content, { mode: 0o600 });
    if (config) {
      const address = `127.0.0.1:${this.port}`;
      const listen = this.tls ? [{ address, tls: [this.tls] }] : address;
      await writeFile(
        this.file('config.yaml'),
        JSON.stringify({ public_url: this.url, listen, admin: `127.0.0.1:${this.adminPort}`, store: 'data', ...config }, null, 2),
      );
    }
    this.#child = spawn(BINARY, ['run', 'config.yaml'], { cwd: this.#folder, env: environment(env), stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child.stdout.on('data', (chunk) => (this.output += chunk));
    this.#child.stderr.on('data', (chunk) => (this.output += chunk));
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      if (line.startsWith('{"time":')) this.requests.push(JSON.parse(line));
    });
    children.add(this.#child);
    this.isGone = false;
    this.exited = once(this.#child, 'close').then(([code, signal]) => ({ code, signal }));
    const child = this.#child;
    this.exited.then(() => {
      this.isGone = true;
      children.delete(child);
    });
    let ended;
    await until(ready ? 'the gateway to be ready' : 'the gateway to live', async () => {
      if (this.isGone) return (ended = true);
      return (await request('GET', `${this.admin}/${ready ? 'readyz' : 'livez'}`)).status === 200;
    }).catch((error) => {
      throw new Error(`${error.message}\n${this.output}`);
    });
    if (ended) throw new Error(`the gateway ended at its start:\n${this.output}`);
    return this;
  }

  signal(name) {
    process.kill(this.pid, name);
  }

  /** Hands over to a new process. Returns the ids of the old one and of the new one. */
  async handOver() {
    const before = this.pid;
    const [, pid] = await this.says(/"message":"handed over[^\n]*"process":(\d+)/, () => this.signal('SIGQUIT'));
    successors.add(Number(pid));
    this.#successors.push(Number(pid));
    return { before, after: this.pid };
  }

  /** Waits until it has said so, a text or a pattern, and returns the match. With `act`: does that, and waits for something new. */
  async says(what, act) {
    const from = act ? this.output.length : 0;
    await act?.();
    const find = () => (typeof what === 'string' ? this.output.includes(what, from) : what.exec(this.output.slice(from)));
    return until(`the gateway to say ${what}`, find).catch((error) => {
      throw new Error(`${error.message}\n${this.output}`);
    });
  }

  /** Waits until the requests with these ids are in its access log, and everything else that it said of them has come. */
  async hasLogged(ids) {
    await until('the access log', () => {
      const logged = new Set(this.requests.map(({ request_id: id }) => id));
      return ids.every((id) => logged.has(id));
    });
    // Messages have a thread of their own. What it says of a reload comes behind all that it said before.
    await this.says(/the configuration (was read again|is not good)/, () => this.signal('SIGHUP'));
  }

  /** The most memory it ever had, in MiB. */
  async peakMemory() {
    const status = await readFile(`/proc/${this.pid}/status`, 'utf8');
    return Number(/VmHWM:\s+(\d+) kB/.exec(status)[1]) / 1024;
  }

  /** The value of a metric of this name whose labels contain all of `labels`, added up. */
  async metric(name, labels = {}) {
    const { text } = await request('GET', `${this.admin}/metrics`);
    return text
      .split('\n')
      .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
      .filter((line) => Object.entries(labels).every(([label, value]) => line.includes(`${label}="${value}"`)))
      .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
  }

  /** With TOLLGATE_E2E_OUTPUT set, shows what it printed. */
  async stop() {
    if (process.env.TOLLGATE_E2E_OUTPUT) console.log(this.output);
    for (const pid of this.#successors) {
      kill(pid);
      await until(`process ${pid} to end`, () => hasEnded(pid));
      successors.delete(pid);
    }
    if (this.#child && !this.isGone) {
      this.#child.kill('SIGKILL');
      await this.exited;
    }
    await rm(this.#folder, { recursive: true, force: true });
  }
}
