/** Finds the session that a request names, or says what is wrong with it. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { errorText } from "../../base/errors.ts";
import type { Log } from "../../ports.ts";
import { HTTP_RPC, refuse, trouble, type Trouble } from "./answers.ts";
import { keyOf } from "./headers.ts";
import type { Visit } from "./route.ts";
import type { McpSession } from "./session.ts";
import type { Sessions } from "./sessions.ts";

/** In the words of the SDK's servers; the client begins anew. */
const NO_SESSION: Trouble = trouble(404, "Session not found", [], HTTP_RPC.noSession);

const NO_KEY: Trouble = trouble(400, "the Mcp-Session-Id header is missing");

export class Lookup {
  readonly #sessions: Sessions;
  readonly #log: Log;

  constructor(sessions: Sessions, log: Log) {
    this.#sessions = sessions;
    this.#log = log;
  }

  /** Calls `found`, at once where this process has the session, or answers the request itself. */
  find(
    request: IncomingMessage,
    response: ServerResponse,
    visit: Visit,
    idText: string | undefined,
    found: (session: McpSession) => void,
  ): void {
    const key = keyOf(request.headers);
    if (key === undefined) {
      refuse(response, { ...NO_KEY, idText });
      return;
    }
    const known = this.#sessions.find(key, visit);
    if (known !== undefined) {
      found(known);
      return;
    }
    const restored = this.#sessions.restore(key, visit, request).catch((error: unknown) => {
      this.#log("error", "a session could not be looked up", { cause: errorText(error) });
      const why = "Not executed: the session could not be looked up";
      refuse(response, { ...trouble(503, why, ["Retry-After", "1"]), idText });
      return "failed" as const;
    });
    // Outside the net above: what `found` throws is a bug.
    void restored.then((session) => {
      if (session === "failed") return;
      if (session === undefined) refuse(response, { ...NO_SESSION, idText });
      else found(session);
    });
  }
}
