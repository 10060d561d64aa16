// Several gateways of one configuration behind one public address, sharing a Redis.

import { randomBytes } from 'node:crypto';
import { Gateway } from './gateway.mjs';
import { Redis } from './redis.mjs';
import { form } from './http.mjs';
import { CLIENT, COOKIE, World } from './world.mjs';

export class Replicas {
  /** As `World.start`; `count` gateways, the world's own first. */
  static async start({ count = 3, store = {}, config = {}, files = {}, ...options } = {}) {
    const replicas = new Replicas();
    replicas.redis = await Redis.start();
    replicas.world = await World.start({
      ...options,
      startGateway: false,
      config: {
        store: { url: replicas.redis.url, ...store },
        sessions: { keys: [{ file: 'cookie.1' }] },
        ...config,
      },
      files: { 'cookie.1': randomBytes(32).toString('hex'), 'admin.key': randomBytes(32).toString('hex'), ...files },
    });
    const { world } = replicas;
    replicas.gateways = [world.gateway];
    while (replicas.gateways.length < count) replicas.gateways.push(await Gateway.reserve(world.gateway.host));
    await Promise.all(replicas.gateways.map((gateway) => gateway.start(replicas.configOf(gateway), world.startOptions))).catch(async (error) => {
      await replicas.stop();
      throw error;
    });
    return replicas;
  }

  configOf(gateway, more = {}) {
    const admin = { address: `127.0.0.1:${gateway.adminPort}`, token: { file: 'admin.key' } };
    return { ...this.world.config, public_url: this.world.gateway.url, admin, ...more };
  }

  /** `POST /oauth/token` at one replica, with a cookie of its own choice; the page stands at the public address. */
  refresh(browser, gateway, cookie = browser.cookie(COOKIE)) {
    const { headers, body } = form({ client_id: CLIENT, grant_type: 'refresh_token' });
    const page = this.world.gateway.url;
    return browser.fetch('POST', `${gateway.url}/oauth/token`, { page, headers: { ...headers, cookie: `${COOKIE}=${cookie}` }, body });
  }

  /** Gives the browser the cookie of an answer that another one got. */
  adopt(browser, answer) {
    const value = answer.setCookies[0].split(';')[0].slice(COOKIE.length + 1);
    browser.cookies.find(({ name }) => name === COOKIE).value = value;
  }

  /** A metric of all replicas that run, added up. */
  async metric(name, labels) {
    const each = await Promise.all(this.gateways.filter((gateway) => !gateway.isGone).map((gateway) => gateway.metric(name, labels)));
    return each.reduce((sum, value) => sum + value, 0);
  }

  async stop() {
    await Promise.all(this.gateways.slice(1).map((gateway) => gateway.stop()));
    await this.world.stop();
    await this.redis.stop();
  }
}
