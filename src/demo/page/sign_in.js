// Signing in with code, PKCE (RFC 7636), state and nonce, by the page itself (`login: page`).

import { about } from './about.js';
import { isStopped } from './outage.js';
import { exchange } from './session.js';

/** One sign-in at a time in a tab; another tab has its own. */
const KEPT = 'tollgate-demo.sign-in';

const encode = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
const random = () => encode(crypto.getRandomValues(new Uint8Array(32)));

/**
 * Leaves for the authorization server. `maxAge`: how many seconds ago the sign-in may be at most (RFC 9470);
 * `anHourAgo`: offers a sign-in that was an hour ago; `then`: what to do after the return.
 */
export async function begin({ maxAge, anHourAgo = false, then = null } = {}) {
  if (isStopped()) throw new Error('the authorization server is stopped; start it in part 7');
  const [verifier, state, nonce] = [random(), random(), random()];
  const challenge = encode(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(verifier)));
  sessionStorage.setItem(KEPT, JSON.stringify({ verifier, state, nonce, then }));
  const url = new URL(about.authorization_endpoint);
  const parameters = {
    response_type: 'code',
    client_id: about.client_id,
    redirect_uri: about.redirect_uri,
    scope: 'openid api:read admin',
    state,
    nonce,
    code_challenge: challenge,
    code_challenge_method: 'S256',
  };
  if (maxAge !== undefined) parameters.max_age = maxAge;
  if (anHourAgo) parameters.signed_in = 'an_hour_ago';
  url.search = new URLSearchParams(parameters);
  location.assign(url);
}

/**
 * After the return: checks state and issuer, exchanges the code, checks the nonce. `null`: this is no return.
 * Throws with a text for the person.
 */
export async function finish() {
  const came = new URLSearchParams(location.search);
  if (!came.has('state')) return null;
  // The code must not stay in the address bar or in the history.
  history.replaceState(null, '', location.pathname);
  const kept = JSON.parse(sessionStorage.getItem(KEPT));
  sessionStorage.removeItem(KEPT);
  if (kept === null || came.get('state') !== kept.state) throw new Error('this return is not of a sign-in that this tab began');
  if (came.get('iss') !== about.issuer) throw new Error('the return comes from another authorization server');
  if (came.has('error')) throw new Error(`the authorization server says ${came.get('error')}: ${came.get('error_description') ?? ''}`);
  const answer = await exchange({
    code: came.get('code'),
    code_verifier: kept.verifier,
    redirect_uri: about.redirect_uri,
  });
  if (answer?.id_token && nonceOf(answer.id_token) !== kept.nonce) throw new Error('the ID token is of another sign-in');
  return { then: kept.then, noncePresent: Boolean(answer?.id_token) };
}

function nonceOf(idToken) {
  const payload = idToken.split('.')[1].replaceAll('-', '+').replaceAll('_', '/');
  return JSON.parse(atob(payload)).nonce;
}
