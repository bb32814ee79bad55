/** What doctor says to a server, and how it reads the answers. */
import { isObject } from "../../wire/message.ts";
import type { JsonObject } from "../../wire/message.ts";

export const INITIALIZE = {
  jsonrpc: "2.0",
  id: 1,
  method: "initialize",
  params: {
    protocolVersion: "2025-11-25",
    capabilities: {},
    clientInfo: { name: "holdfast-doctor", version: "1" },
  },
};
export const INITIALIZED = { jsonrpc: "2.0", method: "notifications/initialized" };
export const LIST = { jsonrpc: "2.0", id: 2, method: "tools/list" };

/** Of what a server said, this much is shown. */
export const SHOWN_CHARS = 300;

export interface Found {
  readonly initialize: JsonObject;
  readonly tools: JsonObject | undefined;
  readonly answeredAt: number;
}

/** Throws where the answer is an error. */
export function resultOf(message: JsonObject): JsonObject {
  const { result, error } = message;
  if (isObject(result)) return result;
  throw new Error(`it answered with an error: ${JSON.stringify(error).slice(0, SHOWN_CHARS)}`);
}

export function parseObject(text: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
