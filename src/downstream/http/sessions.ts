/**
 * The sessions of the Streamable HTTP clients, by their keys.
 *
 * HS1. A key opens a session only to the principal that began it, at the upstream where it began; to
 *      all others it looks as if it did not exist.
 * HS2. However many requests return at once with one key, the session is taken up once.
 */
import type { IncomingMessage } from "node:http";
import type { World } from "../../base/world.ts";
import type { Log } from "../../ports.ts";
import type { Visit } from "./route.ts";
import { McpSession } from "./session.ts";

/** 192 bits. */
const KEY_BYTES = 24;
const KEY_FORM = /^[A-Za-z0-9_-]{22,128}$/;
const PEER_MAX_CHARS = 200;

export class Sessions {
  readonly #world: World;
  readonly #log: Log;
  readonly #known = new Map<string, McpSession>();
  /** Their handshake is under way. */
  readonly #entering = new Set<McpSession>();
  readonly #returning = new Map<string, Promise<McpSession | undefined>>();

  constructor(world: World, log: Log) {
    this.#world = world;
    this.#log = log;
  }

  all(): readonly McpSession[] {
    return [...this.#known.values(), ...this.#entering];
  }

  /** A client without a session comes in. It is found by its key as soon as the session has begun. */
  enter(visit: Visit, request: IncomingMessage): McpSession {
    const session = this.#make(visit, request, this.#world.secret(KEY_BYTES), false);
    this.#entering.add(session);
    session.handler = visit.door.enter(session);
    return session;
  }

  /** The session that this process has. */
  find(key: string, visit: Visit): McpSession | undefined {
    const session = this.#known.get(key);
    return session !== undefined && isFor(session, visit) ? session : undefined;
  }

  /** The session from wherever it is; undefined where there is none for this visitor. May reject. */
  async restore(
    key: string,
    visit: Visit,
    request: IncomingMessage,
  ): Promise<McpSession | undefined> {
    const known = this.#known.get(key);
    if (known !== undefined) return isFor(known, visit) ? known : undefined;
    if (!KEY_FORM.test(key)) return undefined;
    const asker = [visit.upstream, visit.principal, key].join("\n");
    const underWay = this.#returning.get(asker);
    if (underWay !== undefined) return underWay;
    const returning = this.#takeUp(key, visit, request).finally(() => {
      this.#returning.delete(asker);
    });
    this.#returning.set(asker, returning);
    return returning;
  }

  async #takeUp(
    key: string,
    visit: Visit,
    request: IncomingMessage,
  ): Promise<McpSession | undefined> {
    const session = this.#make(visit, request, key, true);
    const handler = await visit.door.resume(session);
    if (handler === undefined) return undefined;
    session.handler = handler;
    this.#known.set(key, session);
    return session;
  }

  #make(visit: Visit, request: IncomingMessage, key: string, isReturning: boolean): McpSession {
    const peer = (request.headers["user-agent"] ?? "").slice(0, PEER_MAX_CHARS);
    const { upstream, principal } = visit;
    return new McpSession(
      this.#world,
      { upstream, principal, peer, key, isReturning },
      {
        begun: (session) => {
          this.#entering.delete(session);
          this.#known.set(key, session);
        },
        ended: (session, cause) => {
          this.#entering.delete(session);
          if (this.#known.get(key) === session) this.#known.delete(key);
          this.#log("debug", "a session over Streamable HTTP is let go", { upstream, cause });
        },
      },
    );
  }
}

const isFor = (session: McpSession, visit: Visit): boolean =>
  session.upstream === visit.upstream && session.principal === visit.principal;
