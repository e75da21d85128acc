// The requester of the Tasks extension: calls `talk` with the arguments given as JSON, one call each, and writes
// what becomes of them. It answers every question with the word "blue".
import { resultFromTaskOutcome, withTasks } from "@modelcontextprotocol/ext-tasks/client";

const [url, ...calls] = process.argv.slice(2);
const TASKS = "io.modelcontextprotocol/tasks";
const VERSION = "2026-07-28";
const ABOUT = {
  "io.modelcontextprotocol/protocolVersion": VERSION,
  "io.modelcontextprotocol/clientInfo": { name: "tasks", version: "1" },
  "io.modelcontextprotocol/clientCapabilities": { elicitation: { form: {} }, extensions: { [TASKS]: {} } },
};
const methods = [];
let last = 0;

async function dispatch(request, { signal } = {}) {
  const params = { ...request.params, _meta: { ...request.params?._meta, ...ABOUT } };
  const headers = {
    "content-type": "application/json",
    accept: "application/json, text/event-stream",
    "mcp-protocol-version": VERSION,
    "mcp-method": request.method,
  };
  const name = params.name ?? params.taskId;
  if (name) headers["mcp-name"] = name;
  const body = JSON.stringify({ jsonrpc: "2.0", id: ++last, method: request.method, params });
  const text = await (await fetch(url, { method: "POST", headers, body, signal })).text();
  const line = text.startsWith("{") ? text : text.split("\n").findLast((each) => each.startsWith("data: {")).slice(6);
  const { result, error } = JSON.parse(line);
  methods.push(request.method);
  return error ? { kind: "error", error } : { kind: "result", result };
}

const nothing = () => () => {};
const port = {
  endpointId: "test",
  taskCapabilities: { generation: "v2", capabilities: {} },
  dispatch,
  onServerRequest: nothing,
  onNotification: nothing,
  onInvalidated: nothing,
  invalidated: false,
};
const asked = [];
const session = withTasks(port, {
  onInputRequest: async ({ params }) => {
    asked.push(params.message);
    return { action: "accept", content: { answer: "blue" } };
  },
});
const outcomes = [];
for (const call of calls) {
  const { cancels, ...given } = JSON.parse(call);
  const execution = await session.callTool("talk", given);
  if (cancels) await execution.cancel();
  const { outcome } = await execution.settle();
  outcomes.push(outcome.status === "cancelled" ? "cancelled" : resultFromTaskOutcome(outcome));
}
await session.close();
console.log(JSON.stringify({ outcomes, asked, methods }));
