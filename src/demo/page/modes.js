// `mode: session`, beside the rest of the page, which lives in `mode: token`: here no token comes to the page. Its
// cookie stands for the person on every call, and a header that no foreign page can send shows whose call it is.

import { about } from './about.js';
import { begin } from './sign_in.js';
import { current, sessionName } from './session.js';
import { add, badge, byId, element, onPress, pairs, show } from './show.js';

const CSRF = { 'X-CSRF': '1' };
const result = byId('session-result');

/** A call of a page that holds no token. */
const call = (path, init = {}) => fetch(path, { ...init, headers: { ...init.headers, ...CSRF } });

/** Who is signed in; `null`: nobody. */
async function who() {
  const response = await call(`/oauth/session?client_id=${about.session_client_id}`);
  return response.ok ? response.json() : null;
}

async function callAndShow() {
  const response = await call('/api/hello');
  const body = await response.json().catch(() => ({}));
  if (response.ok) {
    const arrived = Object.entries(body.headers ?? {}).filter(([name]) => name.startsWith('x-auth-'));
    return show(result, [badge(response.status), ' from the API. It was told:'], pairs(arrived));
  }
  show(result, [badge(response.status), ` ${body.title ?? ''}. ${body.detail ?? ''}`]);
  if (body.login_url) add(result, 'The answer says where to sign in: ', element('code', {}, body.login_url));
}

/** What script can see in the two modes. */
async function compare() {
  const session = await who();
  const name = await sessionName();
  const cookies = document.cookie === '' ? 'nothing' : document.cookie;
  const row = (what, token, session) => element('tr', {}, element('th', { scope: 'row' }, what), element('td', {}, token), element('td', {}, session));
  const head = ['', 'mode: token', 'mode: session'].map((text) => element('th', { scope: 'col' }, text));
  const claims = current();
  const table = element('table', {}, element('thead', {}, element('tr', {}, ...head)), element('tbody', {},
    row('access token', name === null ? 'nobody is signed in' : 'the whole of it, for its 30 seconds', 'nothing'),
    row('refresh token', 'nothing', 'nothing'),
    row('document.cookie', cookies, cookies),
    row('who is signed in', claims === null ? 'nobody' : `${claims.sub}, from the token`, session === null ? 'nobody' : `${session.sub}, from GET /oauth/session`),
    row('a script that was slipped in can', 'call the API, and carry the token away', 'call the API while the page is open'),
  ));
  result.dataset.read = session === null ? '' : session.sub;
  show(result, table);
}

async function signOut() {
  const response = await fetch(`/oauth/logout?client_id=${about.session_client_id}`, { method: 'POST' });
  const said = response.ok ? ' Signed out of this session; the cookie is cleared.' : ' The gateway could not be told.';
  show(result, [badge(response.status), said]);
}

export function setUp() {
  onPress(byId('session-sign-in'), result, () => begin({ clientId: about.session_client_id }));
  onPress(byId('session-call'), result, callAndShow);
  onPress(byId('session-compare'), result, compare);
  onPress(byId('session-sign-out'), result, signOut);
}
