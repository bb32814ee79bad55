/**
 * A short run of the crash lab (`npm run crashlab`): power cuts, failing and full disks, damaged files. On a
 * machine without gcc, Linux or the right to mount, a test says in its name what it could not do, and
 * checks that this is so.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { MODES } from "../crashlab/disk.ts";
import { faults, mutations, proxyFaults, proxyImages, storeImages } from "../crashlab/lanes.ts";
import type { Lab } from "../crashlab/lanes.ts";
import { buildNative } from "../crashlab/native.ts";
import { runTmpfs, tmpfsTrouble } from "../crashlab/tmpfs.ts";

const TIMEOUT_MS = 240_000;
const MEMORY = "/dev/shm";
const place = mkdtempSync(join(existsSync(MEMORY) ? MEMORY : tmpdir(), "holdfast-crashlab-"));
afterAll(() => {
  rmSync(place, { recursive: true, force: true });
});

const native = buildNative(place);
const small = join(place, "mounted");
mkdirSync(small);
const mountTrouble = tmpfsTrouble(small);

/** A test under the library; where that can't be, one of the reason. */
function underLibrary(name: string, body: (lab: Lab) => Promise<void>): void {
  if (native.isThere) {
    const lab = { place, shim: native.path, seed: 1 };
    it(name, () => body(lab), TIMEOUT_MS);
    return;
  }
  it(`${name}: NOT TRIED, ${native.reason}`, () => {
    const hasCompiler = spawnSync("gcc", ["--version"]).status === 0;
    expect(process.platform === "linux" && hasCompiler).toBe(false);
  });
}

describe("power cuts", () => {
  underLibrary("lose nothing that was acknowledged, and leave nothing corrupt", async (lab) => {
    const figures = await storeImages(lab, 150);
    expect(figures.findings).toEqual([]);
    expect(figures).toMatchObject({ images: 150, lost: 0, corrupt: 0 });
    for (const mode of MODES) expect(figures.byMode[mode]).toBe(30);
    expect(figures.walPeakBytes).toBeGreaterThan(4 * 1024 * 1024);
  });

  underLibrary(
    "do lose acknowledged rows of a store that does not wait for the disk",
    async (lab) => {
      const figures = await storeImages(lab, 25, "process");
      expect(figures.losing).toBeGreaterThan(0);
      expect(figures.corrupt).toBe(0);
    },
  );

  underLibrary("under the proxy make nothing that anybody was told untrue", async (lab) => {
    const figures = await proxyImages(lab, 40, 1);
    expect(figures).toMatchObject({ images: 40, restarts: 1, findings: [] });
  });
});

describe("calls to the disk that fail", () => {
  underLibrary("cost nothing that was acknowledged, whichever they are", async (lab) => {
    const { points, findings } = await faults(lab, 47, 1_000_000);
    expect(findings).toEqual([]);
    for (const kind of ["write", "sync", "open", "truncate", "unlink"])
      expect(Object.keys(points).some((name) => name.startsWith(kind))).toBe(true);
  });

  underLibrary("under the proxy cost no call its one true answer", async (lab) => {
    expect(await proxyFaults(lab, [12])).toEqual({ points: 8, findings: [] });
  });
});

describe("a small disk", () => {
  if (mountTrouble === undefined) {
    it(
      "that is full takes results but no new calls, until there is room again",
      () => {
        const { accepted, recorded, findings } = runTmpfs(place);
        expect(findings).toEqual([]);
        expect(accepted).toBeGreaterThan(100);
        expect(recorded).toBe(accepted);
      },
      TIMEOUT_MS,
    );
  } else {
    it(`that is full: NOT TRIED, ${mountTrouble}`, () => {
      const mount = ["-m", "mount", "-t", "tmpfs", "crashlab", small];
      expect(spawnSync("unshare", mount).status).not.toBe(0);
    });
  }
});

describe("damaged files", () => {
  underLibrary("are noticed, or do no harm", async (lab) => {
    const { missed, findings, table } = await mutations(lab, 3);
    expect(findings).toEqual([]);
    expect(missed).toBe(0);
    const noticed = Object.values(table).filter(
      (row) => row.refused + row["went backwards"] + row.quarantined > 0,
    );
    expect(noticed.length).toBeGreaterThan(15);
  });
});
