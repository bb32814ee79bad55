/** GET of `/mcp/NAME`: the standalone stream, and the return to a stream that broke. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { errorText } from "../../base/errors.ts";
import type { Log } from "../../ports.ts";
import { answerEmpty, refuse, trouble } from "./answers.ts";
import { Asked } from "./asked.ts";
import { type EventId, parseEventId } from "./event-id.ts";
import { getTrouble, lastEventIdOf, versionOf, versionTrouble } from "./headers.ts";
import type { Lookup } from "./lookup.ts";
import { PostStream } from "./post-stream.ts";
import type { Visit } from "./route.ts";
import type { McpSession } from "./session.ts";

export class Gets {
  readonly #lookup: Lookup;
  readonly #log: Log;

  constructor(lookup: Lookup, log: Log) {
    this.#lookup = lookup;
    this.#log = log;
  }

  serve(request: IncomingMessage, response: ServerResponse, visit: Visit): void {
    const { headers } = request;
    const wrong = getTrouble(headers) ?? versionTrouble(headers);
    if (wrong !== undefined) {
      refuse(response, wrong);
      return;
    }
    const last = lastEventIdOf(headers);
    const id = last === undefined ? undefined : parseEventId(last);
    if (last !== undefined && id === undefined) {
      refuse(response, trouble(400, "Last-Event-ID is none of the ids that were given out"));
      return;
    }
    this.#lookup.find(request, response, visit, undefined, (session) => {
      session.protocolVersion ??= versionOf(headers);
      this.#open(session, response, id);
    });
  }

  #open(session: McpSession, response: ServerResponse, id: EventId | undefined): void {
    // Not what is unread: a client whose connection died in silence comes back to read it.
    const why = session.crowd();
    if (why !== undefined) {
      refuse(response, trouble(503, why, ["Retry-After", "1"]));
      return;
    }
    if (id === undefined) {
      session.standalone.attach(response, { kind: "untold" });
      return;
    }
    const isHere = id.epoch === session.epoch;
    switch (id.stream.kind) {
      case "get":
        session.standalone.attach(
          response,
          isHere ? { kind: "upTo", seq: id.seq } : { kind: "elsewhere" },
        );
        return;
      case "done":
        // The one answer after which an event source does not come back (WHATWG HTML, "EventSource").
        answerEmpty(response, 204);
        return;
      case "calls":
        this.#resume(session, response, id, id.stream.callIds);
    }
  }

  #resume(
    session: McpSession,
    response: ServerResponse,
    { epoch, seq }: EventId,
    callIds: readonly string[],
  ): void {
    const isHere = epoch === session.epoch;
    const kept = isHere ? session.streamOf(callIds[0] ?? "") : undefined;
    const stream = kept ?? new PostStream(session, Asked.again(callIds), response);
    if (kept === undefined) {
      session.add(stream);
      for (const callId of callIds) session.remember(callId, stream);
      stream.begin(isHere ? session.hasGapAfter(seq) : session.crossesEpoch());
    } else {
      kept.reattach(response, callIds, seq);
    }
    session.handler.resume(callIds, stream).then(
      (unknown) => {
        stream.renounce(unknown);
      },
      (error: unknown) => {
        // The client keeps its id, and comes back with it.
        this.#log("error", "answers could not be looked up", { cause: errorText(error) });
        stream.end(trouble(503, "answers could not be looked up"));
      },
    );
  }
}
