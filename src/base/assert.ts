/**
 * Assertions. A failed assertion is a bug in Holdfast: it is never caught and turned into an answer;
 * the process ends and the journal recovers (the same rule as for a SIGKILL).
 */

export class Bug extends Error {
  override readonly name = "Bug";
}

/** Throws `Bug` unless `condition` holds. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Bug(`assertion failed: ${message}`);
}

/** Returns `value`, which the caller knows to be there. Throws `Bug` otherwise. */
export function must<T>(value: T | undefined | null, what: string): T {
  if (value === undefined || value === null) throw new Bug(`missing: ${what}`);
  return value;
}

/** Ends an exhaustive switch. Throws `Bug`: a value outside its type got in. */
export function unreachable(value: never): never {
  throw new Bug(`unreachable value: ${String(JSON.stringify(value))}`);
}
