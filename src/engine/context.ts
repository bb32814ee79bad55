/** What every part of the engine is given: the world, the edges it may use, and the settings. */
import type { World } from "../base/world.ts";
import type { Settings } from "../core/settings.ts";
import type { CatalogueStore, Connector, Journal, Log } from "../ports.ts";
import type { Dialect } from "../wire/dialect/dialect.ts";
import type { Bounds } from "./bounds.ts";
import type { Feed } from "./feed.ts";
import type { Gate } from "./gate.ts";
import type { Tally } from "./tally.ts";

/** Who the upstream is, as digests: calls and catalogues of other ones are never mixed with it. */
export interface Identity {
  readonly upstream: string;
  readonly credentials: string;
  /** Keys the fingerprints of calls. */
  readonly key: string;
}

export interface EngineContext {
  readonly world: World;
  readonly log: Log;
  readonly settings: Settings;
  readonly identity: Identity;
  readonly dialect: Dialect;
  readonly catalogues: CatalogueStore;
  /** Settles once the journal is open and recovered; calls wait for it, handshakes do not. */
  readonly journal: () => Promise<Journal>;
  /** Settles once it is open: sessions that begin are saved in it while it is still being recovered. */
  readonly sessionJournal: () => Promise<Journal>;
  readonly newConnector: () => Connector;
  /** Per upstream, over all lines to it. */
  readonly bounds: Bounds;
  readonly gate: Gate;
  readonly tally: Tally;
  readonly feed: Feed;
  /** Its grant to use this upstream is gone for sure: nothing of it is sent any more. */
  readonly isRevoked: (principal: string) => boolean;
  /** A bug or a lost journal: the process must end and recover. */
  readonly fatal: (error: unknown) => void;
}

/** What all upstreams of a process have in common. */
export type ProcessContext = Pick<EngineContext, "world" | "log" | "journal" | "fatal" | "feed">;
