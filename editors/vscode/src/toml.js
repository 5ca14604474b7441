// TOML (1.0) with the places of keys and values: hides how it is read. What comes after a mistake is read as well, for a text is
// wrong most of the time that somebody writes it.
'use strict';

/**
 * @typedef {object} Node A value.
 * @property {'string' | 'integer' | 'float' | 'boolean' | 'datetime' | 'array' | 'table'} kind
 * @property {string | number | boolean | undefined} value What it is, for what has no parts.
 * @property {number} start
 * @property {number} end
 * @property {Node[]} items
 * @property {Map<string, Entry>} entries
 * @property {'open' | 'header' | 'closed'} [state] Of a table: whether a header may still name it, or dotted keys add to it.
 * @property {boolean} [tables] Of an array: whether it is one of tables with headers.
 */

/** @typedef {{ key: string, start: number, end: number, node: Node }} Entry A key, its place, and its value. */
/** @typedef {{ start: number, end: number, message: string }} Fault */
/** @typedef {{ key: string, start: number, end: number }} Part A part of a key. */

const BARE = /[A-Za-z0-9_-]+/y;
const NUMBER = /[+-]?(?:0x[0-9A-Fa-f]+(?:_[0-9A-Fa-f]+)*|0o[0-7]+(?:_[0-7]+)*|0b[01]+(?:_[01]+)*|(?:inf|nan)|(?:0|[1-9][0-9]*(?:_[0-9]+)*)(?:\.[0-9]+(?:_[0-9]+)*)?(?:[eE][+-]?[0-9]+(?:_[0-9]+)*)?)(?![A-Za-z0-9_.+-])/y;
const TIME = /(?:\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)?)?|\d\d:\d\d:\d\d(?:\.\d+)?)(?![0-9:-])/y;
const ESCAPES = /** @type {Record<string, string>} */ ({ b: '\b', t: '\t', n: '\n', f: '\f', r: '\r', '"': '"', '\\': '\\' });
/** Values lie in each other so deep at most. */
const DEEPEST = 64;
/** So many mistakes are told. */
const MOST_FAULTS = 100;

/** @param {number} start @param {Partial<Node>} [more] @returns {Node} */
function table(start, more = {}) {
  return { kind: 'table', value: undefined, start, end: start, items: [], entries: new Map(), state: 'open', ...more };
}

/** A mistake, thrown. */
class Wrong extends Error {
  /** @param {string} message @param {number} start @param {number} [end] */
  constructor(message, start, end = start + 1) {
    super(message);
    this.start = start;
    this.end = end;
  }
}

class Reader {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
    this.at = text.startsWith('\u{feff}') ? 1 : 0;
    this.root = table(0);
    this.current = this.root;
    /** @type {Fault[]} */
    this.faults = [];
  }

  read() {
    for (;;) {
      this.blank(true);
      if (this.at >= this.text.length || this.faults.length >= MOST_FAULTS) {
        this.root.end = this.text.length;
        return { root: this.root, faults: this.faults };
      }
      const start = this.at;
      try {
        if (this.text[this.at] === '[') {
          this.header();
        } else {
          this.pair(this.current);
        }
        this.endOfLine();
      } catch (error) {
        if (!(error instanceof Wrong)) {
          throw error;
        }
        this.faults.push({ start: error.start, end: Math.max(error.end, error.start + 1), message: error.message });
        // What has no end has taken in what follows.
        this.at = start;
        this.recover();
      }
    }
  }

  /** Goes to the next line that begins like one. */
  recover() {
    do {
      const end = this.text.indexOf('\n', this.at);
      this.at = end < 0 ? this.text.length : end + 1;
    } while (this.at < this.text.length && !/^[ \t]*(\[\[?[\w"'. -]+\]|[\w"'.-]+[ \t]*=)/.test(this.text.slice(this.at, this.at + 200)));
  }

  /** Passes over blanks, and over lines with nothing but remarks. @param {boolean} lines */
  blank(lines) {
    for (;;) {
      const char = this.text[this.at];
      if (char === ' ' || char === '\t' || (lines && (char === '\n' || char === '\r'))) {
        this.at += 1;
      } else if (char === '#' && lines) {
        const end = this.text.indexOf('\n', this.at);
        this.at = end < 0 ? this.text.length : end;
      } else {
        return;
      }
    }
  }

  endOfLine() {
    this.blank(false);
    const rest = this.text[this.at];
    if (rest !== undefined && rest !== '\n' && rest !== '\r' && rest !== '#') {
      throw new Wrong('The line must end here', this.at);
    }
  }

  /** @param {string} char @param {string} what */
  expect(char, what) {
    if (this.text[this.at] !== char) {
      throw new Wrong(`Here must be ${what}`, this.at);
    }
    this.at += 1;
  }

  /** @returns {Part[]} */
  key() {
    /** @type {Part[]} */
    const parts = [];
    for (;;) {
      this.blank(false);
      const start = this.at;
      const quote = this.text[start];
      let key;
      if (quote === '"' || quote === "'") {
        key = this.string(false);
      } else {
        BARE.lastIndex = start;
        key = BARE.exec(this.text)?.[0];
        if (key === undefined) {
          throw new Wrong('Here must be a key', start);
        }
        this.at += key.length;
      }
      parts.push({ key, start, end: this.at });
      this.blank(false);
      if (this.text[this.at] !== '.') {
        return parts;
      }
      this.at += 1;
    }
  }

  header() {
    const start = this.at;
    const list = this.text.startsWith('[[', start);
    this.at += list ? 2 : 1;
    const parts = this.key();
    this.expect(']', "']'");
    if (list) {
      this.expect(']', "']]'");
    }
    // What stands below a header that is wrong belongs to nothing.
    this.current = table(start);
    let node = this.root;
    const last = parts.length - 1;
    for (const [depth, part] of parts.entries()) {
      const found = node.entries.get(part.key)?.node;
      if (!found) {
        const fresh = table(start, depth === last ? { state: 'header' } : {});
        const made = depth === last && list ? { ...table(start), kind: /** @type {const} */ ('array'), items: [fresh], tables: true } : fresh;
        node.entries.set(part.key, { ...part, node: made });
        node = fresh;
      } else if (depth < last || (list && found.tables)) {
        if (depth === last) {
          const fresh = table(start, { state: 'header' });
          found.items.push(fresh);
          node = fresh;
        } else {
          node = this.inside(found, part);
        }
      } else if (!list && found.kind === 'table' && found.state === 'open') {
        found.state = 'header';
        node = found;
      } else {
        throw new Wrong(`'${part.key}' is there already`, part.start, part.end);
      }
    }
    this.current = node;
  }

  /** The table that a key leads to. @param {Node} node @param {Part} part @returns {Node} */
  inside(node, part) {
    const found = node.tables ? node.items[node.items.length - 1] : node;
    if (found?.kind !== 'table' || found.state === 'closed') {
      throw new Wrong(`'${part.key}' is no table that can have more`, part.start, part.end);
    }
    return found;
  }

  /** @param {Node} into @param {number} [depth] */
  pair(into, depth = 0) {
    const parts = this.key();
    this.expect('=', "'='");
    this.blank(false);
    const value = this.value(depth);
    let node = into;
    for (const part of parts.slice(0, -1)) {
      const entry = node.entries.get(part.key) ?? { ...part, node: table(part.start) };
      node.entries.set(part.key, entry);
      node = this.inside(entry.node, part);
    }
    const part = parts[parts.length - 1];
    if (!part || node.entries.has(part.key)) {
      throw new Wrong(`'${part?.key}' is there already`, part?.start ?? this.at, part?.end);
    }
    node.entries.set(part.key, { ...part, node: value });
  }

  /** @param {number} depth @returns {Node} */
  value(depth) {
    const start = this.at;
    if (depth > DEEPEST) {
      throw new Wrong('This is too deep', start);
    }
    const of = (/** @type {Node['kind']} */ kind, /** @type {Node['value']} */ value) =>
      /** @type {Node} */ ({ ...table(start), kind, value, end: this.at });
    const char = this.text[start];
    if (char === '"' || char === "'") {
      const value = this.string(true);
      return of('string', value);
    }
    if (char === '[') {
      return this.array(depth);
    }
    if (char === '{') {
      return this.inline(depth);
    }
    for (const word of ['true', 'false']) {
      if (this.text.startsWith(word, start) && !/[\w-]/.test(this.text[start + word.length] ?? '')) {
        this.at += word.length;
        return of('boolean', word === 'true');
      }
    }
    for (const form of [TIME, NUMBER]) {
      form.lastIndex = start;
      const found = form.exec(this.text)?.[0];
      if (found !== undefined) {
        this.at += found.length;
        if (form === TIME) {
          return of('datetime', found);
        }
        const digits = found.replace(/_/g, '').replace(/^\+/, '');
        const isWhole = !/^-?(inf|nan)$|[.]|^-?[0-9]+[eE]/.test(digits);
        return of(isWhole ? 'integer' : 'float', Number(digits.replace('inf', 'Infinity')));
      }
    }
    const end = /[\s,\]}#]/.exec(this.text.slice(start))?.index ?? this.text.length - start;
    throw new Wrong(end === 0 ? 'Here must be a value' : 'This is no value: texts stand in quotes', start, start + end);
  }

  /** @param {number} depth @returns {Node} */
  array(depth) {
    const node = /** @type {Node} */ ({ ...table(this.at), kind: 'array' });
    this.at += 1;
    for (;;) {
      this.blank(true);
      if (this.text[this.at] === ']') {
        break;
      }
      node.items.push(this.value(depth + 1));
      this.blank(true);
      if (this.text[this.at] === ',') {
        this.at += 1;
      } else if (this.text[this.at] !== ']') {
        throw new Wrong("Here must be ',' or ']'", Math.min(this.at, this.text.length));
      }
    }
    this.at += 1;
    node.end = this.at;
    return node;
  }

  /** @param {number} depth @returns {Node} */
  inline(depth) {
    const node = table(this.at, {});
    this.at += 1;
    this.blank(false);
    if (this.text[this.at] !== '}') {
      for (;;) {
        this.pair(node, depth + 1);
        this.blank(false);
        if (this.text[this.at] !== ',') {
          break;
        }
        this.at += 1;
      }
    }
    this.expect('}', "',' or '}'");
    node.end = this.at;
    close(node);
    return node;
  }

  /** @param {boolean} lines Whether it may have several. @returns {string} */
  string(lines) {
    const start = this.at;
    const quote = this.text[start] ?? '';
    const long = lines && this.text.startsWith(quote.repeat(3), start);
    this.at += long ? 3 : 1;
    if (long) {
      this.at += /^\r?\n/.exec(this.text.slice(this.at, this.at + 2))?.[0].length ?? 0;
    }
    let value = '';
    for (;;) {
      const char = this.text[this.at];
      if (char === undefined || (!long && (char === '\n' || char === '\r'))) {
        throw new Wrong('The text does not end', start, this.at);
      }
      if (long ? this.text.startsWith(quote.repeat(3), this.at) : char === quote) {
        // Two more of them may belong to the text.
        let more = 0;
        while (long && more < 2 && this.text[this.at + 3 + more] === quote) {
          more += 1;
        }
        this.at += (long ? 3 : 1) + more;
        return value + quote.repeat(more);
      }
      this.at += 1;
      value += quote === '"' && char === '\\' ? this.escape(long) : char;
    }
  }

  /** @param {boolean} long @returns {string} */
  escape(long) {
    const char = this.text[this.at] ?? '';
    const fold = long ? /^[ \t]*\r?\n\s*/.exec(this.text.slice(this.at)) : null;
    if (fold) {
      this.at += fold[0].length;
      return '';
    }
    const length = { u: 4, U: 8 }[char];
    if (length) {
      const digits = this.text.slice(this.at + 1, this.at + 1 + length);
      const point = /^[0-9A-Fa-f]+$/.test(digits) && digits.length === length ? parseInt(digits, 16) : NaN;
      if (!(point <= 0x10ffff) || (point >= 0xd800 && point <= 0xdfff)) {
        throw new Wrong('This is no character', this.at - 1, this.at + 1);
      }
      this.at += 1 + length;
      return String.fromCodePoint(point);
    }
    const known = Object.hasOwn(ESCAPES, char) ? ESCAPES[char] : undefined;
    if (known === undefined) {
      throw new Wrong('There is no such escape', this.at - 1, this.at + 1);
    }
    this.at += 1;
    return known;
  }
}

/** Nothing can be added to what stands in braces. @param {Node} node */
function close(node) {
  node.state = 'closed';
  for (const { node: inner } of node.entries.values()) {
    if (inner.kind === 'table') {
      close(inner);
    }
  }
}

/**
 * Reads a text.
 * @param {string} text
 * @returns {{ root: Node, faults: Fault[] }}
 */
function parse(text) {
  return new Reader(text).read();
}

module.exports = { parse };
