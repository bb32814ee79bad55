/** The protocol revisions that Holdfast knows, newest first, and what differs in their wire form. */

export interface Revision {
  readonly version: string;
  readonly era: "legacy" | "modern";
  /** JSON-RPC batches may be sent (2025-03-26 only; removed in 2025-06-18). */
  readonly hasBatches: boolean;
  /** `MCP-Protocol-Version` is sent on every HTTP request after `initialize` (from 2025-06-18). */
  readonly hasVersionHeader: boolean;
  /** An event of a stream may have an id and empty data (from 2025-11-25); older clients choke on it. */
  readonly hasPriming: boolean;
}

export const REVISIONS: readonly Revision[] = [
  {
    version: "2025-11-25",
    era: "legacy",
    hasBatches: false,
    hasVersionHeader: true,
    hasPriming: true,
  },
  {
    version: "2025-06-18",
    era: "legacy",
    hasBatches: false,
    hasVersionHeader: true,
    hasPriming: false,
  },
  {
    version: "2025-03-26",
    era: "legacy",
    hasBatches: true,
    hasVersionHeader: false,
    hasPriming: false,
  },
  {
    version: "2024-11-05",
    era: "legacy",
    hasBatches: false,
    hasVersionHeader: false,
    hasPriming: false,
  },
];

/**
 * The version to agree on with a client that asked for `asked`, over an upstream that speaks `upstream`:
 * the client's where it is an older one that we know, since later revisions only add.
 */
export function agreedVersion(asked: string, upstream: string): string {
  const at = (version: string) => REVISIONS.findIndex((r) => r.version === version);
  return at(asked) > at(upstream) && at(upstream) !== -1 ? asked : upstream;
}

/** An unknown version is treated as the newest legacy one: we carry what we do not understand. */
export function revisionOf(version: string | undefined): Revision {
  return REVISIONS.find((r) => r.version === version) ?? (REVISIONS[0] as Revision);
}

/** Whether a version is one of those that Holdfast knows. */
export const isKnownRevision = (version: string): boolean =>
  REVISIONS.some((revision) => revision.version === version);
