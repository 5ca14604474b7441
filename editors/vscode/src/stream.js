// A program that tells line by line what happens: hides how it is begun again when it ends without having been at its end.
'use strict';

const { StringDecoder } = require('node:string_decoder');

/** The most that a line may have: a longer one is passed over. */
const LONGEST = 1 << 20;
/** How long is waited before it is begun again: at first, and at most. */
const FIRST_MS = 500;
const LAST_MS = 30_000;

/** Makes lines of what comes in pieces. */
class Lines {
  /** @param {(line: string) => void} take */
  constructor(take) {
    this.take = take;
    this.rest = '';
    this.skips = false;
    this.decoder = new StringDecoder('utf8');
  }

  /** @param {Buffer} bytes */
  add(bytes) {
    const pieces = this.decoder.write(bytes).split('\n');
    const last = pieces.pop() ?? '';
    for (const piece of pieces) {
      const line = this.rest + piece;
      this.rest = '';
      if (!this.skips && line !== '' && line.length <= LONGEST) {
        this.take(line);
      }
      this.skips = false;
    }
    this.rest += last;
    if (this.rest.length > LONGEST) {
      this.rest = '';
      this.skips = true;
    }
  }
}

/**
 * @typedef {object} Process What of a child process is used.
 * @property {{ on(event: 'data', listener: (bytes: Buffer) => void): unknown } | null} stdout
 * @property {{ resume(): unknown } | null} stderr
 * @property {(event: 'error' | 'close', listener: (code: any) => void) => unknown} on
 * @property {() => unknown} kill
 */

class Stream {
  /**
   * @param {() => Process} begin Starts the program; it may throw.
   * @param {object} see
   * @param {(line: string) => void} see.line
   * @param {() => void} see.end It was at its end.
   * @param {() => void} see.lost It ended early, and will be begun again: something may have been missed.
   * @param {{ set: (then: () => void, ms: number) => any, clear: (timer: any) => void }} [clock]
   */
  constructor(begin, see, clock = { set: setTimeout, clear: clearTimeout }) {
    this.begin = begin;
    this.see = see;
    this.clock = clock;
    this.waits = FIRST_MS;
    /** @type {Process | undefined} */
    this.process = undefined;
    /** @type {any} */
    this.timer = undefined;
    this.over = false;
    this.start();
  }

  start() {
    this.timer = undefined;
    /** @type {Process} */
    let process;
    try {
      process = this.begin();
    } catch {
      this.again();
      return;
    }
    this.process = process;
    const lines = new Lines((line) => {
      this.waits = FIRST_MS;
      if (!this.over) {
        this.see.line(line);
      }
    });
    process.stdout?.on('data', (bytes) => lines.add(bytes));
    process.stderr?.resume();
    let ended = false;
    const end = (/** @type {unknown} */ code) => {
      if (ended || this.over) {
        return;
      }
      ended = true;
      this.process = undefined;
      if (code === 0) {
        this.over = true;
        this.see.end();
      } else {
        this.again();
      }
    };
    process.on('error', end);
    process.on('close', end);
  }

  again() {
    this.timer = this.clock.set(() => this.start(), this.waits);
    this.waits = Math.min(this.waits * 2, LAST_MS);
    this.see.lost();
  }

  stop() {
    this.over = true;
    this.clock.clear(this.timer);
    this.process?.kill();
    this.process = undefined;
  }
}

module.exports = { FIRST_MS, LAST_MS, LONGEST, Lines, Stream };
