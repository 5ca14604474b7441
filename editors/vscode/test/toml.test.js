'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { parse } = require('../src/toml');

/** What is in a value. @param {import('../src/toml').Node} node @returns {unknown} */
function plain(node) {
  if (node.kind === 'table') {
    return Object.fromEntries([...node.entries].map(([key, entry]) => [key, plain(entry.node)]));
  }
  return node.kind === 'array' ? node.items.map(plain) : node.value;
}

/** @param {string} text */
function read(text) {
  const { root, faults } = parse(text);
  assert.deepEqual(faults, [], text);
  return plain(root);
}

test('what TOML can say', () => {
  assert.deepEqual(read(''), {});
  assert.deepEqual(read('\u{feff}# only\r\n\r\n'), {});
  assert.deepEqual(read('a = 1 # one\r\n"b c".\'d\' = "x\\u00e9\\n\\"" \n e.f=true'), { a: 1, 'b c': { d: 'xé\n"' }, e: { f: true } });
  assert.deepEqual(read('a = [1, # one\n  "b",\n\n  [],\n]\nb = { x = 1, y.z = [ { } ] }'), { a: [1, 'b', []], b: { x: 1, y: { z: [{}] } } });
  assert.deepEqual(read('[a.b]\nc = 1\n[a]\nd = 2\n[[t]]\nx = 1\n[[t]]\n[t.u]\ny = 2\n'), { a: { b: { c: 1 }, d: 2 }, t: [{ x: 1 }, { u: { y: 2 } }] });
  assert.deepEqual(read('a = """\nx\\\n   y ""z"""""\nb = \'\'\'a\\b\'\'\'\nc = \'a\\b\''), { a: 'xy ""z""', b: 'a\\b', c: 'a\\b' });
  assert.deepEqual(read('a = 0x1F\nb = -1_000\nc = 1.5e3\nd = inf\ne = 1979-05-27T07:32:00Z\nf = 07:32:00\ng = 1979-05-27'), {
    a: 31, b: -1000, c: 1500, d: Infinity, e: '1979-05-27T07:32:00Z', f: '07:32:00', g: '1979-05-27',
  });
  assert.deepEqual(read('__proto__ = 1\nconstructor = 2'), Object.fromEntries([['__proto__', 1], ['constructor', 2]]));
});

test('kinds and places', () => {
  const { root } = parse('[a]\nb = 1.0 # x\nc = 2');
  const a = root.entries.get('a');
  const [b, c] = [a?.node.entries.get('b'), a?.node.entries.get('c')];
  assert.deepEqual([b?.start, b?.end, b?.node.kind, b?.node.start, b?.node.end], [4, 5, 'float', 8, 11]);
  assert.deepEqual([a?.start, a?.end, c?.node.kind], [1, 2, 'integer']);
});

test('what is wrong is told where it is, and what follows is read', () => {
  /** A text, what is told, and where. @type {[string, RegExp, string][]} */
  const texts = [
    ['a', /must be '='/, ''],
    ['a =', /must be a value/, ''],
    ['a = native', /no value: texts stand in quotes/, 'native'],
    ['a = 01', /no value/, '01'],
    ['a = 1 2', /must end here/, '2'],
    ['a = "x', /does not end/, '"x'],
    ['a = "\\q"', /no such escape/, '\\q'],
    ['a = "\\ud800"', /no character/, '\\u'],
    ['a = "\\U00110000"', /no character/, '\\U'],
    ['a = """x', /does not end/, '"""x'],
    ['a = [1 2]', /',' or '\]'/, '2'],
    ['a = [1', /',' or '\]'/, ''],
    ['a = {x = 1', /',' or '}'/, ''],
    ['[a', /must be '\]'/, ''],
    ['[[a]', /must be '\]\]'/, ''],
    ['[]', /must be a key/, ']'],
    ['= 1', /must be a key/, '='],
    ['a = 1\na = 2', /'a' is there already/, 'a'],
    ['[a]\n[a]', /'a' is there already/, 'a'],
    ['a.b = 1\n[a]\nc = 1\n[a]', /'a' is there already/, 'a'],
    ['a = {}\na.b = 1', /'a' is no table that can have more/, 'a'],
    ['a = {}\n[a.b]', /no table that can have more/, 'a'],
    ['a = []\n[[a]]', /'a' is there already/, 'a'],
    ['a = 1\n[a.b]', /no table/, 'a'],
    [`a = ${'['.repeat(100)}`, /too deep/, '['],
  ];
  for (const [text, words, where] of texts) {
    const { root, faults } = parse(`${text}\n[next]\nx = 1\n`);
    const fault = faults[0];
    assert.match(fault?.message ?? 'nothing', words, text);
    if (where !== '') {
      assert.equal(`${text}\n`.slice(fault?.start, fault?.end).split('\n')[0], where, text);
    }
    assert.equal(faults.length, 1, text);
    assert.deepEqual(plain(/** @type {any} */ (root.entries.get('next')?.node)), { x: 1 }, text);
  }
});

test('a great many mistakes take no time', () => {
  for (const line of ['a = """\n', 'a = [\n', 'a = {b = [\n', '"\n', 'a\n']) {
    assert.ok(parse(line.repeat(30_000)).faults.length <= 100);
  }
});

test('no text makes it fail or go on for ever', () => {
  const parts = ['[', ']', '{', '}', '=', '"', "'", '"""', "'''", '\\', '\n', '\r\n', '#', ',', '.', 'a', '1', '-', ' ', '\u{feff}', '🙂', 'true', '[[', ']]', 'a = '];
  let seed = 1;
  const next = () => (seed = (seed * 48271) % 2147483647);
  for (let i = 0; i < 20_000; i += 1) {
    const text = Array.from({ length: next() % 12 }, () => parts[next() % parts.length]).join('');
    for (const { start, end } of parse(text).faults) {
      assert.ok(start >= 0 && start < end && start <= text.length, JSON.stringify(text));
    }
  }
});
