/** The failure table is total, consistent in itself, and printed in docs/SPEC.md as it is. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { FAILURES, failure, type FailureKind, type FailureRule } from "../../src/core/failure.ts";

const RULES = Object.entries(FAILURES) as [FailureKind, FailureRule][];

/** What each kind says about execution and the breaker. Literals, total by type. */
const PINNED: Record<FailureKind, readonly [FailureRule["evidence"], boolean]> = {
  spawn_failed: ["not_executed", false],
  process_exit: ["in_doubt", true],
  crash_loop: ["in_doubt", true],
  connect_refused: ["not_executed", true],
  dns: ["not_executed", true],
  tls: ["not_executed", true],
  timeout: ["in_doubt", true],
  half_open: ["in_doubt", true],
  reset: ["in_doubt", true],
  session_lost: ["not_executed", false],
  auth: ["not_executed", false],
  rate_limited: ["not_executed", false],
  server_error: ["in_doubt", true],
  protocol_error: ["in_doubt", true],
  oversize: ["executed", false],
  overload: ["not_executed", false],
  upstream_era: ["not_executed", false],
};

describe("the failure table", () => {
  it("has a rule for every kind, and no other", () => {
    expect(Object.keys(FAILURES).sort()).toEqual(Object.keys(PINNED).sort());
  });

  it.each(RULES)("%s says about execution and the breaker what is pinned", (kind, rule) => {
    expect([rule.evidence, rule.countsForBreaker]).toEqual(PINNED[kind]);
  });

  it.each(RULES)("%s tells the caller something, on one line", (_, rule) => {
    for (const text of [rule.told, rule.delay]) expect(text).toMatch(/^[^\n|]{2,80}$/);
  });

  it("counts for the breaker only what concerns the connection, never what waits for a person", () => {
    for (const [kind, rule] of RULES) {
      if (rule.countsForBreaker) expect(["redial", "none"], kind).toContain(rule.recovery);
      if (rule.recovery === "wait_for_person" || rule.recovery === "gate")
        expect(rule.evidence, kind).toBe("not_executed");
    }
  });

  it("stands in docs/SPEC.md as it is in the code", () => {
    const spec = readFileSync(new URL("../../docs/SPEC.md", import.meta.url), "utf8");
    const cells = (line: string) =>
      line
        .split("|")
        .map((cell) => cell.trim())
        .slice(1, -1);
    const printed = spec
      .split("\n")
      .filter((line) => /^\| `[a-z_]+` +\| `(not_executed|in_doubt|executed)`/.test(line))
      .map(cells);
    expect(printed).toEqual(
      RULES.map(([kind, rule]) => [
        `\`${kind}\``,
        `\`${rule.evidence}\``,
        rule.countsForBreaker ? "yes" : "no",
        `\`${rule.recovery}\``,
        rule.delay,
        rule.told,
      ]),
    );
  });

  it("makes failures of a kind and a cause", () => {
    expect(failure("dns", "why")).toEqual({ kind: "dns", message: "why" });
  });
});
