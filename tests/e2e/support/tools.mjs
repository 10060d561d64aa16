// Programs of others, as peers: curl, nghttp2's clients, openssl, nginx. scripts/setup brings them.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { until } from './http.mjs';
import { freePort } from './ports.mjs';

// Debian has nginx where only root looks for programs.
const env = { PATH: `${process.env.PATH}:/usr/sbin`, LC_ALL: 'C' };

/** What still runs; none of it outlives the tests. */
const children = new Set();
process.on('exit', () => children.forEach((child) => child.kill('SIGKILL')));

function start(name, args, options) {
  const child = spawn(name, args, { env, ...options });
  children.add(child);
  child.on('close', () => children.delete(child));
  return child;
}

/** Runs a program to its end: exit code, and what it printed. Its input stays open until `until` matches the output. */
export async function tool(name, args, { input, until: wanted, seconds = 60, cwd } = {}) {
  const child = start(name, args, { cwd, stdio: ['pipe', 'pipe', 'pipe'] });
  const timer = setTimeout(() => child.kill('SIGKILL'), seconds * 1000);
  let stdout = '';
  let stderr = '';
  const look = () => wanted?.test(stdout + stderr) && child.stdin.end();
  child.stdout.on('data', (chunk) => look((stdout += chunk)));
  child.stderr.on('data', (chunk) => look((stderr += chunk)));
  child.stdin.on('error', () => {}); // It need not read it all.
  if (input !== undefined) child.stdin.write(input);
  if (!wanted) child.stdin.end();
  const [code, signal] = await once(child, 'close');
  clearTimeout(timer);
  return { code, signal, stdout, stderr, text: stdout + stderr };
}

export class Folder {
  static async make() {
    const folder = new Folder();
    folder.path = await mkdtemp(path.join(tmpdir(), 'tollgate-peers-'));
    return folder;
  }

  file(name) {
    return path.join(this.path, name);
  }

  remove() {
    return rm(this.path, { recursive: true, force: true });
  }
}

/** An authority of its own in `folder`, and the certificates that it gives: `name.pem` and `name.key`. */
export class Authority {
  constructor(folder, name) {
    Object.assign(this, { folder, name, ca: folder.file(`${name}.pem`) });
  }

  static async make(folder, name) {
    const authority = new Authority(folder, name);
    await authority.#request(name, ['-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign']);
    return authority;
  }

  async gives(name, alternative) {
    const by = ['-CA', this.ca, '-CAkey', this.folder.file(`${this.name}.key`)];
    await this.#request(name, [...by, '-addext', 'basicConstraints=critical,CA:FALSE', '-addext', `subjectAltName=${alternative}`]);
    return { certificate: this.folder.file(`${name}.pem`), key: this.folder.file(`${name}.key`) };
  }

  async #request(name, more) {
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc', '-keyout', this.folder.file(`${name}.key`)];
    // The default configuration would add extensions of its own.
    const args = ['req', '-x509', '-config', '/dev/null', '-subj', `/CN=${name}`, '-days', '2', ...key, '-out', this.folder.file(`${name}.pem`), ...more];
    const made = await tool('openssl', args);
    if (made.code !== 0) throw new Error(made.text);
  }
}

/** An nginx with a folder of its own, as a child of the tests. */
export class Nginx {
  /** `servers`: a function from a port that is free to its `server` block; `log`: what it writes of each request. */
  static async start(folder, { log, servers }) {
    const nginx = new Nginx();
    nginx.folder = folder;
    nginx.ports = [];
    const blocks = [];
    for (const server of servers) {
      const port = await freePort();
      nginx.ports.push(port);
      blocks.push(server(port));
    }
    const scratch = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${folder.file(`nginx-${kind}`)};`);
    const configuration = `
      daemon off;
      master_process off;
      pid ${folder.file('nginx.pid')};
      error_log stderr;
      events {}
      http {
        ${scratch.join('\n')}
        log_format asked '${log}';
        access_log ${folder.file('nginx.log')} asked;
        ${blocks.join('\n')}
      }`;
    await writeFile(folder.file('nginx.conf'), configuration);
    nginx.#child = start('nginx', ['-e', 'stderr', '-p', folder.path, '-c', folder.file('nginx.conf')], { stdio: ['ignore', 'inherit', 'pipe'] });
    nginx.#child.stderr.on('data', (chunk) => (nginx.output += chunk));
    nginx.#ended = once(nginx.#child, 'close');
    let isGone = false;
    nginx.#ended.then(() => (isGone = true), () => (isGone = true));
    await until('nginx to listen', async () => isGone || (await Promise.all(nginx.ports.map(listens))).every(Boolean));
    if (isGone) throw new Error(`nginx ended:\n${nginx.output}`);
    return nginx;
  }

  output = '';
  #child;
  #ended;

  /** The lines of its log so far, each cut at the spaces. */
  async log() {
    const text = await readFile(this.folder.file('nginx.log'), 'utf8');
    return text.split('\n').slice(0, -1).map((line) => line.split(' '));
  }

  async stop() {
    this.#child.kill('SIGKILL');
    await this.#ended;
  }
}

function listens(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => resolve(true)).on('error', () => resolve(false));
    socket.on('connect', () => socket.destroy());
  });
}
