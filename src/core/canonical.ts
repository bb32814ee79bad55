/**
 * Canonical JSON text: object keys sorted, no white space. Equal values give equal text, and different
 * values different text, at any depth. It follows RFC 8785 except that numbers are spelled as
 * JavaScript spells them after parsing.
 */
import { memberOf, numbersOf } from "../wire/json-span.ts";
import { jsonPieces, PIECE_CHARS, writeJson } from "../wire/json-text.ts";
import type { RequestMessage } from "../wire/message.ts";

const sortedKeys = (object: object): string[] => Object.keys(object).sort();

export function canonical(value: unknown): string {
  return writeJson(value, sortedKeys);
}

/**
 * The same for JSON text and the `value` that was parsed from it, where a number that JavaScript would
 * spell otherwise counts by its own spelling: 1180000000000000001 and 1180000000000000002 are one number
 * to JavaScript and two to other peers. For fingerprints: no two different calls may share one. In
 * pieces, for a large call's text as a whole would be one more copy of the call.
 */
export function* canonicalPieces(json: string, value: unknown): Generator<string, void> {
  yield* jsonPieces(value, sortedKeys);
  let inexact = "";
  for (const spelled of numbersOf(json)) {
    if (String(Number(spelled)) === spelled) continue;
    inexact += ` ${spelled}`;
    if (inexact.length < PIECE_CHARS) continue;
    yield inexact;
    inexact = "";
  }
  if (inexact !== "") yield inexact;
}

/** What makes a tool call equal to another, in pieces: its arguments, and all of `scope`. */
export function* callPieces(
  scope: readonly string[],
  { text, params }: Pick<RequestMessage, "text" | "params">,
): Generator<string, void> {
  yield `${canonical(scope)} `;
  const args = memberOf(text, "params", "arguments");
  // From the text, too: 64-bit ids must not be rounded into one another.
  if (args === undefined) yield "{}";
  else yield* canonicalPieces(text.slice(args.start, args.end), params?.["arguments"]);
}
