/**
 * A process whose disk is small and full: a journal on a tmpfs of its own. New calls are refused and
 * results still recorded, until there is room again; then calls are accepted again, and nothing is lost.
 *
 *     node --import tsx tmpfs-child.ts FOLDER
 */
import { existsSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { JournalError } from "../../src/base/errors.ts";
import { realWorld } from "../../src/base/world.ts";
import type { CallRow } from "../../src/core/call.ts";
import { openJournals } from "../../src/store/folder.ts";
import { aRow } from "../support/builders.ts";
import type { TmpfsFigures } from "./tmpfs.ts";

const FILLER_BYTES = 40 * 1024 * 1024;
/** Far more than fit. */
const CALLS_MAX = 2_000;

const world = realWorld();
const folder = process.argv[2] ?? "";
const state = join(folder, "state");
const filler = join(folder, "filler");
const findings: string[] = [];
const warnings: string[] = [];

const open = async () => {
  const { own } = await openJournals({
    world,
    folder: state,
    upstreamDigest: "a".repeat(64),
    credentialsDigest: "b".repeat(64),
    mode: "required",
    durability: "full",
    dropsDelivered: false,
    log: (_level, message) => warnings.push(message),
  });
  return own;
};
const aSentCall = () =>
  aRow({ id: world.newId("c"), state: "sent", request: `"${"x".repeat(100_000)}"` });

writeFileSync(filler, Buffer.alloc(FILLER_BYTES, 1));
const journal = await open();
await journal.recover(world.now());
const ballast = join(state, "ballast");
for (let waits = 0; !existsSync(ballast) && waits < 200; waits++) await pause(50);
if (!existsSync(ballast)) findings.push("there is no ballast");

const isAccepted = (call: CallRow): Promise<boolean> =>
  journal.admit(call).then(
    () => true,
    (error: unknown) => {
      if (error instanceof JournalError && error.trouble === "full") return false;
      throw error;
    },
  );

const accepted: string[] = [];
let call = aSentCall();
for (; accepted.length < CALLS_MAX && (await isAccepted(call)); call = aSentCall())
  accepted.push(call.id);
if (accepted.length === CALLS_MAX) findings.push("nothing was refused");
if (existsSync(ballast)) findings.push("the ballast was kept on a full disk");

let recorded = 0;
for (const id of accepted) {
  const reply = JSON.stringify({ id, text: "y".repeat(1000) });
  const settle = { kind: "settle", id, attempt: 1, state: "done", executed: "yes", reply } as const;
  if (await journal.apply({ ...settle, at: world.now() }, true)) recorded++;
}
if (recorded < accepted.length)
  findings.push(`of ${accepted.length} results ${recorded} were recorded`);
if (await isAccepted(aSentCall())) findings.push("a call was accepted while the disk was full");

const filledBytes = statSync(join(state, "journals", "a".repeat(16), "1.db")).size;
rmSync(filler);
const later = aSentCall();
if (!(await isAccepted(later))) findings.push("refused although there is room");
await journal.close();

const again = await open();
const rows = new Map((await again.list({})).map((row) => [row.id, row]));
for (const id of accepted)
  if (rows.get(id)?.reply?.includes(id) !== true) findings.push(`${id} is not there as it was`);
if (!rows.has(later.id)) findings.push("the call that was accepted later is not there");
await again.close();
const figures: TmpfsFigures = { accepted: accepted.length, recorded, filledBytes, findings };
process.stdout.write(JSON.stringify(figures));
