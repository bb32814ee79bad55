/** In a file of its own: what the compiler makes of the code depends on what it has seen run before. */
import { expect, it } from "vitest";
import { memberOf, membersOf, numbersOf } from "../../src/wire/json-span.ts";

const CALL = (args: string) =>
  `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"write","arguments":${args}}}`;
const numbers = (count: number) => `{"x":[${"1,".repeat(count - 1)}1]}`;

/** What is done with every call that may change something. */
function read(text: string): number {
  membersOf(text);
  const span = memberOf(text, "params", "arguments");
  return [...numbersOf(text.slice(span?.start, span?.end))].length;
}

it("reads many numbers in time that is proportional to their text", () => {
  for (let i = 0; i < 100; i++) memberOf(CALL('{"a":1}'), "params", "arguments");
  expect(read(CALL(numbers(200_000)))).toBe(200_000);
  const start = performance.now();
  for (let i = 0; i < 2; i++) expect(read(CALL(numbers(800_000)))).toBe(800_000);
  // Where the search for the next quote was compiled into the scan of a number, it took 8 to 20 s each.
  expect(performance.now() - start).toBeLessThan(3_000);
}, 120_000);
