/** What the stay of a client needs of the branch on which it is, and what it has while its session lasts. */
import type { SessionRow } from "../core/session.ts";
import type { ControlTool } from "./control-tool.ts";
import type { Delivery } from "./delivery.ts";
import type { Held } from "./held.ts";
import type { Line } from "./line.ts";
import type { Member } from "./member.ts";
import type { Registry } from "./registry.ts";
import type { Requests } from "./requests.ts";
import type { Stay } from "./stay.ts";

export interface StayHooks {
  readonly registry: Registry;
  /** Calls of this upstream that wait for a person. */
  readonly held: Held;
  readonly delivery: Delivery;
  readonly controlTool: ControlTool | undefined;
  /** Why there can be no further session, in words; undefined if there can. */
  refusal(): string | undefined;
  /** The line that carries the session; unless it is to sleep, it is wanted from now on. */
  lineOf(session: SessionRow, mode: "awake" | "asleep"): Line;
  /** Ends a line that only the session was on. */
  endLine(line: Line): Promise<void>;
  /** The session is in memory: it can be found by its id. */
  onBegun(stay: Stay, sessionId: string): void;
  /** The session is not in memory any more; deferred calls of it may still have to run. */
  onEnded(stay: Stay, line: Line, session: SessionRow): void;
  /** A client without a key is gone for good. */
  onLeft(cause: string): void;
}

export interface Served {
  readonly line: Line;
  readonly member: Member;
  readonly requests: Requests;
}
