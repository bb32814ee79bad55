import { readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { Catalogue } from "../../src/core/catalogue.ts";
import { openCatalogueStore } from "../../src/store/catalogue.ts";
import { aFolder, aLog, world } from "./builders.ts";

const CATALOGUE: Catalogue = {
  format: 1,
  variants: [
    { key: "k", handshake: { serverInfo: {} }, lists: { tools: [{ name: "é" }] }, seenAt: 5 },
  ],
};

function aStore(folder: string, credentialsDigest = "c".repeat(64)) {
  const { lines, log } = aLog();
  const upstreamDigest = "u".repeat(64);
  return {
    lines,
    store: openCatalogueStore({ world, log, folder, upstreamDigest, credentialsDigest }),
  };
}

describe("the catalogue on disk", () => {
  it("gives back what was saved, with mode 0600 and nothing beside it", () => {
    const folder = aFolder();
    aStore(folder).store.save(CATALOGUE);
    expect(aStore(folder).store.load()).toEqual(CATALOGUE);
    const names = readdirSync(join(folder, "catalogues"));
    expect(names).toEqual([`${"u".repeat(16)}-${"c".repeat(16)}.json`]);
    expect(statSync(join(folder, "catalogues", names[0] ?? "")).mode & 0o777).toBe(0o600);
  });

  it("is never shared between credentials", () => {
    const folder = aFolder();
    aStore(folder).store.save(CATALOGUE);
    expect(aStore(folder, "d".repeat(64)).store.load()).toBeUndefined();
  });

  it("is absent where it can't be read, without an error", () => {
    const folder = aFolder();
    const { store, lines } = aStore(folder);
    expect(store.load()).toBeUndefined();
    expect(lines).toEqual([]);
    store.save(CATALOGUE);
    const [name] = readdirSync(join(folder, "catalogues"));
    for (const text of ["", "{", '{"format":99}', "\0\0"]) {
      writeFileSync(join(folder, "catalogues", name ?? ""), text);
      expect(store.load()).toBeUndefined();
    }
  });

  it("does not throw where it can't be written", () => {
    const file = join(aFolder(), "file");
    writeFileSync(file, "");
    const { store, lines } = aStore(file);
    store.save(CATALOGUE);
    expect(lines).toMatchObject([{ level: "warn" }]);
  });
});
