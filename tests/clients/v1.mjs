// The TypeScript SDK's first client, which speaks the older protocol.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";

import { drive, verbs } from "./drive.mjs";

function transport(given) {
  const chosen = { requestInit: { headers: given.headers ?? {} } };
  if (given.transport === "http") return new StreamableHTTPClientTransport(new URL(given.url), chosen);
  if (given.transport === "sse") return new SSEClientTransport(new URL(given.url), chosen);
  return new StdioClientTransport({ command: given.command, args: given.args, env: given.env, stderr: "ignore" });
}

await drive(async (given, hear) => {
  const capabilities = given.answer ? { elicitation: {} } : {};
  const client = new Client({ name: "v1", version: "1" }, { capabilities });
  if (given.answer) client.setRequestHandler(ElicitRequestSchema, async () => given.answer);
  client.fallbackNotificationHandler = async (notification) => hear(notification);
  const carrier = transport(given);
  await client.connect(carrier);
  return {
    ...verbs(client),
    known: () => ({ era: carrier.protocolVersion ?? "2025-11-25", capabilities: client.getServerCapabilities() }),
    call: ({ name, arguments: given }, chosen) => client.callTool({ name, arguments: given }, undefined, chosen),
  };
});
