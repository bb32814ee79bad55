/**
 * Whole answers of a listener: a status, a few headers, a small JSON-RPC body. Nothing that a client
 * sent is put into a header, and nothing is said about the program that answers.
 */
import type { ServerResponse } from "node:http";
import { LARGE_FROM } from "../../base/large.ts";
import { dropPages, inPages } from "../../base/pages.ts";
import { jsonText } from "../../wire/json-text.ts";

/** The transport's own errors, as the SDK's servers number them. */
export const HTTP_RPC = {
  refused: -32000,
  noSession: -32001,
} as const;

export interface Trouble {
  readonly status: number;
  readonly code: number;
  readonly reason: string;
  /** Of the request that is refused; the SDK's schema takes no error with the id null. */
  readonly idText?: string | undefined;
  /** Names and values in turn. */
  readonly headers?: readonly string[];
}

export const trouble = (
  status: number,
  reason: string,
  headers: readonly string[] = [],
  code: number = HTTP_RPC.refused,
): Trouble => ({ status, code, reason, headers });

export function errorBody(code: number, message: string, idText?: string): string {
  const id = idText === undefined ? "" : `"id":${idText},`;
  return `{"jsonrpc":"2.0",${id}"error":${jsonText({ code, message })}}`;
}

/** Answers with an error, unless an answer was begun already. */
export function refuse(response: ServerResponse, what: Trouble): void {
  if (response.headersSent || response.destroyed) return;
  const body = errorBody(what.code, what.reason, what.idText);
  answerJson(response, what.status, body, what.headers);
}

export function answerJson(
  response: ServerResponse,
  status: number,
  text: string,
  headers: readonly string[] = [],
): void {
  const body = text.length < LARGE_FROM ? Buffer.from(text) : inPages(text);
  const all = ["Content-Type", "application/json", "Content-Length", String(body.length)];
  response.writeHead(status, [...all, ...COMMON, ...headers]);
  response.end(body, () => {
    dropPages(body);
  });
}

/** An answer without a body. */
export function answerEmpty(
  response: ServerResponse,
  status: number,
  headers: readonly string[] = [],
): void {
  // 204 has no body by its nature; of all others the length is said.
  const length = status === 204 ? [] : ["Content-Length", "0"];
  response.writeHead(status, [...length, ...COMMON, ...headers]);
  response.end();
}

/** In every answer. */
export const COMMON: readonly string[] = ["X-Content-Type-Options", "nosniff"];
