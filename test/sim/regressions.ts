/** Plans that once failed, each named after what was wrong. */
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Plan } from "./plan.ts";

const FOLDER = fileURLToPath(new URL("regressions", import.meta.url));

export interface Regression {
  readonly name: string;
  readonly plan: Plan;
}

export function regressions(): readonly Regression[] {
  return readdirSync(FOLDER)
    .filter((file) => file.endsWith(".json"))
    .sort()
    .map((file) => ({
      name: basename(file, ".json"),
      plan: JSON.parse(readFileSync(join(FOLDER, file), "utf8")) as Plan,
    }));
}
