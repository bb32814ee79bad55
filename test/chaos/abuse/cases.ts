/** All cases, in the order in which they run. */
import type { AbuseCase } from "./case.ts";
import { CLIENTS } from "./clients.ts";
import { FLOODS } from "./floods.ts";
import { FRAMES } from "./frames.ts";
import { QUEUES } from "./queues.ts";

export const CASES: readonly AbuseCase[] = [...FRAMES, ...FLOODS, ...CLIENTS, ...QUEUES];
