/** One script of requests against the official server-everything, recorded. */
import type { Client } from "@modelcontextprotocol/sdk/client/index.js";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import { recordScript, type Recording, type Step } from "./recording.ts";

/** Every listed tool with arguments that make its answer the same in every run. */
const TOOL_CALLS: readonly (readonly [string, Record<string, unknown>])[] = [
  ["echo", { message: 'hello 🌍 \u2028 "quoted"' }],
  ["get-annotated-message", { messageType: "error", includeImage: true }],
  ["get-env", {}],
  ["get-resource-links", { count: 4 }],
  ["get-resource-reference", { resourceType: "Blob", resourceId: 2 }],
  ["get-structured-content", { location: "New York" }],
  ["get-sum", { a: 1.5, b: 2 }],
  ["get-tiny-image", {}],
  ["gzip-file-as-resource", { name: "a.gz", data: "data:text/plain,hi", outputType: "resource" }],
  ["trigger-long-running-operation", { duration: 0.2, steps: 2 }],
  ["trigger-sampling-request", { prompt: "say", maxTokens: 10 }],
  ["trigger-elicitation-request", {}],
  ["trigger-url-elicitation", { url: "https://example.com/x", message: "go", elicitationId: "e1" }],
  ["trigger-sampling-request-async", { prompt: "say", maxTokens: 10 }],
  ["trigger-elicitation-request-async", {}],
  ["get-roots-list", {}],
];

/** Tools that the rest of the script uses, each in its own way. */
const USED_OTHERWISE = [
  "toggle-simulated-logging",
  "toggle-subscriber-updates",
  "simulate-research-query",
];

export const record = (transport: Transport): Promise<Recording> =>
  recordScript(transport, async ({ client, step, heard, setRoots }) => {
    await step("setLevel", () => client.setLoggingLevel("debug"));
    await heard("Roots updated: 1");
    await step("ping", () => client.ping());
    await runLists(client, step);
    await runTools(client, step);
    await runInteractions(client, step);
    await step("subscribe", () =>
      client.subscribeResource({ uri: "demo://resource/dynamic/text/1" }),
    );
    await step("toggle updates", () => client.callTool({ name: "toggle-subscriber-updates" }));
    await heard("notifications/resources/updated");
    await step("toggle updates", () => client.callTool({ name: "toggle-subscriber-updates" }));
    await step("unsubscribe", () =>
      client.unsubscribeResource({ uri: "demo://resource/dynamic/text/1" }),
    );
    await step("toggle logging", () => client.callTool({ name: "toggle-simulated-logging" }));
    await heard("evel");
    await step("toggle logging", () => client.callTool({ name: "toggle-simulated-logging" }));
    await setRoots(["two", "three"]);
    await heard("Roots updated: 2");
    await step("roots", () => client.callTool({ name: "get-roots-list" }));
    await runRefusals(client, step);
  });

/**
 * Last of all: after an error over Streamable HTTP this SDK takes the stream up again without need, and
 * this server then replays the answers of others on it.
 */
async function runRefusals(client: Client, step: Step): Promise<void> {
  await step("no such resource", () => client.readResource({ uri: "demo://no/such/resource" }));
  await step("no arguments", () => client.getPrompt({ name: "args-prompt" }));
  await step("no such prompt", () => client.getPrompt({ name: "nothing" }));
}

async function runLists(client: Client, step: Step): Promise<void> {
  await step("tools", () => client.listTools());
  await step("resources", () => client.listResources());
  await step("templates", () => client.listResourceTemplates());
  await step("prompts", () => client.listPrompts());
  for (const uri of [
    "demo://resource/dynamic/text/1",
    "demo://resource/dynamic/blob/2",
    "demo://resource/static/document/architecture.md",
  ]) {
    await step(`read ${uri}`, () => client.readResource({ uri }));
  }
  await step("simple-prompt", () => client.getPrompt({ name: "simple-prompt" }));
  await step("args-prompt", () =>
    client.getPrompt({ name: "args-prompt", arguments: { city: "Ulm", state: "BW" } }),
  );
  await step("completable-prompt", () =>
    client.getPrompt({
      name: "completable-prompt",
      arguments: { department: "Sales", name: "Eve" },
    }),
  );
  await step("resource-prompt", () =>
    client.getPrompt({
      name: "resource-prompt",
      arguments: { resourceType: "Text", resourceId: "3" },
    }),
  );
  await step("complete a prompt", () =>
    client.complete({
      ref: { type: "ref/prompt", name: "completable-prompt" },
      argument: { name: "name", value: "" },
      context: { arguments: { department: "Engineering" } },
    }),
  );
  await step("complete a template", () =>
    client.complete({
      ref: { type: "ref/resource", uri: "demo://resource/dynamic/text/{resourceId}" },
      argument: { name: "resourceId", value: "12" },
    }),
  );
}

async function runTools(client: Client, step: Step): Promise<void> {
  const { tools } = await client.listTools();
  const known = new Set([...TOOL_CALLS.map(([name]) => name), ...USED_OTHERWISE]);
  // A tool that the script does not know would go untested, so it must show.
  await step("unknown to the script", () =>
    Promise.resolve(tools.map(({ name }) => name).filter((name) => !known.has(name))),
  );
  for (const [name, args] of TOOL_CALLS) {
    await step(name, () => client.callTool({ name, arguments: args }));
  }
  await step("a tool with wrong arguments", () =>
    client.callTool({ name: "get-sum", arguments: { a: "one" } }),
  );
  await step("no such tool", () => client.callTool({ name: "nothing", arguments: {} }));
  await step("resources, one more", () => client.listResources());
}

async function runInteractions(client: Client, step: Step): Promise<void> {
  const name = "trigger-long-running-operation";
  const steps = new Set<number>();
  await step("with progress", async () => {
    const onprogress = ({ progress }: { progress: number }) => steps.add(progress);
    const options = { onprogress, resetTimeoutOnProgress: true };
    const args = { name, arguments: { duration: 1, steps: 4 } };
    const answer = await client.callTool(args, undefined, options);
    // The SDK drops the last step if it comes in one read with the answer; a server that replays
    // the events of one stream on another makes it hear a step twice.
    return [answer, [...steps].filter((progress) => progress < 4)];
  });
  await step("cancelled", () => {
    const giveUp = new AbortController();
    return client.callTool({ name, arguments: { duration: 2, steps: 10 } }, undefined, {
      signal: giveUp.signal,
      onprogress: () => {
        giveUp.abort("enough");
      },
    });
  });
  await step("in parallel", () =>
    Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        client.callTool({ name: "echo", arguments: { message: String(i) } }),
      ),
    ),
  );
  await step("as a task", async () => {
    const stream = client.experimental.tasks.callToolStream({
      name: "simulate-research-query",
      arguments: { topic: "bees" },
    });
    const seen: unknown[] = [];
    for await (const message of stream) {
      // How often the client polled is a matter of time.
      if (message.type !== "taskStatus") seen.push(message);
    }
    return seen;
  });
}
