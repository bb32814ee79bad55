/** Plays a plan and has its evidence judged. */
import { check } from "../proof/checker.ts";
import type { Figures, Finding } from "../proof/evidence.ts";
import type { Plan } from "./plan.ts";
import { play, type PlayOptions } from "./simulation.ts";

export interface Judged {
  readonly name: string;
  readonly findings: readonly Finding[];
  readonly figures: Figures | undefined;
  readonly kills: number;
  /** How often each crash point was passed. */
  readonly hits: ReadonlyMap<string, number>;
}

/** A run that can't be brought to its end is a finding, too. Never rejects. */
export async function judge(plan: Plan, options: PlayOptions): Promise<Judged> {
  const { name } = options;
  try {
    const { evidence, points, kills } = await play(plan, options);
    const { findings, figures } = check(evidence);
    return { name, findings, figures, kills, hits: points.hits };
  } catch (error) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    const findings = [{ invariant: "run", nonce: undefined, text }];
    return { name, findings, figures: undefined, kills: 0, hits: new Map() };
  }
}
