'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { Missing } = require('../src/program');
const { EVERY_MS, MOST_DENIALS, MOST_STREAMS, SOON_MS, Sandboxes } = require('../src/sandboxes');
const { Child } = require('./child');

const [A, B] = ['aaaaaaaaaaaa', 'bbbbbbbbbbbb'];

/** @param {string} id @param {string} [status] @param {number} [created] */
const row = (id, status = 'running', created = 1) => ({ id, name: `box-${id[0]}`, status, backend: 'native', image: 'host', created_ms: created });

/** @param {string} id @param {number} at @param {object} [more] */
const refused = (id, at, more = {}) =>
  JSON.stringify({ time_ms: at, sandbox: id, flow: at, host: 'x.example', port: 443, event: 'refused', reason: 'network-none', denied: true, cause: 'c', ...more });

/** A program that has these sandboxes and logs. */
function scene() {
  const has = {
    /** @type {any[]} */ rows: [],
    /** @type {Record<string, string>} */ logs: {},
    /** @type {Error | undefined} */ fails: undefined,
  };
  /** @type {string[]} */
  const called = [];
  /** @type {{ id: string, child: Child }[]} */
  const started = [];
  /** @type {Map<object, { then: () => void, ms: number }>} */
  const timers = new Map();
  let changes = 0;
  const sandboxes = new Sandboxes(
    {
      call: async (args) => {
        called.push(args.slice(0, 2).join(' '));
        if (has.fails) {
          throw has.fails;
        }
        return args[0] === 'ps' ? JSON.stringify(has.rows) : (has.logs[args[args.length - 1] ?? ''] ?? '');
      },
      start: (args) => {
        const child = new Child();
        started.push({ id: args[args.length - 1] ?? '', child });
        return /** @type {any} */ (child);
      },
    },
    () => (changes += 1),
    {
      set: (then, ms) => {
        const timer = {};
        timers.set(timer, { then, ms });
        return timer;
      },
      clear: (timer) => void timers.delete(timer),
    },
  );
  const settle = async () => {
    while (sandboxes.asking) {
      await sandboxes.asking;
    }
  };
  const say = (/** @type {string} */ id, /** @type {string} */ line) =>
    started.findLast((one) => one.id === id)?.child.stdout.emit('data', Buffer.from(`${line}\n`));
  /** Lets time pass for the timers of this length. */
  const pass = (/** @type {number} */ ms) => {
    for (const [timer, one] of [...timers].filter(([, one]) => one.ms === ms)) {
      timers.delete(timer);
      one.then();
    }
  };
  return { has, called, started, timers, sandboxes, settle, say, pass, changes: () => changes };
}

test('those that run come first, the newest before the others, and are listened to', async () => {
  const { has, sandboxes, started, changes } = scene();
  has.rows = [row(A, 'exited', 9), row(B, 'running', 1), row('cccccccccccc', 'running', 2)];
  await sandboxes.refresh();
  assert.deepEqual(sandboxes.rows.map((one) => one.id[0]).join(''), 'cba');
  assert.deepEqual(started.map((one) => one.id[0]).join(''), 'cb');
  assert.deepEqual([sandboxes.state, sandboxes.running.length, changes()], ['ready', 2, 1]);
  await sandboxes.refresh();
  assert.equal(changes(), 1, 'nothing is new');
  has.rows = [row(B, 'exited')];
  await sandboxes.refresh();
  assert.deepEqual(started.map((one) => one.child.killed), [true, true]);
  has.rows = Array.from({ length: MOST_STREAMS + 5 }, (_, at) => row(at.toString(16).padStart(12, '0')));
  await sandboxes.refresh();
  assert.equal(sandboxes.streams.size, MOST_STREAMS);
  sandboxes.dispose();
  assert.ok(started.every((one) => one.child.killed));
});

test('nobody asks again and again while nobody looks', async () => {
  const { has, called, sandboxes, settle, pass, timers } = scene();
  has.rows = [row(A)];
  await sandboxes.refresh();
  assert.equal(timers.size, 0);
  sandboxes.show(true);
  await settle();
  pass(EVERY_MS);
  await settle();
  assert.equal(called.length, 3);
  sandboxes.show(false);
  assert.equal(timers.size, 0);
  sandboxes.show(true);
  sandboxes.show(false);
  await settle();
  assert.equal(timers.size, 0, 'hidden while it was asked');
  sandboxes.show(true);
  const first = sandboxes.refresh();
  void sandboxes.refresh();
  void sandboxes.refresh();
  await first;
  assert.equal(called.length, 6, 'what is wanted while it is asked is asked once');
  sandboxes.dispose();
  assert.equal(timers.size, 0);
});

test('what is refused is told at once, and counted until it is looked at', async () => {
  const { has, sandboxes, say, changes, pass } = scene();
  has.rows = [row(A)];
  await sandboxes.refresh();
  say(A, refused(A, 5));
  say(A, refused(A, 5));
  say(A, refused(B, 6));
  say(A, 'nonsense');
  say(A, refused(A, 7, { denied: false }));
  assert.deepEqual([sandboxes.unseen, changes()], [1, 1]);
  pass(SOON_MS);
  assert.equal(changes(), 2);
  say(A, JSON.stringify({ ...JSON.parse(refused(A, 8)), event: 'folded', verdict: 'denied', count: 40 }));
  say(A, JSON.stringify({ ...JSON.parse(refused(A, 9)), event: 'folded', verdict: 'denied', count: 1 }));
  assert.equal(sandboxes.unseen, 42);
  pass(SOON_MS);
  sandboxes.seen();
  sandboxes.seen();
  assert.deepEqual([sandboxes.unseen, changes()], [0, 4]);
});

test('the log and what is told are added up', async () => {
  const { has, called, sandboxes, say } = scene();
  has.rows = [row(A)];
  has.logs[A] = [refused(A, 1), refused(A, 2), refused(A, 3, { host: 'y.example' }), refused(B, 4), '{'].join('\n') + '\n';
  await sandboxes.refresh();
  say(A, refused(A, 2));
  say(A, refused(A, 9));
  const seen = (await sandboxes.denials(A)).map(({ host, count, timeMs }) => [host, count, timeMs]);
  assert.deepEqual(seen, [['x.example', 3, 9], ['y.example', 1, 3]]);
  await sandboxes.denials(A);
  assert.equal(called.filter((one) => one === 'net log').length, 1);
  say(A, JSON.stringify({ time_ms: 10, sandbox: A, event: 'skipped', count: 5 }));
  await sandboxes.denials(A);
  assert.equal(called.filter((one) => one === 'net log').length, 2, 'what was missed is in the log');
  has.fails = new Error('no');
  await assert.rejects(sandboxes.denials(B), /no/);
  has.fails = undefined;
  assert.deepEqual(await sandboxes.denials(B), []);
  has.logs[B] = Array.from({ length: MOST_DENIALS + 10 }, (_, at) => refused(B, at)).join('\n') + '\n';
  sandboxes.read.delete(B);
  assert.equal((await sandboxes.denials(B))[0]?.count, MOST_DENIALS);
});

test('an end is looked at, and so is a stream that is cut off', async () => {
  const { has, called, started, sandboxes, settle, say, pass } = scene();
  has.rows = [row(A), row(B)];
  await sandboxes.refresh();
  has.rows = [row(A), row(B, 'exited')];
  say(B, JSON.stringify({ time_ms: 1, sandbox: B, event: 'stopped', exit: { code: 0 }, status: 0 }));
  started.find((one) => one.id === B)?.child.emit('close', 0);
  await settle();
  assert.equal(sandboxes.running.length, 1);
  const before = called.length;
  started.find((one) => one.id === A)?.child.emit('close', 1);
  await settle();
  assert.equal(called.length, before + 1);
  pass(500);
  assert.equal(started.filter((one) => one.id === A).length, 2);
  has.rows = [];
  await sandboxes.refresh();
  assert.equal(sandboxes.streams.size, 0);
  pass(500);
  assert.equal(started.length, 3, 'one that is gone is not listened to');
});

test('why there is nothing to see', async () => {
  const { has, sandboxes, started } = scene();
  has.rows = [row(A)];
  await sandboxes.refresh();
  has.fails = new Missing('nowhere');
  await sandboxes.refresh();
  assert.deepEqual([sandboxes.state, sandboxes.rows.length, started[0]?.child.killed], ['missing', 0, true]);
  has.fails = new Error('The state is damaged');
  await sandboxes.refresh();
  assert.deepEqual([sandboxes.state, sandboxes.problem], ['failed', 'The state is damaged']);
  has.fails = undefined;
  await sandboxes.refresh();
  assert.deepEqual([sandboxes.state, sandboxes.problem, sandboxes.rows.length], ['ready', '', 1]);
});
