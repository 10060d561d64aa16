// What this run of the demo is like, and its buttons that need more than a page can do.

export const about = await (await fetch('/app/about')).json();

/** Asks the demo for something: `tell('replay', { session })`. */
export async function tell(what, body = {}) {
  const response = await fetch(`/app/${what}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'X-Demo': '1' },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.refused ?? answer.detail ?? `the demo answered ${response.status}`);
  return answer;
}
