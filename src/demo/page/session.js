// Who is signed in on this page, and with which access token. The wrapper does the work; this file only
// watches it, so that the other parts can show something.

import { about, tell } from './about.js';
import { Tollgate } from './tollgate.js';

/** Set while somebody is signed in, so that a page that is opened later asks for a token at once. */
const MARK = 'tollgate-demo.signed-in';

const listeners = [];
let token = null;
let claims = null;
/** SHA-256 of the access token: names this session to the demo and opens nothing. */
let name = null;
let gate = newGate();

function newGate() {
  const made = new Tollgate({
    clientId: about.client_id,
    gateway: '',
    signedOut: () => { if (made === gate) forget(); },
  });
  return made;
}

/**
 * Calls `listener(event)` at each change: `signed-in`, `token` (another one), `signed-out`, and after it
 * `lost` when the gateway set a cookie that the browser does not bring back.
 */
export function onChange(listener) {
  listeners.push(listener);
}

function changed(event) {
  for (const listener of listeners) listener(event);
}

function forget() {
  const was = token;
  token = claims = name = null;
  localStorage.removeItem(MARK);
  if (was !== null) changed('signed-out');
}

/**
 * After an answer that no cookie came: when the demo saw one being set for this session, and none being
 * cleared, the browser did not keep it.
 */
async function lookForTheCookie(session, { error, message }) {
  if (session === null || error !== 'invalid_grant' || !message.startsWith('No cookie')) return;
  const { jar } = await tell('jar', { session: await session });
  if (jar === null) return;
  forget();
  changed('lost');
}

/** What `act` gives, with an eye on cookies that the browser does not bring. */
async function watched(act) {
  const session = name;
  try {
    return await act();
  } catch (fault) {
    await lookForTheCookie(session, fault);
    throw fault;
  }
}

/** The claims of the access token, unverified: only to show them. `null`: nobody is signed in. */
export const current = () => claims;

function keep(newToken) {
  if (!newToken || newToken === token) return;
  const before = token;
  token = newToken;
  name = digest(newToken);
  const payload = newToken.split('.')[1].replaceAll('-', '+').replaceAll('_', '/');
  claims = JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(payload), (c) => c.charCodeAt(0))));
  localStorage.setItem(MARK, 'yes');
  changed(before ? 'token' : 'signed-in');
}

/** A call with the page's access token; without one when nobody is signed in. */
export async function call(path) {
  if (claims === null) await resume();
  if (claims === null) return { response: await fetch(path), swapped: false };
  const before = token;
  const response = await watched(() => gate.fetch(path));
  // A token that the call brought along; not a reason to ask for another.
  if (Date.now() < claims.exp * 1000) keep(await gate.token().catch(() => token));
  return { response, swapped: token !== before };
}

/** Calls with the token that the page has now, as it is, whatever becomes of it. `null`: it has none. */
export function bareCalls() {
  const held = token;
  return held && ((path) => fetch(path, { headers: { Authorization: `Bearer ${held}` } }));
}

/** Sees to it that the page's token lives, as for a call. */
export async function freshen() {
  if (claims !== null) keep(await watched(() => gate.token()));
}

/** What a page does that was just opened: it has no token and asks for one. */
export async function reopen() {
  gate = newGate();
  keep(await watched(() => gate.token()));
}

/**
 * Asks for a token where somebody was signed in. That nobody is any more is no fault; that it could not
 * be asked is.
 */
export async function resume() {
  if (localStorage.getItem(MARK) === null) return;
  try {
    await reopen();
  } catch (fault) {
    // The wrapper has said so when the session is over.
    if (localStorage.getItem(MARK) !== null) throw fault;
  }
}

/** A refresh without the wrapper and its locks, as a page would write it that knows nothing of others. */
export async function rawRefresh() {
  const response = await fetch(refreshRequest());
  const answer = await response.json().catch(() => ({}));
  await lookForTheCookie(name, { error: answer.error, message: answer.error_description ?? '' });
  return { response, answer };
}

/** That refresh, not sent yet. */
export function refreshRequest() {
  const body = new URLSearchParams({ grant_type: 'refresh_token', client_id: about.client_id });
  return new Request('/oauth/token', { method: 'POST', body });
}

export async function signOut() {
  await gate.signOut();
  forget();
}

/** How the demo knows this session. */
export const sessionName = () => name;

async function digest(text) {
  const bytes = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text));
  return Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
