/**
 * Legacy HTTP+SSE (MCP 2024-11-05): `GET /sse/NAME` is the stream to the client, and its messages come
 * as `POST /sse/NAME/message?sessionId=KEY`. The transport knows no end and no resumption of its own;
 * a lost stream leaves the session behind, and these ways lead back to it:
 *
 * - a new stream whose first message is no `initialize` (see `sse/opening.ts`);
 * - `GET /sse/NAME?sessionId=KEY` with the key of before;
 * - a POST under that key, also after a restart of Holdfast: what it is owed waits for the next stream.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { JournalError } from "../base/errors.ts";
import type { World } from "../base/world.ts";
import type { Log } from "../ports.ts";
import type { Route, Visit } from "./http/route.ts";
import { KeptLinks, peerOf, type Returned } from "./kept-links.ts";
import type { KeptLink } from "./kept-link.ts";
import { OpenCarriers } from "./open-carriers.ts";
import { readBody, type Refusal } from "./sse/body.ts";
import { Opening, type Readable } from "./sse/opening.ts";
import { SseStream } from "./sse/stream.ts";

const KEEP_ALIVE_MS = 15_000;
/** Above this much unread output a client's messages are refused until it has read some. */
const UNREAD_BYTES_MAX = 8 * 1024 * 1024;

export interface SseRouteOptions {
  readonly world: World;
  readonly log: Log;
  /** The largest message taken from a client. */
  readonly requestMaxBytes: number;
  /** Clients kept at most, with and without a stream. */
  readonly linksMax: number;
}

/** Serves `/sse/NAME` and `/sse/NAME/message`. */
export function sseRoute(options: SseRouteOptions): Route {
  return new SseRoute(options);
}

class SseRoute implements Route {
  readonly #options: SseRouteOptions;
  readonly #links: KeptLinks;
  readonly #streams: OpenCarriers<SseStream>;
  /** Of the links that are not bound yet. */
  readonly #openings = new WeakMap<KeptLink, Opening>();
  #isStopping = false;

  constructor(options: SseRouteOptions) {
    const { world, linksMax } = options;
    this.#options = options;
    this.#links = new KeptLinks({ world, transport: "sse", canResume: true, linksMax });
    this.#streams = new OpenCarriers(world);
    this.#streams.beat(KEEP_ALIVE_MS, (stream) => {
      stream.keepAlive();
    });
  }

  serve(request: IncomingMessage, response: ServerResponse, visit: Visit): void {
    if (this.#isStopping) {
      refuse(response, STOPPING);
      return;
    }
    const isMessage = visit.url.pathname.split("/").length > 3;
    const method = isMessage ? "POST" : "GET";
    if (request.method !== method) {
      response.setHeader("Allow", method);
      refuse(response, { status: 405, words: `only ${method} is served here` });
      return;
    }
    const served = isMessage
      ? this.#post(request, response, visit)
      : this.#get(request, response, visit);
    void served.catch((error: unknown) => {
      if (!(error instanceof JournalError)) throw error;
      this.#options.log("warn", "a session could not be looked up", { error: error.message });
      refuse(response, { status: 503, words: `Not executed: ${error.message}` });
    });
  }

  async stop(graceMs: number): Promise<void> {
    this.#isStopping = true;
    for (const link of [...this.#links]) link.release("stopping", "the proxy is stopping");
    await this.#streams.end(graceMs);
  }

  // ── The stream ────────────────────────────────────────────────────────────────────────────────

  async #get(request: IncomingMessage, response: ServerResponse, visit: Visit): Promise<void> {
    const key = visit.url.searchParams.get("sessionId");
    const peer = peerOf(request, visit);
    const link =
      key === null ? this.#open(visit, peer) : await this.#links.returned(visit, key, peer);
    if (link === "full" || link === "unknown") {
      refuse(response, REFUSALS[link]);
    } else if (this.#isStopping) {
      refuse(response, STOPPING);
    } else if (!response.destroyed) {
      this.#attach(link, response, visit);
    } else if (!link.isBound) {
      link.forget();
    }
  }

  #open(visit: Visit, peer: string): KeptLink | "full" {
    const link = this.#links.open(visit, peer);
    if (link === "full") return link;
    const { log } = this.#options;
    const hasName = visit.url.searchParams.has("client");
    const onReturn = (): void => {
      if (hasName) this.#endStaleStream(link);
    };
    this.#openings.set(link, new Opening({ link, door: visit.door, log, onReturn }));
    return link;
  }

  #attach(link: KeptLink, response: ServerResponse, visit: Visit): void {
    const stream = new SseStream(response);
    this.#streams.add(stream);
    response.on("error", (error) => {
      link.lost(stream, `its stream failed: ${error.message}`, false);
    });
    response.on("close", () => {
      this.#streams.delete(stream);
      link.lost(stream, "its stream was closed", false);
    });
    stream.open(endpointOf(link, visit));
    link.attach(stream);
  }

  /**
   * A client with a name of its own came back while its old stream still looks open: a line that was
   * cut somewhere on the way. Where several clients share a name nothing is certain, nothing is done.
   */
  #endStaleStream(link: KeptLink): void {
    const namesakes = [...this.#links].filter(
      (other) =>
        other !== link &&
        other.isBound &&
        other.upstream === link.upstream &&
        other.principal === link.principal &&
        other.peer === link.peer,
    );
    if (namesakes.length !== 1) return;
    namesakes[0]?.release("taken_over", "a newer stream of the same client took over");
  }

  // ── Messages ──────────────────────────────────────────────────────────────────────────────────

  async #post(request: IncomingMessage, response: ServerResponse, visit: Visit): Promise<void> {
    const key = visit.url.searchParams.get("sessionId") ?? "";
    if (key === "") {
      refuse(response, { status: 400, words: "sessionId is missing in the URL" });
      return;
    }
    const body = await readBody(request, this.#options.requestMaxBytes);
    if (body === undefined) return;
    if ("status" in body) {
      refuse(response, body);
      return;
    }
    const link = await this.#links.returned(visit, key, peerOf(request, visit));
    const refusal = this.#isStopping ? STOPPING : this.#take(link, body);
    if (refusal === undefined) accept(response);
    else refuse(response, refusal);
  }

  /** Hands the message on; returns why not. */
  #take(link: Returned, message: Readable): Refusal | undefined {
    if (link === "full" || link === "unknown") return REFUSALS[link];
    if (link.bufferedBytes() > UNREAD_BYTES_MAX) return UNREAD;
    if (link.isBound) {
      link.receive(message);
      return undefined;
    }
    return this.#openings.get(link)?.receive(message) === true ? undefined : UNREAD;
  }
}

const STOPPING: Refusal = { status: 503, words: "Not executed: the proxy is stopping" };
const UNREAD: Refusal = {
  status: 503,
  words: "Not executed: the client has not read what it was sent before",
};
const REFUSALS: Readonly<Record<"full" | "unknown", Refusal>> = {
  full: { status: 503, words: "Not executed: too many clients are connected" },
  unknown: { status: 404, words: "Not executed: no session with this sessionId" },
};

/** Where the client's messages go: on this server, under its key and, where it has one, its name. */
function endpointOf(link: KeptLink, visit: Visit): string {
  const query = new URLSearchParams({ sessionId: link.key });
  const name = visit.url.searchParams.get("client");
  if (name !== null) query.set("client", name);
  return `${visit.url.pathname}/message?${query.toString()}`;
}

function accept(response: ServerResponse): void {
  response.writeHead(202, { "Content-Type": "text/plain" }).end("Accepted");
}

function refuse(response: ServerResponse, { status, words }: Refusal): void {
  if (response.destroyed || response.headersSent) return;
  if (status === 503) response.setHeader("Retry-After", "1");
  // What is left of the body is not read.
  if (status === 413) response.setHeader("Connection", "close");
  response.writeHead(status, { "Content-Type": "text/plain; charset=utf-8" }).end(words);
}
