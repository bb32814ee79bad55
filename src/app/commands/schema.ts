/** `config/holdfast.schema.json`, made from the options table; for editors. */
import type { Option } from "../option-kinds.ts";
import { OPTION_KEYS } from "../option-table.ts";
import { optionOf } from "../resolve.ts";
import { defaultText } from "./help.ts";

type Schema = Readonly<Record<string, unknown>>;

const DURATION = { type: "string", pattern: "^(0|(\\d+(\\.\\d+)?(ms|s|m|h|d))+)$" };
const TEXTS = { type: "object", additionalProperties: { type: "string" } };

function valueSchema(option: Option<unknown>): Schema {
  switch (option.type) {
    case "duration":
      return option.expected.includes('"none"')
        ? { anyOf: [DURATION, { const: "none" }] }
        : DURATION;
    case "bytes":
      return { type: ["string", "integer"] };
    case "integer":
      return option.expected.includes('"none"')
        ? { anyOf: [{ type: "integer" }, { const: "none" }] }
        : { type: "integer" };
    case "boolean":
      return { type: "boolean" };
    case "choice":
      return { enum: option.choices };
    case "text":
    case "path":
    case "headers":
    case "address":
      return { type: "string" };
    case "list":
      return { anyOf: [{ type: "array", items: { type: "string" } }, { type: "string" }] };
  }
}

function ownSchema(scope: "server" | "global"): Schema {
  const properties: Record<string, Schema> = {};
  const nested = new Map<string, Record<string, Schema>>();
  for (const key of OPTION_KEYS) {
    const option = optionOf(key);
    if (option.scope === "start" || (scope === "server" && option.scope === "global")) continue;
    const words = `${option.text} Expected: ${option.expected}. Default: ${defaultText(option)}.`;
    const schema = { description: words, ...valueSchema(option) };
    const [first = "", second] = option.config.split(".");
    if (second === undefined) properties[first] = schema;
    else nested.set(first, { ...nested.get(first), [second]: schema });
  }
  for (const [name, inner] of nested) properties[name] = closed(inner);
  properties["clients"] = byName(closed({ hold: DURATION }));
  if (scope === "server") {
    const safety = { enum: ["read", "idempotent", "unsafe"] };
    properties["tools"] = byName(closed({ safety, hold: DURATION, defer: { type: "boolean" } }));
  }
  return closed(properties);
}

const closed = (properties: Schema): Schema => ({
  type: "object",
  additionalProperties: false,
  properties,
});
const byName = (entry: Schema): Schema => ({ type: "object", additionalProperties: entry });

export function configSchema(): Schema {
  const server = {
    type: "object",
    properties: {
      type: { enum: ["stdio", "http", "streamable-http", "sse", "ws"] },
      command: { type: "string" },
      args: { type: "array", items: { type: "string" } },
      env: { type: "object", additionalProperties: { type: ["string", "number", "boolean"] } },
      cwd: { type: "string" },
      url: { type: "string" },
      headers: TEXTS,
      disabled: { type: "boolean", description: "serve leaves this server out." },
      holdfast: ownSchema("server"),
    },
  };
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "holdfast.json",
    type: "object",
    properties: {
      mcpServers: byName(server),
      servers: byName(server),
      holdfast: ownSchema("global"),
    },
  };
}
