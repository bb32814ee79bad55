/**
 * A listener on a real port with a scripted door behind it, and clients that speak plain HTTP. The
 * door keeps what a journal would keep, so that a client can come back to another listener.
 */
import { type IncomingMessage, request as httpRequest } from "node:http";
import { connect, type Socket } from "node:net";
import { must } from "../../src/base/assert.ts";
import { realWorld, type World } from "../../src/base/world.ts";
import { HalfReadRoom } from "../../src/downstream/half-read-room.ts";
import { mcpRoute } from "../../src/downstream/http/mcp.ts";
import type { Route, UpgradeRoute, Visit } from "../../src/downstream/http/route.ts";
import { httpListener, type HttpListenerOptions } from "../../src/downstream/http/server.ts";
import type {
  ClientHandler,
  ClientLink,
  ClientStream,
  Door,
  Inbound,
  NetworkListener,
} from "../../src/ports.ts";
import { formatResult, type RequestMessage } from "../../src/wire/message.ts";
import { SseFramer } from "../../src/wire/sse.ts";
import { until } from "./http-rig.ts";

// ── The door ────────────────────────────────────────────────────────────────────────────────────

export interface Call {
  readonly id: string;
  readonly idText: string;
  stream: ClientStream;
  answer: string | undefined;
  isDelivered: boolean;
}

/** What a journal keeps. */
export class Memory {
  readonly sessions = new Map<string, { principal: string; isEnded: boolean }>();
  readonly calls = new Map<string, Call>();
}

export interface Turn {
  readonly request: RequestMessage;
  readonly stream: ClientStream;
  readonly link: ClientLink;
}

export class ScriptedDoor implements Door {
  readonly memory: Memory;
  readonly links: ClientLink[] = [];
  readonly received: Inbound[] = [];
  readonly causes: string[] = [];
  resumes = 0;
  /** Holds every return back until it is resolved. */
  gate: Promise<void> = Promise.resolve();
  /** Holds back the word that the end of a session is on disk. */
  endGate: Promise<void> = Promise.resolve();
  #calls = 0;
  /** What happens with requests other than `initialize`. By default an empty result, at once. */
  onRequest: (turn: Turn) => void = ({ request, stream }) => {
    reply(stream, request.idText, {});
  };
  onInitialize: (turn: Turn) => void = (turn) => {
    this.begin(turn);
  };

  constructor(memory = new Memory()) {
    this.memory = memory;
  }

  begin({ request, stream, link }: Turn): void {
    const key = must(link.key, "a key");
    this.memory.sessions.set(key, { principal: link.principal, isEnded: false });
    link.begun?.();
    const { protocolVersion } = must(request.params, "params");
    const serverInfo = { name: "scripted", version: "1" };
    reply(stream, request.idText, {
      protocolVersion,
      capabilities: { tools: {}, logging: {} },
      serverInfo,
    });
  }

  enter(link: ClientLink): ClientHandler {
    this.links.push(link);
    return this.#handler(link);
  }

  async resume(link: ClientLink & { readonly key: string }): Promise<ClientHandler | undefined> {
    this.resumes++;
    await this.gate;
    const session = this.memory.sessions.get(link.key);
    if (session === undefined || session.isEnded || session.principal !== link.principal)
      return undefined;
    this.links.push(link);
    return this.#handler(link);
  }

  adopt(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  /** The newest link. */
  get link(): ClientLink {
    return must(this.links.at(-1), "a link");
  }

  /** The request becomes a durable call. */
  accept({ request, stream }: Turn): Call {
    const id = `c_${String(++this.#calls).padStart(26, "0")}`;
    const { idText } = request;
    const call: Call = { id, idText, stream, answer: undefined, isDelivered: false };
    this.memory.calls.set(id, call);
    stream.accepted?.(idText, id);
    return call;
  }

  settle(call: Call, result: unknown): boolean {
    call.answer = formatResult(call.idText, result);
    call.isDelivered = call.stream.send(call.answer, { kind: "reply", idText: call.idText });
    return call.isDelivered;
  }

  #handler(link: ClientLink): ClientHandler {
    return {
      receive: (inbound, stream) => {
        this.received.push(inbound);
        if (inbound.kind === "malformed") {
          const idText = inbound.idText ?? "null";
          const error = `{"jsonrpc":"2.0","id":${idText},"error":{"code":${String(inbound.code)},"message":""}}`;
          stream?.send(error, { kind: "reply", idText });
        }
        if (inbound.kind !== "request") return;
        const turn = { request: inbound, stream: must(stream, "a stream"), link };
        if (inbound.method === "initialize") this.onInitialize(turn);
        else this.onRequest(turn);
      },
      resume: (callIds, stream) =>
        Promise.resolve(callIds.filter((id) => !this.#recall(id, stream))),
      detached: () => undefined,
      attached: () => undefined,
      left: (cause) => {
        this.causes.push(cause);
        const session = this.memory.sessions.get(link.key ?? "");
        if (session !== undefined) session.isEnded = true;
        return this.endGate;
      },
    };
  }

  #recall(id: string, stream: ClientStream): boolean {
    const call = this.memory.calls.get(id);
    if (call === undefined) return false;
    call.stream = stream;
    if (call.answer === undefined) return true;
    call.isDelivered = stream.send(call.answer, { kind: "reply", idText: call.idText });
    return true;
  }
}

export const reply = (stream: ClientStream, idText: string, result: unknown): boolean =>
  stream.send(formatResult(idText, result), { kind: "reply", idText });

export const say = (stream: ClientStream, method: string, params: unknown = {}): boolean =>
  stream.send(JSON.stringify({ jsonrpc: "2.0", method, params }), { kind: "message" });

// ── The listener ────────────────────────────────────────────────────────────────────────────────

export interface Face {
  readonly door: ScriptedDoor;
  readonly url: string;
  readonly port: number;
  readonly listener: NetworkListener;
  readonly visits: Visit[];
  readonly logs: string[];
}

const faces: Face[] = [];

/** Every client's connection breaks. */
export function cutAll(): void {
  for (const socket of sockets.splice(0)) socket.destroy();
}

/** For `afterEach`. */
export async function closeFaces(): Promise<void> {
  cutAll();
  await Promise.all(faces.splice(0).map((face) => face.listener.stop(0)));
}

export interface FaceOptions extends Partial<HttpListenerOptions> {
  readonly world?: World;
  readonly memory?: Memory;
  readonly requestMaxBytes?: number;
}

const LOOPBACK = {
  allowedOrigins: [],
  allowedHosts: [],
  isBeyondLoopback: false,
  asksTokens: false,
};

/** Listens with the upstream `box`. */
export async function face(options: FaceOptions = {}): Promise<Face> {
  const world = options.world ?? realWorld();
  const visits: Visit[] = [];
  const logs: string[] = [];
  const log = (_level: string, message: string) => logs.push(message);
  const other: Route & UpgradeRoute = {
    serve: (_request, response, visit) => {
      visits.push(visit);
      response.end("other");
    },
    upgrade: (_request, socket, _head, visit) => {
      visits.push(visit);
      socket.end("HTTP/1.1 101 Switching Protocols\r\n\r\n");
    },
    stop: () => Promise.resolve(),
  };
  const bytesMax = options.requestMaxBytes ?? 65_536;
  const mcp = mcpRoute({
    world,
    log,
    bodies: { world, bytesMax, room: new HalfReadRoom(world, 2 * bytesMax) },
  });
  const listener = httpListener({
    host: "127.0.0.1",
    port: 0,
    gatekeeper: {
      admit: () => ({ kind: "admitted", principal: "local" }),
      stillAdmits: () => true,
    },
    policy: () => LOOPBACK,
    connectionsMax: 100,
    routes: { mcp, sse: other },
    upgrades: { ws: other },
    ...options,
    world,
    log,
  });
  const door = new ScriptedDoor(options.memory);
  const url = await listener.start((name) => (name === "box" ? door : undefined));
  const made: Face = { door, url, port: Number(new URL(url).port), listener, visits, logs };
  faces.push(made);
  return made;
}

// ── Clients ─────────────────────────────────────────────────────────────────────────────────────

export interface Ask {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Record<string, string>;
  readonly body?: string | Buffer;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly text: string;
}

export const ACCEPT = "application/json, text/event-stream";

/** Sends a request; resolves when the head of its answer is there. */
export function send(at: Face, ask: Ask): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers: Record<string, string> = { accept: ACCEPT, ...ask.headers };
    if (ask.body !== undefined) headers["content-type"] ??= "application/json";
    const options = {
      host: "127.0.0.1",
      port: at.port,
      method: ask.method ?? "POST",
      path: ask.path ?? "/mcp/box",
      agent: false,
      headers,
    };
    const request = httpRequest(options, resolve);
    request.on("error", reject);
    request.on("socket", (socket) => sockets.push(socket));
    request.end(ask.body);
  });
}

const sockets: Socket[] = [];

/** Sends a request; resolves with its whole answer. */
export async function ask(at: Face, what: Ask): Promise<Answer> {
  const response = await send(at, what);
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString();
  return { status: response.statusCode ?? 0, headers: response.headers, text };
}

export interface Event {
  readonly id: string | undefined;
  readonly data: string;
}

/** A response of events as a client reads it. */
export class Events {
  readonly response: IncomingMessage;
  readonly all: Event[] = [];
  text = "";
  isEnded = false;
  readonly #framer = new SseFramer(1_048_576);

  constructor(response: IncomingMessage) {
    this.response = response;
    response.on("data", (chunk: Buffer) => {
      this.text += chunk.toString();
      for (const frame of this.#framer.push(chunk)) {
        if (frame.kind === "event") this.all.push({ id: frame.id, data: frame.data });
      }
    });
    response.on("close", () => {
      this.isEnded = true;
    });
    response.on("error", () => undefined);
  }

  /** Those with a message, as parsed JSON. */
  get messages(): Record<string, unknown>[] {
    return this.all
      .filter((event) => event.data !== "")
      .map((event) => JSON.parse(event.data) as Record<string, unknown>);
  }

  get methods(): unknown[] {
    return this.messages.flatMap((message) => message["method"] ?? []);
  }

  get lastId(): string {
    return must(this.all.findLast((event) => event.id !== undefined)?.id, "an id");
  }

  async count(length: number): Promise<this> {
    await until(`${String(length)} events; got ${this.text}`, () => this.all.length >= length);
    return this;
  }

  async end(): Promise<this> {
    await until(`the end of the stream; got ${this.text}`, () => this.isEnded);
    return this;
  }

  /** The connection breaks. */
  cut(): void {
    this.response.socket.destroy();
  }
}

export const rpc = (id: number | string, method: string, params: unknown = {}): string =>
  JSON.stringify({ jsonrpc: "2.0", id, method, params });

export const note = (method: string, params: unknown = {}): string =>
  JSON.stringify({ jsonrpc: "2.0", method, params });

/** A session of the client `test`. */
export class Client {
  readonly at: Face;
  readonly key: string;
  readonly version: string;
  readonly #headers: Record<string, string>;

  constructor(at: Face, key: string, version: string, headers: Record<string, string> = {}) {
    this.at = at;
    this.key = key;
    this.version = version;
    this.#headers = headers;
  }

  get headers(): Record<string, string> {
    const version = this.version > "2025-03-26" ? { "mcp-protocol-version": this.version } : {};
    return { "mcp-session-id": this.key, ...version, ...this.#headers };
  }

  ask(body: string, method = "POST"): Promise<Answer> {
    return ask(this.at, { method, headers: this.headers, ...(body === "" ? {} : { body }) });
  }

  async post(body: string): Promise<Events> {
    return new Events(await send(this.at, { headers: this.headers, body }));
  }

  async get(lastEventId?: string): Promise<Events> {
    const last = lastEventId === undefined ? {} : { "last-event-id": lastEventId };
    return new Events(
      await send(this.at, { method: "GET", headers: { ...this.headers, ...last } }),
    );
  }

  /** The same client with another listener. */
  movedTo(at: Face): Client {
    return new Client(at, this.key, this.version, this.#headers);
  }
}

export const INITIALIZE = (version: string): string =>
  rpc(0, "initialize", {
    protocolVersion: version,
    capabilities: {},
    clientInfo: { name: "test", version: "1" },
  });

export async function clientOf(
  at: Face,
  version = "2025-11-25",
  headers: Record<string, string> = {},
): Promise<Client> {
  const answer = await ask(at, { headers, body: INITIALIZE(version) });
  const key = answer.headers["mcp-session-id"];
  if (typeof key !== "string") throw new Error(`no key: ${String(answer.status)} ${answer.text}`);
  const client = new Client(at, key, version, headers);
  await client.ask(note("notifications/initialized"));
  return client;
}

/** A bare connection: what was said is `text`. */
export class Raw {
  readonly socket: Socket;
  text = "";
  isClosed = false;

  constructor(at: Face) {
    this.socket = connect(at.port, "127.0.0.1");
    sockets.push(this.socket);
    this.socket.on("data", (chunk: Buffer) => (this.text += chunk.toString("latin1")));
    this.socket.on("close", () => (this.isClosed = true));
    this.socket.on("error", () => undefined);
  }

  write(...lines: string[]): this {
    this.socket.write(lines.join("\r\n"));
    return this;
  }

  async says(what: string): Promise<this> {
    await until(`'${what}' on the wire; got ${this.text}`, () => this.text.includes(what));
    return this;
  }

  async closed(): Promise<this> {
    await until(`the end of the connection; got ${this.text}`, () => this.isClosed);
    return this;
  }
}
