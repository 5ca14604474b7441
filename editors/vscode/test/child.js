// A process that does what a test says.
'use strict';

const { EventEmitter } = require('node:events');

class Child extends EventEmitter {
  stdout = new EventEmitter();
  stderr = { resume() {} };
  killed = false;
  kill() {
    this.killed = true;
  }
}

module.exports = { Child };
