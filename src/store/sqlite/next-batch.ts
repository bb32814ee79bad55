/** What goes to the journal thread next, in order, and who waits for it. */
import { LARGE_FROM } from "../../base/large.ts";
import { dropPages, inPages } from "../../base/pages.ts";
import { REQUEST_AT } from "../rows.ts";
import type { Command } from "./protocol.ts";

export interface BatchWaiter {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

export interface Batch {
  readonly commands: readonly Command[];
  /** One for each command; undefined where nobody waits for it. */
  readonly waiters: readonly (BatchWaiter | undefined)[];
}

/** A batch ends with the command that brings it to so much text: each thread holds a copy of it. */
const BATCH_CHARS_MAX = 4 * 1024 * 1024;

export class NextBatch {
  #commands: Command[] = [];
  #waiters: (BatchWaiter | undefined)[] = [];
  /** Characters of the payloads. */
  #chars = 0;

  get size(): number {
    return this.#commands.length;
  }

  push(command: Command, waiter: BatchWaiter | undefined): void {
    this.#commands.push(command);
    this.#waiters.push(waiter);
    this.#chars += charsOf(command);
  }

  /** Takes out as much as one batch holds, from the front. */
  take(): Batch {
    const taken = { commands: this.#commands, waiters: this.#waiters };
    const whole = this.#chars;
    this.drop();
    if (whole <= BATCH_CHARS_MAX) return taken;
    let chars = 0;
    let count = 0;
    while (count < taken.commands.length && chars < BATCH_CHARS_MAX) {
      chars += charsOf(taken.commands[count] as Command);
      count++;
    }
    this.#commands = taken.commands.splice(count);
    this.#waiters = taken.waiters.splice(count);
    this.#chars = whole - chars;
    return taken;
  }

  /** The journal is gone: returns who waited. */
  drop(): readonly (BatchWaiter | undefined)[] {
    const waiters = this.#waiters;
    this.#commands = [];
    this.#waiters = [];
    this.#chars = 0;
    return waiters;
  }
}

/** A batch as it goes to the thread, and what of it goes over without a copy. */
export interface Parcel {
  readonly commands: readonly Command[];
  readonly transfer: readonly ArrayBuffer[];
}

/** Large payloads go as the bytes that SQLite wants: of a text each step makes a copy more. */
export function packed(commands: readonly Command[]): Parcel {
  if (!commands.some((command) => charsOf(command) >= LARGE_FROM)) {
    return { commands, transfer: [] };
  }
  const transfer: ArrayBuffer[] = [];
  const pack = (text: string): Uint8Array => {
    const bytes = inPages(text);
    transfer.push(bytes.buffer);
    return bytes;
  };
  return { commands: commands.map((command) => withBytes(command, pack)), transfer };
}

function withBytes(command: Command, pack: (text: string) => Uint8Array): Command {
  if (charsOf(command) < LARGE_FROM) return command;
  if (command[0] === "admit") {
    const [name, values, isSynced] = command;
    return [name, values.with(REQUEST_AT, ""), isSynced, pack(String(values[REQUEST_AT]))];
  }
  if (command[0] === "change" && command[1].kind === "settle") {
    const [name, change, isSynced] = command;
    return [name, { ...change, reply: "" }, isSynced, pack(change.reply)];
  }
  return command;
}

/** The batch is done: what came in a parcel is given back. */
export function unpacked(commands: readonly Command[]): void {
  for (const command of commands) {
    const bytes = command[0] === "change" || command[0] === "admit" ? command[3] : undefined;
    if (bytes !== undefined) dropPages(bytes);
  }
}

/** Characters, or bytes, of the payload that a command carries. */
export function charsOf(command: Command): number {
  switch (command[0]) {
    case "admit":
      return command[3]?.length ?? (command[1][REQUEST_AT] as string).length;
    case "change":
      return command[3]?.length ?? (command[1].kind === "settle" ? command[1].reply.length : 0);
    default:
      return 0;
  }
}
