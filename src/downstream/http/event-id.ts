/**
 * The ids of server-sent events: `<epoch>.<stream>.<seq>`. To a client they are opaque; to us one says
 * what the client has seen when it names it as the last one.
 *
 * - `epoch`: of the session's time in this process. An id of another epoch says nothing of messages.
 * - `stream`: `get` for the standalone stream; for the stream of a POST the ids of the calls whose
 *   answers have not gone out before or with this event, joined by `+`; `done` where none is left.
 *   So a client that returns with an id is owed exactly the calls in it, also after a restart.
 * - `seq`: rises over all streams of the session; no two events of it have the same id.
 */

export type StreamName =
  | { readonly kind: "get" }
  | { readonly kind: "calls"; readonly callIds: readonly string[] }
  | { readonly kind: "done" };

export interface EventId {
  readonly epoch: string;
  readonly stream: StreamName;
  readonly seq: number;
}

/** As many as a batch may have. */
export const CALLS_MAX = 100;

const FORM = /^([0-9a-z]{8,16})\.([A-Za-z0-9_+-]+)\.(0|[1-9]\d{0,14})$/;
const CALL_ID = /^[A-Za-z0-9]+_[A-Za-z0-9_-]{1,62}$/;

export function formatEventId(epoch: string, stream: string, seq: number): string {
  return `${epoch}.${stream}.${String(seq)}`;
}

/** Undefined where it is none of ours. */
export function parseEventId(text: string): EventId | undefined {
  const [, epoch, name, digits] = FORM.exec(text) ?? [];
  if (epoch === undefined || name === undefined || digits === undefined) return undefined;
  const seq = Number(digits);
  if (name === "get" || name === "done") return { epoch, stream: { kind: name }, seq };
  const callIds = name.split("+");
  if (callIds.length > CALLS_MAX || !callIds.every((id) => CALL_ID.test(id))) return undefined;
  return { epoch, stream: { kind: "calls", callIds }, seq };
}
