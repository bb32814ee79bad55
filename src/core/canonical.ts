/**
 * Canonical JSON text: object keys sorted, no white space. Equal values give equal text, and different
 * values different text, at any depth. It follows RFC 8785 except that numbers are spelled as
 * JavaScript spells them after parsing.
 */
import { numbersOf } from "../wire/json-span.ts";
import { writeJson } from "../wire/json-text.ts";

export function canonical(value: unknown): string {
  return writeJson(value, (object) => Object.keys(object).sort());
}

/**
 * The same for JSON text (valid; throws otherwise), where a number that JavaScript would spell
 * otherwise counts by its own spelling: 1180000000000000001 and 1180000000000000002 are one number to
 * JavaScript and two to other peers. For fingerprints: no two different calls may share one.
 */
export function canonicalText(json: string): string {
  const inexact = numbersOf(json).filter((spelled) => String(Number(spelled)) !== spelled);
  return [canonical(JSON.parse(json)), ...inexact].join(" ");
}
