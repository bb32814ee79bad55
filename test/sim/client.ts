/**
 * A scripted client: what it asks, what it is told, and how it comes back. Its ledger outlives every
 * process.
 *
 * CI1. Ids of its requests are never used twice, over all its connections.
 * CI2. It takes a call for hopeless only where nobody could tell it: its connection is gone and it can't
 *      return, or what it asked had not reached the journal when the proxy died.
 */
import type { World } from "../../src/base/world.ts";
import type { Executed, Safety } from "../../src/core/call.ts";
import type { ClientHandler } from "../../src/ports.ts";
import type { JsonObject } from "../../src/wire/message.ts";
import type { House } from "./house.ts";
import type { Ask, Ledger } from "./ledger.ts";
import type { ClientKnobs, ToolName } from "./plan.ts";

export const SAFETY: Readonly<Record<ToolName, Safety>> = {
  write: "unsafe",
  read: "read",
  put: "idempotent",
  note: "unsafe",
};

/** A client that was not answered well repeats its call after so long, at most. */
const REFLEX_MS = 4_000;
/** How long a client waits for the answer to its handshake before it connects anew. */
const HANDSHAKE_MS = 40_000;

export interface ClientParts {
  readonly world: World;
  readonly ledger: Ledger;
  readonly knobs: ClientKnobs;
  readonly name: string;
  readonly upstream: string;
  readonly random: () => number;
  /** The proxy of now, if one takes clients. */
  house(): House | undefined;
}

export interface CallOptions {
  readonly patienceMs?: number | undefined;
  readonly repeats?: number | undefined;
  /** The call that this one repeats. */
  readonly of?: Ask | undefined;
}

export abstract class Client {
  readonly parts: ClientParts;
  protected readonly byId = new Map<string, Ask>();
  /** Calls of it that wait for its connection. */
  readonly #waiting: (() => void)[] = [];
  protected handler: ClientHandler | undefined;
  protected house: House | undefined;
  /** Grows with each session that it begins. */
  protected sessions = 0;
  #isReady = false;
  #ids = 0;
  #handshakeId: string | undefined;
  #orders = 0;
  #isTrying = false;
  /** Calls that it takes back as soon as it can. */
  protected readonly regretted = new Set<Ask>();

  constructor(parts: ClientParts) {
    this.parts = parts;
  }

  /** Connects, now or as soon as somebody is there. */
  abstract connect(): void;
  /** Its stream for one request. */
  protected abstract transmit(text: string, ask: Ask | undefined): void;
  /** The proxy is gone. `rows`: requests of calls that are on disk. */
  abstract bereave(rows: ReadonlySet<string>): void;
  abstract reset(awayMs: number): void;
  abstract leave(awayMs: number): void;
  /** The next answer that is sent to it is lost with its connection. */
  abstract deafen(awayMs: number): void;

  get isReady(): boolean {
    return this.#isReady;
  }

  protected upTo(maxMs: number): number {
    return Math.floor(this.parts.random() * (maxMs + 1));
  }

  /** Tries again after a while. */
  protected retry(afterMs: number): void {
    if (this.#isTrying) return;
    this.#isTrying = true;
    this.parts.world.timer(afterMs, () => {
      this.#isTrying = false;
      if (this.house === undefined || this.house.isDead) this.connect();
    });
  }

  /** A process that ends sends its clients to the next one. */
  protected notNow(house: House): (error: unknown) => void {
    return (error) => {
      if (!house.isEnding) {
        house.fatal(error);
        return;
      }
      this.house = undefined;
      this.retry(200);
    };
  }

  protected ready(): void {
    this.#isReady = true;
    for (const act of this.#waiting.splice(0)) act();
  }

  protected unready(): void {
    this.#isReady = false;
    this.#handshakeId = undefined;
  }

  protected get session(): string {
    return `${this.parts.name}.${String(this.sessions)}`;
  }

  // ── What it says ──────────────────────────────────────────────────────────────────────────────

  protected handshake(): void {
    this.sessions++;
    const id = ++this.#ids;
    this.#handshakeId = String(id);
    const clientInfo = { name: this.parts.knobs.name, version: "1" };
    const params = { protocolVersion: "2025-11-25", capabilities: {}, clientInfo };
    const { house } = this;
    this.#say(house, "initialize", { jsonrpc: "2.0", id, method: "initialize", params });
    this.parts.world.timer(HANDSHAKE_MS, () => {
      if (this.#handshakeId !== String(id) || this.house !== house) return;
      this.reset(1_000);
    });
  }

  #say(house: House | undefined, what: string, message: JsonObject, ask?: Ask): void {
    if (house === undefined || house.isDead) return;
    house.effect(`client:${what}`, () => {
      this.transmit(JSON.stringify(message), ask);
    });
  }

  call(tool: ToolName, options: CallOptions = {}): void {
    if (!this.#isReady) {
      this.#waiting.push(() => {
        this.call(tool, options);
      });
      return;
    }
    const { ledger, knobs, world } = this.parts;
    const nonce = options.of?.nonce ?? ledger.nextNonce();
    const id = ++this.#ids;
    const params = {
      name: tool,
      arguments: { nonce },
      ...(knobs.hasProgress ? { _meta: { progressToken: id } } : {}),
    };
    const message = { jsonrpc: "2.0", id, method: "tools/call", params };
    const ask = this.#newAsk(nonce, tool, JSON.stringify(message));
    const { house } = this;
    if (house === undefined || house.isDead) return;
    house.effect("client:tools/call", () => {
      ledger.asks.push(ask);
      this.byId.set(String(id), ask);
      this.transmit(ask.text, ask);
    });
    const { patienceMs } = options;
    if (patienceMs !== undefined)
      world.timer(patienceMs, () => {
        if (this.open().includes(ask)) this.withdraw(ask);
      });
    this.#mayRepeat(ask, tool, options);
  }

  /** A model's reflex: what was not answered well is called again. */
  #mayRepeat(ask: Ask, tool: ToolName, { repeats = 0, patienceMs }: CallOptions): void {
    if (repeats === 0) return;
    const { world } = this.parts;
    const look = (left: number) => {
      world.timer(1_000 + this.upTo(REFLEX_MS), () => {
        const [told] = ask.told;
        const isGood = told !== undefined && told.executed === undefined;
        const isOver = told !== undefined || ask.isCancelled || ask.isAbandoned;
        if (isOver && !isGood) this.call(tool, { repeats: repeats - 1, patienceMs, of: ask });
        else if (!isOver && left > 0) look(left - 1);
      });
    };
    look(20);
  }

  #newAsk(nonce: string, tool: ToolName, text: string): Ask {
    const { name, knobs, upstream, ledger } = this.parts;
    return {
      nonce,
      client: name,
      principal: knobs.principal,
      session: this.session,
      upstream,
      tool,
      safety: SAFETY[tool],
      order: ++this.#orders,
      incarnation: this.house?.incarnation ?? 0,
      isCancelled: false,
      isAbandoned: false,
      isAcknowledged: false,
      told: [],
      text,
      callId: undefined,
      at: ledger.tick(),
    };
  }

  /** Takes a call back; while it is away, as the first that it says when it is back. */
  withdraw(ask: Ask): void {
    const { house } = this;
    if (!this.#isReady) {
      this.regretted.add(ask);
      this.#waiting.push(() => {
        this.regretted.delete(ask);
        if (this.open().includes(ask)) this.withdraw(ask);
      });
      return;
    }
    if (house === undefined || house.isDead) return;
    const [requestId] = [...this.byId].find(([, one]) => one === ask) ?? [];
    if (requestId === undefined) return;
    const params = { requestId: Number(requestId) };
    const method = "notifications/cancelled";
    house.effect("client:cancelled", () => {
      ask.isCancelled = true;
      ask.cancelledAt = this.parts.ledger.tick();
      ask.cancelledAtMs = this.parts.world.now();
      this.transmit(JSON.stringify({ jsonrpc: "2.0", method, params }), undefined);
    });
  }

  cancel(pick: number): void {
    const open = this.open();
    const ask = open[pick % Math.max(1, open.length)];
    if (ask !== undefined) this.withdraw(ask);
  }

  /** Calls of this client without an answer, for which it waits. */
  protected open(): Ask[] {
    return [...this.byId.values()].filter(
      ({ told, isCancelled, isAbandoned }) => told.length === 0 && !isCancelled && !isAbandoned,
    );
  }

  /** It ends its session: what is under way may not be answered any more. */
  protected leaves(): void {
    const late = [...this.byId.values()].filter(({ told }) => told.at(-1)?.executed === "pending");
    const nonces = [...this.open(), ...late].map(({ nonce }) => nonce);
    this.parts.ledger.fault("client left", nonces);
  }

  /** Holdfast is told of it now. */
  protected saidGoodbye(): void {
    const leftAt = this.parts.ledger.tick();
    const leftAtMs = this.parts.world.now();
    for (const ask of this.byId.values()) {
      if (ask.session !== this.session || ask.told.length > 0) continue;
      ask.leftAt = leftAt;
      ask.leftAtMs = leftAtMs;
    }
  }

  // ── What it hears ─────────────────────────────────────────────────────────────────────────────

  /** The name of the effect by which this line reaches the client. */
  protected effectOf(text: string): string {
    const message = JSON.parse(text) as JsonObject;
    if (message["method"] === "notifications/progress") return "down:progress";
    if ("method" in message) return "down:notification";
    if (!this.byId.has(String(message["id"]))) return "down:handshake";
    return wordOf(message) === undefined ? "down:result" : "down:own";
  }

  /** A line reached the client. */
  protected hear(text: string): void {
    const message = JSON.parse(text) as JsonObject;
    if (message["method"] === "notifications/progress") {
      const params = message["params"] as JsonObject;
      const ask = this.byId.get(String(params["progressToken"]));
      // Progress of the server's own promises nothing.
      if (ask !== undefined && !text.includes("nonce=")) ask.isAcknowledged = true;
      return;
    }
    if ("method" in message) return;
    const id = String(message["id"]);
    if (id === this.#handshakeId) {
      this.#greeted(message);
      return;
    }
    const ask = this.byId.get(id);
    if (ask !== undefined) this.#told(ask, text, message);
  }

  #told(ask: Ask, text: string, message: JsonObject): void {
    const word = wordOf(message);
    const executed = word?.["executed"] as Executed | undefined;
    const callId = word?.["callId"] as string | undefined;
    const nonce = "result" in message ? /nonce=(n\d+)/.exec(text)?.[1] : undefined;
    if (executed === "pending") ask.isAcknowledged = true;
    ask.told.push({ at: this.parts.ledger.tick(), text, nonce, executed, callId });
  }

  /** State of its session, which a new connection to the server has to be given again. */
  #setLevel(): void {
    const id = ++this.#ids;
    const method = "logging/setLevel";
    this.#say(this.house, "other", { jsonrpc: "2.0", id, method, params: { level: "info" } });
  }

  #greeted(message: JsonObject): void {
    this.#handshakeId = undefined;
    if ("error" in message) {
      this.reset(1_000);
      return;
    }
    const method = "notifications/initialized";
    this.#say(this.house, "initialized", { jsonrpc: "2.0", method });
    if (this.parts.knobs.hasProgress) this.#setLevel();
    this.ready();
  }
}

/** What Holdfast says about a call, where the answer is its own or bears its word. */
function wordOf(message: JsonObject): JsonObject | undefined {
  const result = message["result"] as JsonObject | undefined;
  const meta = result?.["_meta"] as JsonObject | undefined;
  if (meta?.["holdfast/call"] !== undefined) return meta["holdfast/call"] as JsonObject;
  const error = message["error"] as JsonObject | undefined;
  const data = error?.["data"] as JsonObject | undefined;
  return data?.["executed"] === undefined ? undefined : data;
}
