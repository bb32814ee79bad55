/**
 * What is known of an upstream for one kind of client: its handshake and lists, from disk at first,
 * from the upstream since. Answers while the upstream is away; finds out what changed.
 *
 * K1. A list is replaced only by a complete one (all pages).
 * K2. `list_changed` goes out only if something differs from what was known before.
 */
import {
  EMPTY_CATALOGUE,
  listText,
  offeredLists,
  type ToolFacts,
  toolsOf,
  UNKNOWN_TOOL,
  type Variant,
  variantFor,
  withVariant,
} from "../core/catalogue.ts";
import type { Settings } from "../core/settings.ts";
import type { Safety } from "../wire/methods.ts";
import { isObject, type JsonObject } from "../wire/message.ts";
import { LIST_KINDS, LISTS, type ListKind } from "../wire/methods.ts";
import type { Channel } from "./channel.ts";
import type { EngineContext } from "./context.ts";

const PAGES_MAX = 1_000;
const PAGE_TIMEOUT_MS = 10_000;

export interface KnownTool extends ToolFacts {
  readonly isKnown: boolean;
}

const NO_TOOL: KnownTool = { ...UNKNOWN_TOOL, isKnown: false };

export class Cataloguer {
  readonly #context: EngineContext;
  readonly #key: string;
  #handshake: JsonObject | undefined;
  #lists: Partial<Record<ListKind, readonly unknown[]>> = {};
  #seenAt: number | undefined;
  #tools = new Map<string, KnownTool>();
  #isExact = false;
  /** Lists that clients were given for another caller of the upstream, and should ask for again. */
  readonly #disowned = new Set<ListKind>();

  /** `key`: the kind of client, `handshakeVariant()`. */
  constructor(context: EngineContext, key: string) {
    this.#context = context;
    this.#key = key;
    this.#load();
  }

  #load(): void {
    const known = this.#context.catalogues.load() ?? EMPTY_CATALOGUE;
    const variant = variantFor(known, this.#key, false);
    if (variant !== undefined) this.#take(variant, true);
  }

  /**
   * The configuration changed. What was known under other credentials (`isOtherCaller`) is not shown any
   * more; what is known under these is.
   */
  reconsider(isOtherCaller: boolean): void {
    if (isOtherCaller) {
      for (const kind of LIST_KINDS) if (this.wasGiven(kind)) this.#disowned.add(kind);
      this.#handshake = undefined;
      this.#isExact = false;
      this.#seenAt = undefined;
      this.#lists = {};
      this.#load();
    }
    this.#readTools();
  }

  /** Clients may have a list of this kind that another one replaces. */
  wasGiven(kind: ListKind): boolean {
    return this.#lists[kind] !== undefined || this.#disowned.has(kind);
  }

  /** The handshake result to answer with at once; undefined where nothing fits this kind of client. */
  get handshake(): JsonObject | undefined {
    return this.#isExact ? this.#handshake : undefined;
  }

  get seenAt(): number | undefined {
    return this.#seenAt;
  }

  /** Falls back on what was seen for another kind of client; returns its handshake, if there is one. */
  takeNearest(): JsonObject | undefined {
    if (this.#handshake !== undefined) return this.#handshake;
    const variant = variantFor(this.#context.catalogues.load() ?? EMPTY_CATALOGUE, this.#key, true);
    if (variant !== undefined) this.#take(variant, false);
    return this.#handshake;
  }

  /** All items of a list; undefined while it is not known. An unoffered list of a known server is empty. */
  list(kind: ListKind): readonly unknown[] | undefined {
    return this.#lists[kind];
  }

  tool(name: string | undefined): KnownTool {
    return (name === undefined ? undefined : this.#tools.get(name)) ?? NO_TOOL;
  }

  /** The tools as they are judged: an untrusted server's annotations say nothing. */
  #readTools(): void {
    const { trustAnnotations } = this.#context.settings;
    this.#tools = new Map();
    for (const [name, facts] of toolsOf(this.#lists.tools ?? [])) {
      const trusted = trustAnnotations ? facts : { ...UNKNOWN_TOOL, schema: facts.schema };
      this.#tools.set(name, { ...trusted, isKnown: true });
    }
  }

  /** Whether the tools are known from the upstream in this process or from disk. */
  get knowsTools(): boolean {
    return this.#lists.tools !== undefined;
  }

  sawHandshake(result: JsonObject): void {
    this.#handshake = result;
    this.#isExact = true;
    this.#seenAt = this.#context.world.now();
  }

  /** Fetches lists anew; resolves to those that differ from what was known. Unanswered ones stay. */
  async refresh(channel: Channel, kinds: readonly ListKind[]): Promise<readonly ListKind[]> {
    const offered = this.#handshake === undefined ? [] : offeredLists(this.#handshake);
    const changed: ListKind[] = [];
    const fetched = await Promise.all(
      kinds
        .filter((k) => offered.includes(k))
        .map(async (kind) => ({ kind, items: await this.#fetch(channel, kind) })),
    );
    for (const { kind, items } of fetched) {
      if (items === undefined) continue;
      const known = this.#lists[kind];
      const isOthers = this.#disowned.delete(kind);
      if (isOthers || known === undefined || listText(known) !== listText(items))
        changed.push(kind);
      this.#lists[kind] = items;
    }
    this.#readTools();
    return changed;
  }

  /** A complete list that the upstream gives a client: on disk before the client has it, where it is news. */
  learn(kind: ListKind, items: readonly unknown[]): void {
    // It may still be for the other caller: what is fetched anew tells.
    if (this.#disowned.has(kind)) return;
    const known = this.#lists[kind];
    if (known !== undefined && listText(known) === listText(items)) return;
    this.#lists[kind] = items;
    if (kind === "tools") this.#readTools();
    this.save();
  }

  save(): void {
    if (this.#handshake === undefined) return;
    const seenAt = this.#context.world.now();
    const variant: Variant = {
      key: this.#key,
      handshake: this.#handshake,
      lists: this.#lists,
      seenAt,
    };
    // Read again: another process may have saved what it learned for another kind of client.
    const latest = this.#context.catalogues.load() ?? EMPTY_CATALOGUE;
    this.#context.catalogues.save(withVariant(latest, variant));
    this.#seenAt = seenAt;
  }

  #take(variant: Variant, isExact: boolean): void {
    this.#handshake = variant.handshake;
    this.#lists = { ...variant.lists };
    this.#readTools();
    this.#seenAt = variant.seenAt;
    this.#isExact = isExact;
  }

  /** All pages of a list, or undefined where the upstream did not give them. */
  async #fetch(channel: Channel, kind: ListKind): Promise<readonly unknown[] | undefined> {
    const items: unknown[] = [];
    let cursor: string | undefined;
    for (let page = 0; page < PAGES_MAX; page++) {
      const at = cursor;
      const answer = await channel.ask(
        (id) => this.#context.dialect.listPage(id, kind, at),
        "request",
        PAGE_TIMEOUT_MS,
      );
      if (answer.kind === "failed") return undefined;
      const { result, error } = answer.message;
      // Declared but not offered, as some servers do with templates: an empty list.
      if (error !== undefined) return error.code === -32601 ? [] : undefined;
      if (!isObject(result)) return undefined;
      const members = result[LISTS[kind].member];
      if (!Array.isArray(members)) return undefined;
      items.push(...(members as unknown[]));
      const next = result["nextCursor"];
      if (typeof next !== "string") return items;
      cursor = next;
    }
    return undefined;
  }
}

/** What a call to this tool is, after the configuration had its say. */
export function toolSafety(settings: Settings, tool: string | undefined, facts: ToolFacts): Safety {
  const own = tool === undefined ? undefined : settings.tools[tool]?.safety;
  return own ?? facts.safety;
}
