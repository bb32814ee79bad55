/** The checker can fail, and where it fails it is right: for every invariant a smallest fault, and a near miss. */
import { describe, expect, it } from "vitest";
import type { Case } from "./builders.ts";
import { ask, evidence, ran, row, told, unanswered, views } from "./builders.ts";
import { ANSWERS } from "./cases/answers.ts";
import { EXECUTIONS } from "./cases/executions.ts";
import { MEASURES } from "./cases/measures.ts";
import { ORDER } from "./cases/order.ts";
import { ROWS } from "./cases/rows.ts";
import { addFigures, check } from "./checker.ts";
import type { Evidence } from "./evidence.ts";
import { isSameAnswer } from "./texts.ts";

const CASES: readonly Case[] = [...ROWS, ...EXECUTIONS, ...ANSWERS, ...ORDER, ...MEASURES];

const textsOf = (of: Evidence) => check(of).findings.map(({ text }) => text);

describe("the checker", () => {
  it.each(CASES)("finds under $invariant that $says", ({ invariant, broken }) => {
    const { findings } = check(broken);
    expect(findings.map((finding) => finding.invariant)).toContain(invariant);
    for (const { text } of findings) expect(text).toMatch(/^a run(, call [abc])?: ./);
  });

  it.each(CASES)("does NOT find that $says where $but ($invariant)", ({ sound }) => {
    expect(textsOf(sound)).toEqual([]);
  });

  it("has a case for every invariant that a finding can name", () => {
    const all = ["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "I10", "I11"];
    const rest = [
      "L1",
      "L2",
      "L3",
      "L4",
      "R1",
      "R2",
      "R3",
      "R4",
      "P5a",
      "P7",
      "T13",
      "S3",
      "fatal",
    ];
    const known = new Set(CASES.map(({ invariant }) => invariant));
    expect([...known].sort()).toEqual([...all, ...rest].sort());
  });

  it("judges fifty thousand calls in a few seconds of work", () => {
    const nonces = Array.from({ length: 50_000 }, (_, i) => `n${String(i)}`);
    const many = evidence({
      asked: nonces.map((nonce, order) => ask(nonce, { order })),
      executions: nonces.map((nonce) => ran(nonce)),
      views: views(...nonces.map((nonce, i) => row(nonce, { seq: i + 1 }))),
    });
    const before = process.cpuUsage();
    expect(check(many).findings).toEqual([]);
    const { user, system } = process.cpuUsage(before);
    expect((user + system) / 1_000).toBeLessThan(8_000);
  });
});

describe("figures", () => {
  it("count what was found, and what ended unknown or was found out after all", () => {
    const lost = evidence({ asked: [ask("a", { told: [] })] });
    const twice = evidence({ executions: [ran("a"), ran("a", { requestId: "e1-b" })] });
    const doubt = evidence(unanswered("a", "dead", "unknown"));
    const found = evidence({ views: views(row("a", { isDoubted: true })) });
    const sum = addFigures([lost, twice, doubt, found].map((one) => check(one).figures));
    expect(sum).toEqual({
      asked: 4,
      answered: 3,
      executions: 4,
      lost: 1,
      unsafeDuplicates: 1,
      ghosts: 1,
      untrueExecuted: 0,
      inDoubt: 1,
      resolved: 1,
    });
  });

  it("count a run after a no as a ghost, and one before it as an untrue word", () => {
    const expired = unanswered("a", "expired", "no");
    const figures = (at: number) =>
      check(evidence({ ...expired, executions: [ran("a", { at, requestId: undefined })] })).figures;
    expect(figures(12).ghosts).toBeGreaterThan(0);
    expect(figures(2).untrueExecuted).toBeGreaterThan(0);
  });
});

describe("two answers are the same", () => {
  it.each([
    ['{"id":"e1-1","result":{}}', '{"id":7,"result":{}}', true],
    ['{"result":{},"id":"1-1"}', '{"result":{},"id":1}', true],
    ['{"id": "a\\"b" ,"result":{}}', '{"id": 12 ,"result":{}}', true],
    ['{"id":7,"result":{}}', '{"id":7,"result":{} }', false],
    ['{"id":"e1-1","result":{"n":1}}', '{"id":7,"result":{"n":2}}', false],
    ['{"id":1,"result":{"id":1}}', '{"id":2,"result":{"id":2}}', false],
    ['{"result":1}', '{"result":2}', false],
  ])("%s and %s: %s", (a, b, isSame) => {
    expect(isSameAnswer(a, b)).toBe(isSame);
    expect(isSameAnswer(b, a)).toBe(isSame);
  });

  it("also where the answer is one of our own", () => {
    expect(isSameAnswer(told("a").text, told("a").text)).toBe(true);
  });
});
