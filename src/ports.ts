/**
 * The contract sheet: what the engine needs of the edges. Types only. The edges (`store`, `upstream`,
 * `downstream`, `observe`) implement these; the engine sees nothing else of them.
 */
import type { TransportKind } from "./core/transport.ts";
import type { Batch, Malformed, Message } from "./wire/message.ts";
import type { CallChange, CallRow } from "./core/call.ts";
import type { CallFilter as Filter, JournalFilter } from "./core/call-filter.ts";
import type { Failure } from "./core/failure.ts";
import type { Outcome } from "./core/verdict.ts";
import type { SessionRow } from "./core/session.ts";
import type { Catalogue } from "./core/catalogue.ts";
import type { JournalStats, ProxyStatus, RecoveryReport } from "./core/status.ts";
import type { ProxyEvent } from "./core/event.ts";

// ── Journal ─────────────────────────────────────────────────────────────────────────────────────

export interface Recovery {
  readonly report: RecoveryReport;
  /** Live rows (`queued`, `in_doubt`) in order of `seq`, after `sent` rows became `in_doubt`. */
  readonly live: readonly CallRow[];
  /**
   * Terminal rows with a fingerprint that ended in the last 10 minutes and were not delivered, or whose
   * outcome is still unknown.
   */
  readonly remembered: readonly CallRow[];
}

export type CallFilter = Filter;

/**
 * The durable record of calls. One method is one atomic statement; a promise resolves after the commit
 * that holds it (and after the fsync, if `mustSync()` says so). Changes posted in order are applied in
 * order. Rejects with `JournalError` only.
 */
export interface Journal {
  /** Runs once before anything of a call; twice in a row finds nothing to do. Sessions don't wait for it. */
  recover(now: number): Promise<Recovery>;
  /** Inserts a row in the state it has (`queued`, or `sent` for the fast path); resolves to its seq. */
  admit(row: CallRow): Promise<number>;
  /** Applies a change under its guard; false where the guard refused and nothing was written. */
  apply(change: CallChange, sync: boolean): Promise<boolean>;
  /** Like `apply` for changes that nobody waits for (`deliver`); goes with a later commit. */
  applyLater(change: CallChange): void;
  find(id: string): Promise<CallRow | undefined>;
  list(filter: JournalFilter): Promise<readonly CallRow[]>;
  /** Survives the process once it resolves, not the power. */
  saveSession(row: SessionRow): Promise<void>;
  findSession(id: string): Promise<SessionRow | undefined>;
  /** All sessions that are kept, ended ones too, in the order in which they were first saved. */
  sessions(): Promise<readonly SessionRow[]>;
  /** A small durable fact (breaker state, child process groups); `undefined` forgets it. */
  keep(key: string, value: string | undefined): Promise<void>;
  kept(prefix: string): Promise<ReadonlyMap<string, string>>;
  /**
   * Drops the payloads of calls settled before `resultsBefore` and keeps their rows; deletes rows
   * settled before `recordsBefore`, sessions without rows that ended or expired before it, and over
   * `bytesMax` the oldest ended rows. In short steps. Resolves to the number of rows deleted.
   */
  prune(resultsBefore: number, recordsBefore: number, bytesMax?: number): Promise<number>;
  stats(): JournalStats;
  /** Flushes, checkpoints and closes; later calls reject with `closed`. */
  close(): Promise<void>;
}

// ── Catalogue ───────────────────────────────────────────────────────────────────────────────────

export interface CatalogueStore {
  /** The last known catalogue of this upstream under these credentials. Never throws: unreadable is absent. */
  load(): Catalogue | undefined;
  save(catalogue: Catalogue): void;
}

// ── Upstream ────────────────────────────────────────────────────────────────────────────────────

/** What the connection needs to know of a message that it sends. */
export type Outbound =
  | {
      readonly kind: "request";
      readonly id: string;
      readonly safety: "read" | "idempotent" | "unsafe";
    }
  | { readonly kind: "handshake"; readonly id: string }
  | { readonly kind: "notification" }
  /** The answer to a request of the upstream. */
  | { readonly kind: "reply" };

export interface ConnectionEvents {
  /**
   * A message from the upstream. `relatedId` is the id of the request on whose stream it came, where
   * the transport tells (Streamable HTTP).
   */
  onMessage(message: Message, relatedId: string | undefined): void;
  /** The fate of one request, where the transport knows it apart from the link's. Once per request. */
  onOutcome(id: string, outcome: Exclude<Outcome, { kind: "replied" }>): void;
  /**
   * The link is gone; once, and nothing comes after it. Requests without an outcome are lost, except
   * those in `resumable`, whose answers may still come if the next dial resumes.
   */
  onDown(failure: Failure, resume: ResumeTicket | undefined): void;
  /** Something that is no message (stdout noise, an unknown frame); logged, never fatal by itself. */
  onNoise(what: string): void;
}

/** Whatever a transport needs to take a session up again; opaque to the engine. */
export interface ResumeTicket {
  /** Requests whose answers may still be fetched. */
  readonly requestIds: readonly string[];
  readonly data: unknown;
}

export interface Connection {
  /**
   * Sends one message. Returns false where it is certain that no byte was or will be handed over.
   * Never throws; a later failure comes as an event.
   */
  send(text: string, about: Outbound): boolean;
  /** Tells the transport the outcome of the handshake (headers, the server's own stream). */
  handshaken(protocolVersion: string): void;
  /** No longer wait for the answer to this request. */
  forget(id: string): void;
  /** Ends the link politely, then by force within `graceMs`. Resolves when nothing is left of it. */
  close(graceMs: number): Promise<void>;
  /** While held, nothing more is read from the server, so that it has to wait; the rest goes on. */
  hold?(isHeld: boolean): void;
  /** For `status`: a process id, a session id. */
  describe(): Readonly<Record<string, string | number>>;
}

export type DialOutcome =
  | {
      readonly kind: "connected";
      readonly connection: Connection;
      /** The old session was taken up again: no new handshake; its request ids still count. */
      readonly isResumed: boolean;
    }
  | { readonly kind: "failed"; readonly failure: Failure };

/** Dials one upstream. `dial` resolves, never rejects; an abort resolves as failed and leaves nothing behind. */
export interface Connector {
  readonly kind: TransportKind;
  /** What is dialled, for people: the command line or URL, secrets masked. */
  readonly target: string;
  dial(
    events: ConnectionEvents,
    resume: ResumeTicket | undefined,
    signal: AbortSignal,
  ): Promise<DialOutcome>;
}

// ── Downstream ──────────────────────────────────────────────────────────────────────────────────

/** What arrived from a client: a message, or what could not be read as one. */
export type Inbound =
  | Message
  | Batch
  | Malformed
  | { readonly kind: "oversize"; readonly bytes: number; readonly idText: string | undefined };

/** What is said to a client, as far as a transport with several streams must know it. */
export type Said =
  /** The answer to the request with this id, as the client spelled it. */
  | { readonly kind: "reply"; readonly idText: string }
  /** A request or notification. */
  | { readonly kind: "message" };

/** A way to a client: its whole connection, or one of several response streams of its session. */
export interface ClientStream {
  /** False where the client can't get it over this stream: an answer then stays in the journal. */
  send(text: string, said: Said): boolean;
  /** Bytes handed over but not yet taken by the client. */
  bufferedBytes(): number;
  /**
   * The request has become a durable call: its answer can be asked for by this id from now on, also
   * after this process (`ClientHandler.resume`). Only told where the client can resume.
   */
  accepted?(idText: string, callId: string): void;
}

/** A client as its listener knows it, for as long as its session lasts or its connection lives. */
export interface ClientLink extends ClientStream {
  readonly id: string;
  readonly transport: TransportKind;
  /** Whose client it is: a token's id, or "local". */
  readonly principal: string;
  /** What tells it from other clients of its principal, as it says itself (user agent). */
  readonly peer: string;
  /**
   * The secret that opens its session to it later on (`Door.resume`), at least 128 random bits;
   * undefined where a client can't return. A session begun over this link is stored under it.
   */
  readonly key: string | undefined;
  /** A client of this transport can come back for single answers: everything of it is journalled. */
  readonly canResume: boolean;
  /** The handshake has begun a session, which is on disk. Before the answer to the handshake. */
  begun?(): void;
  /** While `isHeld` nothing is read from the client: its calls are on their way to disk. */
  hold?(isHeld: boolean): void;
  /** Something of the client's is open here: it is not away. */
  isOpen?(): boolean;
  /** The engine lets go of the session: what is open is closed; a client that returns asks at the door. */
  ended?(cause: string): void;
}

export interface ClientHandler {
  /** `stream`: where answers, and what belongs to the request, go; by default the link. */
  receive(inbound: Inbound, stream?: ClientStream): void;
  /** Answers of these calls of the session go to this stream. Resolves to the ids that are not known. */
  resume(callIds: readonly string[], stream: ClientStream): Promise<readonly string[]>;
  /** The client leaves more unread than its link's bound; and then, that it has read it. */
  congested?(isCongested: boolean): void;
  /** The connection is gone, the session stays. What can't be sent meanwhile is kept, within bounds. */
  detached(cause: string): void;
  /** The connection is back on the same link: what was missed goes out. */
  attached(): void;
  /** The client does not come back; it may read on. Resolves, never rejects, once that is on disk. */
  left(cause: string): Promise<void>;
}

/** Accepts the clients of one upstream. `stop()` takes no more input; what was sent is flushed. */
export interface Listener {
  start(accept: (link: ClientLink) => ClientHandler): void;
  stop(): Promise<void>;
}

/** The way in to one upstream. */
export interface Door {
  /** A client without a session; its handshake begins one. */
  enter(link: ClientLink): ClientHandler;
  /**
   * Gives a client that returned with a key its session back, over `link`, from the journal if this
   * process does not have it. Undefined where there is none for it: unknown, ended, expired, another
   * principal's or another upstream's. Rejects where it could not be looked up, or this process ends.
   */
  resume(link: ClientLink & { readonly key: string }): Promise<ClientHandler | undefined>;
  /**
   * Gives a client that returned without a key the one detached session of the same principal,
   * transport and peer; undefined unless it is clear which one that is.
   */
  adopt(link: ClientLink): Promise<ClientHandler | undefined>;
}

/** Accepts clients of many upstreams over the network. */
export interface NetworkListener {
  /** Resolves to its address, such as `http://127.0.0.1:7411`. Rejects with `ConfigError`. */
  start(doorOf: (upstream: string) => Door | undefined): Promise<string>;
  /** New requests are refused from now on; what is open goes on, so that answers still go out. */
  refuse(): void;
  /** Ends what is open within `graceMs`, so that clients come back for what they are owed. */
  stop(graceMs: number): Promise<void>;
}

/** Who is at the door. `principal`: a token's id, or "local" where none is asked for. */
export type Admittance =
  | { readonly kind: "admitted"; readonly principal: string }
  /** No token, or one that is not (any more) valid: 401. */
  | { readonly kind: "unknown"; readonly reason: string }
  /** A valid token that is not for this upstream: 403. */
  | { readonly kind: "forbidden"; readonly reason: string };

/** Decides who may use an upstream. Never throws. */
export interface Gatekeeper {
  /** `bearer`: the token of the Authorization header, if there is one. */
  admit(bearer: string | undefined, upstream: string): Admittance;
  /** Whether one who was admitted would still be: tokens are revoked, and expire. */
  stillAdmits(principal: string, upstream: string): boolean;
}

// ── Observation ─────────────────────────────────────────────────────────────────────────────────

export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

/** One line per state change. Never arguments or results of calls. */
export type Log = (level: LogLevel, message: string, fields?: LogFields) => void;

// ── Control ─────────────────────────────────────────────────────────────────────────────────────

/** What the command line asks of a running proxy, over its control socket. */
export interface Control {
  status(): Promise<ProxyStatus>;
  list(filter: CallFilter): Promise<readonly CallRow[]>;
  show(id: string): Promise<CallRow | undefined>;
  /** A new call that repeats an ended one; resolves to its id. Rejects with a reason in words. */
  retry(id: string): Promise<string>;
  /** Withdraws a waiting call, or gives up one in flight. Rejects with a reason in words. */
  cancel(id: string): Promise<CallRow>;
  settle(id: string, note: string): Promise<CallRow>;
  /** All sessions that are kept, newest first. */
  sessions(): Promise<readonly SessionRow[]>;
  /** Ends a session for good. Rejects with a reason in words. */
  endSession(id: string): Promise<void>;
  /**
   * Connects anew to an upstream: what is in flight may finish, what comes meanwhile waits. Resolves
   * to the number of connections that were renewed. Rejects with a reason in words.
   */
  restart(upstream: string): Promise<number>;
  /** Tells what happens from now on; returns what stops it. */
  follow(tell: (event: ProxyEvent) => void): () => void;
}
