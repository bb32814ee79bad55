/** What `holdfast events` shows: one line per thing that happened. Never arguments or results of calls. */
import type { CallState, Executed } from "./call.ts";
import type { UpstreamState } from "./status.ts";

interface Happening {
  /** Epoch ms. */
  readonly at: number;
  /** The upstream's name. */
  readonly upstream: string;
}

export type ProxyEvent = Happening &
  (
    | {
        readonly kind: "upstream";
        readonly state: UpstreamState;
        readonly was: UpstreamState;
        /** Undefined for a connection that many sessions share. */
        readonly sessionId: string | undefined;
        readonly cause: string | undefined;
      }
    | {
        readonly kind: "call";
        readonly callId: string;
        readonly sessionId: string;
        readonly tool: string | undefined;
        readonly state: CallState;
        readonly executed: Executed;
        readonly cause: string | undefined;
      }
    | {
        readonly kind: "session";
        readonly sessionId: string;
        readonly client: string;
        readonly what: "began" | "detached" | "attached" | "ended";
        readonly cause: string | undefined;
      }
    | { readonly kind: "configuration"; readonly text: string }
  );
