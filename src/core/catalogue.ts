/**
 * The catalogue: what an upstream said about itself, kept on disk so that a client can be answered
 * while the upstream is away. One per upstream and credentials; within it one variant per kind of
 * client (see `handshakeVariant`).
 */
import { isObject, type JsonObject } from "../wire/message.ts";
import { LISTS, LIST_KINDS, type ListKind, type Safety } from "../wire/methods.ts";
import { canonical } from "./canonical.ts";

export const CATALOGUE_FORMAT = 1;

export interface Variant {
  /** `handshakeVariant()` of the clients it answers. */
  readonly key: string;
  /** The `initialize` result as the upstream gave it. */
  readonly handshake: JsonObject;
  /** All items of all pages, in order; a list that the upstream does not offer is absent. */
  readonly lists: Partial<Record<ListKind, readonly unknown[]>>;
  readonly seenAt: number;
}

export interface Catalogue {
  readonly format: typeof CATALOGUE_FORMAT;
  /** Most recently confirmed first. */
  readonly variants: readonly Variant[];
}

/** More kinds of clients than this are not remembered; the least recently confirmed goes. */
const VARIANTS_MAX = 8;

export const EMPTY_CATALOGUE: Catalogue = { format: CATALOGUE_FORMAT, variants: [] };

/** Checks what came from disk. Undefined for anything that this version did not write. */
export function readCatalogue(value: unknown): Catalogue | undefined {
  if (!isObject(value) || value["format"] !== CATALOGUE_FORMAT) return undefined;
  const variants = value["variants"];
  if (!Array.isArray(variants) || !variants.every(isVariant)) return undefined;
  return { format: CATALOGUE_FORMAT, variants };
}

function isVariant(value: unknown): value is Variant {
  return (
    isObject(value) &&
    typeof value["key"] === "string" &&
    isObject(value["handshake"]) &&
    isObject(value["lists"]) &&
    typeof value["seenAt"] === "number" &&
    Object.values(value["lists"]).every((list) => Array.isArray(list))
  );
}

/** The variant for this kind of client, or the most recent other one if `isNearEnough`. */
export function variantFor(
  catalogue: Catalogue,
  key: string,
  isNearEnough: boolean,
): Variant | undefined {
  const exact = catalogue.variants.find((variant) => variant.key === key);
  return exact ?? (isNearEnough ? catalogue.variants[0] : undefined);
}

export function withVariant(catalogue: Catalogue, variant: Variant): Catalogue {
  const others = catalogue.variants.filter((other) => other.key !== variant.key);
  return { ...catalogue, variants: [variant, ...others].slice(0, VARIANTS_MAX) };
}

/** The `initialize` result as the client sees it: `listChanged` is always declared by us. */
export function shownHandshake(handshake: JsonObject): JsonObject {
  const capabilities = isObject(handshake["capabilities"]) ? handshake["capabilities"] : {};
  const shown: Record<string, unknown> = { ...capabilities };
  for (const { capability } of Object.values(LISTS)) {
    const declared = capabilities[capability];
    if (isObject(declared)) shown[capability] = { ...declared, listChanged: true };
  }
  return { ...handshake, capabilities: shown };
}

/** The lists that an upstream with this handshake offers. */
export function offeredLists(handshake: JsonObject): readonly ListKind[] {
  const capabilities = isObject(handshake["capabilities"]) ? handshake["capabilities"] : {};
  return LIST_KINDS.filter((kind) => isObject(capabilities[LISTS[kind].capability]));
}

/** Order does not matter to a client that looks tools up by name; everything else does. */
export function listText(items: readonly unknown[]): string {
  return `[${items
    .map((item) => canonical(item))
    .sort()
    .join(",")}]`;
}

/** What Holdfast reads out of a tool's definition. */
export interface ToolFacts {
  readonly safety: Safety;
  /** A late run does no harm: idempotent, or declared not destructive. */
  readonly isHarmless: boolean;
  /** Canonical input schema. */
  readonly schema: string;
}

/** An unannotated tool is unsafe and destructive: the specification's defaults. */
export const UNKNOWN_TOOL: ToolFacts = { safety: "unsafe", isHarmless: false, schema: "" };

/** Reads the annotations of one tool. Contradictions count as unsafe. */
export function toolFacts(tool: JsonObject): ToolFacts {
  const hints = isObject(tool["annotations"]) ? tool["annotations"] : {};
  const isReadOnly = hints["readOnlyHint"] === true && hints["destructiveHint"] !== true;
  const isIdempotent = hints["idempotentHint"] === true && hints["readOnlyHint"] !== true;
  return {
    safety: isReadOnly ? "read" : isIdempotent ? "idempotent" : "unsafe",
    isHarmless: isIdempotent || hints["destructiveHint"] === false,
    schema: canonical(tool["inputSchema"] ?? {}),
  };
}

export function toolsOf(items: readonly unknown[]): ReadonlyMap<string, ToolFacts> {
  const tools = new Map<string, ToolFacts>();
  for (const item of items) {
    if (isObject(item) && typeof item["name"] === "string")
      tools.set(item["name"], toolFacts(item));
  }
  return tools;
}
