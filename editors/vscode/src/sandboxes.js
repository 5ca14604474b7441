// The sandboxes that there are, and what they were refused: hides when the program is asked, and what it tells by itself.
// It is asked when somebody looks, and every few seconds as long as they do; what is hidden is only told of.
'use strict';

const { Missing, calls } = require('./program');
const records = require('./records');
const { Lines, Stream } = require('./stream');

/** @typedef {records.Sandbox} Sandbox */
/** @typedef {records.Denial} Denial */

/** How often it is looked for sandboxes that others have made. */
const EVERY_MS = 5000;
/** What is told in this time is shown at once. */
const SOON_MS = 50;
/** So many sandboxes are listened to. */
const MOST_STREAMS = 32;
/** So many refusals of a sandbox are kept. */
const MOST_DENIALS = 2000;

class Sandboxes {
  /**
   * @param {object} program
   * @param {(args: readonly string[]) => Promise<string>} program.call
   * @param {(args: readonly string[]) => import('./stream').Process} program.start
   * @param {() => void} changed Is called whenever something is not as it was.
   * @param {{ set: (then: () => void, ms: number) => any, clear: (timer: any) => void }} [clock]
   */
  constructor(program, changed, clock = { set: setTimeout, clear: clearTimeout }) {
    this.program = program;
    this.changed = changed;
    this.clock = clock;
    /** @type {Sandbox[]} */
    this.rows = [];
    /** @type {'loading' | 'ready' | 'missing' | 'failed'} */
    this.state = 'loading';
    /** Why there are none to be shown. */
    this.problem = '';
    /** Refusals that nobody has looked at. */
    this.unseen = 0;
    /** @type {Map<string, Stream>} */
    this.streams = new Map();
    /** @type {Map<string, Map<string, Denial>>} */
    this.denied = new Map();
    /** Whose log was read. @type {Set<string>} */
    this.read = new Set();
    /** What was shown last. */
    this.shown = '';
    this.visible = false;
    this.over = false;
    /** @type {any} */
    this.timer = undefined;
    /** @type {any} */
    this.soon = undefined;
    /** @type {Promise<void> | undefined} */
    this.asking = undefined;
    this.again = false;
  }

  get running() {
    return this.rows.filter((row) => row.status === 'running');
  }

  /** @param {string} id */
  get(id) {
    return this.rows.find((row) => row.id === id);
  }

  /** Says whether somebody looks. @param {boolean} visible */
  show(visible) {
    if (visible === this.visible) {
      return;
    }
    this.visible = visible;
    if (visible) {
      void this.refresh();
    } else {
      this.clock.clear(this.timer);
      this.timer = undefined;
    }
  }

  /** Looks anew; once more, if that is wanted while it does. @returns {Promise<void>} */
  refresh() {
    if (this.asking) {
      this.again = true;
      return this.asking;
    }
    this.asking = this.ask().finally(() => {
      this.asking = undefined;
    });
    return this.asking;
  }

  async ask() {
    this.clock.clear(this.timer);
    this.timer = undefined;
    do {
      this.again = false;
      try {
        const rows = records.sandboxes(await this.program.call(calls.list()));
        this.take(rows);
        this.state = 'ready';
        this.problem = '';
      } catch (error) {
        this.take([]);
        this.state = error instanceof Missing ? 'missing' : 'failed';
        this.problem = error instanceof Error ? error.message : String(error);
      }
    } while (this.again && !this.over);
    if (this.over) {
      return;
    }
    if (this.visible) {
      this.timer = this.clock.set(() => void this.refresh(), EVERY_MS);
    }
    // A view that is shown anew loses what a menu that is open was opened for.
    const shown = JSON.stringify([this.state, this.problem, this.rows.map((row) => [row, records.age(row.createdMs)])]);
    if (shown !== this.shown) {
      this.shown = shown;
      this.changed();
    }
  }

  /** @param {Sandbox[]} rows */
  take(rows) {
    if (this.over) {
      return;
    }
    const rank = (/** @type {Sandbox} */ row) => (row.status === 'running' ? 0 : 1);
    this.rows = rows.sort((a, b) => rank(a) - rank(b) || b.createdMs - a.createdMs);
    const running = new Set(this.running.slice(0, MOST_STREAMS).map((row) => row.id));
    for (const [id, stream] of this.streams) {
      if (!running.has(id)) {
        stream.stop();
        this.streams.delete(id);
      }
    }
    for (const id of running) {
      if (!this.streams.has(id)) {
        this.listen(id);
      }
    }
    for (const id of [...this.denied.keys()].filter((id) => !this.get(id))) {
      this.denied.delete(id);
      this.read.delete(id);
    }
  }

  /** @param {string} id */
  listen(id) {
    const begin = () => this.program.start(calls.events(id));
    const stream = new Stream(
      begin,
      {
        line: (line) => this.hear(id, line),
        end: () => void this.refresh(),
        lost: () => {
          // Its log has what was missed meanwhile.
          this.read.delete(id);
          this.shown = '';
          if (this.streams.has(id)) {
            void this.refresh();
          }
        },
      },
      this.clock,
    );
    this.streams.set(id, stream);
  }

  /** @param {string} id @param {string} line */
  hear(id, line) {
    const event = records.event(line);
    if (!event || event.sandbox !== id) {
      return;
    }
    if (event.denial) {
      if (this.keep(id, event.denial)) {
        this.unseen += event.denial.count;
        this.changesSoon();
      }
    } else if (event.kind === 'skipped') {
      this.read.delete(id);
      this.changesSoon();
    } else if (event.kind === 'stopped' || event.kind === 'lost') {
      void this.refresh();
    }
  }

  changesSoon() {
    this.soon ??= this.clock.set(() => {
      this.soon = undefined;
      this.changed();
    }, SOON_MS);
  }

  /** Whether it was not known. @param {string} id @param {Denial} denial */
  keep(id, denial) {
    const known = this.denied.get(id) ?? new Map();
    this.denied.set(id, known);
    const isNew = !known.has(denial.key);
    known.set(denial.key, denial);
    if (known.size > MOST_DENIALS) {
      known.delete(known.keys().next().value);
    }
    return isNew;
  }

  /**
   * What a sandbox was refused, the last first: each target and reason once, with how often.
   * @param {string} id
   * @returns {Promise<Denial[]>}
   */
  async denials(id) {
    if (!this.read.has(id)) {
      this.read.add(id);
      try {
        const lines = new Lines((line) => {
          const event = records.event(line);
          if (event?.denial && event.sandbox === id) {
            this.keep(id, event.denial);
          }
        });
        lines.add(Buffer.from(await this.program.call(calls.denials(id, true))));
      } catch (error) {
        this.read.delete(id);
        throw error;
      }
    }
    /** @type {Map<string, Denial>} */
    const sums = new Map();
    for (const denial of this.denied.get(id)?.values() ?? []) {
      const key = JSON.stringify([denial.host, denial.port, denial.path, denial.reason]);
      const sum = sums.get(key);
      const last = sum && sum.timeMs > denial.timeMs ? sum : denial;
      sums.set(key, { ...last, key, count: denial.count + (sum?.count ?? 0) });
    }
    return [...sums.values()].sort((a, b) => b.timeMs - a.timeMs);
  }

  /** Somebody has looked at what was refused. */
  seen() {
    if (this.unseen > 0) {
      this.unseen = 0;
      this.changed();
    }
  }

  dispose() {
    this.over = true;
    this.clock.clear(this.timer);
    this.clock.clear(this.soon);
    for (const stream of this.streams.values()) {
      stream.stop();
    }
    this.streams.clear();
  }
}

module.exports = { EVERY_MS, MOST_DENIALS, MOST_STREAMS, SOON_MS, Sandboxes };
