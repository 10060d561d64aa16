// «Try to read the cookie»: every way that a script has.

import { about, tell } from './about.js';
import { rawRefresh, sessionName } from './session.js';
import { element, pairs, show } from './show.js';

const ours = (names) => names.filter((name) => name === about.cookie);
const said = (found) => (found.length === 0 ? 'nothing of the gateway’s' : found.join(', '));

export async function tryToReadTheCookie(result) {
  const session = await sessionName();
  const { response, answer } = await rawRefresh();
  const { jar } = await tell('jar', { session });
  const script = ours(document.cookie.split('; ').map((cookie) => cookie.split('=')[0]));
  const store = globalThis.cookieStore === undefined ? null : ours((await cookieStore.getAll()).map(({ name }) => name));
  const headers = [...response.headers.keys()].filter((name) => name.includes('cookie'));
  const members = Object.keys(answer);
  const tries = pairs([
    ['document.cookie', said(script)],
    ['cookieStore.getAll()', store === null ? 'this browser has none' : said(store)],
    ['headers of POST /oauth/token', said(headers)],
    ['its JSON', members.join(', ')],
  ]);
  const read = script.length + (store?.length ?? 0) + headers.length + Number(members.includes('refresh_token'));
  result.dataset.read = String(read);
  const verdict = read === 0 ? 'The page can read nothing of it, and sees no refresh token:' : 'Something could be read, and should not:';
  if (jar === null) return show(result, verdict, tries, 'The tap saw no cookie of this session.');
  show(result, verdict, tries, 'What the jar holds, as the tap saw it pass:', pairs([
    ['name', jar.name],
    ['value', `${jar.value} (${jar.length} characters, sealed)`],
    ['attributes', jar.attributes.join('; ')],
    ['so far', `cookie number ${jar.number} of this session`],
  ]), element('p', {}, 'HttpOnly keeps it from scripts, Path from everything but /oauth/token, SameSite=Strict from other sites.'));
}
