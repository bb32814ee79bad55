/**
 * Canonical JSON text: object keys sorted, no white space. Equal values give equal text. It follows
 * RFC 8785 except for numbers, which are spelled as JavaScript spells them after parsing.
 */
import { isObject } from "../wire/message.ts";

/** Deeper values are hostile or broken; they compare by their plain JSON text instead. */
const DEPTH_MAX = 500;

export function canonical(value: unknown): string {
  return write(value, 0) ?? "null";
}

function write(value: unknown, depth: number): string | undefined {
  if (depth > DEPTH_MAX) return '"\u2026"';
  if (Array.isArray(value)) {
    return `[${value.map((item) => write(item, depth + 1) ?? "null").join(",")}]`;
  }
  if (isObject(value)) {
    const parts: string[] = [];
    for (const key of Object.keys(value).sort()) {
      const text = write(value[key], depth + 1);
      if (text !== undefined) parts.push(`${JSON.stringify(key)}:${text}`);
    }
    return `{${parts.join(",")}}`;
  }
  return JSON.stringify(value) as string | undefined;
}
