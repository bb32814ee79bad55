/** Replaces by a word what differs between any two runs of server-everything: times and random ids. */
const PATTERNS: readonly (readonly [RegExp, string])[] = [
  [/"PORT": "\d+"/g, '"PORT": "<port>"'],
  [/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, "<uuid>"],
  [/\b[0-9a-f]{32}\b/g, "<id>"],
  [/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, "<instant>"],
  [/\d{1,2}:\d\d:\d\d(\s?[AP]M)?/g, "<time>"],
  [
    /(Debug|Info|Notice|Warning|Error|Critical|Alert|Emergency)[- ]level[- ]message/g,
    "<simulated>",
  ],
];

function normalText(text: string): string {
  const isBase64 = text.length > 20 && text.length % 4 === 0 && /^[A-Za-z0-9+/]+=*$/.test(text);
  const plain = isBase64 ? Buffer.from(text, "base64").toString("latin1") : text;
  const shown = plain.startsWith("Resource ") ? plain : text;
  return PATTERNS.reduce((result, [pattern, word]) => result.replace(pattern, word), shown);
}

/** The same value in every run. A simulated log message has a random level. */
export function normal(value: unknown): unknown {
  if (typeof value === "string") return normalText(value);
  if (Array.isArray(value)) return value.map(normal);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([key, member]) => [key, normal(member)] as const);
  const object = Object.fromEntries(entries) as Record<string, unknown>;
  if (typeof object["data"] === "string" && object["data"].includes("<simulated>")) {
    object["level"] = "<random>";
  }
  return object;
}

/** In an order that does not depend on when each came. */
export const sorted = (values: readonly unknown[]): unknown[] =>
  [...values].map(normal).sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
