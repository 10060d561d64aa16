// A page's side of Tollgate, for clients of `mode: token`. Copy it; it needs nothing else.
// How to use it, and what it does when: docs/spa.md.
//
// The access token is only kept in memory. It is replaced when a call needs it, never on a timer, and one tab
// replaces it for all: tabs take turns with a Web Lock and tell each other over a BroadcastChannel. A tab hears its
// own messages too, and waits for that: before it releases the lock, so that its message is out, and after it has
// got the lock, so that it has heard everything said before.

export class Tollgate {
  #endpoint; #clientId; #signedOut; #name; #mouth; #ear; #said = new Map();
  #token; #flight; #isOut = false; #wasTold = false;

  /** `gateway`: its origin, '' is the page's own. `signedOut()` is called in every tab when the session is over. */
  constructor({ clientId, gateway = '', signedOut = () => {} }) {
    [this.#endpoint, this.#clientId, this.#signedOut] = [new URL('/oauth/token', gateway || location.href), clientId, signedOut];
    this.#name = `tollgate ${this.#endpoint.origin} ${clientId}`;
    this.#mouth = new BroadcastChannel(this.#name);
    this.#ear = new BroadcastChannel(this.#name); // a second one, for a channel does not hear itself
    this.#ear.onmessage = ({ data }) => this.#hear(data);
    addEventListener('pageshow', ({ persisted }) => persisted && (this.#token = undefined)); // heard nothing meanwhile
  }

  /** With `login: page`: a new session from an authorization code. Returns the gateway's answer. */
  exchange({ code, code_verifier, redirect_uri }) {
    return navigator.locks.request(this.#name, async () => {
      const answer = await this.#post({ grant_type: 'authorization_code', code, code_verifier, redirect_uri });
      await this.#say({ news: 'in', token: answer });
      return answer; // with the id_token
    });
  }

  /** `fetch` with the access token; only to the gateway, where relative URLs lead. `background`: as for `token`. */
  async fetch(input, { background, ...init } = {}) {
    const request = new Request(input instanceof Request ? input : new URL(input, this.#endpoint.origin), init);
    if (new URL(request.url).origin !== this.#endpoint.origin) throw new TypeError(`not at the gateway: ${request.url}`);
    for (const attempt of [request.clone(), request]) {
      const token = await this.#current(background);
      attempt.headers.set('Authorization', `Bearer ${token.access_token}`);
      const answer = await fetch(attempt);
      const isRefused = answer.status === 401 && answer.headers.get('WWW-Authenticate')?.includes('error="invalid_token"');
      if (!isRefused || token.isSecond || attempt === request) return answer;
      token.isRefused = true; // once more, with a new one
    }
  }

  /** The access token. `background`: for polls, which do not keep the session from going idle. */
  async token({ background } = {}) {
    return (await this.#current(background)).access_token;
  }

  /**
   * Ends the session; `everywhere`: all of the person's, on every device. All tabs forget the token in any case; throws
   * if the session may not be over.
   */
  async signOut({ everywhere } = {}) {
    this.#forget();
    this.#say({ news: 'out' });
    try {
      const url = `${this.#endpoint}?${new URLSearchParams({ client_id: this.#clientId, ...(everywhere && { everywhere: 'true' }) })}`;
      const answer = await fetch(url, { method: 'DELETE', credentials: 'include', keepalive: true });
      if (!answer.ok) throw await failure(answer);
    } finally {
      await this.#say({ news: 'out' }); // again, for what was under way meanwhile
    }
  }

  #isDue(background) {
    const token = this.#token;
    // A poll's exchange was no use of the session, so the next use makes its own.
    return !token || token.isRefused || Date.now() >= token.refreshAt || (token.isBackground && !background);
  }

  async #current(background) {
    if (!this.#isDue(background)) return this.#token;
    try {
      await this.#swap(background);
      if (this.#isDue(background)) await this.#swap(background); // the one under way was a poll's
    } catch (error) {
      const token = this.#token;
      if (!token || token.isRefused || Date.now() >= token.endsAt) throw error;
      Object.assign(token, { isBackground: false, refreshAt: Date.now() + 1000 * (error.retryAfter ?? 2) });
    }
    return this.#token;
  }

  #swap(background) {
    return (this.#flight ??= this.#refresh(background).finally(() => (this.#flight = undefined)));
  }

  async #refresh(background) {
    const wasOut = this.#isOut;
    await navigator.locks.request(this.#name, async () => {
      await this.#say({});
      if (!this.#isDue(background)) return; // another tab did it
      if (this.#isOut && !wasOut) throw signedOut();
      this.#isOut = false;
      try {
        const answer = await this.#post({ grant_type: 'refresh_token', ...(background && { background: 'true' }) });
        await this.#say({ token: { ...answer, isBackground: background, isSecond: this.#token?.isRefused } });
      } catch (error) {
        if (error.error === 'invalid_grant') await this.#say({ news: 'out' });
        throw error;
      }
    });
    if (!this.#token) throw signedOut();
  }

  async #post(parameters) {
    const body = new URLSearchParams({ client_id: this.#clientId, ...parameters });
    const options = { method: 'POST', credentials: 'include', body, signal: AbortSignal.timeout(30_000) };
    const answer = await fetch(this.#endpoint, options);
    if (!answer.ok) throw await failure(answer);
    const token = await answer.json();
    const { expires_in: life = Infinity, refresh_after: use = life } = token;
    return { ...token, endsAt: Date.now() + 1000 * life, refreshAt: Date.now() + 1000 * use };
  }

  #say(message) {
    const id = crypto.randomUUID();
    const heard = new Promise((resolve) => this.#said.set(id, resolve));
    this.#mouth.postMessage({ id, ...message });
    return heard;
  }

  #hear({ id, news, token }) {
    this.#said.get(id)?.();
    this.#said.delete(id);
    if (news === 'out') this.#forget();
    if (news === 'in') this.#isOut = false;
    if (token && !this.#isOut) [this.#token, this.#wasTold] = [token, false]; // otherwise it came too late
  }

  #forget() {
    if (!this.#wasTold) queueMicrotask(this.#signedOut);
    [this.#token, this.#isOut, this.#wasTold] = [undefined, true, true];
  }
}

const signedOut = () => Object.assign(new Error('signed out'), { error: 'invalid_grant', status: 400 });

/** An error with the gateway's answer: `status`, `error` (RFC 6749), `retryAfter` in seconds. */
async function failure(answer) {
  const { error, error_description: said } = await answer.json().catch(() => ({}));
  const retryAfter = Number(answer.headers.get('Retry-After')) || undefined;
  return Object.assign(new Error(said ?? `the gateway answered ${answer.status}`), { error, status: answer.status, retryAfter });
}
