/** Which calls are asked for. */

/** Every filter given must hold. Newest first. */
export interface CallFilter {
  readonly states?: readonly string[];
  readonly sessionId?: string;
  /** Only calls whose outcome nobody was given yet, live ones among them. */
  readonly isUndelivered?: boolean;
  readonly limit?: number;
}

/** Of one journal: the seqs of two have nothing to do with each other. */
export interface JournalFilter extends CallFilter {
  /** Only calls with a greater seq, and oldest first: to read on from where a list ended. */
  readonly afterSeq?: number;
}
