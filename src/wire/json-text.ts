/**
 * Writes JSON without recursion. `JSON.stringify` gives up some thousand levels down, and how deep a
 * value is, is the peer's choice: `JSON.parse` has no such limit.
 */

type Piece = { readonly text: string } | { readonly value: unknown };

/** The value as JSON without white space, the members of each object in the order of `keysOf`. */
export function writeJson(root: unknown, keysOf: (object: object) => string[]): string {
  let text = "";
  // The pieces still to be written, the next one last.
  const pieces: Piece[] = [{ value: root }];
  for (let piece = pieces.pop(); piece !== undefined; piece = pieces.pop()) {
    if ("text" in piece) text += piece.text;
    else if (isFlat(piece.value)) text += JSON.stringify(piece.value);
    else if (Array.isArray(piece.value)) text += open("[", arrayPieces(piece.value), "]", pieces);
    else if (typeof piece.value === "object" && piece.value !== null)
      text += open("{", objectPieces(piece.value, keysOf), "}", pieces);
    else text += (JSON.stringify(piece.value) as string | undefined) ?? "null";
  }
  return text;
}

/** An array without containers: the common long one (a vector, a column), at a tenth of the cost. */
const isFlat = (value: unknown): boolean =>
  Array.isArray(value) && !value.some((item) => typeof item === "object" && item !== null);

function open(start: string, inner: Piece[], end: string, pieces: Piece[]): string {
  pieces.push({ text: end });
  for (let i = inner.length - 1; i >= 0; i--) pieces.push(inner[i] as Piece);
  return start;
}

function arrayPieces(items: readonly unknown[]): Piece[] {
  return items.flatMap((value, i) => (i === 0 ? [{ value }] : [{ text: "," }, { value }]));
}

function objectPieces(object: object, keysOf: (object: object) => string[]): Piece[] {
  const members = object as Readonly<Record<string, unknown>>;
  return keysOf(object)
    .filter((key) => members[key] !== undefined)
    .flatMap((key, i) => [
      { text: `${i === 0 ? "" : ","}${JSON.stringify(key)}:` },
      { value: members[key] },
    ]);
}

/** `JSON.stringify` for plain values of any depth; `undefined` is written as null. */
export function jsonText(value: unknown): string {
  try {
    return (JSON.stringify(value) as string | undefined) ?? "null";
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return writeJson(value, Object.keys);
  }
}
