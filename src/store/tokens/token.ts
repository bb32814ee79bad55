/**
 * A bearer token: its text, what is kept of it, and what it is worth at an instant.
 *
 * The text is `hft_<26 characters of its id>_<64 hex digits>`: 256 random bits, letters and digits only so
 * that a double click takes all of it, and a beginning by which scanners find one that leaked.
 * It is compared with what is kept in a time that says nothing of how much of it is right.
 *
 * K11. Of a token's text only the SHA-256 is kept. It has 256 random bits, so nothing slower is needed.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import type { World } from "../../base/world.ts";

export interface Token {
  /** `t_…`; names the principal, in sessions and logs. No secret. */
  readonly id: string;
  /** For people. Of the valid tokens no two have the same. */
  readonly name: string;
  /** Hex SHA-256 of the whole text. */
  readonly hash: string;
  /** Names of the upstreams that it is for. */
  readonly upstreams: readonly string[] | "all";
  /** Epoch ms, like all instants here. */
  readonly createdAt: number;
  /** From this instant on it is worth nothing. */
  readonly expiresAt: number | undefined;
  readonly revokedAt: number | undefined;
  /** Within about a minute. */
  readonly lastUsedAt: number | undefined;
}

export type TokenState = "valid" | "expired" | "revoked";

const SECRET_BYTES = 32;
const TEXT = /^hft_([0-9a-z]{26})_[0-9a-f]{64}$/;

export const hashOf = (text: string): string => createHash("sha256").update(text).digest("hex");

/** A new id and the text that goes with it. The text is shown once and kept nowhere. */
export function newTokenText(world: World): { id: string; text: string } {
  const id = world.newId("t");
  const secret = Buffer.from(world.secret(SECRET_BYTES), "base64url").toString("hex");
  return { id, text: `hft_${id.slice("t_".length)}_${secret}` };
}

/** The id in a token's text; undefined if it is no such text. Proves nothing. */
export function idOfText(text: string): string | undefined {
  const part = TEXT.exec(text)?.[1];
  return part === undefined ? undefined : `t_${part}`;
}

const NO_HASH = "0".repeat(64);

/** Whether `text` is the text of `token`, in constant time. Without a token it takes as long, and is false. */
export function isTextOf(text: string, token: Token | undefined): boolean {
  const shown = Buffer.from(hashOf(text), "hex");
  const kept = Buffer.from(token?.hash ?? NO_HASH, "hex");
  return timingSafeEqual(shown, kept) && token !== undefined;
}

export function stateOf(token: Token, now: number): TokenState {
  if (token.revokedAt !== undefined) return "revoked";
  return token.expiresAt !== undefined && now >= token.expiresAt ? "expired" : "valid";
}
