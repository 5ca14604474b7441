// What the program prints as JSON: hides its form. All that is read here may have been chosen by a sandbox, so that nothing
// passes that does not have the form expected, and nothing is shown that did not go through `plain`.
'use strict';

/**
 * @typedef {object} Sandbox
 * @property {string} id
 * @property {string} name What it is called; its id if it has no name.
 * @property {string} status `created`, `running`, `exited`, `lost` or `damaged`.
 * @property {string} backend
 * @property {string} image
 * @property {string} net
 * @property {string} walls
 * @property {string} command Empty: it idles and serves `exec`.
 * @property {string} folder The project it works in; empty: none.
 * @property {number} createdMs
 * @property {string} damaged Why its record can't be read; empty: it can.
 */

/**
 * @typedef {object} Denial
 * @property {string} key What tells it from all others of its sandbox.
 * @property {string} host Where a connection was to go; empty: it was a change of a file.
 * @property {number} port
 * @property {string} path The file.
 * @property {string} reason
 * @property {string} cause
 * @property {number} count
 * @property {number} timeMs
 */

/**
 * @typedef {object} Event
 * @property {string} sandbox
 * @property {string} kind
 * @property {Denial} [denial]
 */

const ID = /^[0-9a-f]{12}$/;
/** So much of a text is shown. */
const LONGEST = 200;

/**
 * A text of others as it may be shown, in a label, a message or a tooltip: without what moves the cursor or turns the
 * direction of writing, and with nothing that VS Code reads as an icon or a link.
 * @param {unknown} text
 * @returns {string}
 */
function plain(text) {
  const chars = [...(typeof text === 'string' ? text : '')];
  const cut = chars.length > LONGEST ? [...chars.slice(0, LONGEST - 1), '…'] : chars;
  return cut
    .join('')
    .replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '\u{fffd}')
    .replace(/\$\(/g, '$ (')
    .replace(/\]\(/g, '] (')
    .replace(/\b(command|vscode|file):/gi, '$1 :');
}

/**
 * Output of others as a terminal may have it: lines, tabs and colours, and nothing else that a terminal obeys.
 * @param {string} text
 * @returns {string}
 */
function printable(text) {
  return text.replace(/\x1b\[[0-9;]{0,40}m|[\p{Cc}]/gu, (found) => (found.length > 1 || /[\t\n\r]/.test(found) ? found : '\u{fffd}'));
}

/** @param {unknown} value @returns {Record<string, any> | undefined} */
function record(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined;
}

/** @param {string} text @returns {unknown} */
function json(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** @param {unknown} value @returns {string} */
const words = (value) => (typeof value === 'string' ? value : '');

/** @param {unknown} value @returns {number} */
const number = (value) => (typeof value === 'number' && Number.isFinite(value) ? value : 0);

/**
 * What `ps --all --json` prints.
 * @param {string} text
 * @returns {Sandbox[]}
 */
function sandboxes(text) {
  const rows = json(text);
  if (!Array.isArray(rows)) {
    throw new Error('The list of sandboxes is not in a form that is known here');
  }
  return rows.flatMap((value) => {
    const row = record(value);
    if (!row || !ID.test(words(row.id))) {
      return [];
    }
    const walls = record(row.walls);
    return {
      id: row.id,
      name: words(row.name) || row.id,
      status: words(row.status),
      backend: words(row.backend),
      image: words(row.image),
      net: words(row.net),
      walls: walls ? `${number(walls.held)}/${number(walls.all)}` : '',
      command: words(row.command),
      folder: words(row.workspace).replace(/^(direct:|overlay:|none$)/, ''),
      createdMs: number(row.created_ms),
      damaged: words(row.damaged),
    };
  });
}

/**
 * A line of `events --json` or of `net log --json`.
 * @param {string} line
 * @returns {Event | undefined}
 */
function event(line) {
  const read = record(json(line));
  if (!read || !ID.test(words(read.sandbox)) || typeof read.event !== 'string') {
    return undefined;
  }
  const { sandbox, event: kind } = read;
  const refused = kind === 'refused' && read.denied === true;
  const folded = kind === 'folded' && read.verdict === 'denied';
  if (!refused && !folded) {
    return { sandbox, kind };
  }
  const path = words(read.path);
  const denial = {
    key: `${number(read.time_ms)}.${number(read.flow)}.${kind}${path && `.${path}`}`,
    host: words(read.host),
    port: number(read.port),
    path,
    reason: words(read.reason),
    cause: words(read.cause),
    count: folded ? Math.max(number(read.count), 1) : 1,
    timeMs: number(read.time_ms),
  };
  return { sandbox, kind, denial };
}

/**
 * What `agents --json` prints: those that are known.
 * @param {string} text
 * @returns {{ name: string, title: string, installed: boolean }[]}
 */
function agents(text) {
  const rows = json(text);
  return (Array.isArray(rows) ? rows : []).flatMap((value) => {
    const row = record(value);
    if (!row || !/^[a-z0-9][a-z0-9_.-]*$/.test(words(row.name))) {
      return [];
    }
    const installed = Array.isArray(row.installed) && row.installed.length > 0;
    return { name: row.name, title: words(row.title) || row.name, installed };
  });
}

/**
 * What `undo --list --json` prints.
 * @param {string} text
 * @returns {{ number: number, timeMs: number, before: string }[]}
 */
function checkpoints(text) {
  const rows = json(text);
  return (Array.isArray(rows) ? rows : []).flatMap((value) => {
    const row = record(value);
    if (!row || !Number.isSafeInteger(row.number) || row.number < 0) {
      return [];
    }
    const before = Number.isSafeInteger(row.undo_to) ? `undo to ${row.undo_to}` : words(row.before);
    return { number: row.number, timeMs: number(row.time_ms), before };
  });
}

/**
 * What `undo --dry-run --json` prints: what would become of which file.
 * @param {string} text
 * @returns {{ path: string, what: string }[]}
 */
function changes(text) {
  const read = record(json(text));
  return (Array.isArray(read?.changes) ? read.changes : []).flatMap((value) => {
    const change = record(value);
    return change ? { path: words(change.path), what: words(change.what) } : [];
  });
}

/**
 * A target as `net allow` takes it: an IPv6 address in brackets. `undefined` if it is none, such as that of several.
 * @param {Denial} denial
 * @returns {string | undefined}
 */
function target({ host, port }) {
  const bare = host.replace(/^\[(.*)\]$/, '$1');
  const isName = /^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})$/.test(bare);
  const isAddress = /^[0-9A-Fa-f:.]{2,45}$/.test(bare) && bare.includes(':');
  if (!(isName || isAddress) || !Number.isInteger(port) || port < 1 || port > 65535) {
    return undefined;
  }
  return isAddress ? `[${bare}]:${port}` : `${bare}:${port}`;
}

/**
 * How long ago, in one unit.
 * @param {number} ms
 * @param {number} now
 * @returns {string}
 */
function age(ms, now = Date.now()) {
  const seconds = Math.max(0, Math.floor((now - ms) / 1000));
  const [count, unit] =
    seconds < 3600 ? [seconds / 60, 'min'] : seconds < 86400 ? [seconds / 3600, 'h'] : [seconds / 86400, 'd'];
  return seconds < 60 ? '< 1 min' : `${Math.floor(count)} ${unit}`;
}

module.exports = { ID, age, agents, changes, checkpoints, event, plain, printable, sandboxes, target };
