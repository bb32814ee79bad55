/**
 * The plan of a run as plain data, so that it can be printed, shrunk and kept: knobs that hold for the
 * whole run, and steps that are taken at their instants. The same plan gives the same run.
 */
import type { CrashPoint } from "./points.ts";

export const TOOL_NAMES = ["write", "read", "put", "note"] as const;
export type ToolName = (typeof TOOL_NAMES)[number];

/** What becomes of the next calls of tools that reach a server. */
export const FATES = [
  "request lost",
  "refused",
  "ignored",
  "answer lost",
  "answer delayed",
  "answer twice",
  "answer late",
  "wrong id",
  "cut off",
  "garbage",
  "oversize",
  "session lost",
  "rate limited",
  "server error",
  "tool error",
  "rpc error",
  "unknown tool",
  "exits before",
  "exits after",
  "progress",
] as const;
export type Fate = (typeof FATES)[number];

/** How a server takes a dial. */
export const DOOR_STATES = ["open", "refuses", "hangs", "flaps", "missing", "other era"] as const;
export type DoorState = (typeof DOOR_STATES)[number];

export interface ServerKnobs {
  readonly transport: "stdio" | "http" | "ws";
  readonly isolation: "session" | "shared";
  /** A tool takes up to so long, ms. */
  readonly workMs: number;
  /** A message takes up to so long each way, ms. */
  readonly delayMs: number;
  /** A stream over HTTP can be taken up again after its connection was lost. */
  readonly resumes: boolean;
  readonly isStateful: boolean;
}

export interface ClientKnobs {
  /** Which server, from 0. */
  readonly server: number;
  readonly transport: "stdio" | "http" | "sse" | "ws";
  readonly principal: string;
  /** What it calls itself. Some names are known to be impatient. */
  readonly name: string;
  readonly hasProgress: boolean;
}

export interface Knobs {
  readonly seed: number;
  /** `wrap`: one server, one stdio client, a journal that outlives its disk; `serve`: a daemon. */
  readonly mode: "wrap" | "serve";
  readonly servers: readonly ServerKnobs[];
  readonly clients: readonly ClientKnobs[];
  readonly holdMs: number;
  readonly deferTtlMs: number;
  readonly defer: "harmless" | "writes" | "none";
  readonly shield: "warn" | "block" | "off";
  readonly concurrency: number | undefined;
  readonly backlogWindow: number;
  /** So long the process stays away after its death, at most, ms. */
  readonly restartMs: number;
  /** A commit takes up to so long, ms. */
  readonly commitMs: number;
  /** The machine may lose its power. */
  readonly hasPowerLoss: boolean;
}

/** One thing that is done to the run. `at`: ms of virtual time from its start. */
export type Step = { readonly at: number } & (
  | {
      readonly do: "call";
      readonly client: number;
      readonly tool: ToolName;
      /** Its client withdraws it if it has no answer by then, ms. */
      readonly patienceMs?: number;
      /** Its client makes the same call again so often if it was not answered well. */
      readonly repeats?: number;
    }
  | { readonly do: "flood"; readonly client: number; readonly calls: number }
  | { readonly do: "cancel"; readonly client: number; readonly pick: number }
  /** The connection of a client is reset; it comes back after `awayMs`. */
  | { readonly do: "reset"; readonly client: number; readonly awayMs: number }
  /** The next answer over a stream is lost with the connection. */
  | { readonly do: "deaf"; readonly client: number; readonly awayMs: number }
  /** The client ends its session, and begins another after `awayMs`. */
  | { readonly do: "leave"; readonly client: number; readonly awayMs: number }
  | {
      readonly do: "door";
      readonly server: number;
      readonly state: DoorState;
      /** Also what is connected goes down. */
      readonly cuts: boolean;
    }
  | { readonly do: "fate"; readonly server: number; readonly fate: Fate; readonly count: number }
  /** It stops, as by SIGSTOP, and goes on after `forMs`. */
  | { readonly do: "freeze"; readonly server: number; readonly forMs: number }
  | { readonly do: "tools"; readonly server: number; readonly version: number }
  | { readonly do: "crash" }
  | { readonly do: "crash at"; readonly point: CrashPoint }
  | { readonly do: "power loss" }
  /** An orderly end, and another start. */
  | { readonly do: "stop" }
  | { readonly do: "clock"; readonly ms: number }
  | { readonly do: "suspend"; readonly ms: number }
  | { readonly do: "disk"; readonly state: "full" | "roomy" | "slow" | "fast" }
  | { readonly do: "io error"; readonly isWritten: boolean }
);

export interface Plan {
  readonly knobs: Knobs;
  readonly steps: readonly Step[];
  /** Where the first process is killed, and the one after it, each counted from its start. */
  readonly kills?: readonly CrashPoint[];
}
