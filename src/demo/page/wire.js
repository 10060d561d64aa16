// The wire: what the demo's taps hear, as it happens (Server-Sent Events), newest last.

import { badge, byId, element } from './show.js';

/** How many entries the page keeps. */
const MOST = 400;

const log = byId('wire-log');
const list = byId('wire-entries');
const newest = byId('wire-newest');

/** Entries by number: the element, and what it was made from. */
const entries = new Map();
let waiting = [];
let run = null;
let cleared = 0;

const isAtEnd = () => log.scrollTop + log.clientHeight >= log.scrollHeight - 24;

function toEnd() {
  log.scrollTop = log.scrollHeight;
  newest.hidden = true;
}

/** Draws what came since the last frame at once. */
function draw() {
  const follows = isAtEnd();
  for (const entry of waiting) place(entry);
  waiting = [];
  for (const [id, { item }] of entries) {
    if (entries.size <= MOST) break;
    item.remove();
    entries.delete(id);
  }
  byId('wire-empty').hidden = entries.size > 0;
  reachable();
  if (follows) toEnd();
  else newest.hidden = false;
}

function place(entry) {
  if (entry.id <= cleared) return;
  const known = entries.get(entry.id);
  const item = known?.item ?? element('li');
  const open = known?.item.firstElementChild.open ?? false;
  const focused = item.contains(document.activeElement);
  item.dataset.leg = entry.leg;
  item.dataset.from = entry.from;
  item.hidden = !shownLegs().has(entry.leg);
  item.replaceChildren(drawn(entry, open));
  if (focused) item.querySelector('summary').focus();
  if (!known) {
    // Told out of order only when two taps hear at the same moment.
    const after = [...list.children].reverse().find((other) => Number(other.dataset.id) < entry.id);
    item.dataset.id = entry.id;
    if (after) after.after(item);
    else list.prepend(item);
  }
  entries.set(entry.id, { item, entry });
}

function drawn(entry, open) {
  const { answer } = entry;
  const time = new Date(entry.at).toLocaleTimeString([], { hour12: false });
  const status = answer ? badge(answer.status)
    : element('span', { class: 'badge plain' }, entry.broken_off ? 'broken off' : '…');
  const summary = element('summary', { tabindex: '-1' },
    element('span', { class: 'leg' }, `${entry.from} → ${entry.to}`),
    element('span', { class: 'target' }, element('b', {}, entry.method), ` ${entry.target}`),
    element('span', { class: 'end' }, status, element('small', {}, answer ? `${answer.took} ms` : '')));
  const details = element('details', {}, summary);
  details.open = open;
  // What is folded is made when it is unfolded.
  const unfold = () => {
    if (!details.open || details.childElementCount > 1) return;
    details.append(
      element('h3', {}, `${entry.from} asks, at ${time}`),
      element('pre', {}, message(`${entry.method} ${entry.target}`, entry)));
    if (answer) {
      details.append(
        element('h3', {}, `${entry.to} answers, after ${answer.took} ms`),
        element('pre', {}, message(String(answer.status), answer)));
    }
    if (entry.broken_off) details.append(element('p', {}, 'The connection ended before the answer was whole.'));
  };
  details.addEventListener('toggle', () => {
    unfold();
    if (details.open) bringIntoView(details);
  });
  unfold();
  return details;
}

/** Scrolls the log, and nothing around it. */
function bringIntoView(details) {
  const [inner, outer] = [details.getBoundingClientRect(), log.getBoundingClientRect()];
  log.scrollTop += Math.max(0, Math.min(inner.bottom - outer.bottom, inner.top - outer.top));
}

function message(first, { headers, body }) {
  const lines = [first, ...headers.map(([name, value]) => `${name}: ${value}`)];
  return lines.join('\n') + (body === undefined ? '' : `\n\n${body}`);
}

const shownLegs = () =>
  new Set([...document.querySelectorAll('#wire-legs input:checked')].map(({ value }) => value));

const visible = () => [...list.querySelectorAll('li:not([hidden]) summary')];

/** One entry is reached with Tab, the others from it with the arrow keys. */
function reachable(wanted) {
  const all = visible();
  const now = wanted ?? all.find((summary) => summary.tabIndex === 0 && summary === document.activeElement) ?? all.at(-1);
  for (const summary of all) summary.tabIndex = summary === now ? 0 : -1;
}

function onKey(event) {
  const all = visible();
  const at = all.indexOf(event.target.closest('li')?.querySelector('summary'));
  if (event.key === 'Escape') {
    for (const details of list.querySelectorAll('details[open]')) details.open = false;
    all[at]?.focus();
    return;
  }
  const to = { ArrowUp: at - 1, ArrowDown: at + 1, Home: 0, End: all.length - 1 }[event.key];
  if (to === undefined || at === -1 || event.target.tagName !== 'SUMMARY') return;
  event.preventDefault();
  const next = all[Math.min(Math.max(to, 0), all.length - 1)];
  reachable(next);
  next.focus();
}

function clear() {
  cleared = Math.max(cleared, ...entries.keys());
  entries.clear();
  list.replaceChildren();
  byId('wire-empty').hidden = false;
}

function listen({ onState, onEntry }) {
  let source = null;
  let lastId = '';
  const say = (text) => { byId('wire-state').textContent = text; byId('wire-state').dataset.state = text; };
  const open = () => {
    source = new EventSource(`/app/wire${lastId ? `?after=${encodeURIComponent(lastId)}` : ''}`);
    source.addEventListener('hello', ({ data }) => {
      const hello = JSON.parse(data);
      if (run !== null && run !== hello.run) { cleared = 0; clear(); cleared = 0; }
      run = hello.run;
      say('live');
    });
    source.addEventListener('state', ({ data }) => onState(JSON.parse(data).authorization_server));
    source.addEventListener('entry', ({ data, lastEventId }) => {
      lastId = lastEventId;
      const entry = JSON.parse(data);
      if (waiting.push(entry) === 1) requestAnimationFrame(draw);
      onEntry(entry);
    });
    source.addEventListener('error', () => {
      say('connecting');
      // It tries again by itself, unless it was refused.
      if (source?.readyState === EventSource.CLOSED) {
        source = null;
        setTimeout(() => { if (!document.hidden && source === null) open(); }, 3000);
      }
    });
  };
  const close = () => { source?.close(); source = null; say('paused'); };
  // A browser has six connections to an origin for all its tabs: a page that nobody sees gives its own back.
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) close();
    else if (source === null) open();
  });
  if (!document.hidden) open();
}

/** `onState`: whether the authorization server can be reached; `onEntry`: each entry, in each of its states. */
export function setUp(listeners) {
  byId('wire-clear').addEventListener('click', clear);
  byId('wire-legs').addEventListener('change', () => {
    const legs = shownLegs();
    for (const item of list.children) item.hidden = !legs.has(item.dataset.leg);
    reachable();
    toEnd();
  });
  log.addEventListener('scroll', () => { if (isAtEnd()) newest.hidden = true; });
  log.addEventListener('keydown', onKey);
  newest.addEventListener('click', toEnd);
  listen(listeners);
}
