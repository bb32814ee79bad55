/** Making, listing and revoking tokens: what `holdfast token` does, in the state folder. */
import { must } from "../../base/assert.ts";
import { RefusedError } from "../../base/errors.ts";
import type { World } from "../../base/world.ts";
import { loadDriver } from "../sqlite/connection.ts";
import { changeTokens, loadTokens, tokensPath } from "./file.ts";
import type { Token } from "./token.ts";
import { hashOf, idOfText, newTokenText, stateOf } from "./token.ts";

/** Tokens in the file, ended ones included. To make room the oldest ended ones go first. */
export const TOKENS_MAX = 1_000;
/** How long a command waits for others that change the file. One change takes a few ms. */
const LOCK_WAIT_MS = 10_000;

export interface TokenWish {
  readonly name: string;
  readonly upstreams: readonly string[] | "all";
  /** Undefined: it never expires. */
  readonly expiresInMs: number | undefined;
}

/**
 * Makes a token; its text is in the answer and nowhere else. The folder must be there. Rejects with
 * `RefusedError` where a valid one has that name, or the file can't be changed.
 */
export async function createToken(
  world: World,
  stateFolder: string,
  wish: TokenWish,
): Promise<{ token: Token; text: string }> {
  const { id, text } = newTokenText(world);
  const now = world.now();
  const token: Token = {
    id,
    name: wish.name,
    hash: hashOf(text),
    upstreams: wish.upstreams,
    createdAt: now,
    expiresAt: wish.expiresInMs === undefined ? undefined : now + wish.expiresInMs,
    revokedAt: undefined,
    lastUsedAt: undefined,
  };
  changeTokens(await loadDriver(), tokensPath(stateFolder), LOCK_WAIT_MS, (tokens) => {
    if (tokens.some((other) => other.name === wish.name && stateOf(other, now) === "valid")) {
      throw new RefusedError(
        `there is a valid token "${wish.name}"; choose another name, or revoke that one first: ` +
          `holdfast token revoke "${wish.name}"`,
      );
    }
    return [...withRoom(tokens, now), token];
  });
  return { token, text };
}

function withRoom(tokens: readonly Token[], now: number): readonly Token[] {
  const excess = tokens.length + 1 - TOKENS_MAX;
  if (excess <= 0) return tokens;
  const ended = tokens.filter((token) => stateOf(token, now) !== "valid");
  if (ended.length < excess) {
    throw new RefusedError(
      `there are ${String(TOKENS_MAX)} valid tokens, more are not kept; revoke some first`,
    );
  }
  const dropped = new Set(ended.slice(0, excess));
  return tokens.filter((token) => !dropped.has(token));
}

/** In order of making. Throws `RefusedError` where the file can't be read. */
export function listTokens(stateFolder: string): readonly Token[] {
  const loaded = loadTokens(tokensPath(stateFolder));
  if (loaded.kind === "unreadable") throw new RefusedError(loaded.why);
  return loaded.kind === "read" ? loaded.tokens : [];
}

/**
 * Revokes a token, named by its id, its name or its text. Rejects with `RefusedError` where there is none,
 * it is revoked already, or several could be meant.
 */
export async function revokeToken(
  world: World,
  stateFolder: string,
  which: string,
): Promise<Token> {
  const now = world.now();
  let revoked: Token | undefined;
  changeTokens(await loadDriver(), tokensPath(stateFolder), LOCK_WAIT_MS, (tokens) => {
    const target = findToken(tokens, which, now);
    revoked = { ...target, revokedAt: now };
    return tokens.map((token) => (token === target ? { ...token, revokedAt: now } : token));
  });
  return must(revoked, "the token that was revoked");
}

function findToken(tokens: readonly Token[], which: string, now: number): Token {
  const id = idOfText(which) ?? which;
  // A text given here is a secret, so it is not repeated.
  const words = id === which ? `"${which}"` : id;
  const found = tokens.filter((token) => token.id === id || token.name === which);
  const live = found.filter((token) => token.revokedAt === undefined);
  const valid = live.filter((token) => stateOf(token, now) === "valid");
  const [target, ...others] = valid.length > 0 ? valid : live;
  if (target === undefined) {
    throw new RefusedError(
      found.length > 0
        ? `the token ${words} is revoked already`
        : `there is no token ${words}; "holdfast token list" shows them`,
    );
  }
  if (others.length === 0) return target;
  const ids = [target, ...others].map((token) => token.id).join(", ");
  throw new RefusedError(`several tokens are called ${words}; say which by its id: ${ids}`);
}
