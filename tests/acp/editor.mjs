// An editor by the official SDK, whose agent tells what came of each prompt beside its answer.
import { spawn } from "node:child_process";
import { Readable, Writable } from "node:stream";
import { client, methods, ndJsonStream } from "@agentclientprotocol/sdk";
import { terminals } from "./terminals.mjs";

const [command, cwd, given] = process.argv.slice(2);
const { pty, prompts } = JSON.parse(given);
const agent = spawn("sh", ["-c", command], { stdio: ["pipe", "pipe", "inherit"] });
const app = client({ name: "test" });
const lines = terminals(app, pty);
const stream = ndJsonStream(Writable.toWeb(agent.stdin), Readable.toWeb(agent.stdout));
await app.connectWith(stream, async (to) => {
  const clientCapabilities = { fs: { readTextFile: false, writeTextFile: false }, terminal: true };
  await to.request(methods.agent.initialize, { protocolVersion: 1, clientCapabilities });
  const { sessionId } = await to.request(methods.agent.session.new, { cwd, mcpServers: [] });
  for (const text of prompts) {
    const { _meta } = await to.request(methods.agent.session.prompt, { sessionId, prompt: [{ type: "text", text }] });
    process.stdout.write(JSON.stringify(_meta.result) + "\n");
  }
});
process.stdout.write(JSON.stringify(lines) + "\n");
const ended = new Promise((resolve) => agent.on("exit", resolve));
agent.stdin.end();
await ended;
