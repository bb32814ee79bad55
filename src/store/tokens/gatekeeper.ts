/**
 * Decides by the token file who may use which upstream.
 *
 * K15. A file that can't be read, or is gone after it was there, lets nobody in; it never opens the door.
 * K16. What another process changes counts here within `LOOK_EVERY_MS`, a new token at once.
 * K17. Where the file decides whether tokens are asked for (`auto`), it does so by being there: the first
 *      token that is made closes the door, and revoking the last one does NOT open it.
 */
import { errorText } from "../../base/errors.ts";
import type { CancelTimer, World } from "../../base/world.ts";
import type { Admittance, Gatekeeper, Log } from "../../ports.ts";
import { loadDriver } from "../sqlite/connection.ts";
import type { Loaded } from "./file.ts";
import { changeTokens, loadTokens, stampAt, tokensPath } from "./file.ts";
import type { Token } from "./token.ts";
import { idOfText, isTextOf, stateOf } from "./token.ts";

/** Longest time for which a revoked token still counts, ms. */
export const LOOK_EVERY_MS = 100;
/** A use is noted at most so often for each token, and that long after it, ms. */
export const NOTE_EVERY_MS = 60_000;
export const NOTE_AFTER_MS = 5_000;

/** The principal where nobody is asked. */
export const LOCAL_PRINCIPAL = "local";

export type AuthMode = "auto" | "required" | "none";

export interface GatekeeperOptions {
  readonly world: World;
  readonly log: Log;
  readonly stateFolder: string;
  /** `auto`: tokens are asked for beyond loopback, and everywhere as soon as one was made (K17). */
  readonly auth: AuthMode;
  readonly isBeyondLoopback: boolean;
}

export interface TokenGatekeeper extends Gatekeeper {
  /** Whether the grant of one who was admitted is gone for sure; false where that can't be known now. */
  isRevoked(principal: string, upstream: string): boolean;
  /** Why nobody is let in, in words for `status`; undefined while the file can be read. */
  trouble(): string | undefined;
  /** How many tokens are neither revoked nor expired. */
  countValid(): number;
  /** Notes the last uses. Never rejects. */
  close(): Promise<void>;
}

export function openGatekeeper(options: GatekeeperOptions): TokenGatekeeper {
  return new FileGatekeeper(options);
}

type Known =
  /** No token was ever made. */
  | { readonly kind: "none" }
  | {
      readonly kind: "some";
      readonly byId: ReadonlyMap<string, Token>;
      readonly stamp: string;
    }
  | { readonly kind: "unreadable"; readonly why: string };

const isFor = ({ upstreams }: Token, upstream: string): boolean =>
  upstreams === "all" || upstreams.includes(upstream);

const unknown = (reason: string): Admittance => ({ kind: "unknown", reason });

class FileGatekeeper implements TokenGatekeeper {
  readonly #options: GatekeeperOptions;
  readonly #path: string;
  #known: Known = { kind: "none" };
  #lookedAt = -Infinity;
  /** The file was there in this life. */
  #wasThere = false;
  readonly #notes: UseNotes;

  constructor(options: GatekeeperOptions) {
    this.#options = options;
    this.#path = tokensPath(options.stateFolder);
    this.#notes = new UseNotes(options, this.#path);
    this.#look();
  }

  admit(bearer: string | undefined, upstream: string): Admittance {
    this.#lookAgain();
    if (!this.#asks()) return { kind: "admitted", principal: LOCAL_PRINCIPAL };
    if (bearer === undefined) {
      return unknown("a bearer token is needed; holdfast token create makes one");
    }
    // A file that can't be read is tried again at its pace, whoever knocks how often.
    const isNew = this.#known.kind !== "unreadable" && this.#find(bearer) === undefined;
    if (isNew) this.#look();
    if (this.#known.kind === "unreadable") {
      return unknown("the proxy can't read its tokens; its log says why");
    }
    const token = this.#find(bearer);
    return token === undefined ? unknown("the token is unknown") : this.#judge(token, upstream);
  }

  stillAdmits(principal: string, upstream: string): boolean {
    this.#lookAgain();
    if (!this.#asks()) return principal === LOCAL_PRINCIPAL;
    if (this.#known.kind !== "some") return false;
    const token = this.#known.byId.get(principal);
    if (token === undefined || stateOf(token, this.#options.world.now()) !== "valid") return false;
    return isFor(token, upstream);
  }

  isRevoked(principal: string, upstream: string): boolean {
    this.#lookAgain();
    // Who came before there were tokens has nothing that could be revoked.
    if (this.#known.kind !== "some" || principal === LOCAL_PRINCIPAL) return false;
    return !this.stillAdmits(principal, upstream);
  }

  trouble(): string | undefined {
    this.#lookAgain();
    return this.#known.kind === "unreadable" ? this.#known.why : undefined;
  }

  countValid(): number {
    this.#lookAgain();
    if (this.#known.kind !== "some") return 0;
    const now = this.#options.world.now();
    return [...this.#known.byId.values()].filter((token) => stateOf(token, now) === "valid").length;
  }

  close(): Promise<void> {
    return this.#notes.close();
  }

  #asks(): boolean {
    const { auth, isBeyondLoopback } = this.#options;
    switch (auth) {
      case "none":
        return false;
      case "required":
        return true;
      case "auto":
        return isBeyondLoopback || this.#known.kind !== "none";
    }
  }

  #find(bearer: string): Token | undefined {
    if (this.#known.kind !== "some") return undefined;
    const token = this.#known.byId.get(idOfText(bearer) ?? "");
    return isTextOf(bearer, token) ? token : undefined;
  }

  #judge(token: Token, upstream: string): Admittance {
    switch (stateOf(token, this.#options.world.now())) {
      case "revoked":
        return unknown("the token was revoked");
      case "expired":
        return unknown("the token has expired");
      case "valid":
        this.#notes.used(token);
        return isFor(token, upstream)
          ? { kind: "admitted", principal: token.id }
          : { kind: "forbidden", reason: `the token is not for "${upstream}"` };
    }
  }

  #lookAgain(): void {
    if (this.#options.auth === "none") return;
    if (this.#options.world.monotonic() - this.#lookedAt >= LOOK_EVERY_MS) this.#look();
  }

  #look(): void {
    this.#lookedAt = this.#options.world.monotonic();
    const stamp = stampAt(this.#path);
    if (this.#known.kind === "some" && this.#known.stamp === stamp) return;
    this.#become(this.#knownFrom(loadTokens(this.#path)));
  }

  #knownFrom(loaded: Loaded): Known {
    switch (loaded.kind) {
      case "unreadable":
        return loaded;
      case "absent":
        return this.#wasThere
          ? { kind: "unreadable", why: `${this.#path} is gone; restore it, or start anew` }
          : { kind: "none" };
      case "read":
        this.#wasThere = true;
        return {
          kind: "some",
          byId: new Map(loaded.tokens.map((token) => [token.id, token])),
          stamp: loaded.stamp,
        };
    }
  }

  #become(known: Known): void {
    const before = this.#known;
    this.#known = known;
    const { log } = this.#options;
    if (known.kind === "unreadable") {
      const isNews = before.kind !== "unreadable" || before.why !== known.why;
      if (isNews) log("error", `nobody is let in: ${known.why}`);
    } else if (before.kind === "unreadable") log("info", `${this.#path} can be read again`);
  }
}

/** Gives back `tokens` itself where none of them was used, so that nothing is written (K15). */
function withUses(tokens: readonly Token[], uses: ReadonlyMap<string, number>): readonly Token[] {
  if (!tokens.some(({ id }) => uses.has(id))) return tokens;
  return tokens.map((token) => {
    const usedAt = uses.get(token.id);
    return usedAt === undefined || usedAt <= (token.lastUsedAt ?? -Infinity)
      ? token
      : { ...token, lastUsedAt: usedAt };
  });
}

/** Notes in the file when tokens were last used; not worth more than one try. */
class UseNotes {
  readonly #options: GatekeeperOptions;
  readonly #path: string;
  /** By id: the last use that was noted here or is about to be. */
  readonly #notedAt = new Map<string, number>();
  #pending = new Map<string, number>();
  #stopTimer: CancelTimer | undefined;
  #writing: Promise<void> = Promise.resolve();
  #hasFailed = false;

  constructor(options: GatekeeperOptions, path: string) {
    this.#options = options;
    this.#path = path;
  }

  used({ id, lastUsedAt }: Token): void {
    const now = this.#options.world.now();
    const notedAt = Math.max(this.#notedAt.get(id) ?? -Infinity, lastUsedAt ?? -Infinity);
    if (now - notedAt < NOTE_EVERY_MS) return;
    this.#notedAt.set(id, now);
    this.#pending.set(id, now);
    this.#stopTimer ??= this.#options.world.timer(NOTE_AFTER_MS, () => {
      this.#stopTimer = undefined;
      this.#write();
    });
  }

  close(): Promise<void> {
    this.#stopTimer?.();
    this.#stopTimer = undefined;
    this.#write();
    return this.#writing;
  }

  #write(): void {
    if (this.#pending.size === 0) return;
    const uses = this.#pending;
    this.#pending = new Map();
    this.#writing = this.#writing.then(() => this.#note(uses));
  }

  async #note(uses: ReadonlyMap<string, number>): Promise<void> {
    try {
      // Without waiting for the lock: a minute later there is another chance.
      changeTokens(await loadDriver(), this.#path, 0, (tokens) => withUses(tokens, uses));
    } catch (error) {
      const level = this.#hasFailed ? "debug" : "warn";
      this.#hasFailed = true;
      this.#options.log(level, `when tokens were last used is not noted: ${errorText(error)}`);
    }
  }
}
