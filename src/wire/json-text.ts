/**
 * Writes JSON without recursion. `JSON.stringify` gives up some thousand levels down, and how deep a
 * value is, is the peer's choice: `JSON.parse` has no such limit.
 */

type Piece = { readonly text: string } | { readonly value: unknown };

/** Characters of a piece, about: small enough that what it leaves behind is collected at once. */
export const PIECE_CHARS = 32 * 1024;
/** Of a long array without containers so many items are written at once. */
const ITEMS_AT_ONCE = 1024;

/** The value as JSON without white space, the members of each object in the order of `keysOf`. */
export function writeJson(root: unknown, keysOf: (object: object) => string[]): string {
  let text = "";
  for (const piece of jsonPieces(root, keysOf)) text += piece;
  return text;
}

/**
 * The same in pieces, so that a large value's text need not be in memory as a whole. No character stands
 * in two of them.
 */
export function* jsonPieces(
  root: unknown,
  keysOf: (object: object) => string[],
): Generator<string, void> {
  let text = "";
  // The pieces still to be written, the next one last.
  const pieces: Piece[] = [{ value: root }];
  for (let piece = pieces.pop(); piece !== undefined; piece = pieces.pop()) {
    if (text.length > PIECE_CHARS) {
      yield text;
      text = "";
    }
    if ("text" in piece) text += piece.text;
    else if (isLong(piece.value)) {
      yield text;
      text = "";
      yield* longPieces(piece.value);
    } else if (isFlat(piece.value)) text += JSON.stringify(piece.value);
    else if (Array.isArray(piece.value)) text += open("[", arrayPieces(piece.value), "]", pieces);
    else if (typeof piece.value === "object" && piece.value !== null)
      text += open("{", objectPieces(piece.value, keysOf), "}", pieces);
    else text += (JSON.stringify(piece.value) as string | undefined) ?? "null";
  }
  yield text;
}

/** A long text, or a long array without containers or long texts. */
const isLong = (value: unknown): value is string | readonly unknown[] =>
  typeof value === "string"
    ? value.length > PIECE_CHARS
    : Array.isArray(value) && value.length > ITEMS_AT_ONCE && isFlat(value);

function* longPieces(value: string | readonly unknown[]): Generator<string, void> {
  const [start, end] = typeof value === "string" ? ['"', '"'] : ["[", "]"];
  const comma = typeof value === "string" ? "" : ",";
  yield start;
  for (let at = 0; at < value.length;) {
    const next = typeof value === "string" ? cutAt(value, at + PIECE_CHARS) : at + ITEMS_AT_ONCE;
    yield (at === 0 ? "" : comma) + JSON.stringify(value.slice(at, next)).slice(1, -1);
    at = next;
  }
  yield end;
}

/** `at`, or one before it where a character of two halves would be cut: JSON spells a half otherwise. */
const cutAt = (text: string, at: number): number =>
  (text.charCodeAt(at - 1) & 0xfc00) === 0xd800 ? at - 1 : at;

/** An array without containers: the common long one (a vector, a column), at a tenth of the cost. */
const isFlat = (value: unknown): boolean =>
  Array.isArray(value) &&
  !value.some(
    (item) =>
      (typeof item === "object" && item !== null) ||
      (typeof item === "string" && item.length > PIECE_CHARS),
  );

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
