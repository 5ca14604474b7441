// Opens the editor in a browser, and does in it what its lines of standard input say: each is [what, ...arguments], and is
// answered by a line with what was found, or why it was not.
//
// node look.mjs PACKAGES FOLDER EXTENSIONS DATA BROWSER PICTURE
//
// PICTURE shows what was to be seen when something was not found.

import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const [packages, folder, extensions, data, executablePath, picture] = process.argv.slice(2);
const { chromium } = createRequire(`${packages}/node_modules/`)('playwright-core');

const server = spawn(
  process.execPath,
  [
    `${packages}/node_modules/code-server/lib/vscode/out/server-main.js`,
    ...['--host', '127.0.0.1', '--port', '0', '--without-connection-token', '--accept-server-license-terms', '--telemetry-level', 'off'],
    ...['--server-data-dir', data, '--extensions-dir', extensions],
  ],
  { stdio: ['ignore', 'pipe', 'inherit'] },
);
const port = await new Promise((found, failed) => {
  let said = '';
  server.stdout.setEncoding('utf8').on('data', (text) => {
    said += text;
    const port = /listening on (\d+)/.exec(said);
    if (port) {
      found(port[1]);
    }
  });
  server.on('exit', () => failed(new Error(said)));
});

const browser = await chromium.launch({
  executablePath,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
page.setDefaultTimeout(30_000);
await page.goto(`http://127.0.0.1:${port}/?folder=${encodeURIComponent(folder)}`);
await page.waitForSelector('.monaco-workbench');

const row = (text) => page.locator('.monaco-list-row', { hasText: text }).first();

const acts = {
  /** Shows the view of the extension. */
  view: () => page.getByRole('tab', { name: 'agentkernel' }).first().click(),
  /** What a row of a view says, once it is there. */
  row: async (text) => {
    await row(text).waitFor();
    return row(text).getAttribute('aria-label');
  },
  /** Waits until there is no such row any more. */
  gone: (text) => row(text).waitFor({ state: 'detached' }),
  expand: (text) => row(text).locator('.monaco-tl-twistie').click(),
  /** What an item of the status bar says, once it says this. */
  status: async (text) => {
    const item = page.locator('.statusbar-item', { hasText: text }).first();
    await item.waitFor();
    return item.innerText();
  },
  /** Chooses from the menu of a row. */
  menu: async (text, name) => {
    await row(text).click({ button: 'right' });
    const item = page.getByRole('menuitem', { name });
    // A menu that has just come up takes no click: it might be the end of the one that opened it.
    await item.hover();
    await page.keyboard.press('Enter');
    await item.waitFor({ state: 'detached' });
  },
  /** Whether that can't be chosen from it now. */
  disabled: async (text, name) => {
    await row(text).click({ button: 'right' });
    const item = page.getByRole('menuitem', { name });
    await item.waitFor();
    const disabled = await item.getAttribute('aria-disabled');
    await page.keyboard.press('Escape');
    return disabled;
  },
  /** What a question says, and its answer. */
  answer: async (button) => {
    const dialog = page.locator('.monaco-dialog-box');
    await dialog.waitFor();
    const said = await dialog.innerText();
    await dialog.getByRole('button', { name: button }).click();
    return said;
  },
  /** Trusts the folder. */
  trust: async () => {
    await page.locator('.statusbar-item', { hasText: 'Restricted Mode' }).click();
    await page.locator('.workspace-trust-editor').getByRole('button', { name: 'Trust', exact: true }).click();
    await page.locator('.statusbar-item', { hasText: 'Restricted Mode' }).waitFor({ state: 'detached' });
    await page.locator('.modal-editor-action-container, .monaco-modal-editor-block').getByRole('button', { name: 'Close' }).last().click();
    await page.locator('.workspace-trust-editor').waitFor({ state: 'detached' });
  },
  /** Opens a file by its name. */
  open: async (name) => {
    await page.keyboard.press('Control+P');
    await page.locator('.quick-input-widget input').first().fill(name);
    await page.locator('.quick-input-widget .monaco-list-row', { hasText: name }).first().waitFor();
    await page.keyboard.press('Enter');
    await page.locator('.tab.active', { hasText: name }).waitFor();
  },
  /** What is wrong in the open file, as the list of problems says it. */
  problem: async (text) => {
    await page.keyboard.press('Control+Shift+M');
    const found = page.locator('.markers-panel .monaco-list-row', { hasText: text }).first();
    await found.waitFor();
    return found.innerText();
  },
  /** What is proposed after this is typed at the end of the open file. */
  propose: async (typed) => {
    await page.locator('.monaco-editor .view-lines').first().click();
    await page.keyboard.press('Control+End');
    await page.keyboard.type(typed);
    await page.keyboard.press('Control+Space');
    const list = page.locator('.suggest-widget.visible .monaco-list-row');
    await list.first().waitFor();
    return (await list.allInnerTexts()).join('\n');
  },
  /** What stands in the terminal, once it has this. */
  terminal: async (text) => {
    const found = page.locator('.terminal .xterm-rows', { hasText: text }).first();
    await found.waitFor();
    return found.innerText();
  },
  type: (text) => page.keyboard.type(text),
  picture: async (path) => void (await page.screenshot({ path })),
};

console.log('true');
try {
  for await (const line of createInterface({ input: process.stdin })) {
    const [what, ...args] = JSON.parse(line);
    try {
      console.log(JSON.stringify({ found: (await acts[what](...args)) ?? null }));
    } catch (error) {
      await page.screenshot({ path: picture });
      console.log(JSON.stringify({ failed: `${what}: ${error.message}` }));
    }
  }
} finally {
  await browser.close();
  server.kill();
}
