// Calls of the API, and what a page makes of the answers.

import { begin } from './sign_in.js';
import { call } from './session.js';
import { add, badge, byId, element, onPress, pairs, show } from './show.js';

/** Calls and shows; gives the response. */
export async function callAndShow(path, result) {
  const { response, swapped } = await call(path);
  const body = await response.json().catch(() => ({}));
  const swap = swapped ? ' The cookie was swapped for a new token first.' : '';
  if (response.ok) {
    const arrived = Object.entries(body.headers ?? {}).filter(([name]) => name.startsWith('x-auth-'));
    show(result, [badge(response.status), ` from the API.${swap} It was told:`], pairs(arrived));
  } else {
    show(result, [badge(response.status), ` ${body.title ?? ''}. ${body.detail ?? ''}${swap}`]);
    const challenge = response.headers.get('WWW-Authenticate');
    if (challenge) add(result, element('code', {}, challenge));
  }
  return response;
}

const parameter = (challenge, name) => challenge.match(new RegExp(`[ ,]${name}="?([^",]*)`))?.[1];

/** Gives `call(path)` of the section «Call the API»: it offers to sign in again where that is asked for. */
export function setUp() {
  const [result, again] = [byId('call-result'), byId('step-up-button')];
  let wanted = {};
  onPress(again, result, () => begin(wanted));
  return async (path) => {
    again.hidden = true;
    const response = await callAndShow(path, result);
    const challenge = response.headers.get('WWW-Authenticate') ?? '';
    if (parameter(challenge, 'error') === 'insufficient_user_authentication') {
      const maxAge = parameter(challenge, 'max_age');
      add(result, `The API wants a sign-in of the last ${maxAge} seconds (RFC 9470). Sign in again, and the page asks once more.`);
      again.hidden = false;
      wanted = { maxAge, then: path };
      again.focus();
    }
  };
}
