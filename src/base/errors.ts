/**
 * Three kinds of error only (house rule R24): a bug (`assert`), a misconfiguration that stops the
 * start, and what a peer or caller may see. Local codes are words; numbers appear on the wire alone.
 */

/** A start that cannot go on. The message names the option or file, its value and what was expected. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

/** Why a journal refused. After `io` nothing is known about the changes of that commit. */
export type JournalTrouble = "full" | "io" | "closed";

export class JournalError extends Error {
  override readonly name = "JournalError";
  readonly trouble: JournalTrouble;
  constructor(trouble: JournalTrouble, message: string, cause?: unknown) {
    super(message, { cause });
    this.trouble = trouble;
  }
}

/** A request of an operator that cannot be done, with the reason in words. */
export class RefusedError extends Error {
  override readonly name = "RefusedError";
}

/** JSON-RPC codes that Holdfast itself answers with. Application codes stay the upstream's. */
export const RPC = {
  parse: -32700,
  invalidRequest: -32600,
  methodNotFound: -32601,
  invalidParams: -32602,
  internal: -32603,
} as const;

/** The text of anything thrown. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
