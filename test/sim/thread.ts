/**
 * The journal thread of a simulated process: the real writer, without the hop between threads. A batch
 * reaches the database after a delay, its answer comes back after another.
 *
 * TH1. What a killed process had posted and not committed never happens; an answer under way is lost.
 */
import type { World } from "../../src/base/world.ts";
import { JournalError, errorText } from "../../src/base/errors.ts";
import type { Command, JournalThread, ThreadMessage } from "../../src/store/sqlite/protocol.ts";
import { Writer } from "../../src/store/sqlite/writer.ts";
import { ID_AT, REQUEST_AT } from "../../src/store/rows.ts";
import type { SimFile } from "./disk.ts";

export interface ThreadParts {
  readonly world: World;
  readonly file: SimFile;
  readonly dropsDelivered: boolean;
  readonly durability: "full" | "always" | "process";
  /** Does `act` at a named instant at which the process may die. */
  effect(names: readonly string[], act: () => void): void;
  /** How long the batch takes to reach the database, ms. */
  commitMs(): number;
  /** What rows lose when they are delivered has been committed. */
  onRequest(callId: string, request: string): void;
  onReply(callId: string, reply: string): void;
}

export class SimThread implements JournalThread {
  readonly #parts: ThreadParts;
  readonly writer: Writer;
  #hear: (message: ThreadMessage) => void = () => undefined;
  #fail: (error: Error) => void = () => undefined;
  #isOver = false;

  constructor(parts: ThreadParts) {
    this.#parts = parts;
    const { file, world, dropsDelivered, durability } = parts;
    const beside = file.beside(() => {
      let isWritten = false;
      parts.effect(["mark"], () => {
        isWritten = true;
      });
      return isWritten;
    });
    const paths = { path: file.path, highWaterPath: "", ballastPath: "" };
    // So few that a process can die between two steps of its recovery.
    const options = { ...paths, dropsDelivered, durability, recoverStepRows: 2 };
    this.writer = new Writer(file.open(), world, options, beside);
  }

  on(event: "message" | "error" | "exit", hear: never): this {
    if (event === "message") this.#hear = hear;
    else if (event === "error") this.#fail = hear;
    return this;
  }

  postMessage(batch: readonly Command[] | "close"): void {
    this.#parts.world.timer(this.#parts.commitMs(), () => {
      if (this.#isOver) return;
      if (batch === "close") this.#close();
      else this.#run(batch);
    });
  }

  terminate(): Promise<void> {
    this.#isOver = true;
    return Promise.resolve();
  }

  #close(): void {
    this.#isOver = true;
    this.#parts.file.close();
    this.#hear({ kind: "closed" });
  }

  #run(batch: readonly Command[]): void {
    const { effect, file } = this.#parts;
    const kinds = kindsOf(batch);
    let message: ThreadMessage | undefined;
    effect(
      kinds.map((kind) => `commit:${kind}`),
      () => {
        message = this.#commit(batch);
        if (message?.kind !== "batch") return;
        // A synced one is known by its mark.
        const isUnsynced = message.reply.syncMs === undefined && !kinds.includes("look");
        if (isUnsynced) file.committed(false);
        this.#note(batch, message.reply.results);
      },
    );
    // Undefined where the process died before, or the thread ended with an error.
    if (message === undefined) return;
    const answer = message;
    this.#parts.world.soon(() => {
      effect(
        kinds.map((kind) => `committed:${kind}`),
        () => {
          this.#hear(answer);
        },
      );
    });
  }

  #commit(batch: readonly Command[]): ThreadMessage | undefined {
    try {
      const reply = this.writer.run(batch);
      this.writer.afterBatch();
      return { kind: "batch", reply };
    } catch (error) {
      this.#isOver = true;
      if (error instanceof JournalError) return { kind: "broken", text: errorText(error) };
      const bug = error instanceof Error ? error : new Error(String(error));
      this.#parts.world.soon(() => {
        this.#fail(bug);
      });
      return undefined;
    }
  }

  #note(batch: readonly Command[], results: readonly unknown[]): void {
    for (const [at, command] of batch.entries()) {
      if (command[0] === "admit") {
        const [, values] = command;
        this.#parts.onRequest(String(values[ID_AT]), String(values[REQUEST_AT]));
      } else if (command[0] === "change" && command[1].kind === "settle" && results[at] === true) {
        this.#parts.onReply(command[1].id, command[1].reply);
      }
    }
  }
}

/** The names of what a batch does. */
function kindsOf(batch: readonly Command[]): string[] {
  const kinds = new Set<string>();
  for (const command of batch) {
    const [name] = command;
    if (name === "change") kinds.add(command[1].kind);
    else if (name === "saveSession") kinds.add("session");
    else if (name === "admit" || name === "recover" || name === "keep" || name === "prune")
      kinds.add(name);
  }
  return kinds.size === 0 ? ["look"] : [...kinds];
}
