/** The legacy dialect: `initialize` and sessions, revisions 2024-11-05 to 2025-11-25. */
import { memberOf } from "../json-span.ts";
import {
  formatNotification,
  formatRequest,
  isObject,
  type JsonObject,
  type NotificationMessage,
  type RequestMessage,
} from "../message.ts";
import { LISTS, methodOf } from "../methods.ts";
import type { ClientIntent, Dialect, StateChange, UpstreamIntent } from "./dialect.ts";

function requestIdText(message: NotificationMessage): string | undefined {
  const id = message.params?.["requestId"];
  if (typeof id !== "string" && typeof id !== "number") return undefined;
  const span = memberOf(message.text, "params", "requestId");
  return span === undefined ? undefined : message.text.slice(span.start, span.end);
}

function readRequest(request: RequestMessage): ReturnType<Dialect["readClient"]> {
  const method = methodOf(request.method);
  const params: JsonObject = request.params ?? {};
  switch (method.role) {
    case "handshake": {
      const version = params["protocolVersion"];
      if (typeof version !== "string") {
        return { kind: "invalid", reason: "initialize without a protocolVersion" };
      }
      return { kind: "handshake", version, params };
    }
    case "probe":
    case "ping":
      return { kind: method.role };
    case "list":
      if (method.list === undefined) return { kind: "call", method, tool: undefined };
      return { kind: "list", list: method.list, isFirstPage: params["cursor"] === undefined };
    case "tool": {
      const tool = params["name"];
      return { kind: "call", method, tool: typeof tool === "string" ? tool : undefined };
    }
    case "state":
    case "call":
      return { kind: "call", method, tool: undefined };
  }
}

function readNotification(message: NotificationMessage): ClientIntent {
  switch (message.method) {
    case "notifications/initialized":
      return { kind: "ready" };
    case "notifications/cancelled": {
      const reason = message.params?.["reason"];
      return {
        kind: "cancel",
        idText: requestIdText(message),
        reason: typeof reason === "string" ? reason : "",
      };
    }
    case "notifications/roots/list_changed":
      return { kind: "roots_changed" };
    default:
      return { kind: "notification" };
  }
}

function readUpstream(message: NotificationMessage): UpstreamIntent {
  switch (message.method) {
    case "notifications/progress": {
      const token = message.params?.["progressToken"];
      const isToken = typeof token === "string" || typeof token === "number";
      return { kind: "progress", token: isToken ? token : undefined };
    }
    case "notifications/cancelled":
      return { kind: "cancel", idText: requestIdText(message) };
    case LISTS.tools.changed:
      return { kind: "list_changed", lists: ["tools"] };
    case LISTS.prompts.changed:
      return { kind: "list_changed", lists: ["prompts"] };
    case LISTS.resources.changed:
      return { kind: "list_changed", lists: ["resources", "resourceTemplates"] };
    case "notifications/resources/updated": {
      const uri = message.params?.["uri"];
      return typeof uri === "string" ? { kind: "resource_updated", uri } : { kind: "notification" };
    }
    case "notifications/message": {
      const level = message.params?.["level"];
      return typeof level === "string" ? { kind: "log", level } : { kind: "notification" };
    }
    default:
      return { kind: "notification" };
  }
}

function readState(request: RequestMessage): StateChange | undefined {
  const { level, uri } = (request.params ?? {}) as { level?: unknown; uri?: unknown };
  if (request.method === "logging/setLevel" && typeof level === "string") {
    return { kind: "log_level", level };
  }
  if (typeof uri !== "string") return undefined;
  if (request.method === "resources/subscribe") return { kind: "subscribe", uri };
  if (request.method === "resources/unsubscribe") return { kind: "unsubscribe", uri };
  return undefined;
}

export const legacyDialect: Dialect = {
  era: "legacy",
  readClient: (message) =>
    message.kind === "request" ? readRequest(message) : readNotification(message),
  readUpstream,
  readState,
  handshake: (id, params) => formatRequest(id, "initialize", params),
  ready: () => formatNotification("notifications/initialized"),
  ping: (id) => formatRequest(id, "ping"),
  cancel: (idText, reason) =>
    `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":${idText},"reason":${JSON.stringify(reason)}}}`,
  progress: (tokenText, progress, message) =>
    `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":${tokenText},"progress":${String(progress)},"message":${JSON.stringify(message)}}}`,
  listChanged: (list) => formatNotification(LISTS[list].changed),
  listPage: (id, list, cursor) =>
    formatRequest(id, LISTS[list].method, cursor === undefined ? {} : { cursor }),
  setLogLevel: (id, level) => formatRequest(id, "logging/setLevel", { level }),
  subscribe: (id, uri) => formatRequest(id, "resources/subscribe", { uri }),
  unsubscribe: (id, uri) => formatRequest(id, "resources/unsubscribe", { uri }),
  resourceUpdated: (uri) => formatNotification("notifications/resources/updated", { uri }),
  rootsChanged: () => formatNotification("notifications/roots/list_changed"),
};

/** True for an initialize result that can be used: a version and capabilities. */
export function isHandshakeResult(value: unknown): value is JsonObject {
  return (
    isObject(value) &&
    typeof value["protocolVersion"] === "string" &&
    isObject(value["capabilities"])
  );
}
