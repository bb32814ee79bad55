import { describe, expect, it } from "vitest";
import { REVISIONS, revisionOf } from "../../src/wire/revisions.ts";

describe("revisions", () => {
  it("are newest first, each once", () => {
    const versions = REVISIONS.map((revision) => revision.version);
    expect(versions).toEqual([...new Set(versions)].sort().reverse());
  });

  it.each([
    ["2025-11-25", false, true],
    ["2025-06-18", false, true],
    ["2025-03-26", true, false],
    ["2024-11-05", false, false],
  ])("%s", (version, hasBatches, hasVersionHeader) => {
    expect(revisionOf(version)).toEqual({ version, era: "legacy", hasBatches, hasVersionHeader });
  });

  it("that nobody knows count as the newest", () => {
    for (const version of ["1900-01-01", "", undefined])
      expect(revisionOf(version).version).toBe("2025-11-25");
  });
});
