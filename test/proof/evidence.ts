/**
 * What a run leaves for the checker: three ledgers, kept by those who could not be lied to, and what was
 * measured. Whoever drives Holdfast, the simulation, the crash lab or the chaos run, ends with one
 * `Evidence`; `check` alone says what it proves.
 *
 * Every call of a run carries a nonce that no other call of the run carries, except a repetition: the same
 * tool with the same arguments, asked again later on. Clients send it as the argument `nonce`, upstreams
 * write it down, and answers of tools repeat it.
 *
 * Optional members make the checker stricter, or excuse what nobody could prevent. Where they are missing,
 * it judges by what is there, and excuses nothing.
 */
import type { CallRow, Executed, Safety } from "../../src/core/call.ts";

/** An answer that a client was given to a call. */
export interface Told {
  /** In the order of all events of the run, or epoch ms where there is no such order. */
  readonly at: number;
  /** Where its client read late: the first instant at which it can have been said, as `at`. */
  readonly since?: number;
  /** The whole answer as the client got it, byte for byte. */
  readonly text: string;
  /** The nonce that the answer repeats; undefined in an answer of the proxy's own. */
  readonly nonce: string | undefined;
  /** Holdfast's word about execution (`holdfast/call` or `error.data`); undefined in an upstream's answer. */
  readonly executed: Executed | undefined;
  /** The call's id, where the answer named it. */
  readonly callId: string | undefined;
}

/** One call as its client knows it. A repetition is one more, with the nonce of the call that it repeats. */
export interface Asked {
  readonly nonce: string;
  /** As `Told.at`. Needed of repetitions: what was answered before them matters to them. */
  readonly at?: number;
  /** The driver that made it; one that returns to its session stays the same. */
  readonly client: string;
  readonly principal: string;
  /** What its client takes for one session. Calls of one session to one upstream have an order. */
  readonly session: string;
  readonly upstream: string;
  readonly tool: string;
  readonly safety: Safety;
  /** Ascending within a session, in the order of asking. */
  readonly order: number;
  /** Its client has one pipe: what it asked first arrived first. */
  readonly isInOrder?: boolean;
  /** Proxies that had been started when it was asked: 1 for the first. */
  readonly incarnation: number;
  /** Its client withdrew it before it had an answer. */
  readonly isCancelled: boolean;
  /** When Holdfast was told of that, as `Told.at`; undefined where it may not have been. */
  readonly cancelledAt?: number;
  /** The same instant by the clock that rows are written by, epoch ms. */
  readonly cancelledAtMs?: number;
  /** Its client said goodbye, for good, and Holdfast was told so, as `Told.at`. */
  readonly leftAt?: number;
  /** The same instant by the clock that rows are written by, epoch ms. */
  readonly leftAtMs?: number;
  /**
   * Its client was gone before an answer could reach it and did not return for it, or could not: nobody
   * was left to be told.
   */
  readonly isAbandoned: boolean;
  /** Its client was told that the call is kept: progress, task, ticket, deferral, priming event. */
  readonly isAcknowledged: boolean;
  /** All answers it got, in order. A second one is a fault of somebody's. */
  readonly told: readonly Told[];
}

/** One run of a tool, written down by the upstream before it answers. */
export interface Execution {
  /** As `Told.at`. */
  readonly at: number;
  readonly nonce: string;
  readonly upstream: string;
  readonly tool: string;
  /** The JSON-RPC id it came under, where the upstream can see it. */
  readonly requestId: string | undefined;
  /** The connection or process it came over: two with one name never lived at once. */
  readonly link: string;
  /** What comes over this link comes in the order in which it was sent (a pipe, a WebSocket). */
  readonly isOrdered?: boolean;
  /** The session (as `Asked.session`) whose connection it came over, where isolation tells. */
  readonly session?: string;
}

/** All rows of the journals at one instant, read while nobody wrote: after a death, or at the end. */
export interface JournalView {
  /** "after kill 3", "at the end". */
  readonly label: string;
  readonly at: number;
  /** Which journal: rows of different ones are not compared. */
  readonly journal: string;
  /**
   * `memory`: its rows die with its process, and this is its only view. `abandoned`: its disk was lost in
   * mid-life, and its process went on in memory. By default `disk`.
   */
  readonly kind?: "disk" | "memory" | "abandoned";
  /** The machine lost power before this view: rows of reads may be gone (durability, design §7). */
  readonly isAfterPowerLoss: boolean;
  /** Since the view before, which was taken after a recovery, it was recovered once more, and nothing else. */
  readonly isAfterSecondRecovery?: boolean;
  /** The clock that rows are written by, epoch ms; without it nothing is past its retention. */
  readonly atMs?: number;
  readonly rows: readonly CallRow[];
}

/** Something that was done to the run from outside. */
export interface Fault {
  readonly at: number;
  /** "kill proxy", "reset", "answer dropped", … */
  readonly kind: string;
  /** The calls it may have hit; undefined: any. */
  readonly nonces?: readonly string[];
  /** The upstream said something untrue of these calls: an answer under the id of another one. */
  readonly isLie?: boolean;
}

/** What Holdfast was told to keep to, where that is to be checked. */
export interface Rules {
  readonly callsPerSession?: number;
  readonly callsPerUpstream?: number;
  readonly callsPerProcess?: number;
  /** Retention of payloads and of whole records, ms; by default nothing is ever dropped. */
  readonly resultsMs?: number;
  readonly recordsMs?: number;
  /** The shield is on (design §5.5): repetitions after an unknown outcome are warned of once. */
  readonly isShielded?: boolean;
  /** How far two readings of one instant may lie apart, ms: 0 in a virtual world. */
  readonly slackMs?: number;
  /** The clock that rows are written by was set back by so much in all: what came before may read later. */
  readonly setBackMs?: number;
}

/** What was measured, each where the run could. Units in the names. */
export interface Measures {
  /** From the last fault's end to the last call's end. */
  readonly quietMs?: number;
  /** From "the upstream can be reached again" to the first answer of a waiting call, one per outage. */
  readonly recoveryMs?: readonly { readonly transport: string; readonly ms: number }[];
  /** Breaker states at the end, by upstream. */
  readonly breakers?: Readonly<Record<string, string>>;
  /** Calls answered per session while one of them floods, without the flooding one. */
  readonly shares?: readonly number[];
  readonly idleRssBytes?: number;
  readonly peakRssBytes?: number;
  readonly walPeakBytes?: number;
  readonly loopLagP99Ms?: number;
  /** Descriptors, timers and children after the run, less those before it. */
  readonly leaked?: Readonly<Record<string, number>>;
}

export interface Evidence {
  /** "simulation seed 17", "chaos seed 3": goes into every finding. */
  readonly run: string;
  readonly asked: readonly Asked[];
  readonly executions: readonly Execution[];
  /** In order of time; the last ones, one for each journal, are the end. */
  readonly views: readonly JournalView[];
  readonly faults: readonly Fault[];
  readonly measures: Measures;
  readonly rules?: Rules;
  /** Proxies that were started in all; by default as many as calls and views tell of. */
  readonly incarnations?: number;
  /** What the proxy said was a bug of its own, or broke with. Must be empty. */
  readonly fatal: readonly string[];
}

/** An invariant of reliability design §5.5 that does not hold, and where. */
export interface Finding {
  /**
   * "I1" … "I11", "L1" … "L4", "R1" … "R4"; "P5a", "P7", "S3" (shield), "T13" (cancelled, left) where these say
   * more; "fatal".
   */
  readonly invariant: string;
  readonly nonce: string | undefined;
  /** A sentence with what was seen, enough to begin to look. */
  readonly text: string;
}

/** What is published of a run, and summed up over many. */
export interface Figures {
  readonly asked: number;
  readonly answered: number;
  readonly executions: number;
  /** Acknowledged calls without a row or without a terminal state. */
  readonly lost: number;
  readonly unsafeDuplicates: number;
  /** Runs after a "no", or without a row that was sent. */
  readonly ghosts: number;
  readonly untrueExecuted: number;
  /** Calls that ended `unknown`. */
  readonly inDoubt: number;
  /** Calls that were in doubt and whose outcome was found all the same. */
  readonly resolved: number;
}

export interface Verdict {
  readonly findings: readonly Finding[];
  readonly figures: Figures;
}
