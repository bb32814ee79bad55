/**
 * A loopback server with hooks, and a recorder of what a connection tells. Real sockets, port 0.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { realWorld } from "../../src/base/world.ts";
import type { Failure } from "../../src/core/failure.ts";
import type { Outcome } from "../../src/core/verdict.ts";
import type {
  Connection,
  ConnectionEvents,
  Connector,
  Outbound,
  ResumeTicket,
} from "../../src/ports.ts";
import { httpConnector, type HttpConnectorOptions } from "../../src/upstream/http.ts";
import type { Message } from "../../src/wire/message.ts";
import { ownPort } from "./port.ts";

const PATIENCE_MS = 30_000;

/** Resolves when `condition` gives something; rejects after 30 s, naming what was awaited. */
export async function until<T>(what: string, condition: () => T | undefined | false): Promise<T> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const value = condition();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > deadline) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export type Told =
  | { kind: "message"; message: Message; relatedId: string | undefined }
  | { kind: "outcome"; id: string; outcome: Exclude<Outcome, { kind: "replied" }> }
  | { kind: "down"; failure: Failure; resume: ResumeTicket | undefined }
  | { kind: "noise"; what: string };

export class Recorder implements ConnectionEvents {
  readonly told: Told[] = [];
  onMessage(message: Message, relatedId: string | undefined): void {
    this.told.push({ kind: "message", message, relatedId });
  }
  onOutcome(id: string, outcome: Exclude<Outcome, { kind: "replied" }>): void {
    this.told.push({ kind: "outcome", id, outcome });
  }
  onDown(failure: Failure, resume: ResumeTicket | undefined): void {
    this.told.push({ kind: "down", failure, resume });
  }
  onNoise(what: string): void {
    this.told.push({ kind: "noise", what });
  }

  replies(id: string): Extract<Told, { kind: "message" }>[] {
    return this.told.flatMap((t) =>
      t.kind === "message" && t.message.kind === "reply" && t.message.id === id ? [t] : [],
    );
  }
  reply(id: string): Promise<Extract<Told, { kind: "message" }>> {
    return until(`the reply to ${id}; told: ${this.summary()}`, () => this.replies(id)[0]);
  }
  outcomes(id: string): Exclude<Outcome, { kind: "replied" }>[] {
    return this.told.flatMap((t) => (t.kind === "outcome" && t.id === id ? [t.outcome] : []));
  }
  outcome(id: string): Promise<Exclude<Outcome, { kind: "replied" }>> {
    return until(`the outcome of ${id}`, () => this.outcomes(id)[0]);
  }
  downs(): Extract<Told, { kind: "down" }>[] {
    return this.told.flatMap((t) => (t.kind === "down" ? [t] : []));
  }
  down(): Promise<Extract<Told, { kind: "down" }>> {
    return until("the link going down", () => this.downs()[0]);
  }
  notifications(): string[] {
    return this.told.flatMap((t) =>
      t.kind === "message" && t.message.kind === "notification" ? [t.message.method] : [],
    );
  }
  summary(): string {
    return JSON.stringify(this.told).slice(0, 1_000);
  }
}

/** One request as the server saw it. */
export interface Seen {
  readonly method: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
  /** The parsed body of a POST. */
  readonly rpc: { id?: string; method?: string } | undefined;
  readonly res: ServerResponse;
  readonly socket: Socket;
}

export type Handler = (seen: Seen) => void;

/** Answers `initialize` (session `s-1`), notifications (202), GET (405) and DELETE; the rest is `handler`'s. */
export class FakeServer {
  readonly seen: Seen[] = [];
  readonly #server: Server;
  handler: Handler;
  onGet: Handler = ({ res }) => res.writeHead(405).end();
  onDelete: Handler = ({ res }) => res.writeHead(200).end();
  sessionId: string | undefined = "s-1";

  constructor(handler: Handler) {
    this.handler = handler;
    this.#server = createServer((req, res) => {
      const chunks: Buffer[] = [];
      req.on("error", () => undefined);
      res.on("error", () => undefined);
      req.on("data", (chunk: Buffer) => chunks.push(chunk));
      req.on("end", () => {
        this.#handle(req, res, Buffer.concat(chunks).toString());
      });
    });
  }

  #handle(req: IncomingMessage, res: ServerResponse, body: string): void {
    const rpc = body === "" ? undefined : (JSON.parse(body) as { id?: string; method?: string });
    const method = req.method ?? "";
    const seen: Seen = { method, headers: req.headers, body, rpc, res, socket: req.socket };
    this.seen.push(seen);
    if (method === "GET") this.onGet(seen);
    else if (method === "DELETE") this.onDelete(seen);
    else if (rpc?.method === "initialize") {
      const session = this.sessionId === undefined ? {} : { "mcp-session-id": this.sessionId };
      json(seen, result(rpc.id, { protocolVersion: "2025-11-25" }), 200, session);
    } else if (rpc?.id === undefined || rpc.method === undefined) res.writeHead(202).end();
    else this.handler(seen);
  }

  async listen(chosen?: number): Promise<this> {
    const port = chosen ?? (await ownPort());
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(port, "127.0.0.1", () => {
        resolve();
      });
    });
    return this;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${String(this.port)}/mcp`;
  }

  /** No new connections; what was accepted goes on. */
  stopListening(): void {
    this.#server.close();
    this.#server.closeIdleConnections();
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    if (!this.#server.listening) return;
    await new Promise<void>((resolve) => {
      this.#server.close(() => {
        resolve();
      });
    });
  }

  calls(rpcMethod: string): Seen[] {
    return this.seen.filter((s) => s.rpc?.method === rpcMethod);
  }

  gets(): Seen[] {
    return this.seen.filter((s) => s.method === "GET");
  }
}

export const result = (id: string | undefined, value: unknown): string =>
  JSON.stringify({ jsonrpc: "2.0", id, result: value });

export const rpcError = (id: string | null | undefined, code: number, message: string): string =>
  JSON.stringify({ jsonrpc: "2.0", id, error: { code, message } });

export function json(
  seen: Seen,
  body: string,
  status = 200,
  headers: Record<string, string> = {},
): void {
  seen.res.writeHead(status, { "content-type": "application/json", ...headers }).end(body);
}

export function sse(seen: Seen, ...events: string[]): void {
  seen.res.writeHead(200, { "content-type": "text/event-stream" });
  for (const event of events) seen.res.write(event);
}

export const event = (data: string, id?: string): string =>
  `${id === undefined ? "" : `id: ${id}\n`}data: ${data}\n\n`;

export const priming = (id: string, retryMs: number): string =>
  `id: ${id}\nretry: ${String(retryMs)}\ndata: \n\n`;

export const request = (id: string, method = "tools/call", params: unknown = {}): string =>
  JSON.stringify({ jsonrpc: "2.0", id, method, params });

export const asUnsafe = (id: string): Outbound => ({ kind: "request", id, safety: "unsafe" });
export const asRead = (id: string): Outbound => ({ kind: "request", id, safety: "read" });

export const INITIALIZED = JSON.stringify({ jsonrpc: "2.0", method: "notifications/initialized" });

export const INITIALIZE = (id: string): string =>
  request(id, "initialize", {
    protocolVersion: "2025-11-25",
    capabilities: {},
    clientInfo: { name: "test", version: "1" },
  });

export interface Link {
  readonly connection: Connection;
  readonly isResumed: boolean;
  readonly recorder: Recorder;
}

export function connectorTo(url: string, more: Partial<HttpConnectorOptions> = {}): Connector {
  return httpConnector({ world: realWorld(), log: () => undefined, url, headers: {}, ...more });
}

export async function dialTo(connector: Connector, ticket?: ResumeTicket): Promise<Link> {
  const recorder = new Recorder();
  const outcome = await connector.dial(recorder, ticket, new AbortController().signal);
  if (outcome.kind === "failed") throw new Error(`dial failed: ${outcome.failure.message}`);
  return { connection: outcome.connection, isResumed: outcome.isResumed, recorder };
}

/** The handshake and the initialized notification, as the engine does them. */
export async function shakeHands({ connection, recorder }: Link, id = "1-1"): Promise<void> {
  connection.send(INITIALIZE(id), { kind: "handshake", id });
  await recorder.reply(id);
  connection.handshaken("2025-11-25");
  connection.send(INITIALIZED, { kind: "notification" });
}
