/** What is done to a lane and when, drawn from a seed: the same seed, the same plan. */
import type { Toxic } from "./fault-proxy.ts";

export class Dice {
  readonly random: () => number;

  constructor(random: () => number) {
    this.random = random;
  }

  /** A number from `min` to below `max`. */
  between(min: number, max: number): number {
    return min + this.random() * (max - min);
  }

  whole(min: number, max: number): number {
    return Math.floor(this.between(min, max));
  }

  isLucky(share: number): boolean {
    return this.random() < share;
  }

  /** One of them. There must be one. */
  one<T>(items: readonly T[]): T {
    const item = items[Math.floor(this.random() * items.length)];
    if (item === undefined) throw new Error("nothing to choose from");
    return item;
  }

  /** One of them by weight. */
  weighted<T extends string>(weights: Readonly<Record<T, number>>): T {
    const entries = Object.entries<number>(weights) as [T, number][];
    let left = this.random() * entries.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [item, weight] of entries) {
      left -= weight;
      if (left < 0) return item;
    }
    return this.one(entries)[0];
  }
}

/** One trouble. Times in ms. */
export type Trouble =
  | { readonly kind: "kill upstream"; readonly downMs: number }
  | { readonly kind: "crash loop"; readonly forMs: number }
  | { readonly kind: "stop upstream"; readonly forMs: number }
  | { readonly kind: "stop proxy"; readonly forMs: number }
  | { readonly kind: "toxic"; readonly toxic: Toxic; readonly forMs: number }
  | { readonly kind: "cut" }
  | { readonly kind: "client drops" }
  | { readonly kind: "client reads nothing"; readonly forMs: number }
  | { readonly kind: "client leaves" }
  | { readonly kind: "client cancels" };

const TROUBLES: Readonly<Record<Trouble["kind"], number>> = {
  "kill upstream": 5,
  "crash loop": 1,
  "stop upstream": 2,
  "stop proxy": 2,
  toxic: 6,
  cut: 2,
  "client drops": 3,
  "client reads nothing": 2,
  "client leaves": 1,
  "client cancels": 3,
};

const TOXICS: readonly ((dice: Dice) => Toxic)[] = [
  (dice) => ({ kind: "latency", ms: dice.whole(5, 150), jitterMs: dice.whole(0, 100) }),
  (dice) => ({ kind: "reset", afterBytes: dice.whole(0, 400) }),
  (dice) => ({ kind: "fin", afterBytes: dice.whole(0, 400) }),
  () => ({ kind: "black_hole" }),
  () => ({ kind: "silence" }),
  () => ({ kind: "refuse" }),
  (dice) => ({ kind: "slice", everyMs: dice.whole(0, 4) }),
  (dice) => ({ kind: "bandwidth", bytesPerSecond: dice.whole(1_000, 8_000) }),
  (dice) => ({ kind: "garbage", bytes: dice.whole(1, 200) }),
  () => ({ kind: "duplicate" }),
];

export function nextTrouble(dice: Dice): Trouble {
  const kind = dice.weighted(TROUBLES);
  switch (kind) {
    case "kill upstream":
      return { kind, downMs: dice.isLucky(0.4) ? 0 : dice.whole(300, 3_000) };
    case "crash loop":
      return { kind, forMs: dice.whole(500, 4_000) };
    case "stop upstream":
    case "stop proxy":
      return { kind, forMs: dice.whole(100, 2_500) };
    case "toxic":
      return { kind, toxic: dice.one(TOXICS)(dice), forMs: dice.whole(300, 4_000) };
    case "client reads nothing":
      return { kind, forMs: dice.whole(200, 3_000) };
    case "cut":
    case "client drops":
    case "client leaves":
    case "client cancels":
      return { kind };
    default:
      return kind satisfies never;
  }
}

const TOOLS = { append: 5, note: 1, set_value: 2, read_value: 3 } as const;

/** Most servers are polite most of the time. A torrent is 10^5 notifications. */
const MANNERS = {
  polite: 90,
  ...{ twice: 2, stranger: 2, stale: 2, wrong_type: 1, both: 1, requests: 1 },
  ...{ noise: 1, nul: 1, not_utf8: 1, two_in_line: 1, stderr: 1, partial: 2, nested: 0.5 },
  ...{ flood: 0.3, torrent: 0.05 },
  ...{ exit_before: 0.7, exit_after: 1, exit_mid: 1 },
} as const;

export interface PlannedCall {
  readonly tool: string;
  readonly args: Readonly<Record<string, unknown>>;
}

export function nextCall(dice: Dice): PlannedCall {
  const manner = dice.weighted(MANNERS);
  const form = dice.one(["json", "json", "stream", "resumable"]);
  const delayMs = dice.isLucky(0.5) ? 0 : dice.whole(1, 600);
  return { tool: dice.weighted(TOOLS), args: { manner, form, delayMs } };
}
