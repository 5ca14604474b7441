// Drives a server by the TypeScript SDK: what is to be called comes as JSON, what comes back goes out so, a line for each.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ElicitRequestSchema, ListRootsRequestSchema } from "@modelcontextprotocol/sdk/types.js";

const [server, root, calls] = process.argv.slice(2);
const client = new Client({ name: "test", version: "1" }, { capabilities: { elicitation: {}, roots: {} } });
client.setRequestHandler(ListRootsRequestSchema, () => ({ roots: [{ uri: `file://${root}` }] }));
client.setRequestHandler(ElicitRequestSchema, () => ({ action: "accept", content: { allow: true } }));
const environment = Object.fromEntries(Object.entries(process.env));
const headers = { Authorization: `Bearer ${environment.TOKEN}` };
await client.connect(
  server.startsWith("http:")
    ? new StreamableHTTPClientTransport(new URL(server), { requestInit: { headers } })
    : new StdioClientTransport({ command: server, args: ["mcp"], env: environment }),
);
const print = (value) => process.stdout.write(JSON.stringify(value) + "\n");
// Results are held against the schemas that come with these.
print((await client.listTools()).tools.map((tool) => tool.name));
let id = "";
for (const [name, given] of JSON.parse(calls)) {
  const result = await client.callTool({ name, arguments: { ...given, ...(given.id === "" && { id }) } });
  id = result.structuredContent?.id ?? id;
  print(result.isError ? { error: result.content } : result.structuredContent);
}
print((await client.listResources()).resources.map((resource) => resource.name));
print((await client.readResource({ uri: "agentkernel://sandbox/box/policy" })).contents[0].text);
print((await client.listPrompts()).prompts.map((prompt) => prompt.name));
await client.close();
