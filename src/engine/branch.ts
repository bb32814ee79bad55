/**
 * Everything of one upstream: its clients, their lines to it, what a dead process left for it.
 *
 * BR1. A session is given only to the principal that began it, and only at the upstream it was begun at.
 * BR2. A session that nobody uses goes to sleep: its row stays, its connection and memory go.
 */
import { isOpen, type SessionRow, sessionIdOf } from "../core/session.ts";
import type { SavedLink } from "../core/saved-link.ts";
import type { SessionStatus, UpstreamState, UpstreamSummary } from "../core/status.ts";
import type { ClientHandler, ClientLink, Door, Journal } from "../ports.ts";
import { type BranchNews, changeBranch } from "./branch-change.ts";
import type { EngineContext } from "./context.ts";
import type { ControlTool } from "./control-tool.ts";
import { Delivery } from "./delivery.ts";
import { Host } from "./host.ts";
import type { Line } from "./line.ts";
import { Lines } from "./lines.ts";
import { readLinkRecord } from "./link-record.ts";
import type { Registry } from "./registry.ts";
import { type Leftover, Rescuer } from "./rescuer.ts";
import { keyDigestOf } from "./session-start.ts";
import type { Stay } from "./stay.ts";
import type { StayHooks } from "./stay-hooks.ts";

export interface BranchParts {
  readonly registry: Registry;
  /** Of this program. */
  readonly version: string;
  /** Whether so many sessions, over all upstreams, leave room for one more; makes it, if it can. */
  makeRoom(max: number): boolean;
  /** The tool by which a client of this principal sees its waiting calls, if there is to be one. */
  controlTool(branch: Branch, principal: string): ControlTool | undefined;
  /** A call ended: what only it needed may go. */
  onEnded(): void;
  /** A client without a key left; in wrap mode that is the end. */
  onLeft(cause: string): void;
}

/** A session that may go to sleep. */
export interface Drowsy {
  readonly lastSeenAt: number;
  /** At once; its connection to the upstream ends a little later. */
  sleep(): void;
}

/** Among several detached sessions the one that a client just lost is its own. */
const JUST_LOST_MS = 60_000;

export class Branch implements Door {
  readonly context: EngineContext;
  readonly #parts: BranchParts;
  readonly delivery: Delivery;
  readonly lines: Lines;
  readonly rescuer: Rescuer;
  readonly #stays = new Map<string, Stay>();
  #savedLink: SavedLink | undefined;
  #isEnding = false;

  constructor(context: EngineContext, parts: BranchParts) {
    this.context = context;
    this.#parts = parts;
    const { registry, version } = parts;
    this.delivery = new Delivery(context, registry);
    this.lines = new Lines(context, {
      registry,
      version,
      hooks: {
        onEnded: (line, call, reply) => {
          this.delivery.ended(line, call, reply);
          this.lines.tidy(line);
          parts.onEnded();
        },
        tellPending: (line, call, waiter) => {
          this.delivery.tellPending(line, call, waiter);
        },
      },
    });
    this.rescuer = new Rescuer(context, {
      registry,
      delivery: this.delivery,
      lineOf: (session) => this.lines.of(session),
      onHeldEnded: parts.onEnded,
    });
  }

  get name(): string {
    return this.context.settings.upstreamName;
  }

  stays(): Iterable<Stay> {
    return this.#stays.values();
  }

  get size(): number {
    return this.#stays.size;
  }

  stay(sessionId: string): Stay | undefined {
    return this.#stays.get(sessionId);
  }

  /** The journal is open: what a dead process left of this upstream is judged, and runs afterwards. */
  async recover(journal: Journal, leftovers: readonly Leftover[]): Promise<void> {
    this.#savedLink = await readLinkRecord(journal, this.context.identity.upstream);
    await this.rescuer.take(leftovers);
    for (const { served } of this.#stays.values()) {
      if (served !== undefined) this.rescuer.attach(served.line, served.member.session);
    }
  }

  // ── The door ──────────────────────────────────────────────────────────────────────────────────

  enter(link: ClientLink): ClientHandler {
    return new Host(this.context, link, this.#hooks(link.principal));
  }

  async resume(link: ClientLink & { readonly key: string }): Promise<ClientHandler | undefined> {
    const keyDigest = keyDigestOf(this.context, link.key);
    const row = await (await this.context.journal()).findSession(sessionIdOf(keyDigest));
    if (row?.keyDigest !== keyDigest || !this.#mayHave(row, link)) return undefined;
    // To say that there is no such session would make its client forget it; the next process has it.
    if (this.#isEnding) throw new Error(`'${this.name}' is being taken out of service`);
    return this.#take(row, link);
  }

  async adopt(link: ClientLink): Promise<ClientHandler | undefined> {
    const journal = await this.context.journal();
    const now = this.context.world.now();
    const lost = (await journal.sessions()).filter((row) => {
      const stay = this.#stays.get(row.id);
      const isAway = stay === undefined || stay.detachedAt !== undefined;
      return isAway && row.peer === link.peer && this.#mayHave(row, link);
    });
    // A session that never was detached was in use when the process before this one was killed.
    const just = lost.filter(
      ({ detachedAt }) => detachedAt === undefined || now - detachedAt < JUST_LOST_MS,
    );
    const [row, ...others] = just.length > 0 ? just : lost;
    return row === undefined || others.length > 0 ? undefined : this.#take(row, link);
  }

  #mayHave(row: SessionRow, link: ClientLink): boolean {
    const { identity, world } = this.context;
    return (
      row.principal === link.principal &&
      row.transport === link.transport &&
      row.upstream === identity.upstream &&
      isOpen(row, world.now())
    );
  }

  #take(row: SessionRow, link: ClientLink): ClientHandler | undefined {
    if (this.#isEnding) return undefined;
    const known = this.#stays.get(row.id);
    const host = new Host(this.context, link, this.#hooks(link.principal), known);
    if (known === undefined) {
      host.stay.revive(row);
      return host;
    }
    known.outgoing.link.ended?.("its client came back over another connection");
    known.relink(link);
    return host;
  }

  #hooks(principal: string): StayHooks {
    const { registry, controlTool } = this.#parts;
    return {
      registry,
      held: this.rescuer.held,
      delivery: this.delivery,
      controlTool: this.context.settings.hasControlTool ? controlTool(this, principal) : undefined,
      refusal: () => this.#refusal(),
      lineOf: (session, mode) => this.#lineOf(session, mode),
      endLine: (line) => this.lines.end(line),
      onBegun: (stay, sessionId) => {
        this.#stays.set(sessionId, stay);
      },
      onEnded: (stay, line, session) => {
        this.#onStayEnded(stay, line, session);
      },
      onLeft: (cause) => {
        this.#parts.onLeft(cause);
      },
    };
  }

  #refusal(): string | undefined {
    if (this.#isEnding) return `'${this.name}' is being taken out of service`;
    const { sessionsPerProcess } = this.context.settings.limits;
    if (this.#parts.makeRoom(sessionsPerProcess)) return undefined;
    return `this proxy has ${String(sessionsPerProcess)} sessions, and may not have more (option --max-sessions)`;
  }

  #lineOf(session: SessionRow, mode: "awake" | "asleep"): Line {
    const line = this.lines.of(session);
    const isNeeded = this.rescuer.attach(line, session);
    if (mode === "asleep" && !isNeeded) return line;
    // Not before the journal is open: left-over children are gone then, and the backoff is known.
    this.context.journal().then(() => {
      if (!this.#isEnding) line.supervisor.want(this.#savedLink);
    }, this.context.fatal);
    return line;
  }

  #onStayEnded(stay: Stay, line: Line, session: SessionRow): void {
    if (this.#stays.get(session.id) === stay) this.#stays.delete(session.id);
    if (line.plan.isShared) {
      this.lines.tidy(line);
      return;
    }
    this.lines.retire(line);
    this.rescuer.inherit(line, session);
  }

  // ── Upkeep ────────────────────────────────────────────────────────────────────────────────────

  /** The session that nobody has used for the longest, at least `idleMs`, of those that may sleep. */
  drowsiest(idleMs: number): Drowsy | undefined {
    const { settings, fatal } = this.context;
    if (settings.isStateful || settings.sessionIdleMs === undefined) return undefined;
    let found: Drowsy | undefined;
    for (const stay of this.#stays.values()) {
      const lastSeenAt = stay.session?.lastSeenAt ?? Infinity;
      if (lastSeenAt >= (found?.lastSeenAt ?? Infinity) || !stay.isIdle(idleMs)) continue;
      found = { lastSeenAt, sleep: () => void stay.park().catch(fatal) };
    }
    return found;
  }

  /** Sends sessions to sleep that nobody uses, and ends those whose time is over. */
  async sweep(): Promise<void> {
    const { settings } = this.context;
    const idleMs = settings.isStateful ? undefined : settings.sessionIdleMs;
    const due: Promise<void>[] = [];
    for (const stay of [...this.#stays.values()]) {
      const { session } = stay;
      if (session?.keyDigest === undefined) continue;
      stay.showPresence();
      // Nobody can come back to it any more, not even for a call that never ends.
      if (this.context.isRevoked(session.principal))
        due.push(stay.dismiss("its token is not valid any more"));
      else if (stay.isAway(session.timeoutMs))
        due.push(stay.dismiss("nobody used it for too long"));
      else if (idleMs !== undefined && stay.isIdle(idleMs)) due.push(stay.park());
    }
    for (const line of this.lines.all()) this.lines.tidy(line);
    await Promise.all(due);
  }

  /** Connects every line anew; what comes meanwhile waits. Resolves to how many there were. */
  async renew(cause: string): Promise<number> {
    const lines = [...this.lines.all()];
    await Promise.all(lines.map((line) => line.renew(this.context.settings.drainMs, cause)));
    return lines.length;
  }

  /**
   * Takes on what its entry of the configuration says now; resolves when that is in force everywhere.
   * `isElsewhere`: the connector leads somewhere else, or there in another way.
   */
  change(news: BranchNews, isElsewhere: boolean, cause: string): Promise<void> {
    return changeBranch(this, news, isElsewhere, cause);
  }

  /** No new sessions and no new connections from now on. */
  close(): void {
    this.#isEnding = true;
    this.rescuer.close();
    for (const line of this.lines.all()) line.queue.pause("the end");
  }

  summary(): UpstreamSummary {
    const { settings, newConnector } = this.context;
    const connections: Partial<Record<UpstreamState, number>> = {};
    let waiting = 0;
    let inFlight = 0;
    for (const { supervisor, queue, dispatcher } of this.lines.all()) {
      const { state } = supervisor.link;
      connections[state] = (connections[state] ?? 0) + 1;
      waiting += queue.size;
      inFlight += dispatcher.inFlight;
    }
    return {
      name: this.name,
      target: newConnector().target,
      transport: settings.transport,
      isolation: settings.isolation,
      sessions: this.#stays.size,
      connections,
      waiting,
      inFlight,
    };
  }

  sessions(): readonly SessionStatus[] {
    return [...this.#stays.values()]
      .map((stay) => stay.status())
      .filter((status) => status !== undefined);
  }
}
