import { describe, expect, it } from "vitest";
import { isKnownRevision, REVISIONS, revisionOf } from "../../src/wire/revisions.ts";

describe("revisions", () => {
  it("are newest first, each once", () => {
    const versions = REVISIONS.map((revision) => revision.version);
    expect(versions).toEqual([...new Set(versions)].sort().reverse());
  });

  it.each([
    ["2025-11-25", false, true, true],
    ["2025-06-18", false, true, false],
    ["2025-03-26", true, false, false],
    ["2024-11-05", false, false, false],
  ])("%s", (version, hasBatches, hasVersionHeader, hasPriming) => {
    const expected = { version, era: "legacy", hasBatches, hasVersionHeader, hasPriming };
    expect(revisionOf(version)).toEqual(expected);
    expect(isKnownRevision(version)).toBe(true);
  });

  it("that nobody knows count as the newest", () => {
    for (const version of ["1900-01-01", "", undefined])
      expect(revisionOf(version).version).toBe("2025-11-25");
    expect(isKnownRevision("1900-01-01")).toBe(false);
  });
});
