// Terminals of an editor by the official SDK. It runs what it is asked to as Zed does: a shell gets the words with blanks between
// them, in a pseudo-terminal (by script(1)) or not.
import { spawn } from "node:child_process";
import { methods } from "@agentclientprotocol/sdk";

const { create, output, waitForExit, kill, release } = methods.client.terminal;
const end = ({ child }) => child.exitCode ?? child.signalCode ?? child.kill("SIGKILL");
const status = ({ exitCode, signalCode }) => ((exitCode ?? signalCode) === null ? null : { exitCode, signal: signalCode });
const { AGENTKERNEL_STATE_DIR: _, ...environment } = process.env;

/** Gives an editor terminals, and the lines that they run. */
export function terminals(app, pty) {
  const lines = [];
  const all = new Map();
  const of = ({ params }) => all.get(params.terminalId);
  app
    .onRequest(create, ({ params }) => {
      const line = [params.command, ...params.args].join(" ");
      const env = { ...environment, ...Object.fromEntries(params.env.map(({ name, value }) => [name, value])) };
      const words = pty ? ["script", "-qefc", line, "/dev/null"] : ["sh", "-c", line];
      const child = spawn(words[0], words.slice(1), { cwd: params.cwd, env, stdio: ["pipe", "pipe", "pipe"] });
      const terminal = { child, output: Buffer.alloc(0), truncated: false, limit: params.outputByteLimit ?? Infinity };
      const add = (bytes) => {
        terminal.output = Buffer.concat([terminal.output, bytes]);
        terminal.truncated ||= terminal.output.length > terminal.limit;
        if (terminal.truncated) terminal.output = terminal.output.subarray(-terminal.limit);
      };
      child.stdout.on("data", add);
      child.stderr.on("data", add);
      terminal.closed = new Promise((resolve) => child.on("close", resolve));
      const terminalId = `terminal-${lines.push(line)}`;
      all.set(terminalId, terminal);
      return { terminalId };
    })
    .onRequest(output, (request) => {
      const { child, output, truncated } = of(request);
      return { output: output.toString(), truncated, exitStatus: status(child) };
    })
    .onRequest(waitForExit, async (request) => {
      await of(request).closed;
      return status(of(request).child);
    })
    .onRequest(kill, (request) => void end(of(request)))
    .onRequest(release, (request) => void end(of(request)));
  return lines;
}
