// The page: each part is set up, and what a person sees follows the session.

import { about } from './about.js';
import { setUp as setUpCalls, callAndShow } from './calls.js';
import { tryToReadTheCookie } from './cookie.js';
import { setUp as setUpExpiry } from './expiry.js';
import { fiftyAtOnce } from './fifty.js';
import { setUp as setUpModes } from './modes.js';
import * as outage from './outage.js';
import * as revoke from './revoke.js';
import { current, onChange, resume, signOut } from './session.js';
import { KEEPS_NO_COOKIE, begin, finish, keepsSecureCookies } from './sign_in.js';
import { add, byId, explained, onPress, show } from './show.js';
import { replayAnOldCookie } from './theft.js';
import { setUp as setUpWire } from './wire.js';

const NOBODY = 'Nobody is signed in.';
const SIGN_IN_FIRST = 'Sign in first.';
const LOST =
  'The gateway set a cookie, and the browser did not bring it back. Another Tollgate on localhost has replaced it since, on whatever port, because ports share their cookies: open one of the two in a private window.';

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const signedInResult = byId('sign-in-result');

function showWhoIsSignedIn() {
  const claims = current();
  document.body.dataset.signedIn = claims?.sub ?? '';
  byId('sign-in-button').textContent = claims === null ? 'Sign in' : 'Sign in as somebody else';
  if (claims === null) return show(signedInResult, NOBODY);
  const ago = Math.round((Date.now() / 1000 - claims.auth_time) / 60);
  const when = ago < 1 ? 'just now' : ago === 1 ? 'a minute ago' : `${ago} minutes ago`;
  show(signedInResult, `${capital(claims.sub)} is signed in. The sign-in was ${when}; the scope is ${claims.scope}.`);
}

/** A button that is of no use before somebody is signed in. */
function onPressWhenSignedIn(id, resultId, act) {
  const result = byId(resultId);
  onPress(byId(id), result, async () => {
    if (current() === null) await resume();
    if (current() === null) return show(result, SIGN_IN_FIRST);
    await act(result);
  });
}

function setUpButtons() {
  const call = setUpCalls();
  onPress(byId('sign-in-button'), signedInResult, () => {
    showWhoIsSignedIn();
    return begin();
  });
  for (const button of document.querySelectorAll('[data-call]')) {
    onPress(button, byId('call-result'), () => call(button.dataset.call));
  }
  onPressWhenSignedIn('expiry-call', 'expiry-result', (result) => callAndShow('/api/hello', result));
  onPressWhenSignedIn('fifty-button', 'fifty-result', fiftyAtOnce);
  onPressWhenSignedIn('cookie-button', 'cookie-result', tryToReadTheCookie);
  onPressWhenSignedIn('replay-button', 'replay-result', replayAnOldCookie);
  onPress(byId('stop-button'), byId('outage-result'), () => outage.stop(byId('outage-result')));
  onPress(byId('start-button'), byId('outage-result'), async () => {
    await outage.start(byId('outage-result'));
    if (current() === null) await resume();
  });
  onPressWhenSignedIn('outage-call', 'outage-result', (result) => callAndShow('/api/hello', result));
  onPressWhenSignedIn('outage-swap', 'outage-result', outage.swap);
  revoke.setUp({ onPressWhenSignedIn });
  setUpModes();
  onPressWhenSignedIn('sign-out-button', 'sign-out-result', async (result) => {
    await signOut();
    show(result, 'Signed out, here and in every open tab. The cookie is cleared.');
  });
  return call;
}

onChange((event) => {
  if (event !== 'lost') return showWhoIsSignedIn();
  show(signedInResult, NOBODY, LOST);
});
setUpWire({ onState: outage.showState, onEntry: revoke.hear });
setUpExpiry();
const call = setUpButtons();
showWhoIsSignedIn();
const returned = await finish().catch((fault) => ({ fault }));
// Whoever turns back at the authorization server is still who they were.
if (current() === null) await resume().catch((fault) => show(signedInResult, explained(fault), 'The next press of a button asks again.'));
if (!keepsSecureCookies()) show(signedInResult, NOBODY, KEEPS_NO_COOKIE);
if (returned?.fault) add(signedInResult, 'You came back without a sign-in. ', ...explained(returned.fault));
if (returned?.then) await call(returned.then);
if (returned?.clientId === about.session_client_id) byId('session-compare').click();
document.body.dataset.ready = 'true';
