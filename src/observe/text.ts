/** Words for people: ages, sizes, counts, states, colours, and texts from outside made harmless. */
import { unreachable } from "../base/assert.ts";
import type { UpstreamState } from "../core/status.ts";

/** Colours, or none. */
export interface Paint {
  bold(text: string): string;
  dim(text: string): string;
  red(text: string): string;
  green(text: string): string;
  yellow(text: string): string;
}

const plain = (text: string) => text;
export const NO_PAINT: Paint = { bold: plain, dim: plain, red: plain, green: plain, yellow: plain };

const UNITS: readonly (readonly [string, number])[] = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["min", 60_000],
  ["s", 1_000],
];

/** "3 min 12 s"; the two largest units, nothing finer than seconds. Clocks that went back give "0 s". */
export function ageText(ms: number): string {
  let rest = Math.max(0, ms);
  const parts: string[] = [];
  for (const [unit, size] of UNITS) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count > 0) parts.push(`${String(count)} ${unit}`);
    if (parts.length === 2) break;
  }
  return parts.length === 0 ? "0 s" : parts.join(" ");
}

/** "1.5 MiB". */
export function sizeText(bytes: number): string {
  if (bytes < 1_024) return `${String(bytes)} B`;
  const units = ["KiB", "MiB", "GiB"];
  let value = bytes / 1_024;
  let unit = 0;
  for (; value >= 1_024 && unit < units.length - 1; unit++) value /= 1_024;
  return `${value >= 10 ? value.toFixed(0) : value.toFixed(1)} ${units[unit] ?? ""}`;
}

/** "3.3 ms". */
export const msText = (ms: number) => `${ms < 10 ? ms.toFixed(1) : ms.toFixed(0)} ms`;

/** "1 call", "2 calls". */
export const many = (count: number, word: string) =>
  `${String(count)} ${word}${count === 1 ? "" : "s"}`;

/** "queued 3, sent 1"; names with a zero are left out. */
export function countsText(counts: Readonly<Record<string, number | undefined>>): string {
  const parts = Object.entries(counts)
    .filter(([, count]) => count !== undefined && count > 0)
    .map(([name, count]) => `${name} ${String(count)}`);
  return parts.length === 0 ? "nothing" : parts.join(", ");
}

/** Terminals obey control characters; server names and errors come from outside. */
export const safe = (text: string) => text.replace(/[\u0000-\u001f\u007f-\u009f]/g, " ");

export function stateText(state: UpstreamState, paint: Paint): string {
  switch (state) {
    case "serving":
      return paint.green(state);
    case "idle":
    case "dialling":
    case "handshaking":
    case "draining":
    case "stopped":
      return paint.yellow(state);
    case "waiting":
    case "open":
    case "needs_auth":
    case "misconfigured":
      return paint.red(state);
    default:
      return unreachable(state);
  }
}
