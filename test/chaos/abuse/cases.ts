/** All cases, in the order in which they run. */
import type { AbuseCase } from "./case.ts";
import { CHURN } from "./churn.ts";
import { CLIENTS } from "./clients.ts";
import { DISKS } from "./disks.ts";
import { FLOODS } from "./floods.ts";
import { FRAMES } from "./frames.ts";
import { LIMITS } from "./limits.ts";
import { QUEUES } from "./queues.ts";

export const CASES: readonly AbuseCase[] = [
  ...FRAMES,
  ...FLOODS,
  ...CLIENTS,
  ...QUEUES,
  ...DISKS,
  ...LIMITS,
  ...CHURN,
];
