/** What a person may see and do from outside: the `Control` port over the running engine. */
import { RefusedError } from "../base/errors.ts";
import { type CallRow, isTerminal, mustSync } from "../core/call.ts";
import { repeatedCall } from "../core/repeated-call.ts";
import type { ProxyEvent } from "../core/event.ts";
import type { SessionRow } from "../core/session.ts";
import type { ProxyStatus } from "../core/status.ts";
import type { CallFilter, Control } from "../ports.ts";
import { parseMessage } from "../wire/message.ts";
import type { Branch } from "./branch.ts";
import { newLiveCall } from "./live-call.ts";
import type { ProcessContext } from "./context.ts";
import type { Recalled, Registry } from "./registry.ts";

export interface OperatorHooks {
  readonly registry: Registry;
  status(): ProxyStatus;
  /** Withdraws a call that waits for a person; false if it is none. */
  cancelHeld(id: string, cause: string): Promise<boolean>;
  /** It waits to be taken over, and may have run since it was written. */
  isSuspect(id: string): boolean;
  branches(): Iterable<Branch>;
}

const LIST_MAX = 1_000;

export class Operator implements Control {
  readonly #context: ProcessContext;
  readonly #hooks: OperatorHooks;

  constructor(context: ProcessContext, hooks: OperatorHooks) {
    this.#context = context;
    this.#hooks = hooks;
  }

  status(): Promise<ProxyStatus> {
    return Promise.resolve(this.#hooks.status());
  }

  async list(filter: CallFilter): Promise<readonly CallRow[]> {
    const limit = Math.min(filter.limit ?? LIST_MAX, LIST_MAX);
    await this.#context.journal();
    const lists = await Promise.all(
      [...this.#hooks.registry.journals].map((journal) => journal.list({ ...filter, limit })),
    );
    return lists
      .flat()
      .sort((a, b) => b.acceptedAt - a.acceptedAt || b.seq - a.seq)
      .slice(0, limit);
  }

  async show(id: string): Promise<CallRow | undefined> {
    await this.#context.journal();
    return (await this.#hooks.registry.recall(id))?.row;
  }

  /**
   * A new call that repeats an ended one (T15); the old row stays as it is. One that waits for a person
   * is withdrawn by that: the person has decided.
   */
  async retry(id: string): Promise<string> {
    const { row } = await this.#recall(id);
    const branch = [...this.#hooks.branches()].find(
      ({ context }) => context.identity.upstream === row.upstream,
    );
    if (branch === undefined)
      throw new RefusedError("its server is not (any more) in the configuration of this proxy");
    const session = await this.#sessionFor(row, branch);
    const { world } = this.#context;
    const { settings, identity, bounds } = branch.context;
    const ended = isTerminal(row.state) ? row : await this.#withdrawHeld(row);
    const repeated: CallRow = {
      ...repeatedCall(ended, world.newId("c"), world.now(), settings.deferTtlMs),
      sessionId: session.id,
      credentials: identity.credentials,
    };
    const request = parseMessage(repeated.request);
    if (request.kind !== "request") {
      throw new RefusedError(`the request of call ${id} can't be read any more`);
    }
    const journal = await this.#context.journal();
    const call = newLiveCall(repeated, this.#hooks.registry.nextOrder(), journal, request);
    call.row = { ...repeated, seq: await journal.admit(repeated) };
    // Not before: a line on which nobody is and nothing lives may end at any moment.
    const line = branch.lines.of(session);
    bounds.count(repeated.sessionId, call.bytes);
    this.#hooks.registry.add(call, line);
    branch.delivery.nobodyWaits(call);
    line.dispatcher.adopt(call);
    line.supervisor.want();
    return repeated.id;
  }

  /** The row as it is then; as it was where it is not held. */
  async #withdrawHeld(row: CallRow): Promise<CallRow> {
    const isMine = await this.#hooks.cancelHeld(row.id, "repeated by an operator as a new call");
    return isMine ? (await this.#recall(row.id)).row : row;
  }

  /** Over which connection an operator's repetition runs: its session's own, else any other. */
  async #sessionFor(row: CallRow, branch: Branch): Promise<SessionRow> {
    const journal = await branch.context.journal();
    const own = await journal.findSession(row.sessionId);
    const others = [...branch.stays()].map((stay) => stay.session);
    const session = own?.keyDigest === undefined ? others.find((s) => s !== undefined) : own;
    if (session === undefined)
      throw new RefusedError(
        "no client has connected yet, so there is no connection to send it over",
      );
    return session;
  }

  async sessions(): Promise<readonly SessionRow[]> {
    await this.#context.journal();
    const lists = await Promise.all(
      [...this.#hooks.registry.journals].map((journal) => journal.sessions()),
    );
    return lists.flat().sort((a, b) => b.createdAt - a.createdAt);
  }

  async endSession(id: string): Promise<void> {
    for (const branch of this.#hooks.branches()) {
      const stay = branch.stay(id);
      if (stay === undefined) continue;
      if (stay.session?.keyDigest === undefined)
        throw new RefusedError(`session ${id} is its client's own; it ends when the client leaves`);
      await stay.dismiss("ended by an operator");
      return;
    }
    await this.#context.journal();
    for (const journal of this.#hooks.registry.journals) {
      const row = await journal.findSession(id);
      if (row === undefined) continue;
      if (row.endedAt !== undefined) throw new RefusedError(`session ${id} has ended already`);
      await journal.saveSession({ ...row, endedAt: this.#context.world.now() });
      return;
    }
    throw new RefusedError(`there is no session ${id}`);
  }

  async restart(upstream: string): Promise<number> {
    for (const branch of this.#hooks.branches()) {
      if (branch.name === upstream) return branch.renew("restarted by an operator");
    }
    const names = [...this.#hooks.branches()].map(({ name }) => `'${name}'`);
    throw new RefusedError(
      `there is no server '${upstream}' here (there are: ${names.join(", ")})`,
    );
  }

  follow(tell: (event: ProxyEvent) => void): () => void {
    return this.#context.feed.follow(tell);
  }

  async cancel(id: string): Promise<CallRow> {
    const live = this.#hooks.registry.find(id);
    if (live !== undefined) {
      await live.line.dispatcher.cancel(live.call, "withdrawn by an operator");
      return live.call.row;
    }
    const { row, journal } = await this.#recall(id);
    if (isTerminal(row.state))
      throw new RefusedError(`call ${id} has already ended: it is ${row.state}`);
    const cause = "withdrawn by an operator";
    if (await this.#hooks.cancelHeld(id, cause)) return (await this.#recall(id)).row;
    const at = this.#context.world.now();
    const mayHaveRun = this.#hooks.isSuspect(id);
    const what = { kind: "cancel", id, from: "queued", mayHaveRun, cause, at } as const;
    if (!(await journal.apply(what, mustSync(row, what)))) {
      throw new RefusedError(`call ${id} changed at this moment; look again`);
    }
    return (await this.#recall(id)).row;
  }

  async settle(id: string, note: string): Promise<CallRow> {
    const { row, journal } = await this.#recall(id);
    if (!isTerminal(row.state)) throw new RefusedError(`call ${id} is still ${row.state}`);
    await journal.apply({ kind: "annotate", id, note, at: this.#context.world.now() }, true);
    this.#hooks.registry.shield.forget(row.fingerprint, id);
    return { ...row, note };
  }

  async #recall(id: string): Promise<Recalled> {
    await this.#context.journal();
    const recalled = await this.#hooks.registry.recall(id);
    if (recalled === undefined) throw new RefusedError(`there is no call ${id}`);
    return recalled;
  }
}
