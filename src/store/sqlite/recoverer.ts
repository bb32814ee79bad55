/**
 * What a start does to a journal, in one transaction: calls in flight become in doubt, calls past
 * their deadline expire. Running it again finds nothing to do.
 *
 * A journal that holds less than was once synced (an older copy, a lost WAL), or came out of a file, is
 * under suspicion: a call that waits in it may have run since. The suspicion is kept as a fact until
 * nothing of that time is live any more.
 */
import { Bug } from "../../base/assert.ts";
import type { World } from "../../base/world.ts";
import { isTerminal } from "../../core/call.ts";
import type { CallRow } from "../../core/call.ts";
import type { RecoveryReport } from "../../core/status.ts";
import { HELD_MARK, heldMarkText, readHeldMark } from "../held-mark.ts";
import type { HeldMark } from "../held-mark.ts";
import type { HighWater } from "../marks.ts";
import { recoverRow, REMEMBERED_MS } from "../recovery.ts";
import { SEQ_AT, decodeRow, encodeRow } from "../rows.ts";
import type { RowValues } from "../rows.ts";
import type { RecoveredRows } from "./protocol.ts";
import type { SideStatements } from "./side-statements.ts";
import type { CallStatements } from "./statements.ts";

/** A state that is none of ours is read, too, so that it is found to be damaged. */
const OPEN =
  "delivered_at is null and state not in ('done', 'failed', 'expired', 'cancelled', 'dead')";

export class Recoverer {
  readonly #calls: CallStatements;
  readonly #side: SideStatements;
  readonly #world: World;
  readonly hasNewSuspicion: boolean;
  #suspicion: HeldMark | undefined;

  constructor(
    calls: CallStatements,
    side: SideStatements,
    world: World,
    mark: HighWater | undefined,
  ) {
    this.#calls = calls;
    this.#side = side;
    this.#world = world;
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

  /** `isAbandoned`: its process went on without it, so that nothing is said not to have run. */
  recover(now: number, isAbandoned: boolean): RecoveredRows {
    const startedAt = this.#world.monotonic();
    const open = this.#read(OPEN);
    const found = this.#side.countByState();
    const live: RowValues[] = [];
    let expired = 0;
    let putInDoubt = 0;
    for (const row of open) {
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
    const remembered = this.#readRemembered(now - REMEMBERED_MS);
    const quarantined = this.#side.countQuarantined();
    if (quarantined > 0) found["quarantined"] = quarantined;
    const report: RecoveryReport = {
      tookMs: this.#world.monotonic() - startedAt,
      found,
      expired,
      putInDoubt,
      ...(this.#suspicion === undefined ? {} : { wentBackwards: this.#suspicion }),
    };
    this.#liftSuspicion(open);
    return { report, live, remembered };
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
  #liftSuspicion(open: readonly CallRow[]): void {
    const suspicion = this.#suspicion;
    if (suspicion === undefined) return;
    if (!open.some((row) => row.seq <= suspicion.foundSeq)) this.#side.keep(HELD_MARK, null);
  }

  #read(condition: string): CallRow[] {
    return this.#calls.read(`${condition} order by seq`).map((values) => {
      const row = decodeRow(values);
      if (typeof row === "string") throw new Bug(row);
      return row;
    });
  }
}
