/**
 * The failure table: every way in which an upstream can fail us, classified once. Signals are turned
 * into a kind at the edge where they are seen; everything after that is read from this table.
 */

export type FailureKind =
  | "spawn_failed"
  | "process_exit"
  | "crash_loop"
  | "connect_refused"
  | "dns"
  | "tls"
  | "timeout"
  | "half_open"
  | "reset"
  | "session_lost"
  | "auth"
  | "rate_limited"
  | "server_error"
  | "protocol_error"
  | "oversize"
  | "overload"
  | "upstream_era";

/** What the failure says about the request it hit, when nothing finer is known. */
export type ExecutionEvidence = "not_executed" | "in_doubt" | "executed";

/** What the supervisor does about the connection. */
export type Recovery =
  | "redial" // with backoff
  | "reinitialize" // at once, on the same endpoint
  | "wait_for_person" // probe rarely: configuration or credentials must change
  | "gate" // the connection is fine; wait as long as the server asked
  | "none"; // concerns one call only

export interface FailureRule {
  readonly evidence: ExecutionEvidence;
  readonly countsForBreaker: boolean;
  readonly recovery: Recovery;
  /** How long until the next attempt, in words for docs and `status`. */
  readonly delay: string;
  /** What the caller is told, before the cause in words. */
  readonly told: string;
}

const rule = (
  evidence: ExecutionEvidence,
  countsForBreaker: boolean,
  recovery: Recovery,
  delay: string,
  told: string,
): FailureRule => ({ evidence, countsForBreaker, recovery, delay, told });

export const FAILURES: Readonly<Record<FailureKind, FailureRule>> = {
  spawn_failed: rule(
    "not_executed",
    false,
    "wait_for_person",
    "30 s, and on use",
    "could not be started",
  ),
  process_exit: rule("in_doubt", true, "redial", "backoff", "exited"),
  crash_loop: rule(
    "in_doubt",
    true,
    "redial",
    "cool-down 5 min; 1 s while a caller waits",
    "keeps exiting",
  ),
  connect_refused: rule("not_executed", true, "redial", "backoff", "refused the connection"),
  dns: rule("not_executed", true, "redial", "backoff", "could not be found by name"),
  tls: rule("not_executed", true, "redial", "backoff", "could not be reached securely"),
  timeout: rule("in_doubt", true, "redial", "backoff", "did not answer in time"),
  half_open: rule("in_doubt", true, "redial", "backoff", "stopped responding"),
  reset: rule("in_doubt", true, "redial", "backoff", "dropped the connection"),
  session_lost: rule(
    "not_executed",
    false,
    "reinitialize",
    "at once; backoff after 3 in 60 s",
    "forgot the session",
  ),
  auth: rule(
    "not_executed",
    false,
    "wait_for_person",
    "30 s, and on use",
    "refused the credentials",
  ),
  rate_limited: rule(
    "not_executed",
    false,
    "gate",
    "as the server asked (1 s to 15 min)",
    "asked to slow down",
  ),
  server_error: rule("in_doubt", true, "none", "none", "answered with a server error"),
  protocol_error: rule("in_doubt", true, "redial", "backoff", "broke the protocol"),
  oversize: rule("executed", false, "none", "none", "sent more than the limit allows"),
  overload: rule("not_executed", false, "none", "none", "has too many calls waiting"),
  upstream_era: rule(
    "not_executed",
    false,
    "wait_for_person",
    "30 s, and on use",
    "speaks another protocol era",
  ),
};

/** One failure that happened: its kind, and the cause in words (exit code, last stderr, HTTP status). */
export interface Failure {
  readonly kind: FailureKind;
  /** One line, no secret in it: "exited with code 7; last output: …". */
  readonly message: string;
  /** For `rate_limited`: how long the server asked us to wait, ms. */
  readonly retryAfterMs?: number;
  /** For `process_exit`: the exit code, if it was not a signal. */
  readonly exitCode?: number;
}

export const failure = (kind: FailureKind, message: string): Failure => ({ kind, message });
