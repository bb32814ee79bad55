/** A client of a front with all that a test asks about it, and what Holdfast says of the calls. */
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { realWorld } from "../../src/base/world.ts";
import type { CallRow } from "../../src/core/call.ts";
import { findProxies } from "../../src/app/control-client.ts";
import type { Control } from "../../src/ports.ts";
import type { Front } from "./front.ts";
import { call, type Answer } from "./holdfast-process.ts";
import { until, type Lab } from "./lab.ts";

export interface User {
  call(tool: string, args: Record<string, unknown>): Promise<Answer>;
  hasClosed(): boolean;
  /** Answers to what it never asked, or had an answer to. */
  strays(): readonly string[];
}

/** Connects and reads the tools: without their annotations every call would be unsafe. */
export async function join(lab: Lab, front: Front): Promise<User> {
  const client = new Client({ name: "matrix", version: "1.0.0" });
  const strays: string[] = [];
  let hasClosed = false;
  client.onclose = () => {
    hasClosed = true;
  };
  client.onerror = ({ message }) => {
    lab.log(`[client] ${message}\n`);
    if (message.includes("unknown message ID")) strays.push(message);
  };
  lab.onClose(() => client.close());
  await client.connect(front.transport(), { timeout: 60_000 });
  await client.listTools();
  return {
    call: (tool, args) => call(client, tool, args),
    hasClosed: () => hasClosed,
    strays: () => strays,
  };
}

/** Asks the lab's only proxy over its control socket; undefined if it is just being killed. */
async function ask<T>(
  lab: Lab,
  question: (control: Control) => Promise<T>,
): Promise<T | undefined> {
  const found = await findProxies(lab.path("state/run"), process.platform, realWorld());
  const [proxy, ...others] = found;
  for (const { client } of others.filter((other) => "client" in other)) client.close();
  if (others.length > 0) throw new Error("several proxies run in this lab");
  if (proxy === undefined || "error" in proxy) return undefined;
  try {
    return await question(proxy.client);
  } finally {
    proxy.client.close();
  }
}

/** Waits until the proxy knows that its server is gone. */
export const untilLost = (lab: Lab) =>
  until("the connection to be lost", () =>
    ask(lab, async (control) => {
      const { upstreams } = await control.status();
      return upstreams.every(({ connections }) => connections.serving === undefined);
    }),
  );

/** Waits until this many calls of the tool are in that state. */
export const untilCalls = (lab: Lab, tool: string, state: CallRow["state"], count: number) =>
  until(`${String(count)} × ${tool} to be ${state}`, async () => {
    const rows = await ask(lab, (control) => control.list({ states: [state], limit: 1000 }));
    return rows?.filter((row) => row.tool === tool).length === count;
  });

/**
 * Makes calls one by one, each when the one before has been taken in: several requests of a client need
 * not arrive in the order in which it made them.
 */
export async function queue(lab: Lab, user: User, nonces: readonly string[]) {
  const answers: Promise<Answer>[] = [];
  for (const nonce of nonces) {
    const answer = user.call("append", { nonce });
    // What becomes of it is the test's; until then it may fail without being called unhandled.
    answer.catch(() => undefined);
    answers.push(answer);
    await untilCalls(lab, "append", "queued", answers.length);
  }
  return answers;
}
