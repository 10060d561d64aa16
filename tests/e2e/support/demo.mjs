// `tollgate demo`, from its start until it invites people to its page.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { BINARY } from './gateway.mjs';
import { until } from './http.mjs';

export class Demo {
  /** All that it printed. */
  output = '';
  #child;
  #folder;

  static async start() {
    const demo = new Demo();
    demo.#folder = await mkdtemp(path.join(tmpdir(), 'tollgate-e2e-'));
    const env = { PATH: process.env.PATH, TMPDIR: demo.#folder, NO_COLOR: '1' };
    demo.#child = spawn(BINARY, ['demo'], { cwd: demo.#folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
    const child = demo.#child;
    process.on('exit', () => child.kill('SIGKILL'));
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (demo.output += chunk));
    try {
      await until('the demo to invite to its page', () => demo.url || child.exitCode !== null);
      if (!demo.url) throw new Error('the demo ended');
    } catch (error) {
      await demo.stop();
      throw new Error(`${error.message}\n${demo.output}`);
    }
    return demo;
  }

  /** The page's address, without a slash at its end. */
  get url() {
    return /open (http:\/\/localhost:\d+)\/ in/.exec(this.output)?.[1];
  }

  async stop() {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill('SIGKILL');
      await once(this.#child, 'close');
    }
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** One browser with the demo's page. */
export class DemoPerson {
  constructor(context, demo) {
    this.context = context;
    this.demo = demo;
  }

  async open() {
    const tab = await this.context.newPage();
    await tab.goto(`${this.demo.url}/`);
    await tab.waitForSelector('body[data-ready=true]');
    return tab;
  }

  /** Through the pages of the demo's authorization server. */
  async signIn(tab, account, { button = '#sign-in-button', anHourAgo = false } = {}) {
    await this.leaveAndChoose(tab, account, button, anHourAgo);
    await tab.waitForSelector(`body[data-ready=true][data-signed-in=${account}]`);
  }

  /** The same as far as the authorization server. */
  async leaveAndChoose(tab, account, button, anHourAgo = false) {
    await tab.click(button);
    await tab.waitForSelector(`button[value=${account}]`);
    if (anHourAgo) await tab.check('input[name=signed_in]');
    await tab.click(`button[value=${account}]`);
  }

  /** Presses a button; gives what its part of the page says then. */
  async press(tab, button, result) {
    await tab.bringToFront(); // clicks wait for frames, and a tab behind others draws one a second
    await tab.click(button);
    await tab.waitForSelector(`${result}[data-done=true]`);
    return tab.innerText(result);
  }
}
