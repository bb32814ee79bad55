/**
 * The lines of one upstream: one per session, or one per principal if sessions share.
 *
 * LN1. Of a session there is one line at a time, with its client or without.
 */
import { handshakeVariant, type SessionRow } from "../core/session.ts";
import { sharedHandshake } from "../core/sharing.ts";
import type { JsonObject } from "../wire/message.ts";
import type { EngineContext } from "./context.ts";
import { Line, type LineHooks } from "./line.ts";
import type { Registry } from "./registry.ts";

export interface LinesParts {
  readonly registry: Registry;
  /** Of this program: how it calls itself where it connects for many. */
  readonly version: string;
  readonly hooks: LineHooks;
}

/** How long the end of a connection may take that nobody needs any more, ms. */
const STOP_MS = 2_000;

export class Lines {
  readonly #context: EngineContext;
  readonly #parts: LinesParts;
  readonly #byKey = new Map<string, Line>();
  /** On their way out: what is in flight over them may still end. */
  readonly #ending = new Map<Line, Promise<void> | undefined>();

  constructor(context: EngineContext, parts: LinesParts) {
    this.#context = context;
    this.#parts = parts;
  }

  all(): Iterable<Line> {
    return this.#byKey.values();
  }

  /** Those too that are on their way out. */
  everything(): readonly Line[] {
    return [...this.#byKey.values(), ...this.#ending.keys()];
  }

  /** The session's next line is another one; this one is to be ended with `end`. */
  retire(line: Line): void {
    for (const [key, other] of this.#byKey) if (other === line) this.#byKey.delete(key);
    if (!this.#ending.has(line)) this.#ending.set(line, undefined);
  }

  /** The line that carries this session: the one there is, or a new one, which is not dialled yet. */
  of(session: SessionRow): Line {
    const isShared = this.#context.settings.isolation === "shared";
    const key = isShared ? `shared ${session.principal}` : session.id;
    const known = this.#byKey.get(key);
    if (known !== undefined) return known;
    const handshake = isShared
      ? sharedHandshake(this.#parts.version)
      : (JSON.parse(session.handshake) as JsonObject);
    const variant = handshakeVariant(handshake);
    const plan = { principal: session.principal, handshake, variant, isShared, session };
    const line = new Line(this.#context, plan, this.#parts.hooks);
    this.#byKey.set(key, line);
    return line;
  }

  /** Ends a line for one session, or one that nobody needs. Resolves when nothing of it is left. */
  end(line: Line): Promise<void> {
    this.retire(line);
    const known = this.#ending.get(line);
    if (known !== undefined) return known;
    const ending = line.stop(STOP_MS).finally(() => {
      this.#ending.delete(line);
    });
    this.#ending.set(line, ending);
    return ending;
  }

  /** Ends the line if nobody is on it and nothing of it lives. */
  tidy(line: Line): void {
    // Not only what waits or is in flight: a call whose intent is being written is neither.
    if (line.members.size > 0 || this.#parts.registry.liveOn(line) > 0) return;
    this.end(line).catch(this.#context.fatal);
  }

  /** Resolves when lines that were on their way out are gone. */
  async settled(): Promise<void> {
    await Promise.all(this.#ending.values());
  }
}
