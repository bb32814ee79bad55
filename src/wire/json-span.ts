/**
 * Finds where members stand in JSON text that is already known to be valid, without building values.
 * Iterative, so depth costs nothing; strings are skipped with `indexOf`, so length costs little.
 */

export interface Span {
  readonly start: number;
  readonly end: number;
}

/**
 * What stands there, for keeping: V8 makes a long slice a view of its text, which then stays in memory as
 * a whole. What is cut from a text of just a little more holds no more than that.
 */
export const cutOut = (text: string, { start, end }: Span): string =>
  ` ${text.slice(start, end)}`.slice(1);

export interface Member extends Span {
  /** The member's name; the empty string for an array's elements. */
  readonly key: string;
}

const QUOTE = 34;
const COMMA = 44;
const MINUS = 45;
const DIGIT_0 = 48;
const DIGIT_9 = 57;
const COLON = 58;
const OPEN_BRACKET = 91;
const BACKSLASH = 92;
const CLOSE_BRACKET = 93;
const OPEN_BRACE = 123;
const CLOSE_BRACE = 125;

function skipSpace(text: string, at: number): number {
  let i = at;
  // In valid JSON every character up to and including the space between tokens is white space.
  while (text.charCodeAt(i) <= 32) i++;
  return i;
}

/** `at` stands on the opening quote; returns the position after the closing one. */
function skipString(text: string, at: number): number {
  let i = text.indexOf('"', at + 1);
  while (text.charCodeAt(i - 1) === BACKSLASH) {
    let first = i - 1;
    while (text.charCodeAt(first - 1) === BACKSLASH) first--;
    if ((i - first) % 2 === 0) return i + 1;
    i = text.indexOf('"', i + 1);
  }
  return i + 1;
}

function skipValue(text: string, at: number): number {
  const first = text.charCodeAt(at);
  if (first === QUOTE) return skipString(text, at);
  if (first === OPEN_BRACE || first === OPEN_BRACKET) return skipContainer(text, at);
  return skipScalar(text, at);
}

/**
 * `at` stands on a number or a word. For callers that know so: where `skipValue` was compiled into a loop
 * over numbers, V8 drew its search for the next quote out of the branch, and a long array took minutes.
 */
function skipScalar(text: string, at: number): number {
  let i = at;
  for (;;) {
    const c = text.charCodeAt(i);
    if (c === COMMA || c === CLOSE_BRACE || c === CLOSE_BRACKET || c <= 32 || Number.isNaN(c))
      return i;
    i++;
  }
}

function skipContainer(text: string, at: number): number {
  let depth = 0;
  let i = at;
  for (;;) {
    const c = text.charCodeAt(i);
    if (c === QUOTE) {
      i = skipString(text, i);
      continue;
    }
    if (c === OPEN_BRACE || c === OPEN_BRACKET) depth++;
    else if ((c === CLOSE_BRACE || c === CLOSE_BRACKET) && --depth === 0) return i + 1;
    i++;
  }
}

/** The members of the object, or elements of the array, that starts at `from` (after white space). */
export function membersOf(text: string, from = 0): Member[] {
  const members: Member[] = [];
  let i = skipSpace(text, from);
  const isArray = text.charCodeAt(i) === OPEN_BRACKET;
  i = skipSpace(text, i + 1);
  while (text.charCodeAt(i) !== CLOSE_BRACE && text.charCodeAt(i) !== CLOSE_BRACKET) {
    let key = "";
    if (!isArray) {
      const keyEnd = skipString(text, i);
      const raw = text.slice(i + 1, keyEnd - 1);
      key = raw.includes("\\") ? (JSON.parse(text.slice(i, keyEnd)) as string) : raw;
      i = skipSpace(text, keyEnd);
      if (text.charCodeAt(i) === COLON) i = skipSpace(text, i + 1);
    }
    const end = skipValue(text, i);
    members.push({ key, start: i, end });
    i = skipSpace(text, end);
    if (text.charCodeAt(i) === COMMA) i = skipSpace(text, i + 1);
  }
  return members;
}

/** The span of a nested member by its path of object keys; the last of duplicates, as in JSON.parse. */
export function memberOf(text: string, ...path: readonly string[]): Span | undefined {
  let span: Span = { start: 0, end: text.length };
  for (const key of path) {
    const start = skipSpace(text, span.start);
    if (text.charCodeAt(start) !== OPEN_BRACE) return undefined;
    const found = membersOf(text, start).findLast((member) => member.key === key);
    if (found === undefined) return undefined;
    span = found;
  }
  return span;
}

/**
 * How many objects and arrays the text holds, or the first count over `max`. The text need not be
 * valid: what is behind a string without an end is not looked at.
 */
export function containersIn(text: string, max: number): number {
  let count = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === QUOTE) {
      const end = skipString(text, i);
      // No closing quote was found.
      if (end <= i) return count;
      i = end - 1;
    } else if ((c === OPEN_BRACE || c === OPEN_BRACKET) && ++count > max) {
      return count;
    }
  }
  return count;
}

/** All numbers in the text, as they are spelled, in order. */
export function* numbersOf(text: string): Generator<string, void> {
  for (let i = 0; i < text.length;) {
    const c = text.charCodeAt(i);
    if (c === QUOTE) {
      i = skipString(text, i);
    } else if (c === MINUS || (c >= DIGIT_0 && c <= DIGIT_9)) {
      const end = skipScalar(text, i);
      yield text.slice(i, end);
      i = end;
    } else {
      i++;
    }
  }
}
