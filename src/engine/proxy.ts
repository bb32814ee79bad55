/**
 * The hub: upstreams with their clients, one journal for all, one end in order.
 *
 *     client ─► host ─► admission ─► journal ─► dispatcher ─► supervisor's connection ─► upstream
 *     client ◄─ host ◄─ delivery ◄── journal ◄─ judge() ◄──── outcome ◄──────────────── upstream
 */
import { JournalError } from "../base/errors.ts";
import type { CallRow } from "../core/call.ts";
import type { ProxyStatus, ServingStatus } from "../core/status.ts";
import type { SnapshotStatus } from "../core/snapshot.ts";
import type { Control, Door, Journal } from "../ports.ts";
import { Branch } from "./branch.ts";
import { Caretaker } from "./caretaker.ts";
import type { EngineContext, ProcessContext } from "./context.ts";
import { newControlTool } from "./control-tool.ts";
import { drain, untilJournalOpen } from "./drain.ts";
import { startHeartbeat } from "./heartbeat.ts";
import { Held, maySinceHaveRun } from "./held.ts";
import { Operator } from "./operator.ts";
import { proxyStatus } from "./proxy-status.ts";
import { Registry } from "./registry.ts";
import type { Leftover } from "./rescuer.ts";
import { makeRoom } from "./room.ts";

export interface ProxyOptions {
  readonly version: string;
  readonly pid: number;
  /** How long results, and records of ended calls, are kept, ms; how large a journal may get. */
  readonly retention: {
    readonly resultsMs: number;
    readonly recordsMs: number;
    readonly bytesMax?: number | undefined;
  };
  /** How long an orderly end waits for calls in flight, ms. */
  readonly drainMs: number;
  /** A client that can't come back left; in wrap mode that is the end. */
  readonly onEmpty: (cause: string) => void;
  /** What a daemon tells of itself. */
  readonly serving?: () => ServingStatus | undefined;
  readonly snapshots?: () => SnapshotStatus | undefined;
}

/** A recovered journal, and whose it is. */
export interface OpenedJournal extends Leftover {
  /** Not the journal of this process: it is closed when nothing in it lives. */
  readonly isCaretaken: boolean;
}

const PRUNE_EVERY_MS = 600_000;
const SWEEP_EVERY_MS = 60_000;

export class Proxy {
  readonly #process: ProcessContext;
  readonly #options: ProxyOptions;
  readonly #registry = new Registry();
  readonly #branches = new Map<string, Branch>();
  readonly #caretaker: Caretaker;
  readonly #operator: Operator;
  readonly #startedAt: number;
  readonly #stops = new Set<() => void>();
  /** Calls of upstreams that are not (any more) configured. */
  #orphans: Held | undefined;
  #opened: readonly OpenedJournal[] = [];
  #journal: Journal | undefined;
  /** It is known what each journal holds. */
  #isRecovered = false;
  #draining: Promise<void> | undefined;

  constructor(process: ProcessContext, options: ProxyOptions) {
    this.#process = process;
    this.#options = options;
    this.#startedAt = process.world.now();
    this.#caretaker = new Caretaker({
      world: process.world,
      fatal: process.fatal,
      registry: this.#registry,
      needs: (journal) => this.#needs(journal),
    });
    this.#operator = new Operator(process, {
      registry: this.#registry,
      status: () => this.#status(),
      branches: () => this.#branches.values(),
      cancelHeld: (id, cause) => this.#cancelHeld(id, cause),
      isSuspect: (id) => [...this.#branches.values()].some((one) => one.rescuer.isSuspect(id)),
    });
  }

  get control(): Control {
    return this.#operator;
  }

  branch(name: string): Branch | undefined {
    return this.#branches.get(name);
  }

  branches(): Iterable<Branch> {
    return this.#branches.values();
  }

  /** The way in to an upstream; undefined if there is none of this name. */
  door(name: string): Door | undefined {
    return this.#draining === undefined ? this.#branches.get(name) : undefined;
  }

  /** Takes an upstream into service. */
  add(context: EngineContext): Branch {
    const branch = new Branch(context, {
      registry: this.#registry,
      version: this.#options.version,
      makeRoom: (max) => makeRoom(this.#branches.values(), max),
      controlTool: (of, principal) =>
        newControlTool(of.name, this.#operator, (row) => this.#isOf(row, of, principal)),
      onEnded: () => {
        this.#caretaker.review();
      },
      onLeft: (cause) => {
        this.#options.onEmpty(cause);
      },
    });
    this.#branches.set(branch.name, branch);
    return branch;
  }

  /** Takes an upstream out of service: what is in flight may end, what waits is withdrawn. */
  async remove(name: string, cause: string): Promise<void> {
    const branch = this.#branches.get(name);
    if (branch === undefined) return;
    this.#branches.delete(name);
    branch.close();
    await drain(branch.context, branch.lines.everything(), cause, "nobody");
    await Promise.all([...branch.stays()].map((stay) => stay.dismiss(cause)));
    // What was promised to run late waits for a person now, or for its deadline.
    branch.rescuer.leaveTo(this.#orphaned());
    this.#caretaker.review();
  }

  /**
   * The journals are open; the first of `opened` is this process's own. Clients may be here already: their
   * sessions begin, their calls wait. Resolves when calls may come.
   */
  async recover(opened: readonly OpenedJournal[]): Promise<void> {
    this.#opened = opened;
    this.#journal = opened[0]?.journal;
    for (const { journal, isCaretaken } of opened) {
      this.#registry.addJournal(journal);
      if (isCaretaken) this.#caretaker.take(journal);
    }
    const journal = this.#journal;
    if (journal === undefined) return;
    for (const branch of this.#branches.values()) {
      const mine = opened.map((one) => part(one, (row) => this.#branchOf(row) === branch));
      await branch.recover(journal, mine);
    }
    this.#holdOrphans();
    this.#isRecovered = true;
    this.#caretaker.review();
    this.#prune();
  }

  /** Begins to watch over clocks, idle sessions and old records. */
  start(): void {
    const { world, log } = this.#process;
    const stopHeartbeat = startHeartbeat(world, (news, gapMs) => {
      const words = news === "slept" ? "slept" : "had its clock changed";
      log("warn", `the machine ${words}`, { seconds: Math.round(gapMs / 1000) });
      if (gapMs < 0) this.#registry.setBack(-gapMs);
      for (const branch of this.#branches.values())
        for (const line of branch.lines.all()) line.supervisor.wake();
    });
    this.#stops.add(stopHeartbeat);
    this.#sweep();
  }

  /** Ends everything within the drain deadline; called again, returns the same end. */
  drain(cause: string): Promise<void> {
    this.#draining ??= this.#drain(cause);
    return this.#draining;
  }

  async #drain(cause: string): Promise<void> {
    for (const stop of this.#stops) stop();
    const branches = [...this.#branches.values()];
    for (const branch of branches) branch.close();
    await untilJournalOpen(this.#process, this.#options.drainMs);
    await Promise.all(
      branches.map(({ context, lines }) =>
        drain(context, lines.everything(), cause, "next process"),
      ),
    );
    for (const branch of branches) branch.rescuer.stop();
    this.#orphans?.stop();
    await this.#caretaker.stop();
    await this.#journal?.close();
  }

  #branchOf(row: CallRow): Branch | undefined {
    for (const branch of this.#branches.values())
      if (branch.context.identity.upstream === row.upstream) return branch;
    return undefined;
  }

  /** Calls of an upstream that is not configured wait for a person, or for their deadline. */
  #holdOrphans(): void {
    for (const one of this.#opened) {
      for (const row of one.recovery.live) {
        if (this.#branchOf(row) !== undefined) continue;
        this.#orphaned().add(one.journal, row, !maySinceHaveRun(one, row));
      }
    }
  }

  #orphaned(): Held {
    this.#orphans ??= new Held(this.#process, this.#registry.shield, () => {
      this.#caretaker.review();
    });
    return this.#orphans;
  }

  #needs(journal: Journal): boolean {
    if (!this.#isRecovered || (this.#orphans?.size ?? 0) > 0) return true;
    return [...this.#branches.values()].some((branch) => branch.rescuer.needs(journal));
  }

  #cancelHeld(id: string, cause: string): Promise<boolean> {
    const helds = [...this.#branches.values()].map(({ rescuer }) => rescuer.held);
    if (this.#orphans !== undefined) helds.push(this.#orphans);
    const held = helds.find((one) => one.has(id));
    return held === undefined ? Promise.resolve(false) : held.cancel(id, cause);
  }

  async #isOf(row: CallRow, branch: Branch, principal: string): Promise<boolean> {
    if (row.upstream !== branch.context.identity.upstream) return false;
    for (const journal of this.#registry.journals) {
      const session = await journal.findSession(row.sessionId);
      if (session !== undefined) return session.principal === principal;
    }
    return false;
  }

  #every(ms: number, work: () => void): void {
    const stop = this.#process.world.timer(ms, () => {
      this.#stops.delete(stop);
      work();
    });
    this.#stops.add(stop);
  }

  #sweep(): void {
    this.#every(SWEEP_EVERY_MS, () => {
      for (const branch of this.#branches.values()) branch.sweep().catch(this.#process.fatal);
      this.#sweep();
    });
  }

  #prune(): void {
    const { resultsMs, recordsMs, bytesMax } = this.#options.retention;
    const now = this.#process.world.now();
    this.#every(PRUNE_EVERY_MS, () => {
      this.#prune();
    });
    for (const journal of this.#registry.journals) {
      journal.prune(now - resultsMs, now - recordsMs, bytesMax).catch((error: unknown) => {
        if (error instanceof JournalError && error.trouble === "closed") return;
        this.#process.log("warn", "could not prune the journal", { error: String(error) });
      });
    }
  }

  #status(): ProxyStatus {
    const { version, pid, serving, snapshots } = this.#options;
    const branches = [...this.#branches.values()];
    const held = branches.reduce((sum, { rescuer }) => sum + rescuer.held.size, 0);
    return proxyStatus({
      version,
      pid,
      startedAt: this.#startedAt,
      now: this.#process.world.now(),
      branches,
      heldForPerson: held + (this.#orphans?.size ?? 0),
      journal: this.#journal?.stats(),
      takenOn: this.#caretaker.paths(),
      opened: this.#opened.map(({ recovery }) => recovery.report),
      serving: serving?.(),
      snapshots: snapshots?.(),
    });
  }
}

/** The rows of a recovered journal that are somebody's. */
function part(opened: OpenedJournal, isMine: (row: CallRow) => boolean): Leftover {
  const { report, live, remembered } = opened.recovery;
  const recovery = { report, live: live.filter(isMine), remembered: remembered.filter(isMine) };
  return { ...opened, recovery };
}
