/** POST to `/mcp/NAME`: what a client says, and the answer to it. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { RPC } from "../../base/errors.ts";
import type { World } from "../../base/world.ts";
import { memberOf } from "../../wire/json-span.ts";
import { type Batch, type Malformed, type Message, parseMessage } from "../../wire/message.ts";
import { answerEmpty, refuse, trouble, type Trouble } from "./answers.ts";
import { Asked } from "./asked.ts";
import { type BodyLimits, dropRest, readBody } from "./body.ts";
import { CALLS_MAX } from "./event-id.ts";
import { HandshakeStream } from "./handshake.ts";
import { keyOf, postTrouble, prefersEvents, versionOf, versionTrouble } from "./headers.ts";
import type { Lookup } from "./lookup.ts";
import { PostStream } from "./post-stream.ts";
import type { Visit } from "./route.ts";
import type { McpSession } from "./session.ts";
import type { Sessions } from "./sessions.ts";

export interface PostOptions {
  readonly world: World;
  readonly sessions: Sessions;
  readonly lookup: Lookup;
  readonly bodies: BodyLimits;
}

/** A request with what it carried. */
interface Post {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly visit: Visit;
}

type Part = Message | Malformed;

export class Posts {
  readonly #options: PostOptions;

  constructor(options: PostOptions) {
    this.#options = options;
  }

  serve(post: Post): void {
    const { request, response } = post;
    const { bodies, sessions, world } = this.#options;
    const wrong = postTrouble(request.headers);
    if (wrong !== undefined) {
      refuse(response, wrong);
      dropRest(request, world);
      return;
    }
    const key = keyOf(request.headers);
    if (key !== undefined) sessions.find(key, post.visit)?.bodies.add(request);
    readBody(request, bodies, (body) => {
      if (body.kind === "text") this.#take(post, parseMessage(body.text));
      else if (body.kind === "refused") refuse(response, body.trouble);
    });
  }

  #take(post: Post, said: Message | Batch | Malformed): void {
    const { request, response } = post;
    const idText = said.kind === "request" || said.kind === "malformed" ? said.idText : undefined;
    const wrong = saidTrouble(said) ?? versionTrouble(request.headers);
    if (wrong !== undefined) {
      refuse(response, { ...wrong, idText });
      return;
    }
    if (keyOf(request.headers) === undefined) {
      if (said.kind === "request" && said.method === "initialize")
        this.#enter(post, said.idText, said);
      else refuse(response, { ...NO_KEY, idText });
      return;
    }
    this.#options.lookup.find(post.request, response, post.visit, idText, (session) => {
      this.#hand(session, post, said);
    });
  }

  // ── The handshake ─────────────────────────────────────────────────────────────────────────────

  #enter({ request, response, visit }: Post, idText: string, message: Message): void {
    const session = this.#options.sessions.enter(visit, request);
    const stream = new HandshakeStream(response, idText, {
      headers: () => (session.hasBegun ? ["Mcp-Session-Id", session.key] : []),
      answered: (reply) => {
        if (!session.hasBegun) this.#abandon(session, "its handshake failed");
        else session.protocolVersion = agreedVersion(reply);
      },
      abandoned: () => {
        this.#abandon(session, "the client went away before its handshake was answered");
      },
    });
    session.handshake = stream;
    session.handler.receive(message, stream);
  }

  /** Nobody knows the key of this session. */
  #abandon(session: McpSession, cause: string): void {
    void session.handler.left(cause);
    session.ended(cause);
  }

  // ── All else ──────────────────────────────────────────────────────────────────────────────────

  #hand(session: McpSession, { request, response }: Post, said: Message | Batch | Malformed): void {
    // What was agreed counts; only a session from before a restart learns it from the header.
    session.protocolVersion ??= versionOf(request.headers);
    const parts = said.kind === "batch" ? said.texts.flatMap(partOf) : [said];
    const idTexts = parts.flatMap(answerIdOf);
    const [only] = idTexts;
    const wrong = partsTrouble(session, said, parts) ?? crowdTrouble(session, idTexts.length);
    if (wrong !== undefined) {
      refuse(response, { ...wrong, idText: idTexts.length === 1 ? only : undefined });
      return;
    }
    if (idTexts.length === 0) {
      for (const part of parts) this.#tell(session, part);
      answerEmpty(response, 202);
      return;
    }
    const isBatch = said.kind === "batch";
    const stream = new PostStream(session, Asked.anew(idTexts), response, {
      isBatch,
      prefersEvents: prefersEvents(request.headers),
    });
    session.add(stream);
    for (const part of parts) {
      if (part.kind === "request" || part.kind === "malformed")
        session.handler.receive(part, stream);
      else this.#tell(session, part);
    }
  }

  /** A notification or an answer. */
  #tell(session: McpSession, part: Part): void {
    if (part.kind === "notification" && part.method === "notifications/initialized") {
      session.isInitialised = true;
    }
    session.handler.receive(part);
    if (part.kind !== "notification" || part.method !== "notifications/cancelled") return;
    // After the engine, which knows whether it still answers.
    const span = memberOf(part.text, "params", "requestId");
    if (span !== undefined) session.cancelled(part.text.slice(span.start, span.end));
  }
}

const NO_KEY: Trouble = trouble(
  400,
  "Not executed: the Mcp-Session-Id header is missing; a session begins with initialize",
);

function saidTrouble(said: Message | Batch | Malformed): Trouble | undefined {
  if (said.kind === "malformed") return trouble(400, `Not executed: ${said.reason}`, [], said.code);
  if (said.kind !== "batch" || said.texts.length <= CALLS_MAX) return undefined;
  return trouble(
    400,
    `Not executed: a batch has at most ${String(CALLS_MAX)} messages`,
    [],
    INVALID,
  );
}

function partsTrouble(
  session: McpSession,
  said: Message | Batch | Malformed,
  parts: readonly Part[],
): Trouble | undefined {
  if (said.kind === "batch" && !session.hasBatches()) {
    const why = "Not executed: batches exist only in protocol version 2025-03-26";
    return trouble(400, why, [], INVALID);
  }
  const isAgain = parts.some((p) => p.kind === "request" && p.method === "initialize");
  if (!isAgain) return undefined;
  const why = "Not executed: this session was initialised; a new one begins without Mcp-Session-Id";
  return trouble(400, why, [], INVALID);
}

function crowdTrouble(session: McpSession, count: number): Trouble | undefined {
  const why = count === 0 ? undefined : session.refusal();
  return why === undefined ? undefined : trouble(503, `Not executed: ${why}`, ["Retry-After", "1"]);
}

const INVALID = RPC.invalidRequest;

/** One of a batch. A batch in a batch is none, and gets the answer of what can't be read. */
function partOf(text: string): Part {
  const part = parseMessage(text);
  if (part.kind !== "batch") return part;
  return { kind: "malformed", code: INVALID, reason: "a batch in a batch", idText: undefined };
}

/** The id of the answer that this one gets, if it gets one. */
function answerIdOf(part: Part): string[] {
  if (part.kind === "request") return [part.idText];
  return part.kind === "malformed" ? [part.idText ?? "null"] : [];
}

/** The version in the answer to a handshake. */
function agreedVersion(reply: string): string | undefined {
  const parsed = parseMessage(reply);
  if (parsed.kind !== "reply") return undefined;
  const { protocolVersion } = (parsed.result ?? {}) as { protocolVersion?: unknown };
  return typeof protocolVersion === "string" ? protocolVersion : undefined;
}
