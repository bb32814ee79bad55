/** All mutants. */
import { RECOVERY } from "./faults/recovery.ts";
import { SENDING } from "./faults/sending.ts";
import { TELLING } from "./faults/telling.ts";
import { WAITING } from "./faults/waiting.ts";
import type { Mutant } from "./mutant.ts";

export const MUTANTS: readonly Mutant[] = [...SENDING, ...WAITING, ...TELLING, ...RECOVERY];
