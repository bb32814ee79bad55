/**
 * Legacy HTTP+SSE (MCP 2024-11-05): `GET /sse/NAME` is the stream to the client, and its messages come
 * as `POST /sse/NAME/message?sessionId=KEY`. The transport knows no end and no resumption of its own;
 * a lost stream leaves the session behind, and these ways lead back to it:
 *
 * - a new stream whose first message is no `initialize`, or on which a client that has initialised
 *   says nothing (see `sse/opening.ts`);
 * - `GET /sse/NAME?sessionId=KEY` with the key of before;
 * - a POST under that key, also after a restart of Holdfast: what it is owed waits for the next stream.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { World } from "../base/world.ts";
import type { Log } from "../ports.ts";
import { parseMessage } from "../wire/message.ts";
import { COMMON, HTTP_RPC, refuse, trouble, type Trouble } from "./http/answers.ts";
import { type BodyLimits, dropRest, readBody } from "./http/body.ts";
import type { Route, Visit } from "./http/route.ts";
import { KeptLinks, type NotReturned, peerOf, type Returned } from "./kept-links.ts";
import type { KeptLink } from "./kept-link.ts";
import { OpenCarriers } from "./open-carriers.ts";
import { Opening, type Readable } from "./sse/opening.ts";
import { SseStream } from "./sse/stream.ts";

const KEEP_ALIVE_MS = 15_000;
/** Above this much unread output a client's messages are refused until it has read some. */
const UNREAD_BYTES_MAX = 8 * 1024 * 1024;

export interface SseRouteOptions {
  readonly world: World;
  readonly log: Log;
  readonly bodies: BodyLimits;
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
    const { world, log, linksMax } = options;
    this.#options = options;
    this.#links = new KeptLinks({ world, log, transport: "sse", canResume: true, linksMax });
    this.#streams = new OpenCarriers(world);
    this.#streams.beat(KEEP_ALIVE_MS, (stream) => {
      stream.keepAlive();
    });
  }

  serve(request: IncomingMessage, response: ServerResponse, visit: Visit): void {
    const isMessage = visit.url.pathname.split("/").length > 3;
    const method = isMessage ? "POST" : "GET";
    if (this.#isStopping) {
      this.#turnAway(request, response, STOPPING);
    } else if (request.method !== method) {
      const wrong = trouble(405, `only ${method} is served here`, ["Allow", method]);
      this.#turnAway(request, response, wrong);
    } else if (isMessage) {
      this.#post(request, response, visit);
    } else {
      void this.#get(request, response, visit);
    }
  }

  async stop(graceMs: number): Promise<void> {
    this.#isStopping = true;
    for (const link of [...this.#links]) link.release("stopping", "the proxy is stopping");
    await this.#streams.end(graceMs);
  }

  /** Refuses a request whose body is not read. */
  #turnAway(request: IncomingMessage, response: ServerResponse, what: Trouble): void {
    refuse(response, what);
    dropRest(request, this.#options.world);
  }

  // ── The stream ────────────────────────────────────────────────────────────────────────────────

  async #get(request: IncomingMessage, response: ServerResponse, visit: Visit): Promise<void> {
    const key = visit.url.searchParams.get("sessionId");
    const peer = peerOf(request, visit);
    const link =
      key === null ? this.#open(visit, peer) : await this.#links.returned(visit, key, peer);
    if (typeof link === "string") {
      refuse(response, REFUSALS[link]);
    } else if (this.#isStopping) {
      refuse(response, STOPPING);
    } else if (!response.destroyed) {
      this.#attach(link, response, visit);
      const hasInitialised = request.headers["mcp-protocol-version"] !== undefined;
      if (hasInitialised) this.#openings.get(link)?.expectReturn();
    } else if (link.isNew) {
      link.forget();
    }
  }

  #open(visit: Visit, peer: string): KeptLink | "full" {
    const link = this.#links.open(visit, peer);
    if (link === "full") return link;
    const { world, log } = this.#options;
    const hasName = visit.url.searchParams.has("client");
    const onReturn = (): void => {
      if (hasName) this.#endStaleStream(link);
    };
    this.#openings.set(link, new Opening({ world, link, door: visit.door, log, onReturn }));
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

  #post(request: IncomingMessage, response: ServerResponse, visit: Visit): void {
    const key = visit.url.searchParams.get("sessionId") ?? "";
    const wrong = key === "" ? NO_KEY : bodyTrouble(request);
    if (wrong !== undefined) {
      this.#turnAway(request, response, wrong);
      return;
    }
    this.#links.find(visit, key)?.bodies.add(request);
    readBody(request, this.#options.bodies, (body) => {
      if (body.kind === "refused") refuse(response, body.trouble);
      if (body.kind !== "text") return;
      const message = parseMessage(body.text);
      if (message.kind === "malformed") {
        const { idText } = message;
        refuse(response, { ...trouble(400, message.reason, [], message.code), idText });
        return;
      }
      void this.#links.returned(visit, key, peerOf(request, visit)).then((link) => {
        const refusal = this.#isStopping ? STOPPING : this.#take(link, message);
        if (refusal === undefined) accept(response);
        else refuse(response, { ...refusal, idText: idTextOf(message) });
      });
    });
  }

  /** Hands the message on; returns why not. */
  #take(link: Returned, message: Readable): Trouble | undefined {
    if (typeof link === "string") return REFUSALS[link];
    if (link.bufferedBytes() > UNREAD_BYTES_MAX) return UNREAD;
    if (link.isBound) {
      link.receive(message);
      return undefined;
    }
    if (!link.isNew) return REFUSALS.unknown;
    return this.#openings.get(link)?.receive(message) === true ? undefined : UNREAD;
  }
}

const comeLater = (words: string): Trouble => trouble(503, words, ["Retry-After", "1"]);

const STOPPING = comeLater("Not executed: the proxy is stopping");
const UNREAD = comeLater("Not executed: the client has not read what it was sent before");
const NO_KEY = trouble(400, "sessionId is missing in the URL");
const REFUSALS: Readonly<Record<NotReturned, Trouble>> = {
  full: comeLater("Not executed: too many clients are connected"),
  failed: comeLater("Not executed: the session could not be looked up"),
  unknown: trouble(404, "Not executed: no session with this sessionId", [], HTTP_RPC.noSession),
};

/** A message is plain JSON. */
function bodyTrouble({ headers }: IncomingMessage): Trouble | undefined {
  const type = (headers["content-type"] ?? "").split(";")[0]?.trim().toLowerCase();
  if (type !== "application/json") {
    return trouble(415, "the content type of a message is application/json");
  }
  if (headers["content-encoding"] === undefined) return undefined;
  return trouble(415, "a message with a Content-Encoding is not taken");
}

const idTextOf = (message: Readable): string | undefined =>
  message.kind === "request" ? message.idText : undefined;

/** Where the client's messages go: on this server, under its key and, where it has one, its name. */
function endpointOf(link: KeptLink, visit: Visit): string {
  const query = new URLSearchParams({ sessionId: link.key });
  const name = visit.url.searchParams.get("client");
  if (name !== null) query.set("client", name);
  return `${visit.url.pathname}/message?${query.toString()}`;
}

function accept(response: ServerResponse): void {
  response.writeHead(202, ["Content-Type", "text/plain", "Content-Length", "8", ...COMMON]);
  response.end("Accepted");
}
