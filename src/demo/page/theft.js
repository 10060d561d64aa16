// «Replay an old cookie».

import { about, tell } from './about.js';
import { rawRefresh, reopen, sessionName } from './session.js';
import { add, badge, element, show } from './show.js';

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export async function replayAnOldCookie(result) {
  show(result, 'Looking for a cookie that is old enough …');
  const session = await sessionName();
  let answer = await tell('replay', { session });
  while (answer.outcome === 'swap_first') {
    add(result, 'The page swaps once: a cookie is old when the one after it was used.');
    const { response } = await rawRefresh();
    if (!response.ok) throw new Error(`the swap was answered ${response.status}`);
    answer = await tell('replay', { session });
  }
  while (answer.outcome === 'wait') {
    const waits = element('p', { class: 'waits' });
    result.append(waits);
    await countDown(waits, answer.milliseconds);
    answer = await tell('replay', { session });
  }
  if (answer.outcome !== 'presented') throw new Error('the tap knows no cookie of this session; swap it first');
  add(result, badge(answer.status), ` ${answer.error ?? ''} for the thief. The session ended, its refresh token is being revoked.`);
  const mine = await rawRefresh();
  add(result, badge(mine.response.status), ` ${mine.answer.error ?? ''} for you: your cookie is of the same session.`);
  result.dataset.thief = String(answer.status);
  result.dataset.victim = String(mine.response.status);
  // The page notices as every page does, when it asks for a token.
  await reopen().catch(() => undefined);
  add(result, 'You were signed out. That is the price: who of the two is the thief, nobody can know. Sign in again.');
}

/** Says once why it waits; the number counts where screen readers do not repeat it. */
async function countDown(line, milliseconds) {
  const number = element('span', { 'aria-hidden': 'true' });
  line.append(
    `Within ${about.grace_seconds} seconds of its replacement an old cookie may be of a late tab of yours, and gets the same answer again. So the demo waits for that to be over. `,
    number,
  );
  const end = Date.now() + milliseconds;
  while (Date.now() < end) {
    number.textContent = `${((end - Date.now()) / 1000).toFixed(1)} s`;
    await sleep(Math.min(100, Math.max(0, end - Date.now())));
  }
  number.textContent = 'Now it is over.';
}
