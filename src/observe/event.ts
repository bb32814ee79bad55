/** `ProxyEvent` for people: one line that says when, at which upstream, what, and why. */
import { unreachable } from "../base/assert.ts";
import type { ProxyEvent } from "../core/event.ts";
import { safe, stateText } from "./text.ts";
import type { Paint } from "./text.ts";

/** One line, without its line break. */
export function renderEvent(event: ProxyEvent, paint: Paint): string {
  const at = paint.dim(new Date(event.at).toISOString());
  const upstream = event.upstream === "" ? "" : `${paint.bold(safe(event.upstream))} `;
  return `${at} ${upstream}${whatText(event, paint)}`;
}

const because = (cause: string | undefined) => (cause === undefined ? "" : `: ${safe(cause)}`);

function whatText(event: ProxyEvent, paint: Paint): string {
  switch (event.kind) {
    case "upstream": {
      const whose = event.sessionId === undefined ? "" : ` for ${event.sessionId}`;
      const state = stateText(event.state, paint);
      return `is ${state}, was ${event.was}${whose}${because(event.cause)}`;
    }
    case "call": {
      const tool = event.tool === undefined ? "" : ` ${safe(event.tool)}`;
      const state = event.executed === "unknown" ? paint.red(event.state) : event.state;
      return (
        `call ${event.callId}${tool} is ${state}, executed ${event.executed}, ` +
        `of ${event.sessionId}${because(event.cause)}`
      );
    }
    case "session":
      return `session ${event.sessionId} of ${safe(event.client)} ${event.what}${because(event.cause)}`;
    case "configuration":
      return `configuration: ${safe(event.text)}`;
    default:
      return unreachable(event);
  }
}
