// «Take access back»: what an operator asks of the gateway, and what becomes of this page. Every open page hears on
// the wire what was asked, also when it was asked by hand, and tries what it may still do.

import { about, tell } from './about.js';
import { bareCalls, current, freshen, rawRefresh, reopen } from './session.js';
import { add, badge, byId, element, onPress, show } from './show.js';

/** What stands now: that Alice is suspended, that the key is revoked. */
const standing = { account: about.taken_back.account !== null, key: about.taken_back.key !== null };

/** What buttons of this page have asked for and shown, until the wire tells it. */
const shown = [];

/** One change after the other: what the wire tells of a press waits until that press is over. */
let turn = Promise.resolve();
function inTurn(act) {
  const done = turn.then(act);
  turn = done.catch(() => undefined);
  return done;
}

/** Names what was asked, however this page learned of it. */
const nameOf = ({ method, answer }) => `${method} ${answer.id} ${answer.made_at}`;

/** An entry of the wire: of something that an operator changed, and that is answered whole. */
function changeIn({ leg, method, target, body, answer, at }) {
  if (leg !== 'operator-gateway' || at < performance.timeOrigin || !target.startsWith('/revocations')) return null;
  if (answer?.body === undefined || answer.status >= 300) return null;
  try {
    return { method, target, body: body === undefined ? null : JSON.parse(body), answer: JSON.parse(answer.body) };
  } catch {
    return null; // too long to be shown
  }
}

function note({ method, answer: { kind, value, block } }) {
  if (kind === 'kid') standing.key = method === 'POST';
  if (kind === 'sub' && value === 'alice' && block) standing.account = method === 'POST';
  showStanding();
}

function showStanding() {
  byId('account-state').hidden = !standing.account;
  byId('key-state').hidden = !standing.key;
}

const MEMBERS = ['kind', 'value', 'issuer', 'before', 'block', 'until', 'reason'];

function asText({ method, target, body }) {
  return body === null ? `${method} ${target}` : `${method} ${target} ${JSON.stringify(body, MEMBERS)}`;
}

/** What a call and a swap of this page come to now. `callNow`: with the token that it had. */
async function tryThisPage(result, callNow) {
  if (callNow === null) return add(result, 'Nobody is signed in on this page.');
  const call = await callNow('/api/hello');
  const refused = await call.json().catch(() => ({}));
  add(result, badge(call.status), ` for this page’s next call. ${call.ok ? 'It goes on.' : refused.detail ?? ''}`);
  if (call.ok) return;
  const { response, answer } = await rawRefresh();
  const isOut = answer.error === 'invalid_grant';
  const comes = response.ok ? 'It brings a new access token; the page goes on.'
    : response.status === 400 && isOut ? 'The cookie is cleared; this page is signed out.'
    : isOut ? 'This browser’s cookie is gone already; this page is signed out.'
    : 'It brings no access token, but the cookie stays, and so does the session.';
  add(result, badge(response.status), ` for its next swap. ${comes}`);
  // The page notices as every page does, when it asks for a token.
  if (response.ok || isOut) await reopen().catch(() => undefined);
}

/** What this page makes of a change that was not asked for here. */
async function follow(change, callNow) {
  const own = shown.indexOf(nameOf(change));
  if (own >= 0) return void shown.splice(own, 1);
  const result = byId('revoke-result');
  note(change);
  delete result.dataset.told;
  show(result, 'An operator asked, not from this page:', [element('code', {}, asText(change))]);
  await tryThisPage(result, callNow);
  result.dataset.told = 'true';
}

/** `entry`: of the wire, in any state. */
export function hear(entry) {
  const change = changeIn(entry);
  if (change === null) return;
  const callNow = bareCalls();
  inTurn(() => follow(change, callNow)).catch(() => undefined);
}

/** Has the demo ask for `what`, and shows what that does to this page. */
async function ask(result, what, body) {
  delete result.dataset.told;
  await freshen().catch(() => undefined);
  const callNow = bareCalls();
  const { asked } = await tell(what, body);
  if (asked === null) return show(result, 'There is nothing to lift.');
  show(result, [badge(asked.status), ' ', element('code', {}, asText(asked))]);
  if (asked.status >= 300) return;
  shown.push(nameOf(asked));
  note(asked);
  await tryThisPage(result, callNow);
}

export function setUp({ onPressWhenSignedIn }) {
  const result = byId('revoke-result');
  const does = (id, what) => onPress(byId(id), result, () => inTurn(() => ask(result, what)));
  does('suspend-button', 'revoke/account');
  does('lift-account-button', 'lift/account');
  does('revoke-key-button', 'revoke/key');
  does('lift-key-button', 'lift/key');
  onPressWhenSignedIn('lost-button', 'revoke-result', () => {
    const person = current().sub;
    return inTurn(() => ask(result, 'revoke/device', { person }));
  });
  showStanding();
}
