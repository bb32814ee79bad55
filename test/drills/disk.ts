/**
 * The disk with the state is lost: the last snapshot is put back. What is in it is served again; what
 * came after it is named as a gap, and what may have run in that gap is not run by itself.
 */
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { command, status } from "../support/holdfast-process.ts";
import { touch, until, type Lab } from "../support/lab.ts";
import { lastingDaemon, sharedLedger } from "../support/lasting-daemon.ts";
import { RawSession } from "../support/raw-session.ts";
import type { Drill, Figure } from "./drill.ts";

const WAITING = 100;
const ENDED = 100;

interface Made {
  readonly made: readonly { readonly path: string }[];
}

async function waitingCalls(lab: Lab): Promise<number> {
  const [proxy] = await status(lab);
  return (proxy?.upstreams ?? []).reduce((sum, { waiting }) => sum + waiting, 0);
}

/** Resolves to how long it took, ms. */
async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return performance.now() - startedAt;
}

export const diskLost: Drill = {
  name: "disk lost: the last snapshot is restored, and the gap named",
  rounds: 1,
  run: async (lab) => {
    const away = lab.path("away");
    const daemon = await lastingDaemon(
      lab,
      { ledger: sharedLedger(lab), away: sharedLedger(lab, {}, away) },
      { hold: "10m", handshakeWait: "200ms" },
    );
    const session = await RawSession.open(daemon.mcp("ledger"));
    await session.request("tools/list");
    for (let n = 0; n < ENDED; n++) await session.call("append", `ended-${String(n)}`);
    touch(away);
    const waiting = await RawSession.open(daemon.mcp("away"));
    for (let n = 0; n < WAITING; n++) waiting.ask("append", `waiting-${String(n)}`);
    await until("the calls to wait", async () => (await waitingCalls(lab)) === WAITING);

    const backup = await command(lab, ["backup", "--json", "--to", lab.path("backups")]);
    assert.equal(backup.code, 0, backup.stderr);
    const path = (JSON.parse(backup.stdout) as Made).made[0]?.path;
    assert.ok(path !== undefined);
    // This is in no snapshot.
    assert.equal((await session.call("append", "in the gap")).isError, false);
    await daemon.kill();
    rmSync(lab.path("state"), { recursive: true });

    let restored = "";
    const restoreMs = await timed(async () => {
      const { code, stdout, stderr } = await command(lab, ["restore", path]);
      assert.equal(code, 0, stderr);
      restored = stdout;
    });
    assert.match(restored, /gap .*not known/);
    rmSync(away);
    const startMs = await timed(() => daemon.start());
    const again = await RawSession.open(daemon.mcp("ledger"));
    assert.equal((await again.call("append", "new")).isError, false);
    const [proxy] = await status(lab);
    assert.equal(proxy?.heldForPerson, WAITING);
    assert.match(proxy.reasons.join(), /restored from a snapshot/);
    // A call of the restored journal may have run since: none ran by itself, none twice.
    const ran = lab.nonces();
    assert.deepEqual(
      ran.filter((nonce) => nonce.startsWith("waiting-")),
      [],
    );
    assert.equal(new Set(ran).size, ran.length);
    return figuresOf(restoreMs, startMs);
  },
};

const figuresOf = (restoreMs: number, startMs: number): readonly Figure[] => [
  {
    what: "holdfast restore, from the command to its end",
    value: restoreMs,
    unit: "ms",
    max: 5_000,
  },
  { what: "exec → listening with the restored journal", value: startMs, unit: "ms", max: 5_000 },
  { what: "calls that wait for a person", value: WAITING, unit: "calls" },
];
