// docs/spa.md shows what page authors may copy; what it shows is what there is.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { blocksOfSpaMd, tollgateJs } from './support/pages.mjs';

test('docs/spa.md quotes docs/tollgate.js whole', () => {
  assert.ok(blocksOfSpaMd('js').includes(tollgateJs()), 'copy docs/tollgate.js into the block of docs/spa.md again');
});
