/**
 * One connection to a legacy HTTP+SSE server (2024-11-05): its event stream, the endpoint that the
 * stream names, and the messages posted there.
 *
 *     opening → open → winding_down → over        any → over (closed by us)
 *
 * SC1. `onDown` comes once, and nothing after it; after `close()` nothing comes at all. Before the
 *      server named its endpoint there is no connection, and its end is the outcome of the dial.
 * SC2. The stream is the session. Its end, or a second endpoint, ends the connection: nothing of the
 *      old session can be answered any more, and a new one begins with `initialize`.
 * SC3. The endpoint must be of the stream's own origin: headers with credentials go there.
 * SC4. Where only a POST says that the connection is of no use, replies under way may still come on
 *      the stream for a moment; nothing new is sent.
 */
import type { CancelTimer } from "../../base/world.ts";
import { failure, type Failure } from "../../core/failure.ts";
import type { Connection, ConnectionEvents, Outbound } from "../../ports.ts";
import type { Message } from "../../wire/message.ts";
import { HandshakeGate } from "../handshake-gate.ts";
import { HttpClient } from "../http/client.ts";
import type { Fate } from "../http/host.ts";
import { MessageIntake } from "../message-intake.ts";
import { EventStream, type EventStreamParts } from "./event-stream.ts";
import { Mailbox } from "./mailbox.ts";

const WIND_DOWN_MS = 5_000;

export interface SseParts extends EventStreamParts {
  readonly connectTimeoutMs: number;
  /** A server that takes and sends no message for this long, twice, is given up. */
  readonly answerPatienceMs: number;
}

type Phase =
  | {
      readonly kind: "opening";
      readonly onOpened: (failure: Failure | undefined) => void;
      readonly cancel: CancelTimer;
    }
  | { readonly kind: "open"; readonly mailbox: Mailbox }
  | {
      readonly kind: "winding_down";
      readonly mailbox: Mailbox;
      readonly failure: Failure;
      readonly cancel: CancelTimer;
    }
  | { readonly kind: "over" };

/** A request that was accepted and not sent yet. */
interface Held {
  readonly text: string;
  readonly about: Extract<Outbound, { kind: "request" | "handshake" }>;
}

export class SseConnection implements Connection {
  readonly #parts: SseParts;
  readonly #events: ConnectionEvents;
  readonly #intake: MessageIntake;
  readonly #gate: HandshakeGate;
  readonly #stream: EventStream;
  #held: Held[] = [];
  #phase: Phase;
  #endpoint: URL | undefined;

  /** `onOpened` is called once, with what went wrong if there is no connection. */
  constructor(
    parts: SseParts,
    events: ConnectionEvents,
    onOpened: (failure: Failure | undefined) => void,
  ) {
    this.#parts = parts;
    this.#events = events;
    const { world, patienceMs } = parts;
    this.#gate = new HandshakeGate(world, patienceMs, () => {
      this.#gateOpened();
    });
    this.#intake = this.#newIntake();
    const openMs = parts.connectTimeoutMs + patienceMs;
    const cancel = world.timer(openMs, () => {
      const seconds = String(openMs / 1_000);
      this.#end(failure("timeout", `the server named no endpoint within ${seconds} s`));
    });
    this.#phase = { kind: "opening", onOpened, cancel };
    this.#stream = this.#openStream();
  }

  send(text: string, about: Outbound): boolean {
    if (this.#phase.kind !== "open") return false;
    const { mailbox } = this.#phase;
    if (about.kind === "notification" || about.kind === "reply") {
      const isAwaited = about.kind === "notification" && this.#gate.shut();
      mailbox.notice(text, () => {
        if (isAwaited) this.#gate.open();
      });
    } else if (this.#gate.isShut) this.#held.push({ text, about });
    else sendRequest(mailbox, { text, about });
    return true;
  }

  handshaken(protocolVersion: string): void {
    this.#parts.headers.setProtocolVersion(protocolVersion);
    this.#gate.handshaken();
  }

  forget(id: string): void {
    if ("mailbox" in this.#phase) this.#phase.mailbox.forget(id);
    this.#held = this.#held.filter((held) => held.about.id !== id);
    this.#windDown();
  }

  hold(isHeld: boolean): void {
    this.#stream.hold(isHeld);
    if ("mailbox" in this.#phase) this.#phase.mailbox.hold(isHeld);
  }

  /** The protocol has no word for it: the stream is cut off, and the server lets the session go. */
  close(): Promise<void> {
    const phase = this.#phase;
    this.#letGo();
    if (phase.kind === "opening") phase.onOpened(failure("timeout", "the attempt was given up"));
    return Promise.resolve();
  }

  describe(): Readonly<Record<string, string | number>> {
    const query = this.#endpoint?.searchParams;
    const id = query?.get("sessionId") ?? query?.get("session_id") ?? undefined;
    return id === undefined ? {} : { session: id.length > 8 ? `${id.slice(0, 8)}…` : id };
  }

  // ── Receiving ─────────────────────────────────────────────────────────────────────────────────

  #newIntake(): MessageIntake {
    const { world, mask, replyMaxBytes } = this.#parts;
    return new MessageIntake({
      world,
      mask,
      frameMaxBytes: replyMaxBytes,
      frameName: "an event",
      events: {
        onMessage: (message) => {
          this.#received(message);
        },
        onOutcome: (id, fate) => {
          if ("mailbox" in this.#phase && this.#phase.mailbox.end(id)) this.#settle(id, fate);
        },
        onNoise: (what) => {
          if (this.#phase.kind !== "over") this.#events.onNoise(what);
        },
      },
    });
  }

  #openStream(): EventStream {
    const intake = this.#intake;
    return new EventStream(this.#parts, {
      onEndpoint: (uri) => {
        this.#named(uri);
      },
      onText: (text) => {
        intake.take(text);
      },
      onOversize: (bytes, head, tail) => {
        intake.oversize(bytes, head, tail);
      },
      onInvalid: (bytes, head, tail) => {
        intake.invalid(bytes, head, tail);
      },
      onNoise: (describe) => {
        intake.noise(describe);
      },
      onEnd: (why) => {
        this.#end(why);
      },
    });
  }

  #named(uri: string): void {
    const phase = this.#phase;
    if (phase.kind !== "opening") {
      this.#end(failure("session_lost", "the server named a second endpoint: a new session"));
      return;
    }
    const { url: base, mask, world, connectTimeoutMs } = this.#parts;
    const url = URL.canParse(uri, base.href) ? new URL(uri, base) : undefined;
    if (url?.origin !== base.origin) {
      const named = url === undefined ? "that is no URI" : `of another origin, ${url.origin}`;
      this.#end(failure("protocol_error", mask(`the server named an endpoint ${named}`)));
      return;
    }
    phase.cancel();
    this.#endpoint = url;
    const client = new HttpClient(world, url, connectTimeoutMs);
    const mailbox = new Mailbox(
      { ...this.#parts, client },
      {
        onReply: (message) => {
          this.#pass(message);
        },
        onFate: (id, fate) => {
          this.#settle(id, fate);
        },
        onDown: (why) => {
          this.#fail(why);
        },
        onNoise: (describe) => {
          this.#intake.noise(describe);
        },
      },
    );
    this.#phase = { kind: "open", mailbox };
    phase.onOpened(undefined);
  }

  #received(message: Message): void {
    if (!("mailbox" in this.#phase)) {
      this.#intake.noise(() => "a message before the endpoint");
      return;
    }
    const isReply = message.kind === "reply" && typeof message.id === "string";
    if (this.#phase.mailbox.heard(isReply ? String(message.id) : undefined)) this.#pass(message);
  }

  #pass(message: Message): void {
    if (this.#phase.kind === "over") return;
    this.#events.onMessage(message, undefined);
    this.#windDown();
  }

  #settle(id: string, fate: Fate): void {
    if (this.#phase.kind === "over") return;
    this.#events.onOutcome(id, fate);
    this.#windDown();
  }

  #gateOpened(): void {
    // A notification that failed fails the connection only after it is done; so look a turn later.
    this.#parts.world.soon(() => {
      if (this.#phase.kind !== "open") return;
      const held = this.#held;
      this.#held = [];
      for (const one of held) sendRequest(this.#phase.mailbox, one);
    });
  }

  // ── The end ───────────────────────────────────────────────────────────────────────────────────

  /** A POST found the connection of no use. The first cause wins; what follows from it is no news. */
  #fail(why: Failure): void {
    if (this.#phase.kind !== "open") return;
    if (why.kind === "session_lost" || why.kind === "half_open") {
      this.#end(why);
      return;
    }
    const cancel = this.#parts.world.timer(WIND_DOWN_MS, () => {
      this.#end(why);
    });
    this.#phase = { kind: "winding_down", mailbox: this.#phase.mailbox, failure: why, cancel };
    this.hold(false);
    this.#windDown();
  }

  /** Something ended: is there still a reply to wait for? */
  #windDown(): void {
    const phase = this.#phase;
    if (phase.kind === "winding_down" && phase.mailbox.isIdle) this.#end(phase.failure);
  }

  #end(cause: Failure): void {
    const phase = this.#phase;
    if (phase.kind === "over") return;
    const why = phase.kind === "winding_down" ? phase.failure : cause;
    const unsent = this.#letGo();
    if (phase.kind === "opening") {
      phase.onOpened(why);
      return;
    }
    for (const id of unsent) this.#events.onOutcome(id, { kind: "refused", failure: why });
    this.#events.onDown(why, undefined);
  }

  /** Returns the requests of which no byte left. */
  #letGo(): string[] {
    const phase = this.#phase;
    if (phase.kind === "over") return [];
    this.#intake.end();
    this.#phase = { kind: "over" };
    if ("cancel" in phase) phase.cancel();
    const unsent = this.#held.map((held) => held.about.id);
    this.#held = [];
    this.#gate.drop();
    this.#stream.close();
    return "mailbox" in phase ? [...phase.mailbox.drop(), ...unsent] : unsent;
  }
}

function sendRequest(mailbox: Mailbox, { text, about }: Held): void {
  const isHandshake = about.kind === "handshake";
  const safety = about.kind === "handshake" ? "read" : about.safety;
  mailbox.request(text, { id: about.id, safety, isHandshake });
}
