/**
 * A client of the chaos run: it begins a session, calls tools, comes back when it is cut off, and writes
 * down what it asked and what it was told. How its messages travel is the matter of a `Way`.
 *
 * Like clients in life it believes an answer only if it has the id of a request of its own, and takes the
 * first: the same answer again, after a loss of the line, is what "at least once" means. Another answer to
 * the same call is written down.
 */
import type { Executed, Safety } from "../../src/core/call.ts";
import type { Asked, Told } from "../proof/evidence.ts";

/** `isForgotten`: Holdfast does not know the session, whose client came back to it. */
export type Lost = (why: string, isForgotten: boolean) => void;

/** How messages get to Holdfast and back. One object is one session, over however many connections. */
export interface Way {
  /** Connects. `hear` takes every message that comes, as text; `lost` is told that it is over for good. */
  open(hear: (text: string) => void, lost: Lost): Promise<void>;
  /**
   * Resolves when the message was handed over as far as the transport can tell; rejects where it was not,
   * or may not have been.
   */
  send(message: object, onKept: () => void): Promise<void>;
  /** After the handshake, where the transport has to say which version was agreed on. */
  agreed?(version: string): void;
  /** Cuts its connections without a word; it comes back by itself if it can. */
  drop?(): void;
  /** Reads nothing for a while. */
  pause?(ms: number): void;
  /** Leaves as a polite client does. Resolves to whether Holdfast is known to have taken it for a goodbye. */
  close(): Promise<boolean>;
  /** Whether its client can come back for this call: asked at the end, of one without an answer. */
  canReturnFor(id: string): boolean;
}

export interface Order {
  readonly nonce: string;
  readonly tool: string;
  readonly args: Readonly<Record<string, unknown>>;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** A call as it is written down, and what only the run needs to know of it. */
export interface CallRecord extends Omit<Mutable<Asked>, "told"> {
  readonly told: Told[];
  id: string;
  readonly args: Readonly<Record<string, unknown>>;
  /** Its line was lost, or the proxy killed, after it was asked. */
  wasCutOff: boolean;
  wasRepeated: boolean;
  /** The way it was asked over. */
  way: Way;
}

export const SAFETY: Readonly<Record<string, Safety>> = {
  append: "unsafe",
  note: "unsafe",
  set_value: "idempotent",
  read_value: "read",
};

/** What a caller needs of its surroundings. */
export interface CallerHost {
  /** Proxies started so far on this caller's side. */
  incarnation(): number;
  onTold(record: CallRecord, told: Told): void;
  /** A session began, so long after its client started to connect. */
  onReady(ms: number): void;
  onTrouble(invariant: string, text: string, nonce?: string): void;
  log(line: string): void;
}

export interface CallerOptions {
  readonly name: string;
  readonly upstream: string;
  /** What it speaks: for people. */
  readonly front: string;
  readonly openWay: () => Way | Promise<Way>;
  /** Its transport is one pipe. */
  readonly isInOrder: boolean;
  readonly host: CallerHost;
}

const PROTOCOL_VERSION = "2025-11-25";
/** What has piled up while a client read nothing has been read so long after. */
const CATCHING_UP_MS = 1_000;
/** A handshake that was cut off gets no answer; its client begins anew, as clients do. */
const HANDSHAKE_MS = 12_000;

interface Answer {
  readonly id?: string | number | null;
  readonly method?: string;
  readonly params?: { readonly progressToken?: string | number };
  readonly result?: {
    readonly content?: readonly { readonly text?: string }[];
    readonly _meta?: Readonly<Record<string, unknown>>;
  };
  readonly error?: { readonly message?: string; readonly data?: unknown };
}

interface Word {
  readonly callId?: string;
  readonly executed?: Executed;
  readonly state?: string;
}

export class Caller {
  readonly name: string;
  readonly upstream: string;
  readonly front: string;
  readonly calls: CallRecord[] = [];
  readonly #options: CallerOptions;
  readonly #byId = new Map<string, CallRecord>();
  readonly #handshakes = new Map<string, (text: string) => void>();
  #way: Way | undefined;
  #sessions = 0;
  #order = 0;
  #nextId = 1;
  #isOver = false;
  /** It read nothing from the one instant on; what it reads before the other may have been said then. */
  #unread = { since: 0, until: 0 };
  /** Answers that came a second time, byte for byte, after a loss of the line. */
  repeats = 0;

  constructor(options: CallerOptions) {
    this.#options = options;
    this.name = options.name;
    this.upstream = options.upstream;
    this.front = options.front;
  }

  get session(): string {
    return `${this.name}#${String(this.#sessions)}`;
  }

  get isReady(): boolean {
    return this.#way !== undefined;
  }

  /** Calls without an answer that may still get one. */
  pending(): CallRecord[] {
    return this.calls.filter(
      (one) => one.told.length === 0 && !one.isCancelled && !one.isAbandoned,
    );
  }

  /** Begins a session, trying until it has one or is over. */
  async begin(): Promise<void> {
    while (!this.#isOver) {
      const way = await this.#options.openWay();
      this.#sessions += 1;
      try {
        const startedAt = performance.now();
        await this.#handshake(way);
        this.#way = way;
        this.#options.host.onReady(performance.now() - startedAt);
        return;
      } catch (error) {
        this.#options.host.log(`${this.session}: no session yet: ${(error as Error).message}`);
        await way.close().catch(() => undefined);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  }

  async #handshake(way: Way): Promise<void> {
    let lose: (error: Error) => void = () => undefined;
    const lost = new Promise<never>((_resolve, reject) => (lose = reject));
    lost.catch(() => undefined);
    const due = setTimeout(() => {
      lose(new Error("the handshake got no answer"));
    }, HANDSHAKE_MS);
    try {
      const opening = way.open(
        (text) => {
          this.#hear(text, way);
        },
        (why, isForgotten) => {
          lose(new Error(why));
          this.#lost(way, why, isForgotten);
        },
      );
      await Promise.race([opening, lost]);
      const clientInfo = { name: this.name, version: "1" };
      const params = { protocolVersion: PROTOCOL_VERSION, capabilities: {}, clientInfo };
      const greeting = await Promise.race([this.#request(way, "initialize", params), lost]);
      const version = (JSON.parse(greeting) as { result?: { protocolVersion?: string } }).result;
      if (version?.protocolVersion === undefined) throw new Error(`initialize: ${greeting}`);
      way.agreed?.(version.protocolVersion);
      const notice = { jsonrpc: "2.0", method: "notifications/initialized" };
      await Promise.race([way.send(notice, () => undefined), lost]);
      const tools = await Promise.race([this.#request(way, "tools/list", {}), lost]);
      if (!tools.includes('"append"')) throw new Error(`tools/list: ${tools.slice(0, 200)}`);
    } finally {
      clearTimeout(due);
    }
  }

  async #request(way: Way, method: string, params: object): Promise<string> {
    const id = `${this.name}-${String(this.#nextId++)}`;
    const answer = new Promise<string>((resolve) => this.#handshakes.set(id, resolve));
    await way.send({ jsonrpc: "2.0", id, method, params }, () => undefined);
    return answer;
  }

  /** Makes a call and does not wait for anything. */
  ask(order: Order): CallRecord | undefined {
    const way = this.#way;
    if (way === undefined) return undefined;
    const { nonce, tool } = order;
    const record: CallRecord = {
      ...{ nonce, tool, args: order.args, way, told: [] },
      client: this.name,
      principal: "local",
      session: this.session,
      upstream: this.upstream,
      safety: SAFETY[tool] ?? "unsafe",
      order: this.#order++,
      isInOrder: this.#options.isInOrder,
      incarnation: this.#options.host.incarnation(),
      ...{
        isCancelled: false,
        isAbandoned: false,
        isAcknowledged: false,
        wasCutOff: false,
        wasRepeated: false,
      },
      id: `${this.name}-${String(this.#nextId++)}`,
      at: Date.now(),
    };
    this.calls.push(record);
    this.#post(record);
    return record;
  }

  /** The same call once more, in the session that it has now, as a model does that got no answer. */
  repeat({ nonce, tool, args }: CallRecord): void {
    this.ask({ nonce, tool, args });
  }

  #post(record: CallRecord): void {
    const { id, tool, nonce, args } = record;
    this.#byId.set(id, record);
    const params = { name: tool, arguments: { nonce, ...args }, _meta: { progressToken: id } };
    const kept = () => {
      record.isAcknowledged = true;
    };
    record.way
      .send({ jsonrpc: "2.0", id, method: "tools/call", params }, kept)
      .catch((error: unknown) => {
        record.wasCutOff = true;
        this.#options.host.log(
          `${this.session}: ${nonce} could not be handed over: ${String(error)}`,
        );
      });
  }

  /** Takes a call back. What comes of it after that is nobody's matter. */
  cancel(record: CallRecord): void {
    if (record.told.length > 0 || record.way !== this.#way) return;
    record.isCancelled = true;
    const params = { requestId: record.id, reason: "enough" };
    const notice = { jsonrpc: "2.0", method: "notifications/cancelled", params };
    const told = () => {
      // In a pipe it may lie unread; only what is answered has arrived.
      if (this.#options.isInOrder) return;
      record.cancelledAt = Date.now();
      record.cancelledAtMs = record.cancelledAt;
    };
    record.way.send(notice, () => undefined).then(told, () => undefined);
  }

  drop(): boolean {
    if (this.#way?.drop === undefined) return false;
    this.cutOff();
    this.#way.drop();
    return true;
  }

  pause(ms: number): boolean {
    if (this.#way?.pause === undefined) return false;
    const now = Date.now();
    const since = now <= this.#unread.until ? this.#unread.since : now;
    this.#unread = { since, until: Math.max(this.#unread.until, now + ms + CATCHING_UP_MS) };
    this.#way.pause(ms);
    return true;
  }

  /** Whatever it waits for was hit by a fault. */
  cutOff(): void {
    for (const record of this.pending()) record.wasCutOff = true;
  }

  /** Leaves politely, with what it waits for, and begins anew. */
  async leave(): Promise<void> {
    await this.#end();
    if (!this.#isOver) await this.begin();
  }

  /** For good. */
  async close(): Promise<void> {
    this.#isOver = true;
    await this.#end();
  }

  async #end(): Promise<void> {
    const way = this.#way;
    this.#way = undefined;
    const left = this.pending();
    for (const record of left) record.isAbandoned = true;
    if ((await way?.close().catch(() => false)) !== true) return;
    const at = Date.now();
    for (const record of left) Object.assign(record, { leftAt: at, leftAtMs: at });
  }

  /** The session is gone with its line; what it waited for can't be answered any more. */
  #lost(way: Way, why: string, isForgotten: boolean): void {
    if (way !== this.#way) return;
    this.#way = undefined;
    if (isForgotten) this.#options.host.onTrouble("P6", `${this.session} was lost: ${why}`);
    this.#options.host.log(`${this.session}: lost: ${why}`);
    for (const record of this.pending()) {
      record.isAbandoned = true;
      record.wasCutOff = true;
    }
    // It would come back by itself, and under its client's name.
    void way.close().catch(() => undefined);
    void this.begin();
  }

  #hear(text: string, way: Way): void {
    let message: Answer;
    try {
      message = JSON.parse(text) as Answer;
    } catch {
      this.#options.host.onTrouble(
        "I6",
        `${this.session} was sent what is no JSON: ${text.slice(0, 200)}`,
      );
      return;
    }
    if (message.method === "notifications/progress") {
      const record = this.#byId.get(String(message.params?.progressToken));
      if (record !== undefined && record.told.length === 0) record.isAcknowledged = true;
    } else if (message.method === "ping" && message.id !== undefined) {
      way
        .send({ jsonrpc: "2.0", id: message.id, result: {} }, () => undefined)
        .catch(() => undefined);
    }
    if (message.method === undefined) this.#answered(String(message.id), message, text, way);
  }

  #answered(id: string, message: Answer, text: string, way: Way): void {
    const handshake = this.#handshakes.get(id);
    if (handshake !== undefined) {
      this.#handshakes.delete(id);
      handshake(text);
      return;
    }
    const record = this.#byId.get(id);
    if (record === undefined || record.id !== id || record.way !== way) {
      const seen = `${this.session} was answered what it did not ask there: ${text.slice(0, 300)}`;
      this.#options.host.onTrouble("I6", seen, record?.nonce);
      return;
    }
    const told = this.#dated(toldOf(message, text), record);
    if (record.wasCutOff && record.told.some((before) => isAgain(before, told))) {
      this.repeats += 1;
      return;
    }
    record.told.push(told);
    if (record.isAbandoned) record.isAbandoned = false;
    if (told.executed === "pending") record.isAcknowledged = true;
    this.#options.host.onTold(record, told);
  }

  #dated(told: Told, { at = 0 }: CallRecord): Told {
    const { since, until } = this.#unread;
    return told.at > until ? told : { ...told, since: Math.max(since, at) };
  }
}

/** The same once more. That a call still waits is said anew after each death, with the time that passed. */
const isAgain = (before: Told, told: Told): boolean =>
  before.text === told.text ||
  (told.executed === "pending" && before.executed === "pending" && before.callId === told.callId);

/** What an answer says. Its nonce is in the text that the upstream's tools answer. */
function toldOf({ result, error }: Answer, text: string): Told {
  const word = (result?._meta?.["holdfast/call"] ?? error?.data) as Word | undefined;
  const said = (result?.content ?? []).map((block) => block.text ?? "").join("\n");
  return {
    at: Date.now(),
    text,
    nonce: /\bnonce=(\S+)/.exec(said)?.[1],
    executed: word?.executed,
    callId: word?.callId,
  };
}
