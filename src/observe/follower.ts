/**
 * Follows what happens over one connection of the control socket: a line `{"event": …}` for each event,
 * until the connection ends. A follower that does not read is dropped, with `{"end": "in words"}` as the
 * last line that it will find.
 */
import type { Socket } from "node:net";
import type { Control, Log } from "../ports.ts";

/** What a follower may leave unread. */
export const UNREAD_MAX_BYTES = 1_048_576;

export function follow(socket: Socket, control: Control, log: Log): void {
  const stop = control.follow((event) => {
    if (!socket.writable) return;
    if (socket.writableLength <= UNREAD_MAX_BYTES) {
      socket.write(`${JSON.stringify({ event })}\n`);
      return;
    }
    stop();
    log("info", "a follower of events did not read them and was dropped");
    const end = "events were not read as fast as they came, so this follower was dropped";
    socket.end(`${JSON.stringify({ end })}\n`);
  });
  socket.once("close", stop);
}
