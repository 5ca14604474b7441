'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { FIRST_MS, LAST_MS, LONGEST, Lines, Stream } = require('../src/stream');
const { Child } = require('./child');

test('lines, however they come', () => {
  /** @type {string[]} */
  const seen = [];
  const lines = new Lines((line) => seen.push(line));
  const bytes = Buffer.from('one\ntwo é\n\nthree');
  for (const byte of bytes) {
    lines.add(Buffer.from([byte]));
  }
  assert.deepEqual(seen, ['one', 'two é']);
  lines.add(Buffer.from('\n'));
  assert.deepEqual(seen.pop(), 'three');
});

test('a line that is too long is passed over, and holds no memory', () => {
  /** @type {string[]} */
  const seen = [];
  const lines = new Lines((line) => seen.push(line));
  for (let i = 0; i < 5; i += 1) {
    lines.add(Buffer.alloc(LONGEST, 'x'));
    assert.ok(lines.rest.length <= LONGEST);
  }
  lines.add(Buffer.from('x\nnext\n'));
  assert.deepEqual(seen, ['next']);
});

/** A stream with a clock of its own. */
function scene() {
  /** @type {Child[]} */
  const children = [];
  /** @type {string[]} */
  const seen = [];
  /** @type {{ then: () => void, ms: number } | undefined} */
  let timer;
  const told = { fails: false };
  const stream = new Stream(
    () => {
      if (told.fails) {
        throw new Error('nowhere');
      }
      const child = new Child();
      children.push(child);
      return /** @type {any} */ (child);
    },
    { line: (line) => seen.push(line), end: () => seen.push('END'), lost: () => seen.push('LOST') },
    { set: (then, ms) => (timer = { then, ms }), clear: () => (timer = undefined) },
  );
  const wait = () => {
    const due = timer;
    timer = undefined;
    due?.then();
    return due?.ms;
  };
  return { children, seen, stream, told, wait, last: () => /** @type {Child} */ (children[children.length - 1]) };
}

test('what ends by itself is not begun again', () => {
  const { children, seen, last, wait } = scene();
  last().stdout.emit('data', Buffer.from('a\nb\n'));
  last().emit('close', 0);
  assert.deepEqual(seen, ['a', 'b', 'END']);
  assert.equal(wait(), undefined);
  assert.equal(children.length, 1);
});

test('what is cut off is begun again, later and later, until it tells something', () => {
  const { children, seen, last, told, wait } = scene();
  const waits = [];
  for (let i = 0; i < 8; i += 1) {
    // One that can't be started tells so, and closes as well.
    last().emit('error', new Error('x'));
    last().emit('close', -2);
    waits.push(wait());
  }
  assert.deepEqual(waits, [FIRST_MS, 1000, 2000, 4000, 8000, 16_000, LAST_MS, LAST_MS]);
  assert.equal(children.length, 9);
  assert.equal(seen.filter((line) => line === 'LOST').length, 8);
  last().stdout.emit('data', Buffer.from('a\n'));
  last().emit('close', 1);
  assert.equal(wait(), FIRST_MS);
  told.fails = true;
  last().emit('close', null);
  assert.deepEqual([wait(), wait()], [1000, 2000]);
  told.fails = false;
  wait();
  assert.equal(children.length, 11);
});

test('what is stopped stays so', () => {
  const { children, seen, stream, last, wait } = scene();
  stream.stop();
  assert.ok(last().killed);
  last().stdout.emit('data', Buffer.from('late\n'));
  last().emit('close', null);
  assert.deepEqual([seen, wait(), children.length], [[], undefined, 1]);
  const other = scene();
  other.last().emit('close', 1);
  other.stream.stop();
  assert.equal(other.wait(), undefined);
});
