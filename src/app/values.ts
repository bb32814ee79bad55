/**
 * How option values are written: durations ("45s", "1m30s"), sizes ("4MiB"), counts, yes and no.
 * Each reader takes what a flag, a variable or a JSON file gave, and answers with the value, or with
 * undefined where that is no such value; the option table says what was expected.
 */

/** A value that was understood. Wrapped, because "none" is understood as `undefined`. */
export interface Understood<T> {
  readonly value: T;
}
export type Reader<T> = (raw: unknown) => Understood<T> | undefined;

const DURATION_UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

const BYTE_UNITS: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  kb: 1_000,
  mb: 1_000_000,
  gb: 1_000_000_000,
  kib: 1_024,
  mib: 1_048_576,
  gib: 1_073_741_824,
};

/** "45s", "1m30s", "250ms", "0" → ms, rounded; undefined if it is no duration. */
export function parseDuration(text: string): number | undefined {
  const trimmed = text.trim().toLowerCase();
  if (trimmed === "0") return 0;
  if (!/^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+$/.test(trimmed)) return undefined;
  let totalMs = 0;
  for (const [, count, unit] of trimmed.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)) {
    totalMs += Number(count) * (DURATION_UNITS[unit ?? ""] ?? Number.NaN);
  }
  return Number.isSafeInteger(Math.round(totalMs)) ? Math.round(totalMs) : undefined;
}

/** The shortest text with whole units that `parseDuration` reads back: 90000 → "1m30s". */
export function formatDuration(ms: number): string {
  if (ms === 0) return "0s";
  let rest = ms;
  let text = "";
  for (const unit of ["d", "h", "m", "s", "ms"]) {
    const size = DURATION_UNITS[unit] ?? 1;
    const count = Math.floor(rest / size);
    if (count > 0) text += `${String(count)}${unit}`;
    rest -= count * size;
  }
  return text;
}

/** "4MiB", "500kB", "1024" → bytes, rounded; undefined if it is no size. */
export function parseBytes(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([kmg]?i?b?)$/i.exec(text.trim());
  const size = BYTE_UNITS[(match?.[2] ?? "?").toLowerCase()];
  if (match === null || size === undefined) return undefined;
  const bytes = Math.round(Number(match[1]) * size);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** The largest binary unit that divides it: 4194304 → "4MiB", 1000 → "1000B". */
export function formatBytes(bytes: number): string {
  for (const unit of ["GiB", "MiB", "KiB"]) {
    const size = BYTE_UNITS[unit.toLowerCase()] ?? 1;
    if (bytes >= size && bytes % size === 0) return `${String(bytes / size)}${unit}`;
  }
  return `${String(bytes)}B`;
}

const within = (value: number | undefined, min: number, max: number) =>
  value !== undefined && value >= min && value <= max ? { value } : undefined;

export const readDuration =
  (min: number, max: number): Reader<number> =>
  (raw) =>
    typeof raw === "string" ? within(parseDuration(raw), min, max) : undefined;

export const readBytes =
  (min: number, max: number): Reader<number> =>
  (raw) => {
    if (typeof raw === "number") {
      return Number.isSafeInteger(raw) ? within(raw, min, max) : undefined;
    }
    return typeof raw === "string" ? within(parseBytes(raw), min, max) : undefined;
  };

export const readInteger =
  (min: number, max: number): Reader<number> =>
  (raw) => {
    const value = typeof raw === "string" && /^\d{1,15}$/.test(raw.trim()) ? Number(raw) : raw;
    return typeof value === "number" && Number.isSafeInteger(value)
      ? within(value, min, max)
      : undefined;
  };

/** Reads "none" as undefined, and everything else as `read` does. */
export const orNone =
  <T>(read: Reader<T>): Reader<T | undefined> =>
  (raw) =>
    raw === "none" || raw === null ? { value: undefined } : read(raw);

const YES = new Set<unknown>([true, "true", "yes", "on", "1"]);
const NO = new Set<unknown>([false, "false", "no", "off", "0"]);

export const readBoolean: Reader<boolean> = (raw) => {
  const value = typeof raw === "string" ? raw.trim().toLowerCase() : raw;
  if (YES.has(value)) return { value: true };
  return NO.has(value) ? { value: false } : undefined;
};

export const readChoice =
  <const T extends string>(choices: readonly T[]): Reader<T> =>
  (raw) => {
    const value = choices.find((choice) => choice === raw);
    return value === undefined ? undefined : { value };
  };

/** Any text that is not blank. */
export const readText: Reader<string> = (raw) =>
  typeof raw === "string" && raw.trim() !== "" ? { value: raw } : undefined;

/** An array of entries, or a text with commas between them; "none" is no entry. */
export const readList =
  (read: Reader<string>): Reader<readonly string[]> =>
  (raw) => {
    if (raw === "none") return { value: [] };
    const parts: unknown[] = Array.isArray(raw) ? raw : [raw];
    const entries = parts.flatMap((part) => (typeof part === "string" ? part.split(",") : [part]));
    const values: string[] = [];
    for (const entry of entries) {
      const understood = read(typeof entry === "string" ? entry.trim() : entry);
      if (understood === undefined) return undefined;
      values.push(understood.value);
    }
    return { value: values };
  };
