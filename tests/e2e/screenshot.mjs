// Makes docs/demo.png: the demo's page after a sign-in and a call, with the exchange of the cookie on the wire.
//
// usage: .tools/node/bin/node tests/e2e/screenshot.mjs [file]     (after cargo build)

import { stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { launch } from './support/browsers.mjs';
import { Demo, DemoPerson } from './support/demo.mjs';
import { until } from './support/http.mjs';

const file = process.argv[2] ?? fileURLToPath(new URL('../../docs/demo.png', import.meta.url));
const [demo, browser] = await Promise.all([Demo.start(), launch()]);
try {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, colorScheme: 'light', reducedMotion: 'reduce' });
  const person = new DemoPerson(context, demo);
  const tab = await person.open();
  await tab.waitForSelector('#wire-state[data-state=live]');
  await person.signIn(tab, 'alice');
  await person.press(tab, '#call-hello', '#call-result');
  const exchange = tab.locator('#wire-entries > li[data-leg=browser-gateway]').filter({ hasText: '/oauth/token' }).locator('details');
  await until('the exchange to be answered', async () => /200/.test(await exchange.innerText()));
  await exchange.locator('summary').click();
  await exchange.evaluate((details) => {
    const log = document.getElementById('wire-log');
    log.scrollTop += details.getBoundingClientRect().top - log.getBoundingClientRect().top;
    document.activeElement.blur();
  });
  await tab.mouse.move(0, 0);
  await tab.screenshot({ path: file });
  console.log(`${file}: ${Math.round((await stat(file)).size / 1024)} KiB`);
} finally {
  await browser.close();
  await demo.stop();
}
