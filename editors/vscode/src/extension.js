// The extension: puts its parts together.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const vscode = require('vscode');
const { Commands } = require('./commands');
const { config } = require('./config');
const { NAME, Program, find } = require('./program');
const { plain } = require('./records');
const { Sandboxes } = require('./sandboxes');
const { Profile, Tasks } = require('./terminals');
const { Tree } = require('./tree');

/** The view. */
const VIEW = 'agentkernel.sandboxes';

/** The program that has installed this extension, if it was one. @param {string} dir @returns {string | undefined} */
function installer(dir) {
  try {
    const said = JSON.parse(fs.readFileSync(path.join(dir, 'program.json'), 'utf8'));
    return typeof said.path === 'string' ? said.path : undefined;
  } catch {
    return undefined;
  }
}

/** @param {string} dir The extension's. @returns {string} */
function locate(dir) {
  const folders = (vscode.workspace.workspaceFolders ?? []).filter((one) => one.uri.scheme === 'file').map((one) => one.uri.fsPath);
  // What the workspace says of it is never asked.
  const said = vscode.workspace.getConfiguration(NAME).inspect('path');
  const wanted = typeof said?.globalValue === 'string' && said.globalValue !== '' ? said.globalValue : (installer(dir) ?? NAME);
  return find(wanted, process.env['PATH'] ?? '', folders);
}

/** @param {vscode.StatusBarItem} item @param {Sandboxes} sandboxes */
function tell(item, { running, unseen, state }) {
  const boxes = `${running.length} ${running.length === 1 ? 'sandbox' : 'sandboxes'}`;
  item.text = `$(shield) ${boxes}${unseen > 0 ? ` $(circle-slash) ${unseen}` : ''}`;
  item.tooltip = `${boxes} running${unseen > 0 ? `, ${unseen} new refusals` : ''}`;
  item.backgroundColor = unseen > 0 ? new vscode.ThemeColor('statusBarItem.warningBackground') : undefined;
  if (state === 'ready') {
    item.show();
  } else {
    item.hide();
  }
}

/** @param {vscode.ExtensionContext} context */
function activate(context) {
  const program = new Program(() => locate(context.extensionPath));
  const status = vscode.window.createStatusBarItem('agentkernel.status', vscode.StatusBarAlignment.Left, 0);
  status.name = NAME;
  status.command = 'agentkernel.look';

  const sandboxes = new Sandboxes(program, () => {
    tell(status, sandboxes);
    void vscode.commands.executeCommand('setContext', 'agentkernel.state', sandboxes.state);
    view.message = sandboxes.state === 'failed' ? plain(sandboxes.problem) : undefined;
    tree.changed();
  });
  const tree = new Tree(sandboxes);
  const view = vscode.window.createTreeView(VIEW, { treeDataProvider: tree, showCollapseAll: true });

  context.subscriptions.push(
    status,
    view,
    sandboxes,
    view.onDidChangeVisibility(({ visible }) => sandboxes.show(visible)),
    vscode.window.onDidChangeWindowState(({ focused }) => {
      sandboxes.show(focused && view.visible);
      if (focused) {
        void sandboxes.refresh();
      }
    }),
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration('agentkernel.path')) {
        void sandboxes.refresh();
      }
    }),
    vscode.commands.registerCommand('agentkernel.look', async () => {
      await vscode.commands.executeCommand(`${VIEW}.focus`);
      sandboxes.seen();
    }),
    vscode.window.registerTerminalProfileProvider('agentkernel.shell', new Profile(program, sandboxes)),
    vscode.tasks.registerTaskProvider(NAME, new Tasks(program, (words) => void vscode.window.showErrorMessage(words))),
    ...new Commands(program, sandboxes).register(),
    ...config(),
  );
  sandboxes.show(view.visible);
  void sandboxes.refresh();
}

module.exports = { activate };
