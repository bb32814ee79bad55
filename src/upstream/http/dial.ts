/**
 * Dialling over HTTP. There is no link to set up: a first dial only prepares, and the handshake's POST
 * is what finds out. A dial with a ticket asks the server, by a ping under the old session id, whether
 * it still knows the session.
 */
import { failure, type Failure } from "../../core/failure.ts";
import type { ConnectionEvents, DialOutcome, ResumeTicket } from "../../ports.ts";
import { formatRequest, parseMessage } from "../../wire/message.ts";
import { mediaType, readAnswer, readWhole } from "./body.ts";
import { openingFailure, type HttpAnswer } from "./classify.ts";
import { HttpConnection, type HostParts, type TicketData } from "./connection.ts";

/** No request of the engine has this id: those start with a number (the connection's epoch). */
const PING_ID = "hf-resume-1";
const PING_BODY_MAX_BYTES = 65_536;

type Probe =
  | { readonly kind: "known" }
  | { readonly kind: "forgotten" }
  | { readonly kind: "failed"; readonly failure: Failure };

/** `makeParts` builds a client and headers of their own for each connection. */
export async function dial(
  makeParts: () => HostParts,
  events: ConnectionEvents,
  resume: ResumeTicket | undefined,
  signal: AbortSignal,
): Promise<DialOutcome> {
  const abandoned = failure("timeout", "the attempt to connect was given up");
  if (signal.aborted) return { kind: "failed", failure: abandoned };
  const data = resume?.data as TicketData | undefined;
  const parts = makeParts();
  if (data === undefined) {
    return { kind: "connected", connection: new HttpConnection(parts, events), isResumed: false };
  }
  parts.headers.setSession(data.sessionId);
  parts.headers.setProtocolVersion(data.protocolVersion);
  const probe = await probeSession(parts, signal, abandoned);
  if (probe.kind === "known") {
    const connection = new HttpConnection(parts, events);
    // A turn later: no event may come before the caller has its connection.
    parts.world.soon(() => {
      connection.resume(data);
    });
    return { kind: "connected", connection, isResumed: true };
  }
  parts.client.destroy();
  if (probe.kind === "failed") return { kind: "failed", failure: probe.failure };
  return {
    kind: "connected",
    connection: new HttpConnection(makeParts(), events),
    isResumed: false,
  };
}

function probeSession(parts: HostParts, signal: AbortSignal, abandoned: Failure): Promise<Probe> {
  const { world, client, headers, patienceMs } = parts;
  return new Promise((resolve) => {
    const finish = (probe: Probe): void => {
      cancel();
      signal.removeEventListener("abort", abandon);
      resolve(probe);
    };
    const abandon = (): void => {
      call.abort();
      finish({ kind: "failed", failure: abandoned });
    };
    // Twice: once for the connection, once for the answer.
    const cancel = world.timer(2 * patienceMs, () => {
      call.abort();
      const told = `no answer to a ping within ${String((2 * patienceMs) / 1_000)} s`;
      finish({ kind: "failed", failure: failure("timeout", told) });
    });
    signal.addEventListener("abort", abandon, { once: true });
    const body = formatRequest(PING_ID, "ping");
    const call = client.start(
      { method: "POST", headers: headers.forPost(body), body, isFresh: true },
      {
        onResponse: (response) => {
          const status = response.statusCode ?? 0;
          if (status >= 300) {
            readAnswer(world, response, patienceMs, (answer) => {
              finish(judgeProbe(answer, parts));
            });
          } else if (mediaType(response) === "application/json") {
            readWhole(response, PING_BODY_MAX_BYTES, (whole) => {
              const text = whole.kind === "whole" ? whole.text : "";
              finish({ kind: isKnown(text) ? "known" : "forgotten" });
            });
          } else {
            response.on("error", () => undefined);
            response.resume();
            finish({ kind: "known" });
          }
        },
        onFailed: (fault) => {
          finish({ kind: "failed", failure: fault.failure });
        },
      },
    );
  });
}

/** A reply to our ping; an error in it ("session not found" in a 200) is as good as a 404. */
function isKnown(text: string): boolean {
  const message = parseMessage(text);
  return message.kind === "reply" && message.id === PING_ID && message.error === undefined;
}

function judgeProbe(answer: HttpAnswer, { mask, world }: HostParts): Probe {
  const why = openingFailure(answer, world.now(), mask);
  if (why.kind !== "server_error" || answer.status >= 500) return { kind: "failed", failure: why };
  // The server is there and does not take the old session, whatever words it has for that.
  return { kind: "forgotten" };
}
