/**
 * One client session over Streamable HTTP as this process has it: its streams, and which of them
 * something goes to. The session itself is the engine's, and outlives this object.
 */
import type { ServerResponse } from "node:http";
import { must } from "../../base/assert.ts";
import type { World } from "../../base/world.ts";
import type { ClientHandler, ClientLink, Said } from "../../ports.ts";
import { revisionOf } from "../../wire/revisions.ts";
import { HTTP_RPC, trouble, type Trouble } from "./answers.ts";
import { formatEventId } from "./event-id.ts";
import type { HandshakeStream } from "./handshake.ts";
import { HeldBodies } from "./held-bodies.ts";
import type { PostStream } from "./post-stream.ts";
import type { RingBudget } from "./ring.ts";
import { Standalone } from "./standalone.ts";
import type { StreamContext } from "./stream-context.ts";

/** Responses that are open at once for one session. */
const OPEN_MAX = 1_000;
/** Above this much unread by the client, it is asked to read before it asks for more. */
const UNREAD_MAX_BYTES = 32 * 1024 * 1024;
/** Streams without a connection that are kept for their messages. */
const QUIET_MAX = 256;
/** How long one is kept after its last answer, and before. */
const OVER_KEPT_MS = 60_000;
const AWAY_KEPT_MS = 300_000;
/** What a client that names no version speaks (2025-11-25, "Protocol Version Header"). */
const VERSION_UNSAID = "2025-03-26";

export interface SessionHooks {
  /** The session is on disk and may be found by its key. */
  begun(session: McpSession): void;
  ended(session: McpSession, cause: string): void;
}

export interface SessionFacts {
  readonly upstream: string;
  readonly principal: string;
  readonly peer: string;
  readonly key: string;
  /** It was begun before: its client has long finished its handshake. */
  readonly isReturning: boolean;
}

export class McpSession implements ClientLink, StreamContext {
  readonly id: string;
  readonly transport = "http";
  readonly canResume = true;
  readonly world: World;
  readonly budget: RingBudget = { size: 0 };
  readonly upstream: string;
  readonly principal: string;
  readonly peer: string;
  readonly key: string;
  /** Of this object: a session that was taken up again has forgotten what it sent. */
  readonly epoch: string;
  protocolVersion: string | undefined;
  isInitialised: boolean;
  readonly #hooks: SessionHooks;
  readonly #standalone: Standalone;
  readonly #streams = new Set<PostStream>();
  readonly bodies = new HeldBodies();
  readonly #byCall = new Map<string, PostStream>();
  readonly #responses = new Set<ServerResponse>();
  /** While the client has no answer to its `initialize`. */
  handshake: HandshakeStream | undefined;
  #handler: ClientHandler | undefined;
  #seq = 0;
  /** The newest message of a stream that is not kept any more. */
  #droppedSeq = 0;
  #hasToldEpoch: boolean;
  #hasBegun: boolean;
  #isOver = false;

  constructor(world: World, facts: SessionFacts, hooks: SessionHooks) {
    this.world = world;
    this.#hooks = hooks;
    this.id = world.newId("link");
    this.epoch = world.newId("e").slice(-10);
    this.upstream = facts.upstream;
    this.principal = facts.principal;
    this.peer = facts.peer;
    this.key = facts.key;
    this.isInitialised = facts.isReturning;
    this.#hasBegun = facts.isReturning;
    this.#hasToldEpoch = false;
    this.#standalone = new Standalone(this);
  }

  get handler(): ClientHandler {
    return must(this.#handler, "the handler of a session");
  }

  set handler(handler: ClientHandler) {
    this.#handler = handler;
  }

  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  get standalone(): Standalone {
    return this.#standalone;
  }

  /** Batches exist for it. */
  hasBatches(): boolean {
    return revisionOf(this.protocolVersion ?? VERSION_UNSAID).hasBatches;
  }

  /** Why there can be no further response, in words; undefined if there can. */
  crowd(): string | undefined {
    if (this.#responses.size < OPEN_MAX) return undefined;
    return `${String(OPEN_MAX)} answers of this session are open, and there may not be more`;
  }

  /** Why the client may not ask more right now, in words; undefined if it may. */
  refusal(): string | undefined {
    const crowd = this.crowd();
    if (crowd !== undefined || this.bufferedBytes() <= UNREAD_MAX_BYTES) return crowd;
    return `more than ${String(UNREAD_MAX_BYTES)} bytes of answers of this session are unread`;
  }

  // ── The link ──────────────────────────────────────────────────────────────────────────────────

  /** What belongs to no request. An answer never goes over the standalone stream. */
  send(text: string, said: Said): boolean {
    if (this.#isOver || said.kind === "reply") return false;
    if (!this.#standalone.isOpen && this.#newestOpen()?.send(text, said) === true) return true;
    this.#standalone.send(text);
    return true;
  }

  bufferedBytes(): number {
    let bytes = 0;
    for (const response of this.#responses) bytes += response.writableLength;
    return bytes;
  }

  hold(isHeld: boolean): void {
    this.bodies.hold(isHeld);
  }

  isOpen(): boolean {
    return this.#responses.size > 0 || this.handshake?.isOpen === true;
  }

  begun(): void {
    this.#hasBegun = true;
    this.#hooks.begun(this);
  }

  ended(cause: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#standalone.end();
    const why = trouble(404, `the session is over: ${cause}`, [], HTTP_RPC.noSession);
    this.#endAll(why);
    this.#hooks.ended(this, cause);
  }

  // ── Streams ───────────────────────────────────────────────────────────────────────────────────

  add(stream: PostStream): void {
    this.#streams.add(stream);
  }

  /** The stream that this call was asked over, if it is kept. */
  streamOf(callId: string): PostStream | undefined {
    return this.#byCall.get(callId);
  }

  /** Messages that a client which has seen all up to `seq` of this epoch missed may be lost. */
  hasGapAfter(seq: number): boolean {
    return seq < this.#droppedSeq;
  }

  /** The client came back from another epoch. True the first time: then it is told of the gap. */
  crossesEpoch(): boolean {
    const isNews = !this.#hasToldEpoch;
    this.#hasToldEpoch = true;
    return isNews;
  }

  /** The client took a request back. */
  cancelled(idText: string): void {
    // A client that uses an id twice means the newer one.
    for (const stream of [...this.#streams].reverse()) {
      if (stream.cancelled(idText)) return;
    }
  }

  /** Comments on open streams; streams that nobody comes back for are dropped. */
  tick(): void {
    const now = this.world.monotonic();
    this.#standalone.comment();
    for (const stream of this.#streams) {
      stream.comment();
      const since = stream.quietSince;
      const keptMs = stream.isOver ? OVER_KEPT_MS : AWAY_KEPT_MS;
      if (since !== undefined && now - since >= keptMs) this.#drop(stream);
    }
  }

  /** We stop: nothing unasked is said any more. True while requests are being answered. */
  wind(): boolean {
    this.#standalone.end();
    if (this.handshake?.isOpen === true) return true;
    for (const stream of this.#streams) if (stream.isAttached) return true;
    return false;
  }

  /** The client is sent away, to come back for what it is owed. */
  dismiss(): void {
    const why = "the proxy is stopping; the answer did not come before";
    this.#endAll(trouble(503, why, ["Retry-After", "1"]));
  }

  #endAll(why: Trouble): void {
    this.handshake?.refuse(why);
    for (const stream of [...this.#streams]) stream.end(why);
  }

  #newestOpen(): PostStream | undefined {
    let newest: PostStream | undefined;
    for (const stream of this.#streams) if (stream.isOpen) newest = stream;
    return newest;
  }

  #drop(stream: PostStream): void {
    this.#streams.delete(stream);
    for (const callId of stream.callIds) {
      if (this.#byCall.get(callId) === stream) this.#byCall.delete(callId);
    }
    this.#droppedSeq = Math.max(this.#droppedSeq, stream.lastSeq ?? 0);
    stream.drop();
  }

  // ── What streams need ─────────────────────────────────────────────────────────────────────────

  hasPriming(): boolean {
    return revisionOf(this.protocolVersion ?? VERSION_UNSAID).hasPriming;
  }

  nextSeq(): number {
    return ++this.#seq;
  }

  idOf(stream: string, seq: number): string {
    return formatEventId(this.epoch, stream, seq);
  }

  opened(response: ServerResponse): void {
    if (response.destroyed) return;
    this.#responses.add(response);
    response.on("close", () => {
      this.#responses.delete(response);
    });
  }

  remember(callId: string, stream: PostStream): void {
    this.#byCall.set(callId, stream);
  }

  quiet(stream: PostStream): void {
    // Without messages it is as good as a new one.
    if (stream.isOver && stream.lastSeq === undefined) {
      this.#drop(stream);
      return;
    }
    const others = [...this.#streams].filter((s) => s.quietSince !== undefined);
    if (others.length > QUIET_MAX && others[0] !== undefined) this.#drop(others[0]);
  }
}
