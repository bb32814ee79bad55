/**
 * A process that works on journals of its own, to be traced: opens, works, opens again as after a
 * restart, works off what was left, and ends. Says on stdout what it asks for and what it is promised.
 *
 *     node --import tsx work-child.ts '{"folder": …, "seed": 1, …}'
 */
import { setTimeout as pause } from "node:timers/promises";
import { realWorld } from "../../src/base/world.ts";
import type { Journal } from "../../src/ports.ts";
import { openJournals } from "../../src/store/folder.ts";
import type { Durability } from "../../src/store/sqlite/protocol.ts";
import { Recorder, toStdout } from "./operations.ts";
import { STARTED_AT, Worker } from "./work.ts";
import type { WorkOptions } from "./work.ts";

export interface ChildOptions extends WorkOptions {
  readonly folder: string;
  readonly durability: Durability;
  readonly dropsDelivered: boolean;
}

export const UPSTREAM = "a".repeat(64);

const world = realWorld();
const options = JSON.parse(process.argv[2] ?? "") as ChildOptions;

async function open(): Promise<Journal> {
  const { own } = await openJournals({
    world,
    folder: options.folder,
    upstreamDigest: UPSTREAM,
    credentialsDigest: "b".repeat(64),
    mode: "required",
    durability: options.durability,
    dropsDelivered: options.dropsDelivered,
    log: (_level, message) => process.stderr.write(`${message}\n`),
  });
  return own;
}

const first = await open();
const recorder = new Recorder(first, toStdout);
await recorder.do({ kind: "recover", now: STARTED_AT });
const worker = new Worker(recorder, options);
await worker.work(Math.floor(options.calls / 2));
// Longer than the quiet after which a journal tidies up.
await pause(700);
await first.close();
const second = await open();
recorder.use(second);
await worker.workOff(STARTED_AT + 20_000);
await worker.work(Math.ceil(options.calls / 2));
await second.close();
