/**
 * Canonical JSON text: object keys sorted, no white space. Equal values give equal text, and different
 * values different text, at any depth. It follows RFC 8785 except that numbers are spelled as
 * JavaScript spells them after parsing.
 */
import { numbersOf } from "../wire/json-span.ts";
import { isObject } from "../wire/message.ts";

type Piece = { readonly text: string } | { readonly value: unknown };

export function canonical(root: unknown): string {
  let text = "";
  // The pieces still to be written, the next one last. No recursion: depth is the peer's choice.
  const pieces: Piece[] = [{ value: root }];
  for (let piece = pieces.pop(); piece !== undefined; piece = pieces.pop()) {
    if ("text" in piece) text += piece.text;
    else if (Array.isArray(piece.value)) text += open("[", arrayPieces(piece.value), "]", pieces);
    else if (isObject(piece.value)) text += open("{", objectPieces(piece.value), "}", pieces);
    else text += (JSON.stringify(piece.value) as string | undefined) ?? "null";
  }
  return text;
}

function open(start: string, inner: Piece[], end: string, pieces: Piece[]): string {
  pieces.push({ text: end });
  for (let i = inner.length - 1; i >= 0; i--) pieces.push(inner[i] as Piece);
  return start;
}

function arrayPieces(items: readonly unknown[]): Piece[] {
  return items.flatMap((value, i) => (i === 0 ? [{ value }] : [{ text: "," }, { value }]));
}

function objectPieces(members: Readonly<Record<string, unknown>>): Piece[] {
  const keys = Object.keys(members).filter((key) => members[key] !== undefined);
  return keys
    .sort()
    .flatMap((key, i) => [
      { text: `${i === 0 ? "" : ","}${JSON.stringify(key)}:` },
      { value: members[key] },
    ]);
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
