// Plays an editor by the official SDK: prompts come as JSON, what came of each goes out so, a line for each.
import { spawn } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { Readable, Writable } from "node:stream";
import { client, methods, ndJsonStream } from "@agentclientprotocol/sdk";
import { terminals } from "./terminals.mjs";

const [command, cwd, given] = process.argv.slice(2);
const { load, prompts } = JSON.parse(given);
const agent = spawn("sh", ["-c", command], { stdio: ["pipe", "pipe", "inherit"] });
const print = (value) => process.stdout.write(JSON.stringify(value) + "\n");
let turn = {};
const app = client({ name: "test" })
  .onRequest(methods.client.session.requestPermission, ({ params }) => {
    turn.permissions.push(params.toolCall.title ?? "");
    if (turn.cancelled) return { outcome: { outcome: "cancelled" } };
    const option = params.options.find((option) => option.kind === turn.permission) ?? params.options[0];
    setTimeout(() => turn.onPermission?.(), 3000);
    return { outcome: { outcome: "selected", optionId: option.optionId } };
  })
  .onRequest(methods.client.fs.readTextFile, async ({ params }) => {
    turn.reads.push(params.path);
    return { content: await readFile(params.path, "utf8") };
  })
  .onRequest(methods.client.fs.writeTextFile, async ({ params }) => {
    turn.writes.push(params.path);
    await writeFile(params.path, params.content);
    return {};
  })
  .onNotification(methods.client.session.update, ({ params }) => {
    const update = params.update;
    if (update.sessionUpdate === "agent_message_chunk" && update.content.type === "text") turn.text += update.content.text;
    turn.updates?.push(update.sessionUpdate);
  });
terminals(app, true);
const begun = () => ({ permissions: [], reads: [], writes: [], updates: [], text: "" });
turn = begun();
const stream = ndJsonStream(Writable.toWeb(agent.stdin), Readable.toWeb(agent.stdout));
await app.connectWith(stream, async (to) => {
  const clientCapabilities = { fs: { readTextFile: true, writeTextFile: true }, terminal: true };
  const hello = await to.request(methods.agent.initialize, { protocolVersion: 1, clientCapabilities });
  let sessionId = load;
  if (load) await to.request(methods.agent.session.load, { sessionId: load, cwd, mcpServers: [] });
  else sessionId = (await to.request(methods.agent.session.new, { cwd, mcpServers: [] })).sessionId;
  print({ sessionId, canLoad: hello.agentCapabilities?.loadSession ?? false, replayed: turn.text });
  for (const { text, permission, cancel } of prompts) {
    turn = { ...begun(), permission };
    const stop = () => {
      turn.cancelled = true;
      to.notify(methods.agent.session.cancel, { sessionId });
    };
    if (cancel === "permission") turn.onPermission = stop;
    else if (cancel) setTimeout(stop, cancel);
    const { stopReason } = await to.request(methods.agent.session.prompt, { sessionId, prompt: [{ type: "text", text }] });
    // The SDK hands on an answer before what was told just before it.
    await new Promise((resolve) => setTimeout(resolve, 500));
    print({ stopReason, ...turn });
  }
});
const ended = new Promise((resolve) => agent.on("exit", (status, signal) => resolve({ status, signal })));
agent.stdin.end();
print(await ended);
