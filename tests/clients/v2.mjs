// The TypeScript SDK's second client, which speaks both protocols; `era` is its versionNegotiation mode.
import { Client, SSEClientTransport, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

import { drive, verbs } from "./drive.mjs";

const MODERN = "2026-07-28";
const LISTS = { resourcesListChanged: true, promptsListChanged: true, toolsListChanged: true };

function transport(given) {
  const chosen = { requestInit: { headers: given.headers ?? {} } };
  if (given.transport === "http") return new StreamableHTTPClientTransport(new URL(given.url), chosen);
  if (given.transport === "sse") return new SSEClientTransport(new URL(given.url), chosen);
  return new StdioClientTransport({ command: given.command, args: given.args, env: given.env, stderr: "ignore" });
}

await drive(async (given, hear) => {
  const capabilities = given.answer ? { elicitation: { form: {} } } : {};
  const client = new Client(
    { name: "v2", version: "1" },
    { capabilities, versionNegotiation: { mode: given.era ?? "legacy" } },
  );
  if (given.answer) client.setRequestHandler("elicitation/create", async () => given.answer);
  client.fallbackNotificationHandler = async (notification) => hear(notification);
  await client.connect(transport(given));
  return {
    ...verbs(client),
    known: () => ({ era: client.getNegotiatedProtocolVersion(), capabilities: client.getServerCapabilities() }),
    call: ({ name, arguments: given }, chosen) => client.callTool({ name, arguments: given }, chosen),
    subscribe: async ({ uri }, chosen) => {
      if (client.getNegotiatedProtocolVersion() !== MODERN) return client.subscribeResource({ uri }, chosen);
      return { honored: (await client.listen({ ...LISTS, resourceSubscriptions: [uri] })).honoredFilter };
    },
  };
});
