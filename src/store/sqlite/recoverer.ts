/**
 * What a start does to a journal, in steps of one transaction each: calls in flight become in doubt, calls
 * past their deadline expire. Running it again finds nothing to do, and a run that was cut off between two
 * steps is finished by the next.
 *
 * A journal that holds less than was once synced (an older copy, a lost WAL), or came out of a file, is
 * under suspicion: a call that waits in it may have run since. The suspicion is kept as a fact until
 * nothing of that time is live any more.
 */
import type { Database, Statement } from "better-sqlite3";
import { Bug } from "../../base/assert.ts";
import type { World } from "../../base/world.ts";
import { isTerminal } from "../../core/call.ts";
import type { CallRow } from "../../core/call.ts";
import { HELD_MARK, heldMarkText, readHeldMark } from "../held-mark.ts";
import type { HeldMark } from "../held-mark.ts";
import type { HighWater } from "../marks.ts";
import { recoverRow, REMEMBERED_MS } from "../recovery.ts";
import { SEQ_AT, decodeRow, encodeRow } from "../rows.ts";
import type { RowValues } from "../rows.ts";
import type { RecoveredStep, RecoveryEnd } from "./protocol.ts";
import type { SideStatements } from "./side-statements.ts";
import type { CallStatements } from "./statements.ts";

/** A state that is none of ours is read, too, so that it is found to be damaged. */
const OPEN =
  "delivered_at is null and state not in ('done', 'failed', 'expired', 'cancelled', 'dead')";
/** So many rows hold the thread, and what waits for it, for a few hundredths of a second. */
const STEP_ROWS = 500;

export interface RecovererParts {
  readonly world: World;
  /** What was once synced; undefined where nobody knows. */
  readonly mark: HighWater | undefined;
  /** Open calls in one step. Default 500. */
  readonly stepRows: number | undefined;
}

export class Recoverer {
  readonly #calls: CallStatements;
  readonly #side: SideStatements;
  readonly #world: World;
  readonly #stepRows: number;
  readonly #nextSeqs: Statement;
  readonly hasNewSuspicion: boolean;
  #suspicion: HeldMark | undefined;

  constructor(
    db: Database,
    calls: CallStatements,
    side: SideStatements,
    { world, mark, stepRows = STEP_ROWS }: RecovererParts,
  ) {
    this.#calls = calls;
    this.#side = side;
    this.#world = world;
    this.#stepRows = stepRows;
    this.#nextSeqs = db
      // Left to itself, SQLite would walk through all rows by number, ended ones too.
      .prepare(
        `select seq from call indexed by call_open where ${OPEN} and seq > ? order by seq limit ?`,
      )
      .pluck();
    const head = side.head();
    this.hasNewSuspicion =
      mark !== undefined && (mark.dbId !== head.dbId || mark.commits > head.commits);
    const [kept] = side.kept(HELD_MARK);
    if (this.hasNewSuspicion && mark !== undefined) {
      this.#suspicion = { expectedSeq: mark.seq, foundSeq: head.seq };
    } else if (kept !== undefined) {
      this.#suspicion = readHeldMark(kept[1]) ?? { expectedSeq: head.seq, foundSeq: head.seq };
    }
  }

  get wentBackwards(): HeldMark | undefined {
    return this.#suspicion;
  }

  suspicionFact(): [string, string | null] {
    return [HELD_MARK, this.#suspicion === undefined ? null : heldMarkText(this.#suspicion)];
  }

  /**
   * Takes the next open rows after the number `after`. `isAbandoned`: its process went on without it, so
   * that nothing is said not to have run.
   */
  step(now: number, isAbandoned: boolean, after: number): RecoveredStep {
    const startedAt = this.#world.monotonic();
    const seqs = this.#nextSeqs.all(after, this.#stepRows) as number[];
    const live: RowValues[] = [];
    let expired = 0;
    let putInDoubt = 0;
    for (const row of this.#read(seqs)) {
      const isSound = !isAbandoned && row.seq > (this.#suspicion?.foundSeq ?? -1);
      const recovered = recoverRow(row, now, isSound);
      if (recovered !== undefined) {
        if (!this.#calls.change(recovered.change))
          throw new Bug(`call ${row.id} was not recovered`);
        if (recovered.row.state === "in_doubt") putInDoubt++;
        else expired++;
      }
      const { state } = recovered?.row ?? row;
      if (!isTerminal(state) && state !== "tasked") live.push(encodeRow(recovered?.row ?? row));
    }
    const next = seqs.length < this.#stepRows ? undefined : seqs.at(-1);
    const rest = next === undefined ? this.#end(now) : { next };
    const tookMs = this.#world.monotonic() - startedAt;
    return { live, expired, putInDoubt, tookMs, rest };
  }

  #end(now: number): RecoveryEnd {
    const counts = this.#side.countByState();
    const quarantined = this.#side.countQuarantined();
    if (quarantined > 0) counts["quarantined"] = quarantined;
    const remembered = this.#readRemembered(now - REMEMBERED_MS);
    const wentBackwards = this.#suspicion;
    this.#liftSuspicion();
    return { counts, remembered, wentBackwards };
  }

  /** See `isRemembered`; each half by its own index. */
  #readRemembered(since: number): RowValues[] {
    const isRecent = "fingerprint is not null and settled_at >= ?";
    const ofDelivered = "delivered_at is not null and state <> 'failed' and note is null";
    return [
      ...this.#calls.read(`delivered_at is null and ${isRecent}`, since),
      ...this.#calls.read(`executed = 'unknown' and ${ofDelivered} and ${isRecent}`, since),
    ].sort((a, b) => Number(a[SEQ_AT]) - Number(b[SEQ_AT]));
  }

  /** The report stays for this process; the fact goes once it warns of nothing that is live. */
  #liftSuspicion(): void {
    const suspicion = this.#suspicion;
    if (suspicion === undefined) return;
    const [open] = this.#calls.read(`${OPEN} and seq <= ? limit 1`, suspicion.foundSeq);
    if (open === undefined) this.#side.keep(HELD_MARK, null);
  }

  #read(seqs: readonly number[]): CallRow[] {
    const isOfStep = "seq in (select value from json_each(?)) order by seq";
    return this.#calls.read(isOfStep, JSON.stringify(seqs)).map((values) => {
      const row = decodeRow(values);
      if (typeof row === "string") throw new Bug(row);
      return row;
    });
  }
}
