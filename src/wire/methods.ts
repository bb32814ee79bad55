/**
 * The methods table: what each method is to a resilience proxy. Source: MCP specification 2024-11-05
 * to 2025-11-25, and the delivery matrix in docs/SPEC.md. A method that is not here is carried
 * unchanged and treated as an unsafe call (promise P8, and the cautious side of P2).
 */

/** The lists that a server publishes and a catalogue keeps. */
export type ListKind = "tools" | "prompts" | "resources" | "resourceTemplates";

export type MethodRole =
  | "handshake" // initialize
  | "probe" // server/discover, which only a modern server answers
  | "ping" // answered hop by hop
  | "list" // answered from the catalogue while the upstream is away
  | "tool" // tools/call: its safety is the tool's
  | "state" // changes what the upstream keeps about the session; restored after a reconnect
  | "call"; // everything else

export type Safety = "read" | "idempotent" | "unsafe";

export interface Method {
  readonly role: MethodRole;
  /** What a repetition does; a tool's own safety overrides it for `tools/call`. */
  readonly safety: Safety;
  readonly list?: ListKind;
}

const METHODS: Readonly<Record<string, Method>> = {
  initialize: { role: "handshake", safety: "read" },
  "server/discover": { role: "probe", safety: "read" },
  ping: { role: "ping", safety: "read" },
  "tools/list": { role: "list", safety: "read", list: "tools" },
  "prompts/list": { role: "list", safety: "read", list: "prompts" },
  "resources/list": { role: "list", safety: "read", list: "resources" },
  "resources/templates/list": { role: "list", safety: "read", list: "resourceTemplates" },
  "tools/call": { role: "tool", safety: "unsafe" },
  "resources/read": { role: "call", safety: "read" },
  "prompts/get": { role: "call", safety: "read" },
  "completion/complete": { role: "call", safety: "read" },
  "logging/setLevel": { role: "state", safety: "idempotent" },
  "resources/subscribe": { role: "state", safety: "idempotent" },
  "resources/unsubscribe": { role: "state", safety: "idempotent" },
  "tasks/get": { role: "call", safety: "read" },
  "tasks/result": { role: "call", safety: "read" },
  "tasks/list": { role: "call", safety: "read" },
  "tasks/cancel": { role: "call", safety: "idempotent" },
};

const UNKNOWN: Method = { role: "call", safety: "unsafe" };

export function methodOf(name: string): Method {
  return Object.hasOwn(METHODS, name) ? (METHODS[name] as Method) : UNKNOWN;
}

interface ListShape {
  readonly method: string;
  /** The member of the result that holds the items. */
  readonly member: string;
  /** The server capability that says the list exists. */
  readonly capability: "tools" | "prompts" | "resources";
  readonly changed: string;
}

export const LISTS: Readonly<Record<ListKind, ListShape>> = {
  tools: {
    method: "tools/list",
    member: "tools",
    capability: "tools",
    changed: "notifications/tools/list_changed",
  },
  prompts: {
    method: "prompts/list",
    member: "prompts",
    capability: "prompts",
    changed: "notifications/prompts/list_changed",
  },
  resources: {
    method: "resources/list",
    member: "resources",
    capability: "resources",
    changed: "notifications/resources/list_changed",
  },
  resourceTemplates: {
    method: "resources/templates/list",
    member: "resourceTemplates",
    capability: "resources",
    changed: "notifications/resources/list_changed",
  },
};

export const LIST_KINDS = Object.keys(LISTS) as readonly ListKind[];
