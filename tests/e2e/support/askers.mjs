// Clients that ask over and over while something happens that they must not notice.

import { until } from './http.mjs';

/** `asked`: how often each got its answer, by name; `failures`: what went wrong, in words. */
export function askers() {
  const [asked, failures] = [{}, []];
  let stopped = false;
  return {
    asked,
    failures,
    /** Asks by `ask` until `stop()`. */
    async client(name, ask) {
      asked[name] = 0;
      while (!stopped) {
        try {
          await ask();
          asked[name] += 1;
        } catch (error) {
          failures.push(`${name}: ${error.code ?? ''} ${error.message}`);
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      }
    },
    async everyoneAsksAgain() {
      const before = { ...asked };
      await until('every client to ask again', () => Object.keys(asked).every((name) => asked[name] > before[name] + 2));
    },
    stop() {
      stopped = true;
    },
  };
}
