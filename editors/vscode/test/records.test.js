'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { age, agents, changes, checkpoints, event, plain, printable, sandboxes, target } = require('../src/records');

const ID = '0123456789ab';

test('a text of others is shown, and does nothing', () => {
  assert.equal(plain('a b é 漢 🙂'), 'a b é 漢 🙂');
  assert.equal(plain('\u{1b}[2J\nx\u{202e}y\u{200b}\u{2028}\u{feff}'), '\u{fffd}[2J\u{fffd}x\u{fffd}y\u{fffd}\u{fffd}\u{fffd}');
  assert.equal(plain('$(alert) [x](command:a.b) COMMAND:c file:///x'), '$ (alert) [x] (command :a.b) COMMAND :c file :///x');
  assert.equal([...plain('🙂'.repeat(1000))].length, 200);
  assert.equal(plain(undefined), '');
  assert.equal(plain({}), '');
});

test('what a terminal is given moves nothing but lines', () => {
  assert.equal(printable('a\tb\r\n\u{1b}[1;31mred\u{1b}[m é 漢'), 'a\tb\r\n\u{1b}[1;31mred\u{1b}[m é 漢');
  for (const code of ['\u{1b}]0;title\u{7}', '\u{1b}]8;;file:///x\u{1b}\\', '\u{1b}]52;c;eA==\u{7}', '\u{1b}[2J', '\u{1b}[6n', '\u{1b}c', '\u{9b}2J', '\u{8}', '\u{1b}[31', '\u{0}']) {
    const shown = printable(code);
    assert.ok(!/[\u{0}-\u{8}\u{b}-\u{1f}\u{7f}-\u{9f}]/u.test(shown) && shown.includes('\u{fffd}'), JSON.stringify(shown));
  }
});

test('the list of sandboxes', () => {
  const row = {
    id: ID, name: 'web', status: 'running', state: {}, backend: 'native', walls: { held: 13, all: 14 }, image: 'host',
    workspace: 'direct:/home/me/a b', net: 'none', command: null, keep: true, created_ms: 5, damaged: null,
  };
  const bare = { ...row, name: null, walls: null, workspace: 'none', damaged: 'x' };
  const [first, second, ...rest] = sandboxes(JSON.stringify([row, { ...row, id: '../../etc' }, { ...row, id: '--all' }, null, 3, [], bare]));
  assert.deepEqual(rest, []);
  assert.deepEqual(first, {
    id: ID, name: 'web', status: 'running', backend: 'native', walls: '13/14', image: 'host', folder: '/home/me/a b', net: 'none',
    command: '', createdMs: 5, damaged: '',
  });
  assert.deepEqual([second?.name, second?.walls, second?.folder, second?.damaged], [ID, '', '', 'x']);
  assert.throws(() => sandboxes('{}'), /not in a form/);
  assert.throws(() => sandboxes('agentkernel: nothing'), /not in a form/);
});

test('events', () => {
  const base = { time_ms: 7, sandbox: ID, name: 'web' };
  const refused = { ...base, flow: 3, host: 'a.example', port: 80, event: 'refused', reason: 'network-none', denied: true, cause: 'c' };
  assert.deepEqual(event(JSON.stringify(refused)), {
    sandbox: ID, kind: 'refused',
    denial: { key: '7.3.refused', host: 'a.example', port: 80, path: '', reason: 'network-none', cause: 'c', count: 1, timeMs: 7 },
  });
  const change = { ...base, path: '/p/.git/config', program: 'sh', event: 'refused', reason: 'protected-path', denied: true, cause: 'c', request: 'write' };
  const { denial } = event(JSON.stringify(change)) ?? {};
  assert.deepEqual([denial?.key, denial?.host, denial?.path], ['7.0.refused./p/.git/config', '', '/p/.git/config']);
  assert.ok(denial && target(denial) === undefined);
  assert.equal(event(JSON.stringify({ ...refused, denied: false }))?.denial, undefined);
  const folded = { ...base, flow: 0, host: '*', port: 0, event: 'folded', verdict: 'denied', count: 40 };
  assert.equal(event(JSON.stringify(folded))?.denial?.count, 40);
  assert.equal(event(JSON.stringify({ ...folded, verdict: 'allowed' }))?.denial, undefined);
  assert.deepEqual(event(JSON.stringify({ ...base, event: 'stopped', exit: {}, status: 0 })), { sandbox: ID, kind: 'stopped' });
  for (const nonsense of ['', 'null', '[]', '{', '{"event":"stopped"}', JSON.stringify({ ...base, sandbox: 'web', event: 'x' }), JSON.stringify({ ...base, event: 3 })]) {
    assert.equal(event(nonsense), undefined);
  }
});

test('what a rule can be made of', () => {
  const of = (/** @type {string} */ host, port = 443) => target({ host, port, path: '', key: '', reason: '', cause: '', count: 1, timeMs: 0 });
  assert.equal(of('a-b.example.org'), 'a-b.example.org:443');
  assert.equal(of('192.0.2.1', 8080), '192.0.2.1:8080');
  assert.equal(of('2001:db8::1'), '[2001:db8::1]:443');
  assert.equal(of('[2001:db8::1]'), '[2001:db8::1]:443');
  for (const host of ['*', '*.example.org', '', 'a b', '-a', '--all', 'a/b', 'a\n', 'é', 'a'.repeat(300), '[x](command:y)']) {
    assert.equal(of(host), undefined, host);
  }
  assert.equal(of('a', 0), undefined);
  assert.equal(of('a', 65536), undefined);
});

test('agents, checkpoints and changes', () => {
  const rows = [{ name: 'claude', title: 'Claude Code', installed: ['1'] }, { name: '--rm' }, { name: './x' }, { name: 'b', installed: [] }, 0];
  assert.deepEqual(agents(JSON.stringify(rows)), [
    { name: 'claude', title: 'Claude Code', installed: true },
    { name: 'b', title: 'b', installed: false },
  ]);
  assert.deepEqual(agents('?'), []);
  const list = [{ number: 1, time_ms: 5, before: 'make', undo_to: null }, { number: 2, time_ms: 6, before: '', undo_to: 1 }, { number: '3' }];
  assert.deepEqual(checkpoints(JSON.stringify(list)), [
    { number: 1, timeMs: 5, before: 'make' },
    { number: 2, timeMs: 6, before: 'undo to 1' },
  ]);
  assert.deepEqual(changes('{"changes":[{"path":"a","what":"restored"},1]}'), [{ path: 'a', what: 'restored' }]);
  assert.deepEqual(changes('[]'), []);
});

test('ages', () => {
  const ages = [[0, '< 1 min'], [59_999, '< 1 min'], [60_000, '1 min'], [7_200_000, '2 h'], [200_000_000, '2 d'], [-5, '< 1 min']];
  for (const [ms, words] of /** @type {[number, string][]} */ (ages)) {
    assert.equal(age(0, ms), words);
  }
});
