/** What the streams of one session share. */
import type { ServerResponse } from "node:http";
import type { World } from "../../base/world.ts";
import { formatNotification } from "../../wire/message.ts";
import type { PostStream } from "./post-stream.ts";
import type { RingBudget } from "./ring.ts";

export interface StreamContext {
  readonly world: World;
  readonly budget: RingBudget;
  /** The client has finished its handshake: it may be told something unasked. */
  readonly isInitialised: boolean;
  /** The client knows events with an id and empty data. */
  hasPriming(): boolean;
  nextSeq(): number;
  idOf(stream: string, seq: number): string;
  /** A response of the client's is open until it closes. */
  opened(response: ServerResponse): void;
  /** The stream can be come back for by this call. */
  remember(callId: string, stream: PostStream): void;
  /** The stream has no connection any more. */
  quiet(stream: PostStream): void;
}

/** Messages are missing, and nobody knows which. */
export const GAP = formatNotification("notifications/message", {
  level: "warning",
  logger: "holdfast",
  data: "Some messages of the server may have been lost while the connection was down. Answers were not.",
});

/** After a gap a client can't know what changed, so everything is said to have changed. */
export const ALL_CHANGED: readonly string[] = ["tools", "prompts", "resources"].map((list) =>
  formatNotification(`notifications/${list}/list_changed`),
);
