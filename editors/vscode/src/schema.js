// A text of TOML by a JSON Schema: hides what is said of it, and what is proposed. Of JSON Schema only what the program writes
// is known.
'use strict';

const { parse } = require('./toml');

/** @typedef {Record<string, any>} Schema */
/** @typedef {import('./toml').Node} Node */
/** @typedef {import('./toml').Fault} Fault */
/** @typedef {{ label: string, kind: 'table' | 'key' | 'value', insert: string, doc: string, from: number }} Proposal */

/** Whether a value is of a schema's type. @type {Record<string, (node: Node) => boolean>} */
const TYPES = {
  string: (node) => node.kind === 'string',
  integer: (node) => node.kind === 'integer',
  number: (node) => node.kind === 'integer' || node.kind === 'float',
  boolean: (node) => node.kind === 'boolean',
  array: (node) => node.kind === 'array',
  object: (node) => node.kind === 'table',
};
const WORDS = /** @type {Record<string, string>} */ ({
  string: 'a text',
  integer: 'a whole number',
  number: 'a number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a table',
});

/** @param {Schema} schema @returns {string} */
function words(schema) {
  if (schema.anyOf) {
    return schema.anyOf.map(words).join(' or ');
  }
  return schema.enum ? `one of ${schema.enum.map((/** @type {unknown} */ one) => JSON.stringify(one)).join(', ')}` : (WORDS[schema.type] ?? 'something else');
}

/** @param {Schema} schema @param {Node} node @returns {boolean} */
const fits = (schema, node) => (schema.enum ? node.kind === 'string' : (TYPES[schema.type]?.(node) ?? true));

/** What a schema says of a key in a table. @param {Schema | undefined} schema @param {string} key @returns {Schema | undefined} */
function below(schema, key) {
  for (const one of tables(schema)) {
    const named = one.properties && Object.hasOwn(one.properties, key) ? one.properties[key] : undefined;
    const any = typeof one.additionalProperties === 'object' ? one.additionalProperties : undefined;
    if (named ?? any) {
      return named ?? any;
    }
  }
  return undefined;
}

/** The tables that a value may be, or a list have. @param {Schema | undefined} schema @returns {Schema[]} */
function tables(schema) {
  if (!schema) {
    return [];
  }
  if (schema.anyOf) {
    return schema.anyOf.flatMap(tables);
  }
  return schema.type === 'object' ? [schema] : schema.type === 'array' ? tables(schema.items) : [];
}

/** @param {string} a @param {string} b Whether one is the other but for two letters. */
function isNear(a, b) {
  let row = [...b, ''].map((_, at) => at);
  for (const [i, char] of [...a].entries()) {
    let left = i + 1;
    const next = [left];
    for (const [j, other] of [...b].entries()) {
      left = Math.min(left + 1, (row[j + 1] ?? 0) + 1, (row[j] ?? 0) + (char === other ? 0 : 1));
      next.push(left);
    }
    row = next;
  }
  return (row[b.length] ?? 9) <= Math.min(2, Math.floor(b.length / 2));
}

/** @param {Schema} schema @param {Node} node @param {string} name @param {Fault[]} faults */
function check(schema, node, name, faults) {
  const fault = (/** @type {string} */ message, at = { start: node.start, end: node.end }) => void faults.push({ start: at.start, end: at.end, message });
  if (schema.anyOf) {
    const tries = schema.anyOf.map((/** @type {Schema} */ one) => {
      /** @type {Fault[]} */
      const found = [];
      check(one, node, name, found);
      return found;
    });
    if (!tries.some((/** @type {Fault[]} */ found) => found.length === 0)) {
      const fit = schema.anyOf.findIndex((/** @type {Schema} */ one) => fits(one, node));
      if (fit < 0) {
        fault(`'${name}' must be ${words(schema)}`);
      } else {
        faults.push(...tries[fit]);
      }
    }
    return;
  }
  if (!fits(schema, node) || (schema.enum && !schema.enum.includes(node.value))) {
    return fault(`'${name}' must be ${words(schema)}`);
  }
  if (schema.pattern !== undefined && !new RegExp(schema.pattern, 'u').test(String(node.value))) {
    fault(`'${name}' does not have the form that it must have (${schema.pattern})`);
  } else if (String(node.value).length < (schema.minLength ?? 0)) {
    fault(`'${name}' is too short`);
  }
  if (Number(node.value) < (schema.minimum ?? -Infinity) || Number(node.value) > (schema.maximum ?? Infinity)) {
    const [least, most] = [schema.minimum ?? '', schema.maximum ?? ''];
    fault(`'${name}' must be ${most === '' ? `at least ${least}` : `from ${least} to ${most}`}`);
  }
  if (node.kind === 'array') {
    if (node.items.length < (schema.minItems ?? 0)) {
      fault(`'${name}' must not be empty`);
    }
    node.items.forEach((item) => schema.items && check(schema.items, item, name, faults));
  }
  if (node.kind === 'table') {
    for (const [key, entry] of node.entries) {
      const known = below(schema, key);
      if (!known) {
        const near = Object.keys(schema.properties ?? {}).find((one) => isNear(key, one));
        fault(`There is no key '${key}' here${near ? `; did you mean '${near}'?` : ''}`, entry);
      } else if (schema.propertyNames && !new RegExp(schema.propertyNames.pattern, 'u').test(key)) {
        fault(`'${key}' can't be a name here (${schema.propertyNames.pattern})`, entry);
      } else {
        check(known, entry.node, key, faults);
      }
    }
    for (const key of schema.required ?? []) {
      if (!node.entries.has(key)) {
        fault(`'${key}' is missing`, { start: node.start, end: Math.max(node.end, node.start + 1) });
      }
    }
  }
}

/**
 * All that is wrong with a text.
 * @param {Schema} schema
 * @param {string} text
 * @returns {Fault[]}
 */
function faults(schema, text) {
  const { root, faults: found } = parse(text);
  check(schema, root, 'the file', found);
  return found.sort((a, b) => a.start - b.start);
}

/**
 * What there is to know about the key at a place.
 * @param {Schema} schema
 * @param {string} text
 * @param {number} at
 * @returns {{ start: number, end: number, doc: string } | undefined}
 */
function hover(schema, text, at) {
  /** @param {Schema} known @param {Node} node @returns {{ start: number, end: number, doc: string } | undefined} */
  const look = (known, node) => {
    for (const item of node.items) {
      const found = look(known, item);
      if (found) {
        return found;
      }
    }
    for (const [key, entry] of node.entries) {
      const inner = below(known, key);
      if (inner && entry.start <= at && at <= entry.end) {
        return { start: entry.start, end: entry.end, doc: doc(inner) };
      }
      const found = inner && look(inner, entry.node);
      if (found) {
        return found;
      }
    }
    return undefined;
  };
  return look(schema, parse(text).root);
}

/** Its description; links lead to other pages, which are not here. @param {Schema} schema @returns {string} */
function doc(schema) {
  return String(schema.description ?? '').replace(/\[([^\]]*)\]\([^)]*\)/g, '$1');
}

/** A key and what is to be written for it, as a snippet. @param {string} key @param {Schema} schema @returns {string} */
function assignment(key, schema) {
  const first = schema.anyOf?.[0] ?? schema;
  if (first.enum) {
    return `${key} = "\${1|${first.enum.join(',')}|}"`;
  }
  const forms = /** @type {Record<string, string>} */ ({ string: '"$1"', boolean: '${1|true,false|}', array: '[$1]', object: '{ $1 }' });
  return `${key} = ${forms[first.type] ?? '$1'}`;
}

/** All headers that there may be. @param {Schema} schema @param {string} [path] @returns {{ header: string, schema: Schema }[]} */
function headers(schema, path = '') {
  return Object.entries(schema.properties ?? {}).flatMap(([key, inner]) => {
    const name = path + key;
    const list = inner.type === 'array' && inner.items?.type === 'object';
    if (inner.type !== 'object' && !list) {
      return [];
    }
    return [{ header: list ? `[[${name}]]` : `[${name}]`, schema: inner }, ...headers(list ? inner.items : inner, `${name}.`)];
  });
}

/**
 * What may be written at a place.
 * @param {Schema} schema
 * @param {string} text
 * @param {number} at
 * @returns {Proposal[]}
 */
function proposals(schema, text, at) {
  const begin = text.lastIndexOf('\n', at - 1) + 1;
  const line = text.slice(begin, at);
  const above = text.slice(0, begin).split('\n');
  const isHeader = /^\s*\[\[?\s*([^\][]+?)\s*\]\]?/;
  const last = above.findLastIndex((one) => isHeader.test(one));
  const path = (isHeader.exec(above[last] ?? '')?.[1] ?? '').split('.').map((part) => part.trim().replace(/^(["'])(.*)\1$/, '$2'));
  const here = last < 0 ? schema : path.reduce(/** @type {(known: Schema | undefined, key: string) => Schema | undefined} */ (below), schema);

  const header = /^\s*(\[\[?[\w.]*)$/.exec(line)?.[1];
  const key = /^\s*([\w-]*)$/.exec(line)?.[1];
  const from = at - (header ?? key ?? '').length;
  const offered = headers(schema).map((one) => ({ label: one.header, kind: /** @type {const} */ ('table'), insert: one.header, doc: doc(one.schema), from }));
  if (header !== undefined) {
    return offered;
  }
  if (key !== undefined) {
    const next = text.slice(begin).split('\n').slice(1);
    const end = next.findIndex((one) => isHeader.test(one));
    const section = [...above.slice(last + 1), ...next.slice(0, end < 0 ? undefined : end)];
    const taken = new Set(section.map((one) => /^\s*([\w-]+)\s*[=.]/.exec(one)?.[1]));
    const keys = tables(here).flatMap((one) => Object.entries(one.properties ?? {}));
    const free = keys.filter(([name, inner]) => !taken.has(name) && !(last < 0 && inner.type === 'object'));
    const written = free.map(([name, inner]) => ({ label: name, kind: /** @type {const} */ ('key'), insert: assignment(name, inner), doc: doc(inner), from }));
    return [...written, ...offered];
  }
  const value = /^\s*([\w-]+)\s*=\s*("?[\w-]*)$/.exec(line);
  const known = value ? below(here, value[1] ?? '') : undefined;
  if (!value || !known) {
    return [];
  }
  const choices = (known.anyOf ?? [known]).flatMap((/** @type {Schema} */ one) =>
    one.enum ? one.enum.map((/** @type {string} */ choice) => JSON.stringify(choice)) : one.type === 'boolean' ? ['true', 'false'] : [],
  );
  const start = at - (value[2] ?? '').length;
  return choices.map((/** @type {string} */ one) => ({ label: one, kind: /** @type {const} */ ('value'), insert: one, doc: '', from: start }));
}

module.exports = { faults, hover, proposals };
