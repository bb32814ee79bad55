/**
 * Compares answers as texts. Written without a line of Holdfast's own reading of messages, which it is
 * to check.
 */

const isIdCharacter = (text: string, at: number): boolean =>
  at < text.length && !",}".includes(text.charAt(at));

/** Where the id that begins before `at` begins: behind its colon; undefined where there is none. */
function idStart(text: string, at: number): number | undefined {
  const start = text.lastIndexOf('"id":', at);
  return start < 0 ? undefined : start + '"id":'.length;
}

/** Where the member that begins at `start`, a string or a number, is over. */
function idEnd(text: string, start: number): number {
  let end = start;
  while (text[end] === " ") end++;
  if (text[end] === '"') {
    end++;
    while (end < text.length && text[end] !== '"') end += text[end] === "\\" ? 2 : 1;
    end++;
  }
  while (isIdCharacter(text, end)) end++;
  return end;
}

const WORD = /\w/;

/** Whether `word` stands in `text` from `from` on, as a word of its own. */
export function hasWord(text: string, word: string, from: number): boolean {
  for (let at = text.indexOf(word, from); at >= 0; at = text.indexOf(word, at + 1)) {
    const isBegun = WORD.test(text.charAt(at - 1));
    if (!isBegun && !WORD.test(text.charAt(at + word.length))) return true;
  }
  return false;
}

/** Whether two answers are the same, byte for byte, but for the id. */
export function isSameAnswer(a: string, b: string): boolean {
  if (a === b) return true;
  let at = 0;
  while (at < a.length && a[at] === b[at]) at++;
  // What differs first must be within the id, which begins before it in both at the same place.
  const start = idStart(a, at);
  if (start === undefined || start > at) return false;
  const endA = idEnd(a, start);
  const endB = idEnd(b, start);
  return at <= Math.max(endA, endB) && a.slice(endA) === b.slice(endB);
}

/** Whether an answer that was given again, with a note of ours, has the result that was kept. */
export function isSameResult(kept: string, given: string): boolean {
  if (isSameAnswer(kept, given)) return true;
  try {
    return canonical(kept) === canonical(given);
  } catch {
    return false;
  }
}

/** The result, without our note, whatever the order of its members. */
function canonical(text: string): string {
  const { result, error } = JSON.parse(text) as {
    result?: Record<string, unknown>;
    error?: unknown;
  };
  const { _meta, ...rest } = result ?? {};
  const { "holdfast/call": _note, ...meta } = (_meta ?? {}) as Record<string, unknown>;
  return JSON.stringify([rest, meta, error]);
}
