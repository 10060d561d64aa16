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
    if (line instanceof HTMLElement && ['PRE', 'DL', 'UL', 'OL'].includes(line.tagName)) return line;
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
    try {
      await act();
    } catch (fault) {
      show(result, `That did not work: ${fault.message}`);
    } finally {
      button.removeAttribute('aria-busy');
      result.dataset.done = 'true';
    }
  });
}

/** Names and values, as a list. */
export function pairs(entries) {
  return element('dl', {}, ...entries.flatMap(([name, value]) => [element('dt', {}, name), element('dd', {}, value)]));
}

/** The beginning of something long. */
export function shortened(text, most = 10) {
  return text.length > most ? `${text.slice(0, most)}…` : text;
}

export const byId = (id) => document.getElementById(id);
