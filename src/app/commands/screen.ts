/** Where a command writes, and how: streams, width, colours. Tests give their own. */
import type { Readable } from "node:stream";
import type { Paint } from "../../observe/text.ts";
import { NO_PAINT } from "../../observe/text.ts";
import type { World } from "../../base/world.ts";
import type { RunPlan } from "../options.ts";
import type { Surroundings } from "../folders.ts";
import type { ServeRequest } from "../serve-plan.ts";
import type { JournalReader } from "./journal-reader.ts";

/** The outside of a command line. */
export interface Outside {
  readonly around: Surroundings;
  readonly world: World;
  out(text: string): void;
  error(text: string): void;
  /** Resolves once the reader of stdout has taken most of what was written, or is gone. */
  outTaken(): Promise<void>;
  /** What is piped in. */
  input(): Readable;
  /** Is stdout a terminal? Decides colours and redrawing. */
  readonly isTerminal: boolean;
  /** Resolves on Ctrl-C or SIGTERM, and when nobody reads the output any more. */
  interrupted(): Promise<void>;
  runProxy(plan: RunPlan): Promise<number>;
  serve(request: ServeRequest): Promise<number>;
  journals(stateFolder: string): Promise<JournalReader>;
}

export const EXIT = { ok: 0, degraded: 1, usage: 2 } as const;

/** Tells what a command found: an object for programs, or words for people. Gives the exit code. */
export type Say = (object: unknown, text: string) => number;

export function sayer(isJson: boolean, outside: Pick<Outside, "out">): Say {
  return (object, text) => {
    outside.out(isJson ? `${JSON.stringify(object)}\n` : text);
    return EXIT.ok;
  };
}

/** https://no-color.org: any value that is not empty switches colours off. */
export function wantsColor(outside: Pick<Outside, "around" | "isTerminal">): boolean {
  const { env } = outside.around;
  if ((env["NO_COLOR"] ?? "") !== "") return false;
  if ((env["FORCE_COLOR"] ?? "") !== "" && env["FORCE_COLOR"] !== "0") return true;
  return outside.isTerminal && env["TERM"] !== "dumb";
}

export async function paintFor(outside: Pick<Outside, "around" | "isTerminal">): Promise<Paint> {
  if (!wantsColor(outside)) return NO_PAINT;
  const colors = (await import("picocolors")).default.createColors(true);
  const { bold, dim, red, green, yellow } = colors;
  return { bold, dim, red, green, yellow };
}
