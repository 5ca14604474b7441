// The view: hides how sandboxes and refusals are shown.
'use strict';

const vscode = require('vscode');
const { age, plain, target } = require('./records');

/** @typedef {import('./records').Sandbox} Sandbox */
/** @typedef {import('./records').Denial} Denial */
/** @typedef {{ sandbox: Sandbox, denial?: Denial, words?: string }} Row A sandbox, one of its refusals, or what is to be said. */

/** So many refusals are shown. */
const MOST = 100;

/** @implements {vscode.TreeDataProvider<Row>} */
class Tree {
  /** @param {import('./sandboxes').Sandboxes} sandboxes */
  constructor(sandboxes) {
    this.sandboxes = sandboxes;
    this.emitter = /** @type {vscode.EventEmitter<void>} */ (new vscode.EventEmitter());
    this.onDidChangeTreeData = this.emitter.event;
  }

  changed() {
    this.emitter.fire();
  }

  /** @param {Row} [row] @returns {Promise<Row[]>} */
  async getChildren(row) {
    if (!row) {
      return this.sandboxes.rows.map((sandbox) => ({ sandbox }));
    }
    const { sandbox } = row;
    if (row.denial || row.words !== undefined) {
      return [];
    }
    try {
      const denials = await this.sandboxes.denials(sandbox.id);
      const rows = denials.slice(0, MOST).map((denial) => ({ sandbox, denial }));
      const more = denials.length > MOST ? `and ${denials.length - MOST} more` : denials.length === 0 ? 'Nothing was refused' : undefined;
      return more === undefined ? rows : [...rows, { sandbox, words: more }];
    } catch (error) {
      return [{ sandbox, words: plain(error instanceof Error ? error.message : '') }];
    }
  }

  /** @param {Row} row @returns {vscode.TreeItem} */
  getTreeItem({ sandbox, denial, words }) {
    if (words !== undefined) {
      return new vscode.TreeItem(words, vscode.TreeItemCollapsibleState.None);
    }
    return denial ? ofDenial(sandbox, denial) : ofSandbox(sandbox);
  }
}

/** @param {Sandbox} sandbox */
function ofSandbox(sandbox) {
  const item = new vscode.TreeItem(plain(sandbox.name), vscode.TreeItemCollapsibleState.Collapsed);
  const running = sandbox.status === 'running';
  item.id = sandbox.id;
  const facts = [sandbox.status, sandbox.backend, sandbox.image, age(sandbox.createdMs)];
  item.description = facts.filter(Boolean).map(plain).join(' · ');
  const lines = [
    ['Id', sandbox.id],
    ['Command', sandbox.command],
    ['Project', sandbox.folder],
    ['Network', sandbox.net],
    ['Walls', sandbox.walls],
    ['Damaged', sandbox.damaged],
  ];
  item.tooltip = lines.flatMap(([name, value]) => (value ? `${name}: ${plain(value)}` : [])).join('\n');
  item.accessibilityInformation = { label: `${item.label}, ${item.description}` };
  const icon = sandbox.damaged ? 'warning' : running ? 'vm-running' : 'vm';
  item.iconPath = new vscode.ThemeIcon(icon, running ? new vscode.ThemeColor('charts.green') : undefined);
  item.contextValue = ['sandbox', running ? 'running' : 'stopped', ...(sandbox.command ? ['command'] : [])].join('.');
  return item;
}

/** @param {Sandbox} sandbox @param {Denial} denial */
function ofDenial(sandbox, denial) {
  const item = new vscode.TreeItem(name(denial), vscode.TreeItemCollapsibleState.None);
  item.id = `${sandbox.id} ${denial.key}`;
  const facts = [denial.reason, denial.count > 1 ? `${denial.count}×` : '', age(denial.timeMs)];
  item.description = facts.filter(Boolean).map(plain).join(' · ');
  item.tooltip = plain(denial.cause);
  item.accessibilityInformation = { label: `${item.label}, ${item.description}` };
  item.iconPath = new vscode.ThemeIcon('circle-slash');
  item.contextValue = sandbox.status === 'running' && target(denial) ? 'denial.allow' : 'denial';
  return item;
}

/** Where a refused connection went, or which file was to be changed, as it may be shown. @param {Denial} denial */
function name(denial) {
  if (denial.path) {
    return plain(denial.path);
  }
  return target(denial) ?? (denial.host === '*' ? 'others' : plain(`${denial.host}:${denial.port}`));
}

module.exports = { Tree };
