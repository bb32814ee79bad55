/** Calls and sessions on their way from one state folder to another, through real pipes. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect } from "vitest";
import {
  call,
  calls,
  command,
  connect,
  status,
  untilAway,
  untilWaiting,
} from "../support/holdfast-process.ts";
import { labTest, until, type Lab } from "../support/lab.ts";
import { stdioUpstream } from "../support/upstream-process.ts";

const CLI = fileURLToPath(new URL("../../dist/app/cli.js", import.meta.url));

/** `holdfast export | holdfast import -`, into another state folder. */
async function pipe(lab: Lab, into: Readonly<Record<string, string>>) {
  const reader = spawn(process.execPath, [CLI, "import", "-", "--json"], {
    env: { ...lab.env, ...into },
    stdio: ["pipe", "pipe", "inherit"],
  });
  const writer = spawn(process.execPath, [CLI, "export"], {
    env: lab.env,
    stdio: ["ignore", "pipe", "ignore"],
  });
  for (const { pid } of [reader, writer]) if (pid !== undefined) lab.watch(pid);
  let out = "";
  reader.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  writer.stdout.pipe(reader.stdin);
  const codes = await Promise.all(
    [writer, reader].map(async (one) => (await once(one, "close"))[0]),
  );
  return { codes: codes as (number | null)[], out };
}

describe("calls that waited when their proxy was killed", () => {
  labTest("are moved, wait for a person where they come, and those that read run", async (lab) => {
    const upstream = await stdioUpstream(lab);
    const first = await connect(lab, { args: upstream.target });
    // Without the tools' annotations every call would be unsafe.
    await first.client.listTools();
    await call(first.client, "append", { nonce: "done" });
    await call(first.client, "read_value", { nonce: "read-before" });
    await upstream.down();
    await untilAway(lab, first.client);
    const waiting = Promise.allSettled([
      call(first.client, "append", { nonce: "unsafe" }),
      call(first.client, "read_value", { nonce: "read" }),
    ]);
    await untilWaiting(lab, 2);
    // The proxy runs: an export reads beside it, and an import finds all of its calls there.
    const file = lab.path("calls.jsonl");
    expect((await command(lab, ["export", "--to", file])).code).toBe(0);
    const idle = await command(lab, ["import", file]);
    expect(idle.code).toBe(0);
    expect(idle.stdout).toMatch(/^Nothing to do; here already: \d calls\.$/m);
    await first.kill();
    await waiting;

    const elsewhere = { HOLDFAST_STATE_DIR: lab.path("elsewhere") };
    // The same key, as somebody has it who moves house: under another one nothing at all would run.
    mkdirSync(elsewhere.HOLDFAST_STATE_DIR, { mode: 0o700 });
    const key = join(lab.env["HOLDFAST_STATE_DIR"] ?? "", "identity.key");
    copyFileSync(key, join(elsewhere.HOLDFAST_STATE_DIR, "identity.key"));
    const { codes, out } = await pipe(lab, elsewhere);
    expect(codes).toEqual([0, 0]);
    expect(JSON.parse(out)).toMatchObject({ imported: { held: 1, callsThere: 0, sessions: 1 } });
    const again = await pipe(lab, elsewhere);
    expect(JSON.parse(again.out)).toMatchObject({ imported: { calls: 0, journals: [] } });

    // Back to where it came from there is nothing to do; in a folder of its own it is a journal like any.
    expect((await command(lab, ["import", file])).stdout).toContain("Nothing to do");
    await upstream.up();
    const there = { ...lab, env: { ...lab.env, ...elsewhere } };
    const second = await connect(there, { args: upstream.target });
    await call(second.client, "read_value", { nonce: "after" });
    const proxy = await until("the imported calls to be taken up", async () => {
      const [one] = await status(there);
      return one !== undefined && one.heldForPerson > 0 ? one : undefined;
    });
    await until("the imported read to have run", () => lab.nonces().includes("read"));
    expect(proxy.heldForPerson).toBe(1);
    expect(proxy.reasons.join()).toContain("a journal was imported from stdin at ");
    expect(lab.nonces()).not.toContain("unsafe");
    const rows = await calls(there);
    expect(rows.find((row) => row.state === "done" && row.tool === "append")).toBeDefined();
    const held = rows.find((row) => row.state === "queued" && row.tool === "append");
    expect((await command(there, ["calls", "cancel", held?.id ?? ""])).code).toBe(0);
    const [after] = await calls(there, "--state", "cancelled");
    expect(after).toMatchObject({ id: held?.id, executed: "unknown" });
    expect(lab.nonces()).not.toContain("unsafe");
  });
});
