'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { Missing, Program, calls, find, run, said, snippet } = require('../src/program');

const ID = '0123456789ab';

/** A folder for a test. @param {import('node:test').TestContext} t */
function folder(t) {
  const dir = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'ak-')));
  t.after(() => fs.rmSync(dir, { recursive: true }));
  return dir;
}

/** A program. @param {string} place @param {string} text */
function program(place, text = 'exit 0') {
  fs.mkdirSync(path.dirname(place), { recursive: true });
  fs.writeFileSync(place, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  return place;
}

test('the program is found, but none that came with the project', (t) => {
  const dir = folder(t);
  const [work, bin] = [path.join(dir, 'work'), path.join(dir, 'bin')];
  const theirs = program(path.join(work, 'agentkernel'));
  const ours = program(path.join(bin, 'agentkernel'));
  fs.mkdirSync(path.join(dir, 'links'));
  fs.symlinkSync(theirs, path.join(dir, 'links/agentkernel'));
  fs.symlinkSync(work, path.join(dir, 'same'));
  fs.writeFileSync(path.join(dir, 'agentkernel'), '');

  assert.equal(find('agentkernel', ['.', '', 'bin', work, `${dir}/links`, `${dir}/same`, dir, bin].join(':'), [work]), ours);
  assert.equal(find(ours, '', [work]), ours);
  assert.equal(find(theirs, '', [`${work}-2`]), theirs);
  for (const [wanted, searched] of [
    ['agentkernel', `${work}:${dir}/links`], ['agentkernel', '.:bin'], ['agentkernel', ''], ['', bin], ['./agentkernel', bin], ['bin/agentkernel', bin],
    [theirs, bin], [`${dir}/same/agentkernel`, bin], [`${dir}/agentkernel`, bin], [bin, bin], ['/nowhere', bin],
  ]) {
    assert.throws(() => find(/** @type {string} */ (wanted), /** @type {string} */ (searched), [work]), Missing, wanted);
  }
  assert.throws(() => find(theirs, '', [`${dir}/same`]), Missing);
});

test('it is called without a shell, and what it says is told', async (t) => {
  const place = program(path.join(folder(t), 'p'), 'for a; do printf "<%s>" "$a"; done; pwd; cat; [ "$1" != bad ] || { echo "agentkernel: It is bad" >&2; echo "  hint: Mend it" >&2; exit 1; }');
  const called = new Program(() => place);
  assert.equal(await called.call(['a b', '$(id)', ';', '*', ''], '/tmp'), '<a b><$(id)><;><*><>/tmp\n');
  await assert.rejects(called.call(['bad']), { message: 'It is bad. hint: Mend it' });
  await assert.rejects(new Program(() => { throw new Missing('nowhere'); }).call([]), Missing);
  await assert.rejects(new Program(() => '/nowhere').call([]), /ENOENT/);
  assert.equal(said('\n agentkernel: x\n'), 'agentkernel: x');
});

test('sandboxes are named by their ids alone', () => {
  assert.deepEqual(calls.remove(ID, true), ['rm', '--force', ID]);
  assert.deepEqual(calls.remove(ID, false), ['rm', ID]);
  assert.deepEqual(calls.allow(ID, 'a:1'), ['net', 'allow', ID, '--', 'a:1']);
  assert.deepEqual(calls.denials(ID, true), ['net', 'log', '--denied', '--json', ID]);
  for (const id of ['web', '--force', '', `${ID}\n`, `${ID}0`]) {
    assert.throws(() => calls.attach(id), /not the id/);
    assert.throws(() => calls.events(id), /not the id/);
  }
});

test('tasks', () => {
  assert.deepEqual(run({ command: 'make && echo "$HOME"' }), ['run', '--shell', '--', 'make && echo "$HOME"']);
  assert.deepEqual(run({ command: ['npm', 'test', '--', '--rm'] }), ['run', '--', 'npm', 'test', '--', '--rm']);
  const all = {
    type: 'agentkernel', command: ['x'], image: '-v/:/host', backend: 'docker', workspace: 'overlay', net: 'allow', allow: ['a.example', 'b:1'],
    env: { A: '1', B: '' }, workdir: '/w', checkpoint: true,
  };
  assert.deepEqual(run(all, ['type']), [
    'run', '--image=-v/:/host', '--backend=docker', '--workspace=overlay', '--net=allow', '--allow=a.example', '--allow=b:1', '--env=A=1',
    '--env=B=', '--workdir=/w', '--checkpoint', '--', 'x',
  ]);
  assert.deepEqual(run({ command: ['x'], checkpoint: false, image: undefined }), ['run', '--', 'x']);
  for (const [wrong, words] of /** @type {[Record<string, unknown>, RegExp][]} */ ([
    [{}, /"command" must be/], [{ command: '' }, /"command"/], [{ command: ' ' }, /"command"/], [{ command: [] }, /"command"/],
    [{ command: ['a', 1] }, /"command"/], [{ command: ['', 'a'] }, /"command"/], [{ command: 'a\0b' }, /"command"/], [{ command: {} }, /"command"/],
    [{ command: 'x', net: 'all' }, /"net" must be one of none, allow, open/], [{ command: 'x', image: 3 }, /"image" must be a text/],
    [{ command: 'x', allow: 'a' }, /"allow" must be a list/], [{ command: 'x', allow: [''] }, /"allow"/], [{ command: 'x', env: { 'a b': '' } }, /"env"/],
    [{ command: 'x', env: { A: 1 } }, /"env"/], [{ command: 'x', env: null }, /"env"/], [{ command: 'x', checkpoint: 'yes' }, /"checkpoint" must be true/],
    [{ command: 'x', mount: '/:/host' }, /no "mount"/], [{ command: 'x', constructor: 'x' }, /no "constructor"/], [{ command: 'x', type: 'x' }, /no "type"/],
  ])) {
    assert.throws(() => run(wrong), words);
  }
});

test('files and selections', () => {
  const file = { language: 'python', file: '/w/a b.py', text: '', executable: false };
  assert.deepEqual(snippet(file), ['python3', '/w/a b.py']);
  assert.deepEqual(snippet({ ...file, executable: true }), ['/w/a b.py']);
  assert.deepEqual(snippet({ ...file, text: 'print("${HOME}")' }), ['python3', '-c', 'print("${HOME}")']);
  assert.deepEqual(snippet({ ...file, language: 'go' }), ['go', 'run', '/w/a b.py']);
  for (const language of ['rust', 'constructor']) {
    assert.deepEqual(snippet({ ...file, language }), ['/w/a b.py']);
    assert.deepEqual(snippet({ ...file, language, text: 'ls' }), 'ls');
  }
});
