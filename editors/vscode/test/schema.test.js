'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');
const schema = require('../schema.json');
const { faults, hover, proposals } = require('../src/schema');

/** What is wrong, each with the text that it is about. @param {string} text */
const wrong = (text) => faults(schema, text).map(({ start, end, message }) => `${text.slice(start, end)}: ${message}`);

/** Splits a text where the cursor stands. @param {string} text @returns {[string, number]} */
const cursor = (text) => [text.replace('|', ''), text.indexOf('|')];

/** What is proposed. @param {string} text */
const proposed = (text) => proposals(schema, ...cursor(text));

/** @param {string} text */
const labels = (text) => proposed(text).map(({ label }) => label);

test('what the program takes has no mistakes', () => {
  const texts = [
    '',
    '# nothing yet\n',
    '[sandbox]\nname = "web"\nbackend = "native"\nimage = "debian:12"\nworkspace = "overlay"\ntimeout = "1h30m"\n',
    '[resources]\nmemory = "512M"\ncpus = 1.5\npids = 100\n',
    '[network]\nmode = "allow"\nallow = ["example.org", { host = "a.example", methods = ["GET"] }]\n',
    '[secrets]\nEXAMPLE_TOKEN = ["api.example.org"]\nDEPLOY_KEY = { hosts = ["deploy.example.org"], env = "KEY", from = "file:../deploy.key" }\n',
  ];
  for (const text of texts) {
    assert.deepEqual(wrong(text), [], text);
  }
});

test('mistakes are told where they are', () => {
  /** @type {[string, RegExp][]} */
  const texts = [
    ['[sandbx]', /^sandbx: There is no key 'sandbx' here; did you mean 'sandbox'\?$/],
    ['[sandbox]\nworkspce = "direct"', /^workspce: There is no key 'workspce' here; did you mean 'workspace'\?$/],
    ['[sandbox]\nqqqqqqq = 1', /^qqqqqqq: There is no key 'qqqqqqq' here$/],
    ['[sandbox]\nbackend = "nativ"', /^"nativ": 'backend' must be one of "native", "docker"$/],
    ['[sandbox]\nbackend = 1', /^1: 'backend' must be one of/],
    ['[sandbox]\nname = true', /^true: 'name' must be a text$/],
    ['[resources]\nmemory = "lots"', /^"lots": 'memory' does not have the form/],
    ['[resources]\nmemory = true', /^true: 'memory' must be a whole number or a text$/],
    ['[resources]\ncpus = 0', /^0: 'cpus' must be from 0.01 to 4096$/],
    ['[resources]\npids = -1', /^-1: 'pids' must be at least 0$/],
    ['[network]\nallow = "x"', /^"x": 'allow' must be a list$/],
    ['[network]\nallow = [1]', /^1: 'allow' must be a text or a table$/],
    ['[network]\nallow = [{ methods = ["GET"] }]', /^\{ methods = \["GET"\] \}: 'host' is missing$/],
    ['[secrets]\n"a b" = ["x"]', /^"a b": 'a b' can't be a name here/],
    ['[secrets]\nA = []', /^\[\]: 'A' must not be empty$/],
    ['sandbox = 1', /^1: 'sandbox' must be a table$/],
    ['[sandbox]\nname = web', /^web: This is no value/],
  ];
  for (const [text, words] of texts) {
    const found = wrong(text);
    assert.equal(found.length, 1, `${text}: ${found.join('; ')}`);
    assert.match(found[0] ?? '', words);
  }
});

test('tables are proposed, each as its header', () => {
  for (const text of ['|', '[|', '[sand|', '[sandbox]\nname = "x"\n\n|', '[sandbox]\n[|\n[network]']) {
    assert.ok(labels(text).includes('[sandbox]') && labels(text).includes('[network]'), text);
  }
  assert.equal(proposed('[sand|').find(({ label }) => label === '[sandbox]')?.from, 0);
  assert.ok(!labels('[sandbox]\nname = |').includes('[network]'));
});

test('keys are proposed that are not there yet', () => {
  const keys = labels('[network]\nallow = []\n\n[sandbox]\nname = "x"\nwork|\nbackend = "native"\n\n[resources]\nimage = "x"');
  assert.ok(keys.includes('workspace') && keys.includes('image'));
  assert.ok(!keys.includes('name') && !keys.includes('backend') && !keys.includes('allow') && !keys.includes('memory'));
  const one = proposed('[sandbox]\nwork|').find(({ label }) => label === 'workspace');
  assert.deepEqual([one?.from, one?.insert, one?.kind], [10, 'workspace = "${1|direct,overlay,none|}"', 'key']);
  assert.match(one?.doc ?? '', /real directory/);
  const inserted = (/** @type {string} */ table, /** @type {string} */ key) => proposed(`[${table}]\n|`).find(({ label }) => label === key)?.insert;
  assert.equal(inserted('sandbox', 'name'), 'name = "$1"');
  assert.equal(inserted('network', 'allow'), 'allow = [$1]');
  assert.deepEqual(labels('[secrets]\nA|').filter((label) => !label.startsWith('[')), ['hosts', 'env', 'from'].filter((key) => labels('[secrets]\nA|').includes(key)));
});

test('values are proposed', () => {
  assert.deepEqual(labels('[sandbox]\nworkspace = |'), ['"direct"', '"overlay"', '"none"']);
  const some = proposed('[sandbox]\nworkspace = "ov|"');
  assert.deepEqual(some.map(({ from }) => from), [22, 22, 22]);
  assert.deepEqual(labels('[sandbox]\nname = |'), []);
  assert.deepEqual(labels('[nothing]\nname = |'), []);
  assert.deepEqual(labels('[sandbox]\n# workspace = "direct" |'), []);
});

test('keys are described', () => {
  const [text, at] = cursor('[sandbox]\nback|end = "native"\n');
  const found = hover(schema, text, at);
  assert.equal(text.slice(found?.start, found?.end), 'backend');
  assert.match(found?.doc ?? '', /What makes the machine/);
  assert.ok(!found?.doc.includes(']('), 'links of the page lead nowhere here');
  assert.match(hover(schema, '[sandbox]', 3)?.doc ?? '', /What the sandbox is/);
  assert.match(hover(schema, ...cursor('[network]\nallow = [{ ho|st = "x" }]'))?.doc ?? '', /./);
  assert.equal(hover(schema, ...cursor('[sandbox]\nbackend = "nat|ive"\n')), undefined);
});
