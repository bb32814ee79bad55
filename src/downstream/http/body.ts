/** Reads the body of a POST: bounded in size, in pauses and in time, and valid UTF-8. */
import { isUtf8 } from "node:buffer";
import type { IncomingMessage } from "node:http";
import { RPC } from "../../base/errors.ts";
import type { World } from "../../base/world.ts";
import type { HalfReadRoom } from "../half-read-room.ts";
import { trouble, type Trouble } from "./answers.ts";
import { flowOn, hold } from "./flow.ts";

/** A body that pauses for longer is given up. */
const IDLE_MS = 10_000;
/** How long what follows a refused body is read and dropped, so that the client reads the answer. */
const LINGER_MS = 2_000;

const TOO_SLOW =
  "Not executed: the body of the request came too slowly while other clients' waited for it";

export type Body =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "refused"; readonly trouble: Trouble }
  /** The client went away in the middle of it. */
  | { readonly kind: "gone" };

/** What the routes of a listener read bodies with. */
export interface BodyLimits {
  readonly world: World;
  /** Of one body. */
  readonly bytesMax: number;
  /** Of all that are half read. */
  readonly room: HalfReadRoom;
}

/** Calls `done` once. After a refusal the connection ends soon, if the client does not end the body. */
export function readBody(
  request: IncomingMessage,
  limits: BodyLimits,
  done: (body: Body) => void,
): void {
  const { world, bytesMax, room } = limits;
  const length = Number(request.headers["content-length"] ?? 0);
  const chunks: Buffer[] = [];
  const flow = {
    hold: () => {
      hold(request);
    },
    flowOn: () => {
      flowOn(request);
    },
    giveUp: () => {
      if (!request.isPaused()) finish(refusedBody(408, TOO_SLOW));
    },
  };
  let size = 0;
  let heardAt = world.monotonic();
  let cancelTimer: () => void;

  const finish = (body: Body) => {
    cancelTimer();
    request.removeAllListeners("data");
    request.off("end", onEnd);
    request.off("close", onClose);
    room.left(flow);
    if (body.kind === "refused") dropRest(request, world);
    done(body);
  };
  const watch = (delayMs: number) => {
    cancelTimer = world.timer(delayMs, () => {
      // We do not read it; it may be there.
      if (request.isPaused()) heardAt = world.monotonic();
      const leftMs = heardAt + IDLE_MS - world.monotonic();
      // A timer may fire a little early.
      if (leftMs > 1) watch(leftMs);
      else finish(refusedBody(408, "the body of the request did not come in time"));
    });
  };
  const onEnd = () => {
    finish(bodyOf(chunks));
  };
  const onClose = () => {
    finish({ kind: "gone" });
  };
  watch(IDLE_MS);
  if (length > bytesMax) {
    finish(tooLarge(length, bytesMax));
    return;
  }
  request.on("data", (chunk: Buffer) => {
    heardAt = world.monotonic();
    size += chunk.length;
    if (size > bytesMax) finish(tooLarge(size, bytesMax));
    else {
      chunks.push(chunk);
      room.grew(flow, size);
    }
  });
  request.on("end", onEnd);
  request.on("close", onClose);
  // A connection that broke ends the request, too; that is `close`'s to tell.
  request.on("error", () => undefined);
}

function bodyOf(chunks: readonly Buffer[]): Body {
  const [first = Buffer.alloc(0)] = chunks;
  const bytes = chunks.length < 2 ? first : Buffer.concat(chunks);
  if (!isUtf8(bytes)) return refusedBody(400, "the body is not valid UTF-8", RPC.parse);
  return { kind: "text", text: bytes.toString("utf8") };
}

const refusedBody = (status: number, reason: string, code?: number): Body => ({
  kind: "refused",
  trouble: trouble(status, reason, [], code),
});

const tooLarge = (bytes: number, bytesMax: number): Body =>
  refusedBody(
    413,
    `Not executed: the message has ${String(bytes)} bytes or more, the limit is ` +
      `${String(bytesMax)} (option --max-request-bytes)`,
  );

/** What follows of a refused request is read and dropped for a while; then the connection ends. */
export function dropRest(request: IncomingMessage, world: World): void {
  if (request.complete) return;
  request.resume();
  const cancelTimer = world.timer(LINGER_MS, () => {
    request.socket.destroy();
  });
  request.on("close", cancelTimer);
}
