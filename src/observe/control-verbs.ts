/** What can be asked over the control socket with one answer: verb → what the `Control` port says. */
import { RefusedError } from "../base/errors.ts";
import type { CallRow } from "../core/call.ts";
import type { CallFilter, Control } from "../ports.ts";
import { isObject } from "../wire/message.ts";
import type { JsonObject } from "../wire/message.ts";

/** Lists leave payloads out: a thousand rows of 16 MiB are not for a socket. */
const withoutPayload = (row: CallRow): CallRow => ({ ...row, request: "", reply: undefined });

/** Rejects with `RefusedError` for a request that is none, and with what the port rejects with. */
export async function perform(control: Control, request: JsonObject): Promise<unknown> {
  const text = (name: string): string => {
    const value = request[name];
    if (typeof value === "string" && value !== "") return value;
    throw new RefusedError(`expected a text "${name}"`);
  };
  switch (request["verb"]) {
    case "status":
      return control.status();
    case "list":
      return (await control.list(readFilter(request["filter"]))).map(withoutPayload);
    case "show":
      return control.show(text("call"));
    case "retry":
      return control.retry(text("call"));
    case "cancel":
      return withoutPayload(await control.cancel(text("call")));
    case "settle":
      return withoutPayload(await control.settle(text("call"), text("note")));
    case "sessions":
      return control.sessions();
    case "endSession":
      return control.endSession(text("session"));
    case "restart":
      return control.restart(text("upstream"));
    default:
      throw new RefusedError(
        "expected one of the verbs status, list, show, retry, cancel, settle, sessions, endSession, " +
          "restart, follow",
      );
  }
}

function readFilter(value: unknown): CallFilter {
  const given = isObject(value) ? value : {};
  const { sessionId, isUndelivered, limit } = given;
  const states = Array.isArray(given["states"])
    ? given["states"].filter((state) => typeof state === "string")
    : undefined;
  return {
    ...(states === undefined ? {} : { states }),
    ...(typeof sessionId === "string" ? { sessionId } : {}),
    ...(typeof isUndelivered === "boolean" ? { isUndelivered } : {}),
    ...(typeof limit === "number" ? { limit } : {}),
  };
}
