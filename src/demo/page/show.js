// Puts results on the page. Everything is set as text, never as HTML.

/** An element: `element('li', { class: 'x' }, 'text', child)`. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== undefined && child !== null));
  return made;
}

/** What a status means, in a word, so that colour is not all that says it. */
export function badge(status) {
  const kind = status < 300 ? 'good' : status < 400 ? 'plain' : status < 500 ? 'refused' : 'down';
  return element('span', { class: `badge ${kind}` }, String(status));
}

/** Replaces what a result says. `lines`: text, elements, or arrays of both. */
export function show(result, ...lines) {
  const shown = lines.map((line) => {
    if (line instanceof HTMLElement && ['PRE', 'DL', 'UL', 'OL', 'TABLE'].includes(line.tagName)) return line;
    return element('p', {}, ...[line].flat());
  });
  result.replaceChildren(...shown);
}

/** Adds to what a result says. */
export function add(result, ...line) {
  result.append(element('p', {}, ...line));
}

/** Runs `act` at a press of the button, one at a time, and shows what goes wrong. */
export function onPress(button, result, act) {
  button.addEventListener('click', async () => {
    if (button.getAttribute('aria-busy') === 'true') return;
    button.setAttribute('aria-busy', 'true');
    delete result.dataset.done;
    result.replaceChildren();
    try {
      await act();
    } catch (fault) {
      add(result, ...explained(fault));
    } finally {
      button.removeAttribute('aria-busy');
      result.dataset.done = 'true';
    }
  });
}

/** What went wrong, for a person. The wrapper's errors have the `status` of the gateway's answer. */
export function explained(fault) {
  const text = fault.message.replace(/\.$/, '');
  if (fault.status === 503) return [badge(503), ` ${text}. You stay signed in.`];
  if (fault.status) return [badge(fault.status), ` ${text}.`];
  return [`That did not work: ${text}.`];
}

/** Names and values, as a list. */
export function pairs(entries) {
  return element('dl', {}, ...entries.flatMap(([name, value]) => [element('dt', {}, name), element('dd', {}, value)]));
}

export const byId = (id) => document.getElementById(id);
