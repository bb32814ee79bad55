/** The options of sessions: part of the one table, `option-table.ts`. */
import {
  choice,
  DAY,
  duration,
  global,
  integer,
  MANY,
  MINUTE,
  orNever,
  server,
} from "./option-kinds.ts";

/** Sessions of clients that come over the network. */
export const sessions = {
  isolation: choice(
    server(
      "isolation",
      "session",
      "session: each client session has its own connection to the server; shared: all sessions of " +
        "one token share a connection, over which the server can ask nobody anything.",
    ),
    ["session", "shared"],
  ),
  sessionTimeoutMs: duration(
    server("sessionTimeout", "24h", "How long a session stays that its client does not use."),
    MINUTE,
    30 * DAY,
  ),
  sessionIdleMs: orNever(
    server(
      "sessionIdle",
      "15m",
      "How long the connection to the server is kept for a session that nobody uses; it is made " +
        'anew with the next call. "none" for as long as the session.',
    ),
    MINUTE,
    30 * DAY,
  ),
  maxSessions: integer(
    global("maxSessions", "5000", "Most sessions in memory of the whole process."),
    1,
    MANY,
  ),
};
