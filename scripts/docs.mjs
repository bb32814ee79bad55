/**
 * Writes what is made from the options table: `docs/OPTIONS.md` and `config/holdfast.schema.json`.
 * Needs a build (`npm run build`). A test fails while the files differ from the table.
 */
import { writeFileSync } from "node:fs";
import { format } from "prettier";
import { optionsDocument } from "../dist/app/commands/help.js";
import { configSchema } from "../dist/app/commands/schema.js";

const write = async (path, text, parser) => {
  writeFileSync(
    new URL(`../${path}`, import.meta.url),
    await format(text, { parser, printWidth: 100 }),
  );
};
await write("docs/OPTIONS.md", optionsDocument(), "markdown");
await write("config/holdfast.schema.json", JSON.stringify(configSchema()), "json");
