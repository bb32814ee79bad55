/**
 * The instants at which a simulated process can die.
 *
 * What a process leaves behind changes only at an effect: a batch that reaches the database, its answer
 * coming back, bytes that go up or down or come in, a dial, a file that is written, a timer that fires.
 * Between two effects everything is in the memory that dies with it, so a crash at any `await` between
 * them can't be told from one right after the first. There is one point before and one after each effect.
 *
 * PT1. Every name that is hit is one of `POINTS`; a run that hits another one is a bug of the simulation.
 */

/** What a batch may hold; a batch that only reads is `look`. */
const COMMITS = [
  "admit",
  "dispatch",
  "settle",
  "requeue",
  "doubt",
  "bury",
  "expire",
  "cancel",
  "acknowledge",
  "deliver",
  "session",
  "keep",
  "prune",
  "look",
] as const;

const UP = [
  "initialize",
  "initialized",
  "tools/list",
  "tools/call",
  "cancelled",
  "ping",
  "other",
] as const;

const IN = [
  "initialize",
  "tools/list",
  "tools/call",
  "ping",
  "other",
  "notification",
  "fate",
  "down",
  "noise",
] as const;

const DOWN = ["handshake", "result", "own", "progress", "accepted", "notification"] as const;

const CLIENT = [
  "other",
  "initialize",
  "initialized",
  "tools/call",
  "cancelled",
  "return",
  "left",
] as const;

const EFFECTS: readonly string[] = [
  ...COMMITS.flatMap((kind) => [`commit:${kind}`, `committed:${kind}`]),
  ...UP.map((what) => `up:${what}`),
  ...IN.map((what) => `in:${what}`),
  ...DOWN.map((what) => `down:${what}`),
  ...CLIENT.map((what) => `client:${what}`),
  "dial",
  "dialled",
  "catalogue",
  "mark",
  "timer",
];

const sides = (effect: string): string[] => [`${effect}:before`, `${effect}:after`];

/** Before a process is ready to run calls, it can only do these. */
const RECOVERY: readonly string[] = [
  ...["recover", "keep", "look"].flatMap((kind) => [`commit:${kind}`, `committed:${kind}`]),
  "mark",
].map((effect) => `recovery:${effect}`);

/** All that are registered. */
export const POINTS: readonly string[] = [...EFFECTS, ...RECOVERY].flatMap(sides);

const KNOWN = new Set(POINTS);

/** The name of a point in the life of a process. `isReady`: its journal is open and recovered. */
export function pointOf(name: string, isReady: boolean): string {
  const ofRecovery = `recovery:${name}`;
  return !isReady && KNOWN.has(ofRecovery) ? ofRecovery : name;
}

/** Where the next crash is to be: the n-th time that a point is passed, counted from 1. */
export interface CrashPoint {
  readonly name: string;
  readonly occurrence: number;
}

/** Counts the points that a run passes, over all its processes, and says where one dies. */
export class Points {
  readonly #hits = new Map<string, number>();
  #armed: { readonly name: string; left: number } | undefined;
  /** All names in order, from `trace()` on. */
  #trace: string[] | undefined;

  get hits(): ReadonlyMap<string, number> {
    return this.#hits;
  }

  get isArmed(): boolean {
    return this.#armed !== undefined;
  }

  /** From now on the given point is waited for. */
  arm({ name, occurrence }: CrashPoint): void {
    if (!KNOWN.has(name)) throw new Error(`no crash point ${name}`);
    this.#armed = { name, left: occurrence };
  }

  disarm(): void {
    this.#armed = undefined;
  }

  /** Begins to write down the points that are passed; returns what is being written. */
  trace(): readonly string[] {
    this.#trace = [];
    return this.#trace;
  }

  /** True where the process is to die here. */
  pass(name: string): boolean {
    if (!KNOWN.has(name)) throw new Error(`crash point ${name} is not registered`);
    this.#hits.set(name, (this.#hits.get(name) ?? 0) + 1);
    this.#trace?.push(name);
    const armed = this.#armed;
    if (armed?.name !== name || --armed.left > 0) return false;
    this.#armed = undefined;
    return true;
  }
}
