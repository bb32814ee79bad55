/** What a message that was let go leaves behind in memory. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { parseMessage } from "../../src/wire/message.ts";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;
const MIB = 1024 * 1024;

/** The spelling of the id of a message of 1 MiB, of which nothing else is kept. */
function idTextOf(n: number): string {
  const id = `0b6f2c1e-7d52-4c8e-9a55-${String(n).padStart(12, "0")}`;
  // From bytes, as it comes over a wire: one flat text.
  const padding = "x".repeat(MIB);
  const bytes = Buffer.from(
    `{"jsonrpc":"2.0","id":"${id}","method":"m","params":{"p":"${padding}"}}`,
  );
  const message = parseMessage(bytes.toString());
  if (message.kind !== "request") throw new Error(message.kind);
  expect(message.idText).toBe(`"${id}"`);
  return message.idText;
}

test("the id of a large request does NOT keep its text in memory", () => {
  collect();
  const before = process.memoryUsage().heapUsed;
  const kept = Array.from({ length: 20 }, (_, n) => idTextOf(n));
  collect();
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(4 * MIB);
  expect(kept).toHaveLength(20);
});
