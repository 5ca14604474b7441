// The program: hides where it is found and how it is called. It is called with lists of arguments, never through a shell.
'use strict';

const { execFile, spawn } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { ID } = require('./records');

/** What the program may print, and how long it may take, where an answer is waited for. */
const LIMITS = { maxBuffer: 16 << 20, timeout: 60_000 };
const NAME = 'agentkernel';

/** The program is not there, or is none that may be run. */
class Missing extends Error {}

/** @param {string} place @returns {string | undefined} */
function real(place) {
  try {
    return fs.realpathSync(place);
  } catch {
    return undefined;
  }
}

/** Whether a place is a folder, or in it. @param {string} place @param {string} folder */
function isBelow(place, folder) {
  const way = path.relative(folder, place);
  return way === '' || !(way === '..' || way.startsWith(`..${path.sep}`) || path.isAbsolute(way));
}

/**
 * The path of the program. One in a folder of the workspace came with the project: it is not run.
 * @param {string} wanted Its absolute path, or the name that it has on the path.
 * @param {string} searched The path.
 * @param {readonly string[]} folders Those of the workspace.
 * @returns {string}
 * @throws {Missing}
 */
function find(wanted, searched, folders) {
  const isName = !/[/\\]/.test(wanted) && wanted !== '';
  if (!isName && !path.isAbsolute(wanted)) {
    throw new Missing(`'${wanted}' is neither an absolute path nor a name`);
  }
  const dirs = searched.split(path.delimiter).filter((dir) => path.isAbsolute(dir));
  const places = isName ? dirs.map((dir) => path.join(dir, wanted)) : [wanted];
  const roots = folders.flatMap((folder) => [folder, real(folder) ?? folder]);
  for (const place of places) {
    const target = real(place);
    if (target && !roots.some((root) => isBelow(place, root) || isBelow(target, root)) && isProgram(target)) {
      return place;
    }
  }
  throw new Missing(isName ? `There is no program '${wanted}' on the path` : `${wanted} is no program that may be run`);
}

/** @param {string} place */
function isProgram(place) {
  try {
    fs.accessSync(place, fs.constants.X_OK);
    return fs.statSync(place).isFile();
  } catch {
    return false;
  }
}

/** What the program said, without its name in front. @param {string} stderr */
function said(stderr) {
  return stderr
    .split('\n')
    .map((line) => line.replace(/^agentkernel: /, '').trim())
    .filter((line) => line !== '')
    .slice(0, 4)
    .join('. ');
}

class Program {
  /** @param {() => string} locate Gives its path, or throws {@link Missing}. */
  constructor(locate) {
    this.locate = locate;
  }

  /**
   * What it prints, once it has succeeded.
   * @param {readonly string[]} args
   * @param {string} [cwd]
   * @returns {Promise<string>}
   */
  async call(args, cwd = '/') {
    const place = this.locate();
    return new Promise((resolve, reject) => {
      execFile(place, args, { ...LIMITS, cwd, encoding: 'utf8' }, (error, stdout, stderr) => {
        if (error) {
          reject(new Error(said(stderr) || error.message));
        } else {
          resolve(stdout);
        }
      }).stdin?.end();
    });
  }

  /**
   * It as a process.
   * @param {readonly string[]} args
   * @param {string} [cwd]
   */
  start(args, cwd = '/') {
    return spawn(this.locate(), args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
  }
}

/** @param {string} id @returns {string} */
function checked(id) {
  if (!ID.test(id)) {
    throw new Error('This is not the id of a sandbox');
  }
  return id;
}

/** The arguments of what is asked of it. Sandboxes are named by their ids, which others can't choose. */
const calls = {
  list: () => ['ps', '--all', '--json'],
  agents: () => ['agents', '--json'],
  /** @param {string} id */
  events: (id) => ['events', '--json', checked(id)],
  /** @param {string} id @param {boolean} asJson */
  denials: (id, asJson) => ['net', 'log', '--denied', ...(asJson ? ['--json'] : []), checked(id)],
  /** @param {string} id */
  logs: (id) => ['logs', '--follow', checked(id)],
  /** @param {string} id */
  attach: (id) => ['attach', checked(id)],
  /** @param {string} id */
  shell: (id) => ['exec', '--shell', checked(id)],
  /** @param {string} id */
  start: (id) => ['start', checked(id)],
  /** @param {string} id */
  stop: (id) => ['stop', checked(id)],
  /** @param {string} id @param {boolean} running */
  remove: (id, running) => ['rm', ...(running ? ['--force'] : []), checked(id)],
  /** @param {string} id @param {string} target */
  allow: (id, target) => ['net', 'allow', checked(id), '--', target],
  /** @param {string} name */
  agent: (name) => ['run', name],
  checkpoints: () => ['undo', '--list', '--json'],
  /** @param {number} number */
  undoing: (number) => ['undo', '--dry-run', '--json', String(number)],
  /** @param {number} number */
  undo: (number) => ['undo', '--json', String(number)],
  newShell: () => ['run', '--shell'],
};

/**
 * A command in a sandbox of its own, as a task says it.
 * @typedef {object} Run
 * @property {string | string[]} command A line for the sandbox's shell, or a program and its arguments.
 * @property {string} [image]
 * @property {string} [backend]
 * @property {string} [workspace]
 * @property {string} [net]
 * @property {string[]} [allow]
 * @property {Record<string, string>} [env]
 * @property {string} [workdir]
 * @property {boolean} [checkpoint]
 */

/** What each key of a task may be. */
const FORMS = /** @type {const} */ ({
  image: 'text',
  backend: ['native', 'docker'],
  workspace: ['direct', 'overlay', 'none'],
  net: ['none', 'allow', 'open'],
  allow: 'texts',
  env: 'variables',
  workdir: 'text',
  checkpoint: 'flag',
});

/** @param {unknown} value @returns {value is string} */
const isText = (value) => typeof value === 'string' && value !== '' && !value.includes('\0');

/**
 * The arguments for it.
 * @param {Record<string, unknown>} task
 * @param {readonly string[]} [others] Keys that are somebody else's.
 * @returns {string[]}
 * @throws {Error} with what is wrong
 */
function run(task, others = []) {
  const options = Object.entries(task).flatMap(([key, value]) => {
    if (key === 'command' || others.includes(key) || value === undefined) {
      return [];
    }
    const form = Object.hasOwn(FORMS, key) ? FORMS[/** @type {keyof typeof FORMS} */ (key)] : undefined;
    const wrong = (/** @type {string} */ what) => new Error(`"${key}" must be ${what}`);
    switch (form) {
      case undefined:
        throw new Error(`There is no "${key}" in a task`);
      case 'flag':
        if (typeof value !== 'boolean') {
          throw wrong('true or false');
        }
        return value ? [`--${key}`] : [];
      case 'text':
        if (!isText(value)) {
          throw wrong('a text');
        }
        return [`--${key}=${value}`];
      case 'texts':
        if (!Array.isArray(value) || !value.every(isText)) {
          throw wrong('a list of texts');
        }
        return value.map((one) => `--${key}=${one}`);
      case 'variables': {
        const entries = typeof value === 'object' && value !== null ? Object.entries(value) : undefined;
        const isVariable = ([name, one] = /** @type {[string, unknown]} */ (['', ''])) =>
          /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) && typeof one === 'string' && !one.includes('\0');
        if (!entries?.every(isVariable)) {
          throw wrong('a table of names and texts');
        }
        return entries.map(([name, one]) => `--${key}=${name}=${one}`);
      }
      default:
        if (!form.some((choice) => choice === value)) {
          throw wrong(`one of ${form.join(', ')}`);
        }
        return [`--${key}=${value}`];
    }
  });
  return ['run', ...options, ...argv(task.command)];
}

/** @param {unknown} command @returns {string[]} */
function argv(command) {
  if (isText(command) && command.trim() !== '') {
    return ['--shell', '--', command];
  }
  if (Array.isArray(command) && isText(command[0]) && command.every((word) => typeof word === 'string' && !word.includes('\0'))) {
    return ['--', ...command];
  }
  throw new Error('"command" must be a text, or a list of texts that begins with a program');
}

/** What runs texts and files of a language, where that isn't the sandbox's shell. */
const LANGUAGES = /** @type {Record<string, { file: string[], text?: string[] }>} */ ({
  python: { file: ['python3'], text: ['python3', '-c'] },
  javascript: { file: ['node'], text: ['node', '-e'] },
  ruby: { file: ['ruby'], text: ['ruby', '-e'] },
  perl: { file: ['perl'], text: ['perl', '-e'] },
  php: { file: ['php'] },
  lua: { file: ['lua'], text: ['lua', '-e'] },
  go: { file: ['go', 'run'] },
  shellscript: { file: ['sh'] },
});

/**
 * What runs a file, or a text that is selected in one.
 * @param {{ language: string, file: string, text: string, executable: boolean }} what
 * @returns {string | string[]}
 */
function snippet({ language, file, text, executable }) {
  const known = Object.hasOwn(LANGUAGES, language) ? LANGUAGES[language] : undefined;
  if (text !== '') {
    return known?.text ? [...known.text, text] : text;
  }
  return executable || !known ? [file] : [...known.file, file];
}

module.exports = { Missing, NAME, Program, calls, find, isBelow, run, said, snippet };
