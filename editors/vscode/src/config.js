// agentkernel.toml in the editor: hides how VS Code is told of mistakes, proposals and descriptions. The schema comes with the
// extension, made by the program's own tables.
'use strict';

const vscode = require('vscode');
const { NAME } = require('./program');
const { faults, hover, proposals } = require('./schema');

const schema = require('../schema.json');

const FILES = { scheme: 'file', pattern: '**/agentkernel.toml' };
/** A text that is longer is not looked at. */
const LONGEST = 256 << 10;

/** @param {vscode.TextDocument} document */
const isOurs = (document) => vscode.languages.match(FILES, document) > 0 && document.getText().length <= LONGEST;

/** @param {vscode.TextDocument} document @param {{ start: number, end: number }} place */
const range = (document, { start, end }) => new vscode.Range(document.positionAt(start), document.positionAt(end));

const KINDS = { table: vscode.CompletionItemKind.Module, key: vscode.CompletionItemKind.Property, value: vscode.CompletionItemKind.EnumMember };

/** @type {vscode.CompletionItemProvider} */
const completion = {
  provideCompletionItems(document, position) {
    const text = document.getText();
    const at = document.offsetAt(position);
    return !isOurs(document) ? [] : proposals(schema, text, at).map((one) => {
      const item = new vscode.CompletionItem(one.label, KINDS[one.kind]);
      // What the editor has closed by itself is written over.
      const closed = ['"', ']]', ']'].find((end) => one.insert.endsWith(end) && text.startsWith(end, at) && one.kind !== 'key');
      item.range = range(document, { start: one.from, end: at + (closed?.length ?? 0) });
      item.insertText = new vscode.SnippetString(one.kind === 'key' ? one.insert : one.insert.replace(/[$}\\]/g, '\\$&'));
      item.documentation = new vscode.MarkdownString(one.doc);
      if (one.kind === 'key') {
        item.command = { command: 'editor.action.triggerSuggest', title: '' };
      }
      return item;
    });
  },
};

/** @type {vscode.HoverProvider} */
const hovering = {
  provideHover(document, position) {
    const found = isOurs(document) ? hover(schema, document.getText(), document.offsetAt(position)) : undefined;
    return found && new vscode.Hover(new vscode.MarkdownString(found.doc), range(document, found));
  },
};

/** @returns {vscode.Disposable[]} */
function config() {
  const found = vscode.languages.createDiagnosticCollection(NAME);
  const look = (/** @type {vscode.TextDocument} */ document) => {
    if (isOurs(document)) {
      const list = faults(schema, document.getText()).map((fault) => {
        const diagnostic = new vscode.Diagnostic(range(document, fault), fault.message, vscode.DiagnosticSeverity.Error);
        diagnostic.source = NAME;
        return diagnostic;
      });
      found.set(document.uri, list);
    } else {
      found.delete(document.uri);
    }
  };
  vscode.workspace.textDocuments.forEach(look);
  return [
    found,
    vscode.workspace.onDidOpenTextDocument(look),
    vscode.workspace.onDidChangeTextDocument(({ document }) => look(document)),
    vscode.workspace.onDidCloseTextDocument((document) => found.delete(document.uri)),
    vscode.languages.registerCompletionItemProvider(FILES, completion, '[', '=', '"', ' '),
    vscode.languages.registerHoverProvider(FILES, hovering),
  ];
}

module.exports = { config };
