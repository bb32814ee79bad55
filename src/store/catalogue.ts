/**
 * The catalogue of one upstream under one set of credentials as a JSON file in the cache folder. A
 * cache: what can't be read is absent, what can't be written is logged, and neither stops anything.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { errorText } from "../base/errors.ts";
import type { World } from "../base/world.ts";
import { readCatalogue } from "../core/catalogue.ts";
import type { Catalogue } from "../core/catalogue.ts";
import type { CatalogueStore, Log } from "../ports.ts";
import { jsonText } from "../wire/json-text.ts";

export interface CatalogueOptions {
  readonly world: World;
  readonly log: Log;
  /** The cache folder; made with mode 0700. */
  readonly folder: string;
  readonly upstreamDigest: string;
  readonly credentialsDigest: string;
}

export function openCatalogueStore(options: CatalogueOptions): CatalogueStore {
  const { world, log, folder, upstreamDigest, credentialsDigest } = options;
  const name = `${upstreamDigest.slice(0, 16)}-${credentialsDigest.slice(0, 16)}.json`;
  const path = join(folder, "catalogues", name);
  return {
    load() {
      try {
        return readCatalogue(JSON.parse(readFileSync(path, "utf8")));
      } catch (error) {
        const isAbsent = (error as NodeJS.ErrnoException).code === "ENOENT";
        if (!isAbsent) log("warn", `catalogue ${path} is not used: ${errorText(error)}`);
        return undefined;
      }
    },
    save(catalogue: Catalogue) {
      // A name of its own, so that two processes never write into one file.
      const temporary = `${path}.${world.newId("tmp")}`;
      try {
        mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
        try {
          writeFileSync(temporary, jsonText(catalogue), { mode: 0o600, flag: "wx" });
          renameSync(temporary, path);
        } finally {
          rmSync(temporary, { force: true });
        }
      } catch (error) {
        log("warn", `catalogue ${path} could not be written: ${errorText(error)}`);
      }
    },
  };
}
