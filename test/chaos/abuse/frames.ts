/** One message that is far larger than any that is taken, over each transport; and the largest that is. */
import assert from "node:assert/strict";
import type { TransportKind } from "../../../src/core/transport.ts";
import type { Answer } from "../../support/holdfast-process.ts";
import { sharedLedger } from "../../support/lasting-daemon.ts";
import type { AbuseCase } from "./case.ts";
import {
  abusiveEntry,
  BAD,
  beside,
  besideGood,
  GOOD,
  openServe,
  sessionAt,
  startAbusive,
} from "./stage.ts";
import { openWrapped } from "./wrapped.ts";

const HUGE_BYTES = 200_000_000;
/** Just within the 16 MiB of a result. */
const FULL_BYTES = 15 * 1024 * 1024;
const FULL_COUNT = 5;

/** It did run, or nobody can know: never "no". */
function assertTruthful(answer: Answer): string {
  assert.equal(answer.isError, true);
  const executed = answer.told?.executed;
  assert.ok(executed === "yes" || executed === "unknown", `executed: ${String(executed)}`);
  return executed;
}

const huge = (kind: TransportKind): AbuseCase => ({
  name: `frame-200mb-${kind}`,
  isQuick: kind === "stdio",
  run: async (lab) => {
    const bad = kind === "stdio" ? abusiveEntry(lab) : await startAbusive(lab, kind);
    const stage = await openServe(lab, { servers: { [GOOD]: sharedLedger(lab), [BAD]: bad } });
    const session = await sessionAt(stage, BAD);
    return besideGood(stage, async () => {
      const executed = assertTruthful(
        await session.call("huge", "h", { bytes: String(HUGE_BYTES) }),
      );
      const after = await session.call("read_value", "after");
      assert.equal(after.text, "value of after");
      return `refused, executed ${executed}; the server goes on`;
    });
  },
});

const hugeWrapped: AbuseCase = {
  name: "frame-200mb-wrapped",
  isQuick: false,
  run: async (lab) => {
    const wrapped = await openWrapped(lab);
    return beside(wrapped, wrapped, async () => {
      const executed = assertTruthful(
        await wrapped.call("huge", "h", { bytes: String(HUGE_BYTES) }),
      );
      return `refused, executed ${executed}; the server goes on`;
    });
  },
};

const full: AbuseCase = {
  name: "results-15mb",
  isQuick: false,
  run: async (lab) => {
    const stage = await openServe(lab);
    const session = await sessionAt(stage, BAD);
    return besideGood(stage, async () => {
      for (let n = 0; n < FULL_COUNT; n++) {
        const answer = await session.call("huge", `f${String(n)}`, { bytes: String(FULL_BYTES) });
        assert.equal(answer.isError, false);
        assert.equal(answer.text.length, FULL_BYTES);
      }
      return `${String(FULL_COUNT)} results of 15 MiB, one after the other`;
    });
  },
};

export const FRAMES: readonly AbuseCase[] = [
  huge("stdio"),
  huge("http"),
  huge("sse"),
  huge("ws"),
  hugeWrapped,
  full,
];
