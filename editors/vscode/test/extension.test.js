'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { after, beforeEach, test } = require('node:test');
const { asked, document, registered, reset, status, visibility, vscode } = require('./vscode');
const { activate } = require('../src/extension');
const manifest = require('../package.json');

const ID = '0123456789ab';
const dir = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'ak-')));
const program = path.join(dir, 'bin/agentkernel');
const project = path.join(dir, 'project');
const log = path.join(dir, 'calls');
/** What the program prints when it is called with these. */
const prints = path.join(dir, 'prints');

/** A program that answers what the test says, and writes down how it was called. */
fs.mkdirSync(path.join(dir, 'bin'));
fs.mkdirSync(project);
fs.mkdirSync(prints);
fs.writeFileSync(
  program,
  `#!${process.execPath}
const fs = require('node:fs');
const args = process.argv.slice(2);
fs.appendFileSync(${JSON.stringify(log)}, JSON.stringify(args) + '\\n');
if (args[0] === 'events') {
  process.stdout.write(fs.readFileSync(${JSON.stringify(`${prints}/events`)}));
  setInterval(() => {}, 1000);
} else {
  try {
    process.stdout.write(fs.readFileSync(${JSON.stringify(prints)} + '/' + args[0]));
  } catch {}
}
`,
  { mode: 0o755 },
);

const HOSTILE = '$(alert) [x](command:workbench.action.quit)\u{202e}\n';
const row = { id: ID, name: 'web', status: 'running', backend: 'native', image: HOSTILE, workspace: `direct:${project}`, command: 'sleep 9', created_ms: 1, net: HOSTILE };
const refused = (/** @type {string} */ host, flow = 1) => JSON.stringify({ time_ms: 5, sandbox: ID, flow, host, port: 443, event: 'refused', reason: HOSTILE, denied: true, cause: HOSTILE });

/** @param {Record<string, string>} files */
function says(files) {
  for (const [name, text] of Object.entries({ ps: JSON.stringify([row]), events: '', ...files })) {
    fs.writeFileSync(path.join(prints, name), text);
  }
}

/** How the program was called, but for being asked and listened to. */
function called() {
  const lines = fs.existsSync(log) ? fs.readFileSync(log, 'utf8').trim().split('\n') : [];
  return lines.map((line) => JSON.parse(line)).filter(([first]) => !['ps', 'events'].includes(first));
}

/** @type {{ dispose(): unknown }[]} */
const subscriptions = [];
says({});
vscode.workspace.path = { globalValue: program };
vscode.workspace.workspaceFolders = [{ uri: { scheme: 'file', fsPath: project } }];
activate(/** @type {any} */ ({ subscriptions, extensionPath: dir }));
const provider = asked.get('createTreeView')?.[0]?.[1].treeDataProvider;
const profile = asked.get('registerTerminalProfileProvider')?.[0]?.[1];
const tasks = asked.get('registerTaskProvider')?.[0]?.[1];
const completion = asked.get('registerCompletionItemProvider')?.[0]?.[1];
const hovering = asked.get('registerHoverProvider')?.[0]?.[1];

after(() => {
  subscriptions.forEach((one) => one.dispose());
  fs.rmSync(dir, { recursive: true });
});

beforeEach(async () => {
  vscode.workspace.isTrusted = true;
  vscode.window.activeTextEditor = undefined;
  says({});
  await run('refresh');
  fs.rmSync(log, { force: true });
  reset();
});

/** @param {string} name @param {any[]} args */
const run = (name, ...args) => /** @type {(...args: any[]) => any} */ (registered.get(`agentkernel.${name}`))(...args);

/** What was said with this kind of message. @param {string} kind */
const said = (kind) => (asked.get(`show${kind}Message`) ?? []).map(([words]) => words);

/** What a terminal that is no process has shown by its end. @param {any} pty */
const shown = (pty) =>
  new Promise((resolve) => {
    let text = '';
    pty.onDidWrite((/** @type {string} */ piece) => {
      text += piece;
      if (text.includes('closes this')) {
        resolve(text);
      }
    });
    pty.open();
  });

test('what the manifest names is there, and nothing else', () => {
  const { contributes } = manifest;
  const commands = contributes.commands.map(({ command }) => command);
  assert.deepEqual([...registered.keys()].filter((name) => name !== 'agentkernel.look').sort(), commands.sort());
  const menus = Object.values(contributes.menus).flat().map(({ command }) => command);
  assert.deepEqual(menus.filter((command) => !commands.includes(command)), []);
  assert.equal(asked.size, 0);
  const properties = Object.keys(/** @type {any} */ (contributes.taskDefinitions[0]).properties).sort();
  assert.deepEqual(properties, ['allow', 'backend', 'checkpoint', 'command', 'env', 'image', 'net', 'workdir', 'workspace']);
  assert.equal(contributes.configuration.properties['agentkernel.path'].scope, 'machine');
});

test('sandboxes and refusals are shown as plain text', async () => {
  const change = { time_ms: 4, sandbox: ID, path: '/p/.git/config', program: 'sh', event: 'refused', reason: 'protected-path', denied: true, cause: HOSTILE };
  says({ net: [refused('a.example'), refused(HOSTILE, 2), JSON.stringify(change), JSON.stringify({ ...change, time_ms: 3, path: HOSTILE }), ''].join('\n') });
  const [sandbox] = await provider.getChildren();
  const item = provider.getTreeItem(sandbox);
  assert.deepEqual([item.label, item.contextValue, item.collapsibleState], ['web', 'sandbox.running.command', 'Collapsed']);
  const [first, second, third, fourth] = (await provider.getChildren(sandbox)).map((/** @type {any} */ one) => provider.getTreeItem(one));
  assert.deepEqual([first.label, first.contextValue, second.contextValue], ['a.example:443', 'denial.allow', 'denial']);
  assert.deepEqual([third.label, third.contextValue, fourth.contextValue], ['/p/.git/config', 'denial', 'denial']);
  for (const one of [item, first, second, third, fourth]) {
    assert.equal(one.command, undefined);
    for (const text of [one.label, one.description, one.tooltip]) {
      assert.equal(typeof text, 'string');
      assert.doesNotMatch(text, /\$\(|\]\(|command:|\u{202e}/u);
    }
  }
});

test('the status bar counts what runs and what is refused, until somebody looks', async () => {
  assert.deepEqual([status.text, status.shown], ['$(shield) 1 sandbox', true]);
  says({ ps: '[]' });
  await run('refresh');
  says({ events: `${refused(HOSTILE)}\n` });
  await run('refresh');
  for (let i = 0; i < 200 && !status.text.includes('circle-slash'); i += 1) {
    await new Promise((done) => setTimeout(done, 25));
  }
  assert.equal(status.text, '$(shield) 1 sandbox $(circle-slash) 1');
  await run('look');
  assert.equal(status.text, '$(shield) 1 sandbox');
});

test('what takes away or lets reach is asked for', async () => {
  const denial = { host: 'a.example', port: 443, path: '', key: '', reason: '', cause: '', count: 1, timeMs: 1 };
  reset({ showWarningMessage: () => undefined });
  await run('remove', { sandbox: row });
  await run('allow', { sandbox: row, denial });
  assert.deepEqual(called(), []);
  assert.deepEqual(said('Warning'), ["Remove the sandbox 'web'?", "Let 'web' reach a.example:443?"]);
  assert.ok(asked.get('showWarningMessage')?.every(([, { modal }]) => modal));
  reset({ showWarningMessage: (_words, _how, yes) => yes });
  await run('allow', { sandbox: row, denial });
  await run('allow', { sandbox: row, denial: { ...denial, host: '*' } });
  await run('stop', { sandbox: row });
  await run('remove', { sandbox: row });
  assert.deepEqual(called(), [['net', 'allow', ID, '--', 'a.example:443'], ['stop', ID], ['rm', '--force', ID]]);
  await run('stop', { sandbox: { ...row, id: 'ffffffffffff' } });
  assert.equal(called().length, 3, 'one that is gone');
});

test('nothing is run in a workspace that is not trusted', async () => {
  vscode.workspace.isTrusted = false;
  reset({ showWarningMessage: (_words, _how, yes) => yes });
  vscode.window.activeTextEditor = { document: document('/w/a.sh', 'ls'), selection: { isEmpty: true } };
  for (const command of manifest.contributes.commands) {
    const name = command.command.replace('agentkernel.', '');
    const looks = ['refresh', 'logs', 'denials'].includes(name);
    assert.equal(command.enablement, looks ? undefined : 'isWorkspaceTrusted', name);
    if (!looks) {
      await run(name, { sandbox: row });
    }
  }
  assert.equal(await profile.provideTerminalProfile(), undefined);
  assert.deepEqual([called(), asked.get('createTerminal')], [[], undefined]);
});

test('terminals get a program and arguments', async () => {
  await run('attach', { sandbox: row });
  await run('shell', { sandbox: row });
  says({ agents: JSON.stringify([{ name: 'claude', title: 'Claude Code', installed: [] }]) });
  reset({ showQuickPick: (items) => items[0] });
  await run('agent');
  const [agent] = asked.get('createTerminal') ?? [];
  assert.deepEqual([agent?.[0].shellPath, agent?.[0].shellArgs, agent?.[0].cwd], [program, ['run', 'claude'], project]);
  const { options } = await profile.provideTerminalProfile();
  assert.deepEqual([options.shellPath, options.shellArgs], [program, ['exec', '--shell', ID]]);
  reset({ showQuickPick: () => undefined });
  assert.equal(await profile.provideTerminalProfile(), undefined);
  says({ ps: '[]' });
  const fresh = await profile.provideTerminalProfile();
  assert.deepEqual(fresh.options.shellArgs, ['run', '--shell']);
});

test('a selection is run as it stands', async () => {
  const text = 'echo "${env:HOME}" $(id)\n';
  vscode.window.activeTextEditor = { document: { ...document('/w/a b.txt', `x${text}y`), languageId: 'plaintext' }, selection: { isEmpty: false, start: 1, end: 1 + text.length } };
  says({ run: 'out\n\u{1b}]52;c;eA==\u{7}' });
  await run('run');
  const [[options]] = /** @type {any} */ (asked.get('createTerminal'));
  assert.equal(options.shellPath, undefined);
  assert.match(await shown(options.pty), /out\r\n\u{fffd}\]52;c;eA==\u{fffd}.*ended with 0/su);
  assert.deepEqual(called(), [['run', '--shell', '--', text]]);
  await run('logs', { sandbox: { ...row, name: HOSTILE } });
  const [, [second]] = /** @type {any} */ (asked.get('createTerminal'));
  await shown(second.pty);
  assert.deepEqual(called()[1], ['logs', '--follow', ID]);
});

test('undo shows what it would do', async () => {
  says({ undo: '[{"number":3,"time_ms":1,"before":"make","undo_to":null}]' });
  reset({ showQuickPick: (items) => (says({ undo: `{"changes":[{"path":${JSON.stringify(HOSTILE)},"what":"restored"}]}` }), items[0]), showWarningMessage: (_w, _h, yes) => yes });
  await run('undo');
  assert.deepEqual(called(), [['undo', '--list', '--json'], ['undo', '--dry-run', '--json', '3'], ['undo', '--json', '3']]);
  assert.doesNotMatch(asked.get('showWarningMessage')?.[0]?.[1].detail, /\]\(|\$\(/);
});

test('tasks are resolved, or told why not', () => {
  const definition = { type: 'agentkernel', command: ['make', '$(id)'], net: 'none' };
  const task = { definition, name: 'build', scope: undefined, problemMatchers: ['$gcc'] };
  const resolved = tasks.resolveTask(task);
  assert.equal(resolved.definition, definition);
  assert.deepEqual([resolved.execution.process, resolved.execution.args, resolved.execution.options], [program, ['run', '--net=none', '--', 'make', '$(id)'], { cwd: project }]);
  assert.deepEqual(resolved.problemMatchers, ['$gcc']);
  assert.equal(tasks.resolveTask({ ...task, definition: { ...definition, net: 'all' } }), undefined);
  assert.match(said('Error')[0], /'build' can't be run: "net" must be one of/);
});

test('what the program says of itself is told', async () => {
  vscode.workspace.path = { globalValue: '/nowhere/agentkernel', workspaceValue: program };
  await run('refresh');
  assert.deepEqual(asked.get('executeCommand')?.at(-1), ['setContext', 'agentkernel.state', 'missing']);
  assert.equal(status.shown, false);
  fs.writeFileSync(path.join(dir, 'program.json'), JSON.stringify({ path: program }));
  vscode.workspace.path = { workspaceValue: '/nowhere' };
  await run('refresh');
  assert.equal(status.shown, true);
  fs.rmSync(path.join(dir, 'program.json'));
  vscode.workspace.path = { globalValue: program };
  says({ ps: 'no' });
  await run('refresh');
  assert.deepEqual(asked.get('executeCommand')?.at(-1), ['setContext', 'agentkernel.state', 'failed']);
});

test('it is asked when the view is shown', async () => {
  visibility.fire({ visible: true });
  await run('refresh');
  visibility.fire({ visible: false });
  assert.equal(status.shown, true);
});

test('agentkernel.toml is completed, described and checked', () => {
  const text = '[sandbox]\nworkspace = "ov"\n';
  const file = document(`${project}/agentkernel.toml`, text);
  const items = completion.provideCompletionItems(file, { line: 1, character: 15 });
  assert.deepEqual(items.map((/** @type {any} */ one) => one.label), ['"direct"', '"overlay"', '"none"']);
  assert.deepEqual([items[1].range.start.character, items[1].range.end.character], [12, 16], 'the quote that closes is written over');
  assert.deepEqual(completion.provideCompletionItems(document('/w/Cargo.toml', text), { line: 1, character: 12 }), []);
  assert.match(hovering.provideHover(file, { line: 1, character: 2 }).contents.value, /./);
  assert.equal(hovering.provideHover(file, { line: 1, character: 14 }), undefined);
});
