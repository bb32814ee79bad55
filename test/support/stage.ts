/**
 * A stage for engine tests: the real `Proxy` on a virtual world and a memory journal, with a scripted
 * upstream that keeps a ledger and a scripted client that keeps what it was told.
 */
import type { CallRow } from "../../src/core/call.ts";
import { type Failure, failure } from "../../src/core/failure.ts";
import type { Settings } from "../../src/core/settings.ts";
import { EMPTY_CATALOGUE, type Catalogue } from "../../src/core/catalogue.ts";
import { Bounds } from "../../src/engine/bounds.ts";
import type { Branch } from "../../src/engine/branch.ts";
import type { EngineContext } from "../../src/engine/context.ts";
import { Gate } from "../../src/engine/gate.ts";
import { Feed } from "../../src/engine/feed.ts";
import { type OpenedJournal, Proxy } from "../../src/engine/proxy.ts";
import type { Outcome } from "../../src/core/verdict.ts";
import { Tally } from "../../src/engine/tally.ts";
import type {
  ClientHandler,
  ClientLink,
  ClientStream,
  Connection,
  ConnectionEvents,
  Connector,
  Journal,
  Outbound,
  ResumeTicket,
} from "../../src/ports.ts";
import { deferred } from "../../src/base/async.ts";
import type { MemorySeed } from "../../src/store/memory.ts";
import { legacyDialect } from "../../src/wire/dialect/legacy.ts";
import { parseMessage, type JsonObject, type RequestMessage } from "../../src/wire/message.ts";
import { MortalWorld } from "./mortal-world.ts";
import { StagedJournal } from "./staged-journal.ts";
import { VirtualWorld } from "./virtual-world.ts";

export const SETTINGS: Settings = {
  upstreamName: "files",
  transport: "stdio",
  isolation: "session",
  sessionTimeoutMs: 86_400_000,
  sessionIdleMs: 900_000,
  holdMs: 45_000,
  isHoldChosen: false,
  progressEveryMs: 10_000,
  defer: "harmless",
  deferTtlMs: 3_600_000,
  shield: "warn",
  trustAnnotations: true,
  isStateful: false,
  hasControlTool: false,
  handshakeWaitMs: 25_000,
  replayRate: undefined,
  concurrency: undefined,
  backlogWindow: 8,
  drainMs: 10_000,
  retention: { resultsMs: 86_400_000, recordsMs: 1_209_600_000 },
  limits: {
    sessionsPerProcess: 5_000,
    callsPerSession: 1_000,
    bytesPerSession: 64 << 20,
    callsPerUpstream: 5_000,
    callsPerProcess: 20_000,
    bytesPerProcess: 512 << 20,
    requestMaxBytes: 4 << 20,
    resultMaxBytes: 16 << 20,
  },
  tools: {},
  clients: {},
};

export const TOOLS: readonly JsonObject[] = [
  { name: "write", inputSchema: { type: "object" } },
  { name: "read", inputSchema: { type: "object" }, annotations: { readOnlyHint: true } },
  { name: "put", inputSchema: { type: "object" }, annotations: { idempotentHint: true } },
  { name: "note", inputSchema: { type: "object" }, annotations: { destructiveHint: false } },
];

interface LiveLink {
  readonly events: ConnectionEvents;
  isOpen: boolean;
}

/** A server in this process: answers at once, unless told to keep a call. */
export class ScriptedUpstream {
  readonly world: VirtualWorld;
  kind: "stdio" | "http" = "stdio";
  tools: readonly JsonObject[] = TOOLS;
  capabilities: JsonObject = { tools: {}, logging: {} };
  protocolVersion: string | undefined;
  /** While set, a dial fails with this. */
  down: Failure | undefined;
  /** Names of tools, and other methods, whose requests are kept until `answer`. */
  readonly keeps = new Set<string>();
  /** Hears everything and answers nothing. */
  isFrozen = false;
  /** The next sends are refused before a byte leaves. */
  refusesSends = false;
  /** A dial with a ticket takes the old session up again. */
  resumes = false;
  /** Runs during a dial, before it resolves. */
  duringDial: (() => void) | undefined;
  /** Every `tools/call` that reached it, in order. */
  readonly ledger: { readonly tool: string; readonly nonce: unknown; readonly id: string }[] = [];
  /** Every message that it got, as text. */
  readonly seen: string[] = [];
  readonly kept = new Map<string, RequestMessage>();
  readonly forgotten: string[] = [];
  dials = 0;
  /** So long an end of the connection takes. */
  closeMs = 0;
  /** Its connection is not read from; what it says meanwhile waits in `#pipe`. */
  isHeld = false;
  readonly #pipe: (() => void)[] = [];
  #live: LiveLink | undefined;

  constructor(world: VirtualWorld) {
    this.world = world;
  }

  get isConnected(): boolean {
    return this.#live !== undefined;
  }

  /** Methods of what it got, in order. */
  get methods(): readonly string[] {
    return this.seen.map((text) => String((JSON.parse(text) as JsonObject)["method"] ?? "reply"));
  }

  connector(): Connector {
    return {
      kind: this.kind,
      target: "scripted server",
      dial: (events, resume, signal) => {
        this.dials++;
        if (signal.aborted) return Promise.resolve({ kind: "failed", failure: aborted });
        if (this.down !== undefined) return Promise.resolve({ kind: "failed", failure: this.down });
        const live = { events, isOpen: true };
        this.#live = live;
        this.duringDial?.();
        return Promise.resolve({
          kind: "connected",
          connection: this.#connection(live),
          isResumed: this.resumes && resume !== undefined,
        });
      },
    };
  }

  /** The process dies. `stays`: and stays away with that failure. */
  kill(stays?: Failure): void {
    this.down = stays;
    this.drop(failure("process_exit", "exited with code 7"), undefined);
  }

  /** The connection goes; `ticket`: what may be resumed. */
  drop(cause: Failure, ticket: ResumeTicket | undefined): void {
    const live = this.#live;
    this.#live = undefined;
    this.isHeld = false;
    this.#pipe.length = 0;
    if (live === undefined) return;
    live.isOpen = false;
    if (ticket === undefined) this.kept.clear();
    live.events.onDown(cause, ticket);
  }

  /** The proxy is gone, and the connection with it: nobody is told. */
  cut(): void {
    if (this.#live !== undefined) this.#live.isOpen = false;
    this.#live = undefined;
    this.kept.clear();
  }

  /** The transport knows the fate of one kept call. */
  fate(nonce: unknown, outcome: Exclude<Outcome, { kind: "replied" }>): void {
    this.#live?.events.onOutcome(this.#take(nonce), outcome);
  }

  /** Sends a line as it stands. `relatedId`: on the stream of this request. */
  say(text: string, relatedId?: string): void {
    const message = parseMessage(text);
    if (message.kind === "batch" || message.kind === "malformed") throw new Error(text);
    const live = this.#live;
    const hand = () => {
      if (live?.isOpen === true) live.events.onMessage(message, relatedId);
    };
    if (this.isHeld) this.#pipe.push(hand);
    else hand();
  }

  answer(nonce: unknown, text = "done"): void {
    this.say(reply(this.#take(nonce), text));
  }

  /** The id of a kept call. */
  idOf(nonce: unknown): string {
    for (const [id, request] of this.kept) {
      const args = request.params?.["arguments"] as JsonObject | undefined;
      if (args?.["nonce"] === nonce) return id;
    }
    throw new Error(`no kept call ${String(nonce)}`);
  }

  #take(nonce: unknown): string {
    const id = this.idOf(nonce);
    this.kept.delete(id);
    return id;
  }

  #connection(live: LiveLink): Connection {
    return {
      send: (text: string, _about: Outbound) => {
        if (!live.isOpen || this.refusesSends) return false;
        this.seen.push(text);
        this.world.soon(() => {
          if (live.isOpen) this.#onText(text);
        });
        return true;
      },
      handshaken: () => undefined,
      forget: (id) => {
        this.forgotten.push(id);
      },
      close: () => {
        live.isOpen = false;
        if (this.#live === live) this.#live = undefined;
        return new Promise((resolve) => this.world.timer(this.closeMs, resolve));
      },
      describe: () => ({ pid: 1 }),
      hold: (isHeld) => {
        if (this.#live !== live) return;
        this.isHeld = isHeld;
        while (!this.isHeld && this.#pipe.length > 0) this.#pipe.shift()?.();
      },
    };
  }

  #onText(text: string): void {
    const message = parseMessage(text);
    if (message.kind !== "request") return;
    const id = String(message.id);
    if (this.isFrozen) return;
    if (message.method !== "tools/call" && this.keeps.has(message.method)) {
      this.kept.set(id, message);
      return;
    }
    const result = (value: unknown) => {
      this.say(JSON.stringify({ jsonrpc: "2.0", id, result: value }));
    };
    switch (message.method) {
      case "initialize":
        result({
          protocolVersion: this.protocolVersion ?? message.params?.["protocolVersion"],
          capabilities: this.capabilities,
          serverInfo: { name: "scripted", version: "1" },
        });
        return;
      case "tools/list":
        result({ tools: this.tools });
        return;
      case "tools/call": {
        const tool = String(message.params?.["name"]);
        const nonce = (message.params?.["arguments"] as JsonObject | undefined)?.["nonce"];
        this.ledger.push({ tool, nonce, id });
        if (this.keeps.has(tool)) this.kept.set(id, message);
        else this.say(reply(id, `${tool} ${String(nonce)}`));
        return;
      }
      default:
        result({});
    }
  }
}

const aborted = failure("reset", "the dial was given up");

export const reply = (id: string, text: string): string =>
  JSON.stringify({ jsonrpc: "2.0", id, result: { content: [{ type: "text", text }] } });

/** What a client was told in answer to a call of a tool. */
export interface Told {
  readonly text: string;
  readonly isError: boolean;
  readonly meta: JsonObject | undefined;
}

/** A client on the stage's listener. */
export class ScriptedClient {
  readonly got: JsonObject[] = [];
  /** What it has been sent and has not read. */
  unreadBytes = 0;
  /** The same as text. */
  readonly texts: string[] = [];
  readonly #isDead: () => boolean;
  readonly link: ClientLink;
  #handler: ClientHandler | undefined;
  /** Its connection is gone: nothing reaches it. */
  isAway = false;
  /** How often a session was begun over its link. */
  begun = 0;
  /** Ids of calls that it may ask for, by the id of its request. */
  readonly accepted = new Map<string, string>();
  /** Why the engine let go of its session. */
  readonly endings: string[] = [];
  #ids = 0;

  constructor(link: Partial<ClientLink>, isDead: () => boolean) {
    this.#isDead = isDead;
    this.link = {
      id: "link",
      transport: "stdio",
      principal: "local",
      peer: "stage",
      key: undefined,
      canResume: false,
      begun: () => this.begun++,
      ended: (cause) => this.endings.push(cause),
      isOpen: () => !this.isAway,
      ...this.stream(),
      ...link,
    };
  }

  /** A way to it: its link, or one response stream. */
  stream(): ClientStream {
    return {
      send: (text) => {
        if (this.#isDead() || this.isAway) return false;
        this.texts.push(text);
        this.got.push(JSON.parse(text) as JsonObject);
        return true;
      },
      bufferedBytes: () => this.unreadBytes,
      accepted: (idText, callId) => this.accepted.set(idText, callId),
    };
  }

  /** It is at the door; `handler`: who takes it. */
  arrive(handler: ClientHandler): this {
    this.#handler = handler;
    return this;
  }

  get handler(): ClientHandler {
    if (this.#handler === undefined) throw new Error("nobody took this client");
    return this.#handler;
  }

  say(text: string): void {
    const inbound = parseMessage(text);
    this.handler.receive(inbound);
  }

  sayOversize(bytes: number, idText: string | undefined): void {
    this.handler.receive({ kind: "oversize", bytes, idText });
  }

  request(method: string, params: unknown = {}): number {
    const id = ++this.#ids;
    this.say(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
    return id;
  }

  notify(method: string, params: unknown = {}): void {
    this.say(JSON.stringify({ jsonrpc: "2.0", method, params }));
  }

  initialize(name = "stage", capabilities: unknown = {}): number {
    const clientInfo = { name, version: "1" };
    return this.request("initialize", { protocolVersion: "2025-11-25", capabilities, clientInfo });
  }

  call(tool: string, nonce: unknown, progressToken?: string | number): number {
    const _meta = progressToken === undefined ? undefined : { progressToken };
    return this.request("tools/call", { name: tool, arguments: { nonce }, _meta });
  }

  cancel(id: number): void {
    this.notify("notifications/cancelled", { requestId: id });
  }

  /** It leaves more unread than its link's bound, or has read that. */
  congested(isCongested: boolean): void {
    this.handler.congested?.(isCongested);
  }

  leave(): void {
    void this.handler.left("the client closed stdin");
  }

  answerTo(id: number): JsonObject | undefined {
    const answers = this.got.filter((message) => message["id"] === id && !("method" in message));
    if (answers.length > 1) throw new Error(`${String(answers.length)} answers to ${String(id)}`);
    return answers[0];
  }

  told(id: number): Told | undefined {
    const result = this.answerTo(id)?.["result"] as JsonObject | undefined;
    if (result === undefined) return undefined;
    const [first] = result["content"] as JsonObject[];
    const meta = result["_meta"] as JsonObject | undefined;
    return {
      text: String(first?.["text"]),
      isError: result["isError"] === true,
      meta: meta?.["holdfast/call"] as JsonObject | undefined,
    };
  }

  notifications(method: string): readonly JsonObject[] {
    return this.got.filter((message) => message["method"] === method && !("id" in message));
  }
}

export interface StageOptions {
  readonly settings?: Partial<Settings>;
  readonly seed?: number;
  /** From an earlier stage: the catalogue, and what the journal of a dead proxy holds. */
  readonly catalogue?: Catalogue;
  readonly image?: MemorySeed;
  readonly world?: VirtualWorld;
  readonly upstream?: ScriptedUpstream;
  readonly credentials?: string;
  /** Of another stage: both are lines to the same upstream. */
  readonly gate?: Gate;
}

/** A proxy on the stage. `start()` recovers its journal; clients come with `connect()`. */
export class Stage {
  readonly world: VirtualWorld;
  readonly upstream: ScriptedUpstream;
  readonly journal: StagedJournal;
  readonly proxy: Proxy;
  readonly bounds: Bounds;
  readonly gate: Gate;
  readonly #own: MortalWorld;
  readonly #options: StageOptions;
  readonly fatal: unknown[] = [];
  readonly log: string[] = [];
  readonly empty: string[] = [];
  catalogue: Catalogue;
  readonly branch: Branch;
  readonly feed = new Feed();
  /** Principals whose tokens were revoked. */
  readonly revoked = new Set<string>();
  readonly #ready = deferred<Journal>();

  constructor(options: StageOptions = {}) {
    this.world = options.world ?? new VirtualWorld({ seed: options.seed ?? 1 });
    this.upstream = options.upstream ?? new ScriptedUpstream(this.world);
    this.#options = options;
    this.#own = new MortalWorld(this.world);
    this.journal = new StagedJournal(this.#own, options.image);
    this.catalogue = options.catalogue ?? EMPTY_CATALOGUE;
    const settings: Settings = { ...SETTINGS, ...options.settings };
    this.bounds = new Bounds(settings.limits);
    const fatal = (error: unknown) => {
      this.fatal.push(error);
    };
    this.gate = options.gate ?? new Gate({ world: this.#own, settings, fatal });
    const context: EngineContext = {
      world: this.#own,
      log: (level, message, fields) => {
        this.log.push(`${level} ${message} ${JSON.stringify(fields ?? {})}`);
      },
      settings,
      identity: { upstream: "up", credentials: options.credentials ?? "cred", key: "key" },
      dialect: legacyDialect,
      catalogues: {
        load: () => this.catalogue,
        save: (catalogue) => {
          this.catalogue = catalogue;
        },
      },
      journal: () => this.#ready.promise,
      sessionJournal: () => Promise.resolve(this.journal),
      newConnector: () => this.upstream.connector(),
      bounds: this.bounds,
      gate: this.gate,
      tally: new Tally(),
      feed: this.feed,
      isRevoked: (principal) => this.revoked.has(principal),
      fatal,
    };
    this.proxy = new Proxy(context, {
      version: "0",
      pid: 1,
      drainMs: settings.drainMs,
      retention: settings.retention,
      onEmpty: (cause) => this.empty.push(cause),
    });
    this.branch = this.proxy.add(context);
    this.proxy.start();
  }

  /** Timers of this proxy that have neither fired nor been cancelled. */
  get pendingTimers(): number {
    return this.#own.pendingTimers;
  }

  /** Recovers the journal and what it holds. */
  async start(leftover: Partial<OpenedJournal> = {}): Promise<this> {
    const recovery = await this.journal.recover(this.world.now());
    const own: OpenedJournal = {
      journal: this.journal,
      recovery,
      isAbandoned: false,
      isCaretaken: false,
      ...leftover,
    };
    await this.proxy.recover([own]);
    this.#ready.resolve(this.journal);
    await this.world.settle();
    return this;
  }

  client(canResume = false): ScriptedClient {
    return this.guest({ canResume });
  }

  /** A client that comes over the network; with a `key` it can come back. */
  guest(link: Partial<ClientLink>): ScriptedClient {
    const client = new ScriptedClient(link, () => this.#own.isDead);
    return client.arrive(this.branch.enter(client.link));
  }

  /** A client that comes back with its key, over a new connection; undefined if it is not let in. */
  async returning(
    link: Partial<ClientLink> & { key: string },
  ): Promise<ScriptedClient | undefined> {
    const client = new ScriptedClient(link, () => this.#own.isDead);
    const handler = await this.branch.resume({ ...client.link, key: link.key });
    return handler === undefined ? undefined : client.arrive(handler);
  }

  /** SIGKILL: the proxy and its server's process are gone, without a word to anybody. */
  die(): void {
    this.#own.die();
    this.journal.die();
    this.upstream.cut();
  }

  /** The proxy that is started after this one died, on what is on disk. */
  async next(options: StageOptions = {}, image?: MemorySeed): Promise<Stage> {
    this.die();
    const { world, upstream, catalogue } = this;
    return new Stage({
      ...this.#options,
      world,
      upstream,
      catalogue,
      image: image ?? (await this.journal.image()),
      ...options,
    });
  }

  /** A client that has finished its handshake over a serving upstream. */
  async connected(name?: string, capabilities?: unknown): Promise<ScriptedClient> {
    const client = this.client();
    client.initialize(name, capabilities);
    await this.world.advance(1);
    client.notify("notifications/initialized");
    await this.world.advance(1);
    return client;
  }

  async rows(): Promise<readonly CallRow[]> {
    return this.journal.list({});
  }

  /** The row of the call with this nonce; there must be one. */
  async row(nonce: unknown): Promise<CallRow> {
    const rows = await this.rows();
    const row = rows.find((r) => r.request.includes(`"nonce":${JSON.stringify(nonce)}`));
    if (row === undefined) throw new Error(`no row of ${String(nonce)}`);
    return row;
  }
}

export const exited = failure("process_exit", "exited with code 7; last output: out of cheese");
