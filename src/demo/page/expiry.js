// The countdown of the access token. It only watches: nothing here asks for a new one.

import { about } from './about.js';
import { current, onChange } from './session.js';
import { byId } from './show.js';

export function setUp() {
  const [bar, text] = [byId('token-left'), byId('token-text')];
  bar.max = about.access_token_seconds;
  const draw = () => {
    const claims = current();
    const left = claims === null ? 0 : Math.max(0, claims.exp - Date.now() / 1000);
    bar.value = left;
    bar.dataset.left = left === 0 ? 'none' : left <= bar.max / 5 ? 'little' : 'enough';
    const said = claims === null ? 'no access token'
      : left === 0 ? 'ended; nothing happens until the next call'
      : left <= bar.max / 5 ? `${Math.ceil(left)} s left; the next call swaps first`
      : `${Math.ceil(left)} s left`;
    if (text.textContent !== said) text.textContent = said;
  };
  onChange(draw);
  setInterval(draw, 250);
  draw();
}
