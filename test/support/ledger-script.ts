/** One script of requests against the ledger server, recorded: a bit of everything that MCP has. */
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import { expect } from "vitest";
import { until, type Lab } from "./lab.ts";
import { failedSteps, recordScript, type Recording, type Script } from "./recording.ts";

/** `nonce` tells the executions of this run from those of others in the same ledger. */
export const recordLedger = (lab: Lab, transport: Transport, nonce: string): Promise<Recording> =>
  recordScript(transport, async (script) => {
    await runLists(script);
    await runCalls(script);
    await runTalk(script);
    await runCancellation(lab, script, nonce);
    await runRefusals(script);
  });

/** A recording in which requests failed for another reason than the script's would prove nothing. */
export function expectWhole(direct: Recording): void {
  expect(failedSteps(direct)).toEqual(["cancelled", "no such resource", "no such prompt"]);
  expect(direct.answers.length).toBeGreaterThan(20);
  expect(new Map(direct.answers).get("its steps")).toEqual([1, 2, 3]);
  // For roots twice, for a sample, for a name.
  expect(direct.asked).toHaveLength(4);
  // Three log messages twice, and one word about a resource.
  expect(direct.notifications).toHaveLength(7);
}

async function runLists({ client, step }: Script): Promise<void> {
  await step("ping", () => client.ping());
  await step("level", () => client.setLoggingLevel("info"));
  await step("tools", () => client.listTools());
  await step("resources", () => client.listResources());
  await step("templates", () => client.listResourceTemplates());
  await step("prompts", () => client.listPrompts());
  await step("read text", () => client.readResource({ uri: "ledger://about" }));
  await step("read bytes", () => client.readResource({ uri: "ledger://row/7" }));
  await step("prompt", () => client.getPrompt({ name: "greet", arguments: { name: "Ada" } }));
  await step("complete", () =>
    client.complete({
      ref: { type: "ref/prompt", name: "greet" },
      argument: { name: "name", value: "A" },
    }),
  );
}

async function runCalls({ client, step }: Script): Promise<void> {
  const called = (name: string, args: Record<string, unknown>) =>
    step(name, () => client.callTool({ name, arguments: args }));
  await called("read_value", { nonce: "a" });
  await called("set_value", { nonce: "b", value: 'hello 🌍 \u2028 "quoted"' });
  await called("note", { nonce: "c" });
  await called("fail", {});
  await called("read_value", { nonce: 5 });
  await called("no_such_tool", {});
  await step("in parallel", () =>
    Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        client.callTool({ name: "note", arguments: { nonce: String(i) } }),
      ),
    ),
  );
}

async function runTalk({ client, step, heard }: Script): Promise<void> {
  await step("without progress", () => client.callTool({ name: "steps" }));
  const steps = new Set<number>();
  await step("with progress", () =>
    client.callTool({ name: "steps" }, undefined, {
      onprogress: ({ progress }) => steps.add(progress),
    }),
  );
  await step("its steps", () => Promise.resolve([...steps]));
  await step("sample", () => client.callTool({ name: "sample" }));
  await step("elicit", () => client.callTool({ name: "elicit" }));
  await step("subscribe", () => client.subscribeResource({ uri: "ledger://about" }));
  await step("touch", () => client.callTool({ name: "touch" }));
  await heard("notifications/resources/updated");
  await step("unsubscribe", () => client.unsubscribeResource({ uri: "ledger://about" }));
  await step("touch", () => client.callTool({ name: "touch" }));
}

async function runCancellation(lab: Lab, { client, step }: Script, nonce: string): Promise<void> {
  const reached = (phase: string) =>
    until(`the call to be ${phase}`, () =>
      lab.executions().some((line) => line.nonce === nonce && line.phase === phase),
    );
  const giveUp = new AbortController();
  const started = reached("started").then(() => {
    giveUp.abort("enough");
  });
  await step("cancelled", () =>
    client.callTool({ name: "linger", arguments: { nonce } }, undefined, {
      signal: giveUp.signal,
    }),
  );
  await started;
  await reached("cancelled");
}

/** Last of all: after an error over Streamable HTTP this SDK takes the stream up again without need. */
async function runRefusals({ client, step }: Script): Promise<void> {
  await step("no such resource", () => client.readResource({ uri: "ledger://nothing" }));
  await step("no such prompt", () => client.getPrompt({ name: "nothing" }));
}
