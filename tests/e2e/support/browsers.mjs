// Debian's Chromium without a window, or with TOLLGATE_BROWSER=firefox its Firefox ESR, with an empty profile in a
// folder that goes when it ends. It finds nothing but this machine: every other name fails to resolve, or to connect.

import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { chromium, firefox } from 'playwright-core';

export const IS_FIREFOX = process.env.TOLLGATE_BROWSER === 'firefox';

const ARGUMENTS = [
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost, EXCLUDE *.localhost',
];

const PREFERENCES = {
  // As people have it: Playwright turns the protection against tracking by cookies off.
  'network.cookie.cookieBehavior': 5,
  // A proxy that nobody keeps. Loopback is called through none.
  'network.proxy.type': 1,
  'network.proxy.http': '127.0.0.1',
  'network.proxy.http_port': 9,
  'network.proxy.ssl': '127.0.0.1',
  'network.proxy.ssl_port': 9,
};

/** The one that the system has: scripts/setup brings it. */
function executable(name, goal) {
  const places = (process.env.PATH ?? '').split(path.delimiter).map((folder) => path.join(folder, name));
  const found = places.find((place) => {
    try {
      accessSync(place, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  if (!found) throw new Error(`there is no ${name} on the PATH; \`scripts/setup ${goal}\` installs it`);
  return found;
}

/** A running browser. As root Chromium cannot have its sandbox. */
export function launch() {
  if (IS_FIREFOX) return launchFirefox();
  const env = { ...process.env, XDG_CONFIG_HOME: sharedFolder(), XDG_CACHE_HOME: sharedFolder() };
  return chromium.launch({ executablePath: executable('chromium', 'test'), chromiumSandbox: process.getuid() !== 0, args: ARGUMENTS, env });
}

let folder;

/** Where Chromium keeps crash reports, and GTK its settings, whatever the profile: else in the home of whoever runs this. */
function sharedFolder() {
  if (!folder) {
    folder = mkdtempSync(path.join(tmpdir(), 'tollgate-browser-'));
    process.once('exit', () => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }));
  }
  return folder;
}

/** As people have it, by WebDriver BiDi, and not the one that Playwright builds. */
function launchFirefox() {
  const driver = firefox._connection.toImpl(firefox)._bidiFirefox;
  const { connectToTransport } = Object.getPrototypeOf(driver);
  driver.connectToTransport = (transport, options) => connectToTransport.call(driver, withoutSome(transport), options);
  return firefox.launch({ channel: 'moz-firefox', executablePath: executable('firefox-esr', 'browsers'), firefoxUserPrefs: PREFERENCES });
}

/** What Playwright asks of every Firefox and no test needs: the one ESR does not know, the other hides `WWW-Authenticate` of a 401 from pages. */
const LEFT_OUT = [({ method }) => method === 'emulation.setMediaFeaturesOverride', ({ method, params }) => method === 'network.addIntercept' && params.phases.join() === 'authRequired'];

function withoutSome(transport) {
  const send = transport.send.bind(transport);
  transport.send = (message) => {
    if (!LEFT_OUT.some((is) => is(message))) return send(message);
    queueMicrotask(() => transport.onmessage?.({ type: 'success', id: message.id, result: { intercept: 'none' } }));
  };
  return transport;
}
