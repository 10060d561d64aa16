// «Stop the authorization server».

import { tell } from './about.js';
import { rawRefresh } from './session.js';
import { badge, byId, show } from './show.js';

export async function stop(result) {
  await tell('authorization-server/stop');
  show(result, 'It is stopped: connections to it are refused. Call the API, and swap the cookie.');
}

export async function start(result) {
  await tell('authorization-server/start');
  show(result, 'It is up again.');
}

export async function swap(result) {
  const { response, answer } = await rawRefresh();
  const retry = response.headers.get('Retry-After');
  const after = retry === null ? '' : ` Retry-After: ${retry}.`;
  if (response.ok) return show(result, [badge(response.status), ' A new access token and a new cookie.']);
  const stays = response.status === 503 ? ' The cookie stays, and so does your session.' : '';
  show(result, [badge(response.status), ` ${answer.error ?? ''}.${after}${stays}`]);
}

/** Whether it is known to be stopped. */
export const isStopped = () => byId('as-state').dataset.state === 'stopped';

/** `state`: `up` or `stopped`, as the demo told. */
export function showState(state) {
  byId('as-state').textContent = state;
  byId('as-state').dataset.state = state;
}
