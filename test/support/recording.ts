/**
 * What one client saw of one server while it went through a script of requests, so that two runs can be
 * compared answer by answer, whatever the transport. What differs between any two runs of the same
 * server (times, random ids) is replaced by a word.
 */
import { InMemoryTaskStore } from "@modelcontextprotocol/sdk/experimental/tasks";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  type CreateTaskResult,
  type Result,
} from "@modelcontextprotocol/sdk/types.js";
import { expect } from "vitest";
import { until } from "./lab.ts";
import { normal, sorted } from "./normal.ts";

export interface Recording {
  /** What the client learned in the handshake. */
  readonly server: unknown;
  readonly answers: readonly (readonly [string, unknown])[];
  /** Notifications as they arrived, without list_changed, sorted. */
  readonly notifications: readonly unknown[];
  readonly listChanges: ReadonlySet<string>;
  /** What the server asked of the client, sorted. */
  readonly asked: readonly unknown[];
}

const text = (value: string) => ({ type: "text" as const, text: value });

interface Asking {
  readonly method: string;
  readonly params?: { readonly task?: { readonly ttl?: number | undefined } | undefined };
}

/** A client that can do everything a server may ask for, always with the same answer. */
function ableClient(asked: unknown[]) {
  const client = new Client(
    { name: "interop", version: "1.0.0" },
    {
      capabilities: {
        sampling: {},
        elicitation: { form: {}, url: {} },
        roots: { listChanged: true },
        tasks: {
          list: {},
          cancel: {},
          requests: { sampling: { createMessage: {} }, elicitation: { create: {} } },
        },
      },
      taskStore: new InMemoryTaskStore(),
    },
  );
  let roots = [{ uri: "file:///one", name: "one" }];
  type Extra = Parameters<Parameters<typeof client.setRequestHandler>[1]>[1];
  /** Answers at once, or as a task where the server asked for one. */
  const reply = async <T extends Result>(request: Asking, extra: Extra, result: T) => {
    asked.push(request);
    const task = request.params?.task;
    if (task === undefined || extra.taskStore === undefined) return result;
    const created = await extra.taskStore.createTask({ ttl: task.ttl ?? null, pollInterval: 50 });
    await extra.taskStore.storeTaskResult(created.taskId, "completed", result);
    return { task: created } satisfies CreateTaskResult as unknown as T;
  };
  client.setRequestHandler(CreateMessageRequestSchema, (request, extra) =>
    reply(request, extra, { model: "m", role: "assistant" as const, content: text("sampled") }),
  );
  client.setRequestHandler(ElicitRequestSchema, (request, extra) =>
    reply(request, extra, {
      action: "accept" as const,
      ...(request.params.mode === "url" ? {} : { content: { name: "Ada" } }),
    }),
  );
  client.setRequestHandler(ListRootsRequestSchema, (request) => {
    asked.push(request);
    return { roots };
  });
  const setRoots = async (names: readonly string[]) => {
    roots = names.map((name) => ({ uri: `file:///${name}`, name }));
    await client.sendRootsListChanged();
  };
  return { client, setRoots };
}

/** One request of a script: its answer, or its error, is written down under this name. */
export type Step = (name: string, request: () => Promise<unknown>) => Promise<void>;

/** What a script works with. */
export interface Script {
  readonly client: Client;
  readonly step: Step;
  /** Resolves when a notification came that contains this text. */
  readonly heard: (what: string) => Promise<unknown>;
  readonly setRoots: (names: readonly string[]) => Promise<void>;
}

/** Connects over `transport`, goes through the script, and closes. */
export async function recordScript(
  transport: Transport,
  script: (tools: Script) => Promise<void>,
): Promise<Recording> {
  const answers: [string, unknown][] = [];
  const notifications: { method: string; params?: unknown }[] = [];
  const asked: unknown[] = [];
  const { client, setRoots } = ableClient(asked);
  client.fallbackNotificationHandler = (notification) => {
    notifications.push(notification);
    return Promise.resolve();
  };
  const step: Step = async (name, request) => {
    const answer = await request().catch((error: unknown) => {
      const { code, message, data } = error as { code?: number; message: string; data?: unknown };
      return { error: { code, message, data } };
    });
    answers.push([name, normal(answer)]);
  };
  const heard = (what: string) =>
    until(`a notification with ${what}`, () =>
      notifications.some((notification) => JSON.stringify(notification).includes(what)),
    );

  await client.connect(transport);
  await script({ client, step, heard, setRoots });
  const server = {
    capabilities: client.getServerCapabilities(),
    info: client.getServerVersion(),
    instructions: client.getInstructions(),
  };
  await client.close();
  const isListChange = ({ method }: { method: string }) => method.endsWith("list_changed");
  return {
    server,
    answers,
    notifications: sorted(notifications.filter((heardOf) => !isListChange(heardOf))),
    listChanges: new Set(notifications.filter(isListChange).map(({ method }) => method)),
    asked: sorted(asked),
  };
}

/** Our own word in an answer may be there; nothing else may differ. */
function withoutOurMeta(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutOurMeta);
  if (typeof value !== "object" || value === null) return value;
  const object: Record<string, unknown> = {};
  for (const [key, member] of Object.entries(value)) {
    if (key.startsWith("holdfast/")) continue;
    const inner = withoutOurMeta(member);
    const isEmptied =
      key === "_meta" && JSON.stringify(inner) === "{}" && JSON.stringify(member) !== "{}";
    if (!isEmptied) object[key] = inner;
  }
  return object;
}

/** The capabilities, as if every list had been declared to change. */
function withListChanged(server: unknown): unknown {
  const { capabilities, ...rest } = server as { capabilities: Record<string, object> };
  const declared = Object.entries(capabilities).map(([name, capability]) => [
    name,
    ["tools", "prompts", "resources"].includes(name)
      ? { ...capability, listChanged: true }
      : capability,
  ]);
  return { ...rest, capabilities: Object.fromEntries(declared) as unknown };
}

/** Fails unless the two say the same; permitted are our `_meta` keys and our word on `listChanged`. */
export function expectSame(direct: Recording, through: Recording): void {
  expect(withListChanged(through.server)).toEqual(withListChanged(direct.server));
  expect(through.answers.map(([name]) => name)).toEqual(direct.answers.map(([name]) => name));
  for (const [i, [name, answer]] of direct.answers.entries()) {
    expect([name, withoutOurMeta(through.answers[i]?.[1])]).toEqual([name, answer]);
  }
  expect(withoutOurMeta(through.notifications)).toEqual(direct.notifications);
  expect(withoutOurMeta(through.asked)).toEqual(direct.asked);
}

/** Names of the steps that were answered with an error of the protocol. */
export const failedSteps = ({ answers }: Recording): string[] =>
  answers
    .filter(([, answer]) => (answer as { error?: unknown }).error !== undefined)
    .map(([name]) => name);
