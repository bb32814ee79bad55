/** All cases, in the order in which they run. */
import type { AbuseCase } from "./case.ts";
import { FLOODS } from "./floods.ts";
import { FRAMES } from "./frames.ts";

export const CASES: readonly AbuseCase[] = [...FRAMES, ...FLOODS];
