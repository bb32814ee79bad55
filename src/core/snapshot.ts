/** What a snapshot of a journal says of itself, and what `status` tells of snapshots. */

/** The head of a snapshot file; its form on disk is in SPEC §17. Times are epoch ms. */
export interface SnapshotHeader {
  readonly createdAt: number;
  /** Version of the Holdfast that made it. */
  readonly holdfast: string;
  /** Schema of the database: the number of migrations that it has seen. */
  readonly schema: number;
  readonly journal: {
    /** Digest of its upstream, or as much of it as is known: at least 16 hex digits. */
    readonly upstream: string;
    /** What people call the upstream; "serve" for a daemon's. */
    readonly name: string;
    /** The command line or URL with secrets masked; a daemon's configuration file. */
    readonly target: string;
    readonly number: number;
    readonly dbId: string;
    /** The last seq given out, and commits in the life of the database. */
    readonly seq: number;
    readonly commits: number;
    /** Calls by state. */
    readonly calls: Readonly<Record<string, number>>;
    readonly sessions: number;
  };
  /** Names of the files of the state folder that are in it beside the database. */
  readonly files: readonly string[];
  /** Before compression. */
  readonly databaseBytes: number;
  readonly filesBytes: number;
  /** What follows the head: its length and SHA-256 (hex). */
  readonly contentBytes: number;
  readonly contentSha256: string;
}

/** A snapshot on the shelf. */
export interface KeptSnapshot {
  readonly path: string;
  readonly at: number;
  readonly bytes: number;
}

export interface SnapshotStatus {
  /** Time between two, ms. */
  readonly everyMs: number;
  /** Of this journal's upstream. */
  readonly count: number;
  readonly bytes: number;
  readonly last: KeptSnapshot | undefined;
  readonly nextAt: number | undefined;
  /** Why the last attempt came to nothing; undefined after one that succeeded. */
  readonly failure: { readonly message: string; readonly at: number } | undefined;
}

/** Where a restored journal comes from, and what it does not know. */
export interface RestoredFrom {
  readonly snapshotAt: number;
  readonly restoredAt: number;
  /** Commits of the old journal that the snapshot lacks; undefined where its mark was not found. */
  readonly missingCommits?: number;
}
