// Debian's Chromium without a window, with an empty profile in a folder that goes when it ends. It
// finds nothing but this machine: every other name fails to resolve.

import { accessSync, constants } from 'node:fs';
import path from 'node:path';
import { chromium } from 'playwright-core';

const ARGUMENTS = [
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost, EXCLUDE *.localhost',
];

/** The one that the system has: scripts/setup brings it. */
function executable() {
  const places = (process.env.PATH ?? '').split(path.delimiter).map((folder) => path.join(folder, 'chromium'));
  const found = places.find((place) => {
    try {
      accessSync(place, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  if (!found) throw new Error('there is no chromium on the PATH; `scripts/setup test` installs it');
  return found;
}

/** A running Chromium. Root cannot have its sandbox. */
export function launch() {
  return chromium.launch({ executablePath: executable(), chromiumSandbox: process.getuid() !== 0, args: ARGUMENTS });
}
