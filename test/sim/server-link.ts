/** One connection of a scripted server: the wires each way, and what happens to the calls that come. */
import { must } from "../../src/base/assert.ts";
import type { Failure } from "../../src/core/failure.ts";
import type { Outcome } from "../../src/core/verdict.ts";
import type { ConnectionEvents } from "../../src/ports.ts";
import { type JsonObject, parseMessage, type RequestMessage } from "../../src/wire/message.ts";
import { meet } from "./fates.ts";
import type { Caller, SimServer } from "./server.ts";

/** For names of crash points. */
const KNOWN_METHODS = new Set(["initialize", "tools/list", "tools/call", "ping"]);

export class ServerLink {
  readonly server: SimServer;
  readonly name: string;
  #caller: Caller | undefined;
  #events: ConnectionEvents | undefined;
  /** The proxy end is there. */
  #isOpen = false;
  /** The session is kept for a dial that takes it up again. */
  isKept = false;
  /** The server's side works: what arrives is run. */
  #isAlive = true;
  /** When the last message that was sent arrives, each way (SV1). */
  #upUntil = 0;
  #downUntil = 0;
  readonly #frozen: string[] = [];
  /** Said while the connection was lost: goes out when it is taken up again. */
  readonly #kept: (() => void)[] = [];
  /** Requests without an answer: the method by the id, and the nonce of calls of tools. */
  readonly #asked = new Map<string, { readonly method: string; readonly nonce?: string }>();

  constructor(server: SimServer, name: string) {
    this.server = server;
    this.name = name;
  }

  get caller(): Caller | undefined {
    return this.#caller;
  }

  attach(caller: Caller, events: ConnectionEvents): void {
    this.#caller = caller;
    this.#events = events;
    this.#isOpen = true;
    this.isKept = false;
    for (const say of this.#kept.splice(0)) say();
  }

  // ── Up ────────────────────────────────────────────────────────────────────────────────────────

  /** The proxy sends. False where no byte leaves. */
  send(caller: Caller, text: string): boolean {
    if (caller.isDead || !this.#isOpen) return false;
    const message = parseMessage(text);
    let name = "up:other";
    if (message.kind === "request" && KNOWN_METHODS.has(message.method))
      name = `up:${message.method}`;
    else if (message.kind === "notification" && message.method === "notifications/initialized")
      name = "up:initialized";
    else if (message.kind === "notification" && message.method === "notifications/cancelled")
      name = "up:cancelled";
    const isCall = name === "up:tools/call";
    const { server } = this;
    if (isCall && server.fates[0] === "refused" && server.knobs.transport !== "http") {
      server.fates.shift();
      return false;
    }
    caller.effect(name, () => {
      if (message.kind === "request") {
        const nonce = isCall ? nonceOf(message) : undefined;
        const known = { method: message.method, ...(nonce === undefined ? {} : { nonce }) };
        this.#asked.set(String(message.id), known);
      }
      const { world, knobs } = server;
      this.#upUntil = Math.max(this.#upUntil, world.monotonic() + server.upTo(knobs.delayMs));
      world.timer(this.#upUntil - world.monotonic(), () => {
        this.#arrive(text);
      });
    });
    return true;
  }

  #arrive(text: string): void {
    if (!this.#isAlive) return;
    if (this.server.isFrozen) {
      this.#frozen.push(text);
      return;
    }
    const message = parseMessage(text);
    if (message.kind !== "request") return;
    const id = String(message.id);
    const { server } = this;
    switch (message.method) {
      case "initialize":
        if (server.door === "other era") this.say(error(id, -32_601, "no such method"));
        else this.say(result(id, handshakeOf(message)));
        return;
      case "tools/list":
        this.say(result(id, { tools: server.tools }));
        return;
      case "tools/call": {
        const fate = server.fates[0];
        if (fate !== undefined) server.fates.shift();
        meet(this, message, fate);
        return;
      }
      default:
        this.say(result(id, {}));
    }
  }

  thaw(): void {
    for (const text of this.#frozen.splice(0)) this.#arrive(text);
  }

  // ── Down ──────────────────────────────────────────────────────────────────────────────────────

  /** The server says a line. */
  say(text: string): void {
    this.#onWire(() => {
      const message = parseMessage(text);
      if (message.kind === "batch" || message.kind === "malformed") throw new Error(text);
      const method = message.kind === "reply" ? this.#methodOf(message.id) : undefined;
      const name =
        message.kind !== "reply"
          ? "in:notification"
          : method !== undefined && KNOWN_METHODS.has(method)
            ? `in:${method}`
            : "in:other";
      this.#tell(name, (events) => {
        if (message.kind === "reply") this.#asked.delete(String(message.id));
        events.onMessage(message, undefined);
      });
    });
  }

  /** The transport knows the fate of one request. */
  fate(id: string, outcome: Exclude<Outcome, { kind: "replied" }>): void {
    this.#onWire(() => {
      this.#tell("in:fate", (events) => {
        this.#asked.delete(id);
        events.onOutcome(id, outcome);
      });
    });
  }

  noise(what: string): void {
    this.#onWire(() => {
      this.#tell("in:noise", (events) => {
        events.onNoise(what);
      });
    });
  }

  announceTools(): void {
    this.say(JSON.stringify({ jsonrpc: "2.0", method: "notifications/tools/list_changed" }));
  }

  forget(id: string): void {
    this.#asked.delete(id);
  }

  #methodOf(id: unknown): string | undefined {
    return this.#asked.get(String(id))?.method;
  }

  #onWire(act: () => void): void {
    const { world, knobs } = this.server;
    const at = Math.max(this.#downUntil, world.monotonic() + this.server.upTo(knobs.delayMs));
    this.#downUntil = at;
    world.timer(at - world.monotonic(), () => {
      if (this.isKept) this.#kept.push(act);
      else act();
    });
  }

  #tell(name: string, act: (events: ConnectionEvents) => void): void {
    const caller = this.#caller;
    if (caller === undefined || caller.isDead || !this.#isOpen) return;
    const events = must(this.#events, "the events of an open connection");
    caller.effect(name, () => {
      act(events);
    });
  }

  // ── The end ───────────────────────────────────────────────────────────────────────────────────

  /** The connection goes down, and the proxy sees it. `isServerAlive`: what runs goes on. */
  drop(why: Failure, isServerAlive = false): void {
    if (!this.#isOpen) return;
    const { knobs, ledger } = this.server;
    const nonces = [...this.#asked.values()].flatMap(({ nonce }) => nonce ?? []);
    ledger.fault(`connection lost: ${why.message}`, nonces);
    const isResumable = isServerAlive && knobs.resumes && knobs.transport === "http";
    const requestIds = [...this.#asked].flatMap(([id, { nonce }]) =>
      nonce === undefined ? [] : id,
    );
    const ticket = isResumable ? { requestIds, data: this } : undefined;
    this.#tell("in:down", (events) => {
      this.#isOpen = false;
      this.isKept = isResumable;
      events.onDown(why, ticket);
    });
    this.#isOpen = false;
    this.isKept = isResumable;
    if (!isServerAlive) this.#die();
    if (!isResumable) this.server.closed(this);
  }

  /** The proxy died. What it sent may still be run (SV2). */
  orphan(): void {
    this.#isOpen = false;
    this.server.closed(this);
    // A child's input is read to its end by some servers; others are killed before.
    if (this.server.knobs.transport === "stdio" && this.server.random() < 0.5) this.#die();
  }

  /** The proxy closes it. */
  close(): void {
    this.#isOpen = false;
    this.isKept = false;
    this.server.closed(this);
    this.#die();
  }

  #die(): void {
    this.#isAlive = false;
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }
}

const handshakeOf = (request: RequestMessage): JsonObject => ({
  protocolVersion: request.params?.["protocolVersion"],
  capabilities: { tools: { listChanged: true }, logging: {} },
  serverInfo: { name: "simulated", version: "1" },
});

export const result = (id: string, value: unknown): string =>
  JSON.stringify({ jsonrpc: "2.0", id, result: value });

export const error = (id: string, code: number, message: string): string =>
  JSON.stringify({ jsonrpc: "2.0", id, error: { code, message } });

/** The nonce of a call, which upstreams write down. */
export function nonceOf(request: RequestMessage): string {
  const args = request.params?.["arguments"] as JsonObject | undefined;
  return String(args?.["nonce"]);
}
