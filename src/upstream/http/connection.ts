/**
 * One connection to a Streamable HTTP server: its session, the requests that wait for an answer, the
 * gate after the handshake, the server's own stream, and the one end of it all.
 *
 *     open → winding_down → down        open | winding_down → closed
 *
 * N1. `onDown` comes once, and nothing after it; after `close()` nothing comes at all.
 * N2. A failure winds the connection down first: for a moment, requests that the server already has
 *     may still be answered (a server that shuts down politely answers what it took), and nothing
 *     new is sent. What was never sent is then refused; what can be resumed goes into the ticket.
 * N3. Requests wait until the server has answered the first notification after the handshake
 *     (`notifications/initialized`): separate POSTs may overtake each other.
 */
import type { CancelTimer } from "../../base/world.ts";
import { assert } from "../../base/assert.ts";
import type { Failure } from "../../core/failure.ts";
import type { Connection, ConnectionEvents, Outbound, ResumeTicket } from "../../ports.ts";
import { HandshakeGate } from "../handshake-gate.ts";
import { Exchange, type ResumePoint } from "./exchange.ts";
import type { Fate, Host } from "./host.ts";
import { Inbox } from "./inbox.ts";
import { Notice } from "./notice.ts";
import { ServerStream } from "./server-stream.ts";

/** How long answers under way may still come after the connection was found broken. */
const WIND_DOWN_MS = 5_000;

type Phase =
  | { readonly kind: "open" }
  | { readonly kind: "winding_down"; readonly failure: Failure; readonly cancel: CancelTimer }
  | { readonly kind: "down" }
  | { readonly kind: "closed" };

/** A request that was accepted and not sent yet. */
interface Held {
  readonly text: string;
  readonly about: Extract<Outbound, { kind: "request" | "handshake" }>;
}

/** What the next connection needs to take this session up again. */
export interface TicketData {
  readonly sessionId: string;
  readonly protocolVersion: string;
  readonly serverStreamLastId: string | undefined;
  readonly points: readonly ResumePoint[];
}

export type HostParts = Pick<
  Host,
  "world" | "client" | "headers" | "mask" | "replyMaxBytes" | "patienceMs"
>;

export class HttpConnection implements Connection {
  readonly #parts: HostParts;
  readonly #events: ConnectionEvents;
  readonly #host: Host;
  readonly #exchanges = new Map<string, Exchange>();
  /** Exchanges with their reply, whose streams are still open. */
  readonly #trailing = new Set<Exchange>();
  readonly #notices = new Set<Notice>();
  #held: Held[] = [];
  #phase: Phase = { kind: "open" };
  readonly #gate: HandshakeGate;
  #serverStream: ServerStream | undefined;

  constructor(parts: HostParts, events: ConnectionEvents) {
    this.#parts = parts;
    this.#events = events;
    this.#gate = new HandshakeGate(parts.world, parts.patienceMs, () => {
      this.#gateOpened();
    });
    const settle = (id: string, fate: Fate): void => {
      this.#settle(id, fate);
    };
    const noise = (what: string): void => {
      if (this.#isListening) events.onNoise(what);
    };
    const inbox = new Inbox({
      claim: (id) => this.#claim(id),
      pass: (message, relatedId) => {
        if (this.#isListening) events.onMessage(message, relatedId);
      },
      settle,
      noise,
    });
    this.#host = {
      ...parts,
      settle,
      noise,
      take: (text, relatedId, isFirstHand) => {
        inbox.take(text, relatedId, isFirstHand);
        this.#released();
      },
      fail: (why) => {
        this.#fail(why);
      },
      released: () => {
        this.#released();
      },
    };
  }

  /** Takes up the session of `data`: its broken streams and its own stream. */
  resume(data: TicketData): void {
    for (const point of data.points) {
      if (!this.#isListening) return;
      this.#exchanges.set(point.facts.id, Exchange.resume(this.#host, point));
    }
    this.#serverStream = new ServerStream(this.#host, data.serverStreamLastId);
  }

  send(text: string, about: Outbound): boolean {
    if (!this.#isListening) return false;
    if (about.kind === "notification" || about.kind === "reply") {
      if (this.#phase.kind !== "open") return false;
      this.#sendNotice(text, about.kind === "notification");
    } else if (this.#phase.kind !== "open" || this.#gate.isShut) {
      this.#held.push({ text, about });
    } else {
      this.#sendRequest({ text, about });
    }
    return true;
  }

  handshaken(protocolVersion: string): void {
    this.#parts.headers.setProtocolVersion(protocolVersion);
    this.#gate.handshaken();
  }

  forget(id: string): void {
    const exchange = this.#exchanges.get(id);
    this.#exchanges.delete(id);
    exchange?.abort();
    this.#held = this.#held.filter((held) => held.about.id !== id);
    this.#released();
  }

  /** On the way to its end nothing is held: what comes in the last moment still counts. */
  hold(isHeld: boolean): void {
    this.#parts.client.hold(isHeld && this.#phase.kind === "open");
  }

  async close(graceMs: number): Promise<void> {
    const phase = this.#phase;
    if (phase.kind === "closed" || phase.kind === "down") return;
    if (phase.kind === "winding_down") phase.cancel();
    this.#phase = { kind: "closed" };
    this.hold(false);
    this.#letGo();
    if (this.#parts.headers.sessionId !== undefined && phase.kind === "open") {
      await this.#endSession(graceMs);
    }
    this.#parts.client.destroy();
  }

  describe(): Readonly<Record<string, string | number>> {
    const id = this.#parts.headers.sessionId;
    return id === undefined ? {} : { session: id.length > 8 ? `${id.slice(0, 8)}…` : id };
  }

  get #isListening(): boolean {
    return this.#phase.kind === "open" || this.#phase.kind === "winding_down";
  }

  // ── Sending ───────────────────────────────────────────────────────────────────────────────────

  #sendRequest({ text, about }: Held): void {
    const { id } = about;
    assert(!this.#exchanges.has(id), `request id ${id} is used twice`);
    const isHandshake = about.kind === "handshake";
    const safety = about.kind === "handshake" ? "read" : about.safety;
    this.#exchanges.set(id, Exchange.post(this.#host, { id, safety, isHandshake }, text));
  }

  #sendNotice(text: string, isNotification: boolean): void {
    const isAwaited = isNotification && this.#gate.shut();
    const notice = new Notice(this.#host, text, (done) => {
      this.#notices.delete(done);
      if (isAwaited) this.#gate.open();
    });
    this.#notices.add(notice);
  }

  #gateOpened(): void {
    // A notice that failed fails the connection only after it is done; so look a turn later.
    this.#parts.world.soon(() => {
      if (this.#phase.kind !== "open") return;
      const held = this.#held;
      this.#held = [];
      for (const one of held) this.#sendRequest(one);
      this.#serverStream ??= new ServerStream(this.#host, undefined);
    });
  }

  // ── Receiving ─────────────────────────────────────────────────────────────────────────────────

  /** The request with this id has its reply. */
  #claim(id: string): boolean {
    const exchange = this.#exchanges.get(id);
    if (exchange === undefined) return false;
    this.#exchanges.delete(id);
    exchange.replied();
    if (exchange.isTrailing) this.#trailing.add(exchange);
    return true;
  }

  #settle(id: string, fate: Fate): void {
    const exchange = this.#exchanges.get(id);
    if (!this.#isListening || exchange === undefined) return;
    this.#exchanges.delete(id);
    exchange.abort();
    this.#events.onOutcome(id, fate);
    this.#released();
  }

  // ── The end ───────────────────────────────────────────────────────────────────────────────────

  #fail(why: Failure): void {
    if (this.#phase.kind === "open") {
      // The first cause wins; what follows from it is not news.
      const cancel = this.#parts.world.timer(WIND_DOWN_MS, () => {
        this.#goDown(why);
      });
      this.#phase = { kind: "winding_down", failure: why, cancel };
      this.hold(false);
    }
    this.#released();
  }

  /** Something ended: are there still answers to wait for? */
  #released(): void {
    for (const exchange of this.#trailing) {
      if (!exchange.isTrailing) this.#trailing.delete(exchange);
    }
    if (this.#phase.kind !== "winding_down") return;
    for (const exchange of this.#exchanges.values()) if (exchange.isLive) return;
    this.#goDown(this.#phase.failure);
  }

  #goDown(why: Failure): void {
    if (this.#phase.kind !== "winding_down") return;
    this.#phase.cancel();
    this.#phase = { kind: "down" };
    const unsent = this.#held.map((held) => held.about.id);
    const points: ResumePoint[] = [];
    for (const [id, exchange] of this.#exchanges) {
      const point = exchange.resumePoint;
      if (exchange.isUnsent) unsent.push(id);
      else if (point !== undefined) points.push(point);
    }
    const ticket = why.kind === "session_lost" ? undefined : this.#ticket(points);
    this.#letGo();
    this.#parts.client.destroy();
    for (const id of unsent) this.#events.onOutcome(id, { kind: "refused", failure: why });
    this.#events.onDown(why, ticket);
  }

  #ticket(points: readonly ResumePoint[]): ResumeTicket | undefined {
    const { sessionId, protocolVersion } = this.#parts.headers;
    // Without a session there is nothing that the server could remember of us.
    if (sessionId === undefined || protocolVersion === undefined) return undefined;
    const serverStreamLastId = this.#serverStream?.lastId;
    const data: TicketData = { sessionId, protocolVersion, serverStreamLastId, points };
    return { requestIds: points.map((point) => point.facts.id), data };
  }

  #letGo(): void {
    this.#gate.drop();
    this.#serverStream?.abort();
    for (const exchange of this.#exchanges.values()) exchange.abort();
    for (const exchange of this.#trailing) exchange.abort();
    for (const notice of this.#notices) notice.abort();
    this.#exchanges.clear();
    this.#trailing.clear();
    this.#notices.clear();
    this.#held = [];
  }

  /** DELETE; a server that does not allow it, or does not answer, is left to forget us by itself. */
  #endSession(graceMs: number): Promise<void> {
    const { client, headers, world } = this.#parts;
    return new Promise((resolve) => {
      const finish = (): void => {
        cancel();
        resolve();
      };
      const cancel = world.timer(graceMs, finish);
      const spec = { method: "DELETE", headers: headers.forDelete(), body: undefined } as const;
      client.start({ ...spec, isFresh: false }, { onResponse: finish, onFailed: finish });
    });
  }
}
