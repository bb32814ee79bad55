import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { findProxies } from "../../src/app/control-client.ts";
import { realWorld } from "../../src/base/world.ts";

const folder = mkdtempSync(join(tmpdir(), "holdfast-run-"));

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

test("commands that find the socket of a dead proxy at the same time do not trip over each other", async () => {
  const { pid } = spawnSync(process.execPath, ["-e", ""]);
  const left = join(folder, `${String(pid)}.sock`);
  writeFileSync(left, "");
  const find = () => findProxies(folder, process.platform, realWorld());
  expect(await Promise.all([find(), find(), find()])).toEqual([[], [], []]);
  expect(existsSync(left)).toBe(false);
});
