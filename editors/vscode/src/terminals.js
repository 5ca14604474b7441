// Terminals, tasks and outputs of commands in sandboxes: hides how VS Code is told what to run. It is told programs and lists of
// arguments; there is no shell of the host's in between.
'use strict';

const vscode = require('vscode');
const { NAME, calls, isBelow, run } = require('./program');
const { plain, printable } = require('./records');

/** @typedef {import('./program').Program} Program */

/** Keys of a task that are VS Code's. */
const THEIRS = ['type'];

/** The folder of the workspace that is meant: that of the file that is open, or the first. @returns {string | undefined} */
function folder() {
  const open = vscode.window.activeTextEditor?.document.uri;
  const found = (open && vscode.workspace.getWorkspaceFolder(open)) ?? vscode.workspace.workspaceFolders?.[0];
  return found?.uri.scheme === 'file' ? found.uri.fsPath : undefined;
}

/**
 * A terminal in which the program runs.
 * @param {Program} program
 * @param {string} name
 * @param {string[]} args
 * @returns {vscode.TerminalOptions}
 */
function options(program, name, args) {
  const cwd = folder();
  return { name: plain(name), shellPath: program.locate(), shellArgs: args, ...(cwd ? { cwd } : {}), iconPath: new vscode.ThemeIcon('shield') };
}

/** @param {Program} program @param {string} name @param {string[]} args */
function open(program, name, args) {
  vscode.window.createTerminal(options(program, name, args)).show();
}

/**
 * What the program prints, in a terminal that stays when it has ended. VS Code would fill in what looks like a variable in the
 * arguments of a task; here nobody does.
 * @param {Program} program
 * @param {string} name
 * @param {string[]} args
 */
function show(program, name, args) {
  const written = /** @type {vscode.EventEmitter<string>} */ (new vscode.EventEmitter());
  const closed = /** @type {vscode.EventEmitter<void>} */ (new vscode.EventEmitter());
  /** @type {ReturnType<Program['start']> | undefined} */
  let child;
  const write = (/** @type {string} */ text) => written.fire(printable(text).replace(/\r?\n/g, '\r\n'));
  const end = (/** @type {string} */ words) => {
    child = undefined;
    write(`\n[${words}: any key closes this]\n`);
  };
  vscode.window
    .createTerminal({
      name: plain(name),
      iconPath: new vscode.ThemeIcon('shield'),
      pty: {
        onDidWrite: written.event,
        onDidClose: closed.event,
        open() {
          try {
            child = program.start(args, folder());
          } catch (error) {
            return end(plain(error instanceof Error ? error.message : ''));
          }
          child.stdout.setEncoding('utf8').on('data', write);
          child.stderr.setEncoding('utf8').on('data', write);
          child.on('error', (error) => end(plain(error.message)));
          child.on('close', (code, signal) => child && end(signal ? `ended by ${signal}` : `ended with ${code}`));
        },
        handleInput(/** @type {string} */ keys) {
          if (!child) {
            closed.fire();
          } else if (keys.includes('\x03')) {
            child.kill('SIGINT');
          }
        },
        close: () => child?.kill(),
      },
    })
    .show();
}

/** @implements {vscode.TerminalProfileProvider} */
class Profile {
  /** @param {Program} program @param {import('./sandboxes').Sandboxes} sandboxes */
  constructor(program, sandboxes) {
    this.program = program;
    this.sandboxes = sandboxes;
  }

  /** A shell in a sandbox of this project that runs, or in a new one. @returns {Promise<vscode.TerminalProfile | undefined>} */
  async provideTerminalProfile() {
    if (!vscode.workspace.isTrusted) {
      void vscode.window.showWarningMessage('This needs a workspace that is trusted');
      return undefined;
    }
    await this.sandboxes.refresh();
    const here = folder();
    const running = this.sandboxes.running.filter(({ folder: project }) => here !== undefined && project !== '' && isBelow(here, project));
    let args = calls.newShell();
    if (running.length > 0) {
      const items = running.map(({ id, name, command }) => ({ label: plain(name), description: plain(command), args: calls.shell(id) }));
      const fresh = { label: 'A new sandbox', description: 'ends with the shell', args };
      const picked = await vscode.window.showQuickPick([...items, fresh], { placeHolder: 'A shell in which sandbox?' });
      if (!picked) {
        return undefined;
      }
      args = picked.args;
    }
    return new vscode.TerminalProfile(options(this.program, NAME, args));
  }
}

/** @implements {vscode.TaskProvider} */
class Tasks {
  /** @param {Program} program @param {(words: string) => void} tell */
  constructor(program, tell) {
    this.program = program;
    this.tell = tell;
  }

  /** Which commands a project has is its own to say. @returns {vscode.Task[]} */
  provideTasks() {
    return [];
  }

  /** @param {vscode.Task} task @returns {vscode.Task | undefined} */
  resolveTask(task) {
    try {
      const args = run(task.definition, THEIRS);
      const scope = task.scope;
      const cwd = typeof scope === 'object' ? scope.uri.fsPath : folder();
      const execution = new vscode.ProcessExecution(this.program.locate(), args, cwd === undefined ? {} : { cwd });
      // The definition has to be the one that was asked about.
      const resolved = new vscode.Task(task.definition, scope ?? vscode.TaskScope.Workspace, task.name, NAME, execution, task.problemMatchers);
      resolved.presentationOptions = task.presentationOptions;
      resolved.group = task.group;
      return resolved;
    } catch (error) {
      this.tell(`The task '${plain(task.name)}' can't be run: ${plain(error instanceof Error ? error.message : '')}`);
      return undefined;
    }
  }
}

module.exports = { Profile, Tasks, folder, open, show };
