/** What a run is told: every option resolved, what is wrapped, its identity and its folders. */
import type { Safety } from "../core/call.ts";
import type { TransportKind } from "../core/transport.ts";
import type { Settings } from "./option-table.ts";

export type { OptionKey, Settings } from "./option-table.ts";
import type { OptionKey } from "./option-table.ts";

/** The upstream to wrap, with nothing left to expand. */
export type Target =
  | {
      readonly kind: "stdio";
      readonly command: string;
      readonly args: readonly string[];
      /** Absolute. */
      readonly cwd: string;
      /** The whole environment of the child: inherited without `HOLDFAST_*`, then the entry's own. */
      readonly env: Readonly<Record<string, string>>;
    }
  | {
      readonly kind: Exclude<TransportKind, "stdio">;
      readonly url: string;
      readonly headers: Readonly<Record<string, string>>;
    };

/** Settings of one tool; from a configuration file only. Undefined: as for every tool. */
export interface ToolSettings {
  readonly safety: Safety | undefined;
  readonly holdMs: number | undefined;
  readonly defer: boolean | undefined;
}

/** Settings for one client, by the name that it gives in `clientInfo`. */
export interface ClientSettings {
  readonly holdMs: number;
}

/** Absolute paths. They may not exist yet, and may turn out not to be writable. */
export interface Folders {
  readonly state: string;
  readonly cache: string;
  /** Control sockets. Short enough for a socket's path. */
  readonly run: string;
}

/** Which upstream it is, and under whose credentials. */
export interface Identity {
  /** SHA-256 of command, arguments and folder, or of the URL; for `serve` its name. */
  readonly upstream: string;
  /** The same as a hex digest: files are named after it. */
  readonly catalogue: string;
  /** Keyed digest of headers and of credential- and target-like variables. */
  readonly credentials: string;
  /** Why the key is not a kept one, in words: then calls of an earlier process wait for a person. */
  readonly degraded: string | undefined;
}

/** Everything that the composition root needs. */
export interface RunPlan {
  /** Of this package. */
  readonly version: string;
  /** Of the upstream, for people: "github". */
  readonly name: string;
  readonly target: Target;
  /** Command line or URL, secrets masked. */
  readonly targetText: string;
  /** Secret values that must not appear in logs, errors or status. */
  readonly maskValues: readonly string[];
  readonly settings: Settings;
  /** The options that somebody set; the others have their default. */
  readonly given: ReadonlySet<OptionKey>;
  readonly tools: ReadonlyMap<string, ToolSettings>;
  readonly clients: ReadonlyMap<string, ClientSettings>;
  readonly folders: Folders;
  /** Where this process listens for `holdfast status` and `holdfast calls`. */
  readonly controlPath: string;
  readonly identity: Identity;
}
