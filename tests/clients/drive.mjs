// Plays commands to clients: each a line of JSON on stdin, with its answer in a line on stdout.
//
//   {id, client, do: "connect", transport: "stdio" | "http" | "sse", command, args, env, url, headers, era, answer}
//   {id, client, do: "list_tools" | "call" | "read" | ..., and what the verb takes}
//   {id, do: "cancel", call}       aborts the command of that id
//
//   {id, result} or {id, error: {name, code, message}}
//   {id, progress}                 for a call with `progress`
//   {client, notification}         what the server told on its own
//
// Commands run side by side. `connect` opens a client: an object of verbs, each called with the command and the
// options of a request.
import { createInterface } from "node:readline";

function tell(message) {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

function told(error) {
  return { name: error?.name ?? "Error", code: error?.code ?? null, message: String(error?.message ?? error) };
}

function options(given, aborted) {
  const chosen = { signal: aborted.signal };
  if (given.timeout_ms !== undefined) chosen.timeout = given.timeout_ms;
  if (given.extend) chosen.resetTimeoutOnProgress = true;
  if (given.progress) chosen.onprogress = (progress) => tell({ id: given.id, progress });
  return chosen;
}

export async function drive(connect) {
  const clients = new Map();
  const aborting = new Map();

  async function obey(given) {
    if (given.do === "cancel") return aborting.get(given.call)?.abort("cancelled by the test");
    if (given.do === "connect") {
      const hear = (notification) => tell({ client: given.client, notification });
      const opened = await connect(given, hear);
      clients.set(given.client, opened);
      return opened.known();
    }
    const aborted = new AbortController();
    aborting.set(given.id, aborted);
    return clients.get(given.client)[given.do](given, options(given, aborted));
  }

  async function run(given) {
    try {
      tell({ id: given.id, result: (await obey(given)) ?? {} });
    } catch (error) {
      tell({ id: given.id, error: told(error) });
    } finally {
      aborting.delete(given.id);
    }
  }

  for await (const line of createInterface({ input: process.stdin })) void run(JSON.parse(line));
  process.exit(0);
}

// What both versions of the client call alike.
export function verbs(client) {
  return {
    list_tools: (given, chosen) => client.listTools({}, chosen),
    list_resources: (given, chosen) => client.listResources({ cursor: given.cursor }, chosen),
    list_prompts: (given, chosen) => client.listPrompts({}, chosen),
    get_prompt: (given, chosen) => client.getPrompt({ name: given.name, arguments: given.arguments }, chosen),
    complete: (given, chosen) => client.complete({ ref: given.ref, argument: given.argument }, chosen),
    read: (given, chosen) => client.readResource({ uri: given.uri }, chosen),
    subscribe: (given, chosen) => client.subscribeResource({ uri: given.uri }, chosen),
    close: () => client.close(),
  };
}
