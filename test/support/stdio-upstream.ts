/** Dials the fixture upstream by the stdio connector and keeps everything that was told of it. */
import { fileURLToPath } from "node:url";
import { afterEach } from "vitest";
import { must } from "../../src/base/assert.ts";
import { realWorld } from "../../src/base/world.ts";
import type { Failure } from "../../src/core/failure.ts";
import type { Connection, ConnectionEvents, DialOutcome } from "../../src/ports.ts";
import type { Message } from "../../src/wire/message.ts";
import { formatRequest } from "../../src/wire/message.ts";
import { stdioConnector, type ChildRecord, type StdioOptions } from "../../src/upstream/stdio.ts";
import { eventually, until } from "./processes.ts";

export const FIXTURE = fileURLToPath(new URL("../fixtures/upstream.mjs", import.meta.url));

type UpstreamOutcome = Parameters<ConnectionEvents["onOutcome"]>[1];

export class Observed implements ConnectionEvents {
  readonly messages: Message[] = [];
  readonly outcomes: { readonly id: string; readonly outcome: UpstreamOutcome }[] = [];
  readonly downs: Failure[] = [];
  readonly noises: string[] = [];
  readonly stderr: string[] = [];
  readonly children: ChildRecord[] = [];
  readonly gonePids: number[] = [];
  /** Events after `onDown`, of which there must be none. */
  late = 0;
  dialled: DialOutcome | undefined;

  #check(): void {
    if (this.downs.length > 0) this.late++;
  }
  onMessage(message: Message): void {
    this.#check();
    this.messages.push(message);
  }
  onOutcome(id: string, outcome: UpstreamOutcome): void {
    this.#check();
    this.outcomes.push({ id, outcome });
  }
  onDown(failure: Failure): void {
    this.#check();
    this.downs.push(failure);
  }
  onNoise(what: string): void {
    this.#check();
    this.noises.push(what);
  }

  get connection(): Connection {
    const dialled = must(this.dialled, "a dial");
    if (dialled.kind === "failed") throw new Error(`dial failed: ${dialled.failure.message}`);
    return dialled.connection;
  }
  get failure(): Failure {
    const dialled = must(this.dialled, "a dial");
    if (dialled.kind === "connected") throw new Error("the dial did not fail");
    return dialled.failure;
  }
  get pid(): number {
    return must(this.children[0], "a child").pid;
  }

  call(id: string, method: string, params: unknown): boolean {
    const text = formatRequest(id, method, params);
    return this.connection.send(text, { kind: "request", id, safety: "unsafe" });
  }
  /** Has the child do things, and resolves when it has answered. */
  async act(...actions: string[]): Promise<void> {
    const id = `act-${String(this.messages.length)}`;
    this.call(id, "do", { actions });
    await this.replyTo(id);
  }
  replyTo(id: string): Promise<Message> {
    return eventually(`a reply to ${id}`, () =>
      this.messages.find((message) => message.kind === "reply" && message.id === id),
    );
  }
  notification(method: string): Promise<Message> {
    return eventually(`the notification ${method}`, () =>
      this.messages.find((message) => message.kind === "notification" && message.method === method),
    );
  }
  async down(): Promise<Failure> {
    await until("the link is down", () => this.downs.length > 0);
    return must(this.downs[0], "a failure");
  }
}

const open: Observed[] = [];

afterEach(async () => {
  for (const observed of open.splice(0)) {
    if (observed.dialled?.kind === "connected") await observed.dialled.connection.close(0);
  }
});

/** Dials `node upstream.mjs …actions`, or another command by `over`. Ended after the test. */
export async function dial(
  actions: readonly string[],
  over: Partial<StdioOptions> = {},
  signal = new AbortController().signal,
): Promise<Observed> {
  const observed = new Observed();
  open.push(observed);
  const connector = stdioConnector({
    world: realWorld(),
    log: (_level, message, fields) => {
      if (message === "upstream stderr") observed.stderr.push(String(fields?.["line"]));
    },
    command: process.execPath,
    args: [FIXTURE, ...actions],
    env: { PATH: process.env["PATH"] ?? "" },
    frameMaxBytes: 1 << 20,
    maskValues: [],
    onChild: (child) => observed.children.push(child),
    onChildGone: (pid) => observed.gonePids.push(pid),
    ...over,
  });
  observed.dialled = await connector.dial(observed, undefined, signal);
  return observed;
}
