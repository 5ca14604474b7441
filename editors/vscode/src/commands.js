// What can be done by commands: hides what is asked before. What takes something away, or lets a sandbox reach more, is asked for
// in words that name it; what runs something needs a workspace that is trusted.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const vscode = require('vscode');
const { calls, run, snippet } = require('./program');
const { age, agents, changes, checkpoints, plain, target } = require('./records');
const { folder, open, show } = require('./terminals');

/** @typedef {import('./program').Program} Program */
/** @typedef {import('./sandboxes').Sandboxes} Sandboxes */
/** @typedef {import('./records').Sandbox} Sandbox */
/** @typedef {Partial<import('./tree').Row>} Row What a command of the view is called for; by the palette, for nothing. */

/** So many files are named where it is asked. */
const NAMED = 15;

/** @param {string} place */
function isExecutable(place) {
  try {
    fs.accessSync(place, fs.constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * Asks whether it shall be done.
 * @param {string} question @param {string} detail @param {string} yes
 */
async function asked(question, detail, yes) {
  return (await vscode.window.showWarningMessage(question, { modal: true, detail }, yes)) === yes;
}

class Commands {
  /** @param {Program} program @param {Sandboxes} sandboxes */
  constructor(program, sandboxes) {
    this.program = program;
    this.sandboxes = sandboxes;
  }

  /**
   * The sandbox that is meant, as it is now.
   * @param {Row | undefined} row
   * @param {(sandbox: Sandbox) => boolean} [fits]
   * @returns {Promise<Sandbox | undefined>}
   */
  async pick(row, fits = () => true) {
    if (row?.sandbox) {
      return this.sandboxes.get(row.sandbox.id);
    }
    await this.sandboxes.refresh();
    const items = this.sandboxes.rows.filter(fits).map((sandbox) => ({
      label: plain(sandbox.name),
      description: plain(`${sandbox.status} · ${sandbox.backend}`),
      sandbox,
    }));
    if (items.length === 0) {
      void vscode.window.showInformationMessage('There is no sandbox for that');
      return undefined;
    }
    return (await vscode.window.showQuickPick(items, { placeHolder: 'Which sandbox?' }))?.sandbox;
  }

  /**
   * Has the program do something, and looks what became of it.
   * @param {string} title @param {string[]} args @param {string} [cwd]
   */
  async act(title, args, cwd) {
    try {
      const progress = { location: { viewId: 'agentkernel.sandboxes' }, title };
      await vscode.window.withProgress(progress, () => this.program.call(args, cwd));
    } finally {
      await this.sandboxes.refresh();
    }
  }

  /** @param {Row} [row] */
  async attach(row) {
    const sandbox = await this.pick(row, (one) => isRunning(one) && one.command !== '');
    if (sandbox) {
      open(this.program, sandbox.name, calls.attach(sandbox.id));
    }
  }

  /** @param {Row} [row] */
  async shell(row) {
    const sandbox = await this.pick(row, isRunning);
    if (sandbox) {
      open(this.program, sandbox.name, calls.shell(sandbox.id));
    }
  }

  /** @param {Row} [row] */
  async logs(row) {
    const sandbox = await this.pick(row);
    if (sandbox) {
      show(this.program, `Logs of ${sandbox.name}`, calls.logs(sandbox.id));
    }
  }

  /** @param {Row} [row] */
  async denials(row) {
    const sandbox = await this.pick(row);
    if (sandbox) {
      this.sandboxes.seen();
      show(this.program, `Refused to ${sandbox.name}`, calls.denials(sandbox.id, false));
    }
  }

  /** @param {Row} [row] */
  async start(row) {
    const sandbox = await this.pick(row, (one) => !isRunning(one));
    if (sandbox) {
      await this.act('Starting', calls.start(sandbox.id));
    }
  }

  /** @param {Row} [row] */
  async stop(row) {
    const sandbox = await this.pick(row, isRunning);
    if (sandbox) {
      await this.act('Stopping', calls.stop(sandbox.id));
    }
  }

  /** @param {Row} [row] */
  async remove(row) {
    const sandbox = await this.pick(row);
    const runs = sandbox && isRunning(sandbox) ? 'It runs, and is ended without grace. ' : '';
    const detail = `${runs}What it has written outside of the project's own directory is lost.`;
    if (sandbox && (await asked(`Remove the sandbox '${plain(sandbox.name)}'?`, detail, 'Remove'))) {
      await this.act('Removing', calls.remove(sandbox.id, isRunning(sandbox)));
    }
  }

  /** @param {Row} [row] */
  async allow(row) {
    const sandbox = await this.pick(row, isRunning);
    if (!sandbox) {
      return;
    }
    let where = row?.denial && target(row.denial);
    if (!row?.denial) {
      const targets = (await this.sandboxes.denials(sandbox.id)).flatMap((denial) => target(denial) ?? []);
      where = await vscode.window.showQuickPick([...new Set(targets)], { placeHolder: 'Which of those that were refused?' });
    }
    const detail = 'All programs in it may reach that from now on, and send there what they can read.';
    if (where && (await asked(`Let '${plain(sandbox.name)}' reach ${where}?`, detail, 'Allow'))) {
      await this.act('Allowing', calls.allow(sandbox.id, where));
    }
  }

  async run() {
    const editor = vscode.window.activeTextEditor;
    if (!editor) {
      void vscode.window.showInformationMessage('There is no file open, and nothing selected');
      return;
    }
    const { document, selection } = editor;
    const isFile = document.uri.scheme === 'file';
    const text = selection.isEmpty && isFile ? '' : document.getText(selection.isEmpty ? undefined : selection);
    if (text === '' && isFile && document.isDirty && !(await document.save())) {
      return;
    }
    const file = isFile ? document.uri.fsPath : '';
    if (text === '' && file === '') {
      return;
    }
    const command = snippet({ language: document.languageId, file, text, executable: isFile && isExecutable(file) });
    show(this.program, path.basename(file) || 'Selection', run({ command }));
  }

  async agent() {
    const known = agents(await this.program.call(calls.agents(), folder()));
    const items = known
      .sort((a, b) => Number(b.installed) - Number(a.installed))
      .map(({ name, title, installed }) => ({ label: plain(title), description: installed ? name : `${name} · is installed first`, name }));
    const picked = await vscode.window.showQuickPick(items, { placeHolder: 'Which agent?' });
    if (picked) {
      open(this.program, picked.name, calls.agent(picked.name));
    }
  }

  async undo() {
    const cwd = folder();
    const known = cwd === undefined ? [] : checkpoints(await this.program.call(calls.checkpoints(), cwd));
    if (known.length === 0) {
      void vscode.window.showInformationMessage('This project has no checkpoint to go back to');
      return;
    }
    const items = known.reverse().map(({ number, timeMs, before }) => ({ label: `${number}`, description: `${age(timeMs)} ago`, detail: `Before: ${plain(before)}`, number }));
    const picked = await vscode.window.showQuickPick(items, { placeHolder: 'Back to which checkpoint?' });
    if (!picked) {
      return;
    }
    const planned = changes(await this.program.call(calls.undoing(picked.number), cwd));
    if (planned.length === 0) {
      void vscode.window.showInformationMessage('Nothing has changed since');
      return;
    }
    const lines = planned.slice(0, NAMED).map(({ path: where, what }) => `${plain(what)}: ${plain(where)}`);
    const more = planned.length > NAMED ? [`and ${planned.length - NAMED} more`] : [];
    if (await asked(`Make the files of this project again what they were at checkpoint ${picked.number}?`, [...lines, ...more].join('\n'), 'Undo')) {
      await this.act('Going back', calls.undo(picked.number), cwd);
    }
  }

  /** @returns {vscode.Disposable[]} */
  register() {
    /** What each is called, what it does, and whether it needs trust. @type {[string, (row?: Row) => Promise<void>, boolean][]} */
    const all = [
      ['refresh', () => this.sandboxes.refresh(), false],
      ['logs', (row) => this.logs(row), false],
      ['denials', (row) => this.denials(row), false],
      ['attach', (row) => this.attach(row), true],
      ['shell', (row) => this.shell(row), true],
      ['start', (row) => this.start(row), true],
      ['stop', (row) => this.stop(row), true],
      ['remove', (row) => this.remove(row), true],
      ['allow', (row) => this.allow(row), true],
      ['run', () => this.run(), true],
      ['agent', () => this.agent(), true],
      ['undo', () => this.undo(), true],
    ];
    return all.map(([name, act, needsTrust]) =>
      vscode.commands.registerCommand(`agentkernel.${name}`, async (/** @type {Row | undefined} */ row) => {
        if (needsTrust && !vscode.workspace.isTrusted) {
          void vscode.window.showWarningMessage('This needs a workspace that is trusted');
          return;
        }
        try {
          await act(row);
        } catch (error) {
          void vscode.window.showErrorMessage(plain(error instanceof Error ? error.message : String(error)));
        }
      }),
    );
  }
}

/** @param {Sandbox} sandbox */
function isRunning(sandbox) {
  return sandbox.status === 'running';
}

module.exports = { Commands };
