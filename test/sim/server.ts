/**
 * A scripted MCP server with a ledger: what it runs it writes down before it answers, and the ledger
 * outlives every process. What goes wrong between it and the proxy goes wrong here.
 *
 * SV1. A connection carries messages each way in the order in which they were sent.
 * SV2. What was on the way to the server when the proxy died may still arrive; what the server says to a
 *      dead proxy is lost.
 */
import type { World } from "../../src/base/world.ts";
import { type Failure, failure } from "../../src/core/failure.ts";
import type {
  Connection,
  ConnectionEvents,
  Connector,
  DialOutcome,
  ResumeTicket,
} from "../../src/ports.ts";
import type { JsonObject } from "../../src/wire/message.ts";
import type { Ledger } from "./ledger.ts";
import { ServerLink } from "./server-link.ts";
import type { DoorState, Fate, ServerKnobs } from "./plan.ts";

/** How long an attempt to connect may take before its transport gives it up, ms. */
const DIAL_MAX_MS = 10_000;

/** What a server needs of the process that dials it. */
export interface Caller {
  readonly isDead: boolean;
  /** Does `act` at a named instant at which the process may die. */
  effect(name: string, act: () => void): void;
}

const schema = (version: number): JsonObject =>
  version === 0 ? { type: "object" } : { type: "object", title: `version ${String(version)}` };

export class SimServer {
  readonly world: World;
  readonly name: string;
  readonly knobs: ServerKnobs;
  readonly ledger: Ledger;
  readonly random: () => number;
  door: DoorState = "open";
  isFrozen = false;
  /** Of the next calls of tools. */
  readonly fates: Fate[] = [];
  #version = 0;
  #links = 0;
  readonly #open = new Set<ServerLink>();

  constructor(
    world: World,
    name: string,
    knobs: ServerKnobs,
    ledger: Ledger,
    random: () => number,
  ) {
    this.world = world;
    this.name = name;
    this.knobs = knobs;
    this.ledger = ledger;
    this.random = random;
  }

  /** Uniform from 0 to `maxMs`. */
  upTo(maxMs: number): number {
    return Math.floor(this.random() * (maxMs + 1));
  }

  get tools(): readonly JsonObject[] {
    const write = { name: "write", inputSchema: schema(this.#version) };
    const inputSchema = { type: "object" };
    return [
      write,
      { name: "read", inputSchema, annotations: { readOnlyHint: true } },
      { name: "put", inputSchema, annotations: { idempotentHint: true } },
      { name: "note", inputSchema, annotations: { destructiveHint: false } },
    ];
  }

  /** It was redeployed with other tools. */
  change(version: number): void {
    this.#version = version;
    for (const link of this.#open) link.announceTools();
  }

  thaw(): void {
    this.isFrozen = false;
    for (const link of [...this.#open]) link.thaw();
  }

  /** All that is connected goes down. */
  cut(why: Failure): void {
    for (const link of [...this.#open]) link.drop(why);
  }

  /** As after a restart of the server: nothing that it ignored is answered any more. */
  restart(): void {
    this.fates.length = 0;
    this.cut(
      this.knobs.transport === "stdio"
        ? failure("process_exit", "exited with code 7")
        : failure("reset", "connection reset by peer"),
    );
  }

  /** The process is dead: its connections are gone, and nobody is told. */
  forsake(caller: Caller): void {
    for (const link of [...this.#open]) if (link.caller === caller) link.orphan();
  }

  connector(caller: Caller): Connector {
    const { transport } = this.knobs;
    return {
      kind: transport,
      target: `simulated server ${this.name}`,
      dial: (events, resume, signal) => this.#dial(caller, events, resume, signal),
    };
  }

  closed(link: ServerLink): void {
    this.#open.delete(link);
  }

  #dial(
    caller: Caller,
    events: ConnectionEvents,
    resume: ResumeTicket | undefined,
    signal: AbortSignal,
  ): Promise<DialOutcome> {
    return new Promise((resolve) => {
      let isOver = false;
      const finish = (outcome: () => DialOutcome) => {
        if (isOver) return;
        isOver = true;
        if (caller.isDead) return;
        caller.effect("dialled", () => {
          resolve(outcome());
        });
      };
      const fail = (why: Failure) => {
        finish(() => ({ kind: "failed", failure: why }));
      };
      if (signal.aborted) {
        fail(failure("reset", "the dial was given up"));
        return;
      }
      signal.addEventListener("abort", () => {
        fail(failure("reset", "the dial was given up"));
      });
      caller.effect("dial", () => {
        const waitMs = this.door === "hangs" ? DIAL_MAX_MS : 1 + this.upTo(this.knobs.delayMs);
        this.world.timer(waitMs, () => {
          const trouble = this.#dialTrouble();
          if (trouble !== undefined) fail(trouble);
          else finish(() => this.#connect(caller, events, resume));
        });
      });
    });
  }

  #dialTrouble(): Failure | undefined {
    const isChild = this.knobs.transport === "stdio";
    switch (this.door) {
      case "refuses":
        if (isChild) return undefined;
        return failure("connect_refused", "ECONNREFUSED");
      case "hangs":
        return failure("timeout", "no connection within 10 s");
      case "missing":
        return isChild
          ? failure("spawn_failed", "ENOENT: no such program")
          : failure("auth", "HTTP 401");
      default:
        return undefined;
    }
  }

  #connect(
    caller: Caller,
    events: ConnectionEvents,
    resume: ResumeTicket | undefined,
  ): DialOutcome {
    const old = resume?.data;
    const isResumed = old instanceof ServerLink && old.isKept && this.knobs.resumes;
    const link = isResumed ? old : new ServerLink(this, `${this.name}#${String(++this.#links)}`);
    this.#open.add(link);
    link.attach(caller, events);
    const isChild = this.knobs.transport === "stdio";
    const isDoomed = this.door === "flaps" || (isChild && this.door === "refuses");
    if (isDoomed) {
      this.world.timer(this.upTo(200), () => {
        link.drop(
          isChild ? failure("process_exit", "exited with code 1") : failure("reset", "reset"),
        );
      });
    }
    const connection: Connection = {
      send: (text) => link.send(caller, text),
      handshaken: () => undefined,
      forget: (id) => {
        link.forget(id);
      },
      close: () =>
        new Promise((done) => {
          link.close();
          this.world.timer(this.upTo(20), () => {
            done();
          });
        }),
      describe: () => ({ link: link.name }),
    };
    return { kind: "connected", connection, isResumed };
  }
}
