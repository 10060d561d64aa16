// «50 tabs at once».

import { tell } from './about.js';
import { refreshRequest, reopen } from './session.js';
import { add, show } from './show.js';

const TABS = 50;

const read = async (response) => ({ response, answer: await response.json().catch(() => ({})) });

export async function fiftyAtOnce(result) {
  show(result, 'Asking …');
  const before = await tell('counts');
  const requests = Array.from({ length: TABS }, refreshRequest);
  const answers = await Promise.all(requests.map((request) => fetch(request).then(read)));
  const after = await tell('counts');
  const asked = after.token_requests - before.token_requests;
  const statuses = new Map();
  for (const { response } of answers) statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1);
  const tokens = new Set(answers.map(({ answer }) => answer.access_token).filter(Boolean));
  const came = [...statuses].map(([status, count]) => `${count} × ${status}`).join(', ');
  show(
    result,
    `${answers.length} answers: ${came}.`,
    `The authorization server was asked ${asked === 1 ? 'once' : `${asked} times`}; ${tokens.size === 1 ? 'all tabs got the same access token' : `${tokens.size} different access tokens came`}.`,
  );
  result.dataset.answers = String(answers.length);
  result.dataset.asked = String(asked);
  if (asked > 1) {
    add(result, 'More than once: this browser took so long to send fifty requests that the last ones went out after the first answer, with its new cookie. Those are refreshes of their own.');
  }
  await reopen();
  add(result, 'Nobody was signed out: the page just swapped the cookie once more.');
}
