/** The version of this package, as its own package.json says. */
import { readFileSync } from "node:fs";

/** `src/app` and `dist/app` are equally deep, so one path serves both. */
export function packageVersion(): string {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}
