/** Whether a request's body is read. Several may have a reason not to; it goes on when the last has none. */
import type { IncomingMessage } from "node:http";

const holds = new WeakMap<IncomingMessage, number>();

/** To be taken back with `flowOn`, once for each. */
export function hold(request: IncomingMessage): void {
  const before = holds.get(request) ?? 0;
  holds.set(request, before + 1);
  if (before === 0) request.pause();
}

export function flowOn(request: IncomingMessage): void {
  const left = (holds.get(request) ?? 1) - 1;
  holds.set(request, left);
  if (left === 0) request.resume();
}
