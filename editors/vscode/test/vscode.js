// A test double of VS Code: what the extension uses of it, and what it was asked for.
'use strict';

const Module = require('node:module');

class Disposable {
  dispose() {}
}

class EventEmitter {
  constructor() {
    /** @type {((value: any) => void)[]} */
    this.listeners = [];
    this.event = (/** @type {(value: any) => void} */ listener) => {
      this.listeners.push(listener);
      return new Disposable();
    };
  }

  /** @param {any} [value] */
  fire(value) {
    this.listeners.forEach((listener) => listener(value));
  }
}

class Position {
  /** @param {number} line @param {number} character */
  constructor(line, character) {
    Object.assign(this, { line, character });
  }
}

/** A class that keeps what it is made of, by these names. @param {string[]} names */
const kept = (...names) =>
  class {
    /** @param {any[]} values */
    constructor(...values) {
      names.forEach((name, at) => Object.assign(this, { [name]: values[at] }));
    }
  };

/** Names that stand for themselves. */
const names = () => new Proxy({}, { get: (_, name) => String(name) });

/** All that was asked for, by what was called. @type {Map<string, any[][]>} */
const asked = new Map();
/** What is answered. @type {Record<string, (...args: any[]) => any>} */
let answers = {};

/** @param {string} name */
const call = (name) => (/** @type {any[]} */ ...args) => {
  asked.set(name, [...(asked.get(name) ?? []), args]);
  return answers[name] ? answers[name](...args) : new Disposable();
};

const status = { text: '', tooltip: '', command: '', name: '', backgroundColor: undefined, shown: false };

const vscode = {
  CodeActionKind: names(),
  CompletionItem: kept('label', 'kind'),
  CompletionItemKind: names(),
  Diagnostic: kept('range', 'message', 'severity'),
  DiagnosticSeverity: names(),
  EventEmitter,
  Hover: kept('contents', 'range'),
  MarkdownString: kept('value'),
  Position,
  ProcessExecution: kept('process', 'args', 'options'),
  Range: kept('start', 'end'),
  SnippetString: kept('value'),
  StatusBarAlignment: names(),
  Task: kept('definition', 'scope', 'name', 'source', 'execution', 'problemMatchers'),
  TaskScope: names(),
  TerminalProfile: kept('options'),
  ThemeColor: kept('id'),
  ThemeIcon: kept('id', 'color'),
  TreeItem: kept('label', 'collapsibleState'),
  TreeItemCollapsibleState: names(),
  commands: {
    /** @param {string} name @param {(...args: any[]) => any} act */
    registerCommand(name, act) {
      registered.set(name, act);
      return new Disposable();
    },
    executeCommand: call('executeCommand'),
  },
  languages: {
    createDiagnosticCollection: () => ({ ...new Disposable(), dispose() {}, set: call('diagnostics'), delete: call('noDiagnostics') }),
    /** @param {{ pattern: string }} _ @param {{ uri: { fsPath: string } }} document */
    match: (_, document) => (/\/agentkernel\.toml$/.test(document.uri.fsPath) ? 10 : 0),
    registerCompletionItemProvider: call('registerCompletionItemProvider'),
    registerHoverProvider: call('registerHoverProvider'),
  },
  tasks: { registerTaskProvider: call('registerTaskProvider') },
  window: {
    /** @type {any} */
    activeTextEditor: undefined,
    createStatusBarItem: () => Object.assign(status, { show: () => (status.shown = true), hide: () => (status.shown = false), dispose() {} }),
    createTerminal: (/** @type {any} */ options) => {
      call('createTerminal')(options);
      return { show() {} };
    },
    createTreeView: (/** @type {string} */ id, /** @type {any} */ options) => {
      call('createTreeView')(id, options);
      return { visible: false, message: undefined, onDidChangeVisibility: visibility.event, dispose() {} };
    },
    onDidChangeWindowState: new EventEmitter().event,
    registerTerminalProfileProvider: call('registerTerminalProfileProvider'),
    showErrorMessage: call('showErrorMessage'),
    showInformationMessage: call('showInformationMessage'),
    showQuickPick: call('showQuickPick'),
    showWarningMessage: call('showWarningMessage'),
    /** @param {any} _ @param {() => Promise<any>} act */
    withProgress: (_, act) => act(),
  },
  workspace: {
    isTrusted: true,
    /** @type {any[]} */
    textDocuments: [],
    /** @type {any[]} */
    workspaceFolders: [],
    /** @type {{ globalValue?: string, workspaceValue?: string }} */
    path: {},
    getConfiguration: () => ({ inspect: () => vscode.workspace.path }),
    getWorkspaceFolder: () => undefined,
    onDidChangeConfiguration: new EventEmitter().event,
    onDidOpenTextDocument: new EventEmitter().event,
    onDidChangeTextDocument: new EventEmitter().event,
    onDidCloseTextDocument: new EventEmitter().event,
  },
};
const visibility = new EventEmitter();
/** @type {Map<string, (...args: any[]) => any>} */
const registered = new Map();

/** A document. @param {string} path @param {string} text */
function document(path, text) {
  return {
    uri: { scheme: 'file', fsPath: path },
    languageId: 'plaintext',
    isDirty: false,
    getText: (/** @type {any} */ range) => (range ? text.slice(range.start, range.end) : text),
    offsetAt: (/** @type {any} */ position) => text.split('\n').slice(0, position.line).join('\n').length + (position.line > 0 ? 1 : 0) + position.character,
    positionAt: (/** @type {number} */ at) => {
      const lines = text.slice(0, at).split('\n');
      return new Position(lines.length - 1, lines[lines.length - 1]?.length ?? 0);
    },
  };
}

/** Forgets what was asked, and says what is answered. @param {typeof answers} [given] */
function reset(given = {}) {
  asked.clear();
  answers = given;
}

const load = /** @type {any} */ (Module)._load;
/** @type {any} */ (Module)._load = (/** @type {string} */ name, /** @type {any[]} */ ...rest) => (name === 'vscode' ? vscode : load(name, ...rest));

module.exports = { asked, document, registered, reset, status, visibility, vscode };
