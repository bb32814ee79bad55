/**
 * The clients of one transport by their keys, with and without a connection.
 *
 * CL3. A key opens nothing for another principal or upstream than its own, and nothing tells that it
 *      exists.
 * CL4. Bounded: over the limit the link that has been without a connection for longest is forgotten,
 *      which loses nothing (its session is found by its key again); without such a link nobody new is
 *      taken.
 */
import type { IncomingMessage } from "node:http";
import { errorText } from "../base/errors.ts";
import type { World } from "../base/world.ts";
import type { TransportKind } from "../core/transport.ts";
import type { ClientHandler, Log } from "../ports.ts";
import { KeptLink } from "./kept-link.ts";
import type { Visit } from "./http/route.ts";

/** Longer than any key of ours: what does not fit is not looked for. */
const KEY_CHARS_MAX = 128;
/** 192 random bits. */
const KEY_BYTES = 24;
const PEER_CHARS_MAX = 200;

export interface KeptLinksOptions {
  readonly world: World;
  readonly log: Log;
  readonly transport: TransportKind;
  readonly canResume: boolean;
  /** Links kept at most, with and without a connection. */
  readonly linksMax: number;
}

/** What became of a client that came with a key. */
export type Returned = KeptLink | NotReturned;
export type NotReturned = "unknown" | "full" | "failed";

export class KeptLinks {
  readonly #options: KeptLinksOptions;
  /** Those without a connection in the order in which they lost it. */
  readonly #links = new Map<string, KeptLink>();
  /** Returning clients for which the door is being asked, by whose key for which upstream. */
  readonly #returning = new Map<string, Promise<Returned>>();

  constructor(options: KeptLinksOptions) {
    this.#options = options;
  }

  [Symbol.iterator](): IterableIterator<KeptLink> {
    return this.#links.values();
  }

  /** A link for a client that is new here. */
  open(visit: Visit, peer: string): KeptLink | "full" {
    if (!this.#hasRoom()) return "full";
    const link = this.#newLink(visit, peer, this.#options.world.secret(KEY_BYTES));
    this.#links.set(link.key, link);
    return link;
  }

  /** The link with this key, if it is here and this visitor's. */
  find(visit: Visit, key: string): KeptLink | undefined {
    const link = this.#links.get(key);
    const isOwn = link?.principal === visit.principal && link.upstream === visit.upstream;
    return isOwn ? link : undefined;
  }

  /**
   * The link of a client that returned with its key: the one that is here, else one with the session
   * that the door finds. Visits with one key share one answer of the door. Never rejects.
   */
  returned(visit: Visit, key: string, peer: string): Promise<Returned> {
    const known = this.find(visit, key);
    if (known !== undefined) return Promise.resolve(known);
    const isImpossible = key === "" || key.length > KEY_CHARS_MAX || this.#links.has(key);
    if (isImpossible) return Promise.resolve("unknown");
    const who = JSON.stringify([visit.upstream, visit.principal, key]);
    const pending = this.#returning.get(who);
    if (pending !== undefined) return pending;
    if (!this.#hasRoom()) return Promise.resolve("full");
    const asked = this.#ask(visit, key, peer).finally(() => this.#returning.delete(who));
    this.#returning.set(who, asked);
    return asked;
  }

  async #ask(visit: Visit, key: string, peer: string): Promise<Returned> {
    const link = this.#newLink(visit, peer, key);
    let handler: ClientHandler | undefined;
    try {
      handler = await visit.door.resume(link);
    } catch (error) {
      const cause = errorText(error);
      this.#options.log("error", "a session could not be looked up", { cause });
      return "failed";
    }
    if (handler === undefined) return "unknown";
    link.bind(handler, true);
    // The engine may have let go of it meanwhile.
    if (!link.isBound) return "unknown";
    this.#links.set(key, link);
    return link;
  }

  #newLink(visit: Visit, peer: string, key: string): KeptLink {
    const { world, transport, canResume } = this.#options;
    return new KeptLink({
      id: world.newId("link"),
      transport,
      upstream: visit.upstream,
      principal: visit.principal,
      peer,
      key,
      canResume,
      onOver: (link) => {
        if (this.#links.get(link.key) === link) this.#links.delete(link.key);
      },
      onDetached: (link) => {
        this.#links.delete(link.key);
        this.#links.set(link.key, link);
      },
    });
  }

  #hasRoom(): boolean {
    if (this.#links.size + this.#returning.size < this.#options.linksMax) return true;
    for (const link of this.#links.values()) {
      if (!link.isIdle) continue;
      link.forget();
      return true;
    }
    return false;
  }
}

/** What tells a client from others of its principal: the name that it was given, else its program's. */
export function peerOf(request: IncomingMessage, visit: Visit): string {
  const name = visit.url.searchParams.get("client") ?? request.headers["user-agent"] ?? "";
  return name.slice(0, PEER_CHARS_MAX);
}
