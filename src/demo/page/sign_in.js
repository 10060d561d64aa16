// Signing in by the gateway (`login: gateway`): the page leaves for /oauth/login and comes back with a cookie. Code,
// verifier, state and nonce are the gateway's affair; no script ever sees them.

import { about } from './about.js';
import { isStopped } from './outage.js';
import { reopen } from './session.js';

/** One sign-in at a time in a tab; another tab has its own. */
const KEPT = 'tollgate-demo.sign-in';

export const KEEPS_NO_COOKIE =
  'This browser keeps no Secure cookie that comes over http, from localhost neither (Safari does not): nobody can sign in here with it. Open this page in Firefox or Chromium.';

/** Whether a cookie of the gateway's would be kept: tried with one of the page's own. */
export function keepsSecureCookies() {
  const [probe, attributes] = ['tollgate-demo.probe=', 'Secure; SameSite=Strict'];
  document.cookie = `${probe}1; ${attributes}`;
  const isKept = document.cookie.includes(probe);
  document.cookie = `${probe}; ${attributes}; Max-Age=0`;
  return isKept;
}

/** Leaves. `maxAge`: how many seconds ago the sign-in may be at most (RFC 9470); `then`: what to do after the return. */
export function begin({ clientId = about.client_id, maxAge, then = null } = {}) {
  if (isStopped()) throw new Error('the authorization server is stopped; start it in part 7');
  if (!keepsSecureCookies()) throw new Error(KEEPS_NO_COOKIE);
  sessionStorage.setItem(KEPT, JSON.stringify({ clientId, then }));
  const parameters = new URLSearchParams({ client_id: clientId, return_to: '/' });
  if (maxAge !== undefined) parameters.set('max_age', maxAge);
  location.assign(`/oauth/login?${parameters}`);
}

/** After the return: swaps the cookie for a first access token, where it is of the mode that has one. `null`: this is no return. */
export async function finish() {
  const kept = JSON.parse(sessionStorage.getItem(KEPT));
  sessionStorage.removeItem(KEPT);
  if (kept?.clientId === about.client_id) await reopen();
  return kept;
}
