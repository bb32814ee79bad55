/** What peers of the legacy era say, read as intents; and what we say to them. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isHandshakeResult, legacyDialect } from "../../../src/wire/dialect/legacy.ts";
import {
  formatNotification,
  formatRequest,
  parseMessage,
  type NotificationMessage,
  type RequestMessage,
} from "../../../src/wire/message.ts";
import { LIST_KINDS, LISTS, methodOf } from "../../../src/wire/methods.ts";

function read(text: string): RequestMessage | NotificationMessage {
  const message = parseMessage(text);
  if (message.kind === "request" || message.kind === "notification") return message;
  throw new Error(`neither a request nor a notification: ${text}`);
}

const asked = (method: string, params?: unknown) =>
  legacyDialect.readClient(read(formatRequest(1, method, params)));
const noted = (method: string, params?: unknown) =>
  legacyDialect.readClient(read(formatNotification(method, params)));
const heard = (text: string) => legacyDialect.readUpstream(read(text) as NotificationMessage);

describe("a client's request", () => {
  it.each([
    ["initialize", { protocolVersion: "2025-06-18", x: 1 }, { kind: "handshake" }],
    ["server/discover", {}, { kind: "probe" }],
    ["ping", undefined, { kind: "ping" }],
    ["tools/list", undefined, { kind: "list", list: "tools", isFirstPage: true }],
    ["tools/list", { cursor: "c" }, { kind: "list", list: "tools", isFirstPage: false }],
    ["tools/list", { cursor: "" }, { kind: "list", list: "tools", isFirstPage: false }],
    ["prompts/list", {}, { kind: "list", list: "prompts", isFirstPage: true }],
    ["resources/list", {}, { kind: "list", list: "resources", isFirstPage: true }],
    ["resources/templates/list", {}, { kind: "list", list: "resourceTemplates" }],
    ["tools/call", { name: "write", arguments: {} }, { kind: "call", tool: "write" }],
    ["tools/call", { name: 7 }, { kind: "call", tool: undefined }],
    ["tools/call", undefined, { kind: "call", tool: undefined }],
    ["resources/read", { uri: "a:b" }, { kind: "call", method: { safety: "read" } }],
    ["prompts/get", { name: "p" }, { kind: "call", method: { safety: "read" }, tool: undefined }],
    ["completion/complete", {}, { kind: "call", method: { safety: "read" } }],
    ["logging/setLevel", { level: "info" }, { kind: "call", method: { role: "state" } }],
    ["resources/subscribe", { uri: "a:b" }, { kind: "call", method: { role: "state" } }],
    ["resources/unsubscribe", { uri: "a:b" }, { kind: "call", method: { role: "state" } }],
    ["tasks/get", {}, { kind: "call", method: { safety: "read" } }],
    ["tasks/result", {}, { kind: "call", method: { safety: "read" } }],
    ["tasks/list", {}, { kind: "call", method: { role: "call", safety: "read" } }],
    ["tasks/cancel", {}, { kind: "call", method: { safety: "idempotent" } }],
  ])("%s %j", (method, params, intent) => {
    expect(asked(method, params)).toMatchObject(intent);
  });

  it("to initialize keeps its params whole, and needs a version", () => {
    const params = { protocolVersion: "v", capabilities: { a: {} }, _meta: { b: 1 } };
    expect(asked("initialize", params)).toEqual({ kind: "handshake", version: "v", params });
    expect(asked("initialize", {})).toMatchObject({ kind: "invalid" });
    expect(asked("initialize")).toMatchObject({ kind: "invalid" });
  });

  it("of an unknown method is an unsafe call", () => {
    const known = /^(initialize|ping|(tools|prompts|resources|tasks|logging|completion|server)\/)/;
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.constantFrom("toString", "__proto__", "constructor", "Tools/call"),
        ),
        (method) => {
          fc.pre(!known.test(method));
          expect(asked(method, { name: "x" })).toEqual({
            kind: "call",
            method: { role: "call", safety: "unsafe" },
            tool: undefined,
          });
        },
      ),
    );
  });

  it("with a notification's method is NOT taken for the notification", () => {
    expect(asked("notifications/cancelled", { requestId: 1 })).toMatchObject({ kind: "call" });
  });
});

describe("a client's notification", () => {
  it("is read, or carried as it is", () => {
    expect(noted("notifications/initialized")).toEqual({ kind: "ready" });
    expect(noted("notifications/roots/list_changed")).toEqual({ kind: "roots_changed" });
    expect(noted("notifications/progress", {})).toEqual({ kind: "notification" });
    expect(noted("x")).toEqual({ kind: "notification" });
    // Without an id nobody waits for an answer, so it is no call.
    expect(noted("tools/call", { name: "write" })).toEqual({ kind: "notification" });
  });

  it.each(["1", "1.0", "-0", "9007199254740993", '"a\\u0062"', '""'])(
    "of a cancellation keeps the id %s as it was spelled",
    (idText) => {
      const text = `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId": ${idText} ,"reason":"why"}}`;
      expect(legacyDialect.readClient(read(text))).toEqual({
        kind: "cancel",
        idText,
        reason: "why",
      });
      expect(heard(text)).toEqual({ kind: "cancel", idText });
    },
  );

  it("of a cancellation without a usable id cancels nothing", () => {
    for (const params of [undefined, {}, { requestId: null }, { requestId: {} }]) {
      const intent = noted("notifications/cancelled", params);
      expect(intent).toEqual({ kind: "cancel", idText: undefined, reason: "" });
    }
  });
});

describe("an upstream's notification", () => {
  it("is read, or carried as it is", () => {
    const says = (method: string, params?: unknown) => heard(formatNotification(method, params));
    expect(says("notifications/progress", { progressToken: "1-1", progress: 1 })).toEqual({
      kind: "progress",
      token: "1-1",
    });
    expect(says("notifications/progress", { progressToken: 0 })).toEqual({
      kind: "progress",
      token: 0,
    });
    expect(says("notifications/progress", {})).toEqual({ kind: "progress", token: undefined });
    expect(says("notifications/progress", { progressToken: null })).toMatchObject({
      token: undefined,
    });
    expect(says("notifications/message", {})).toEqual({ kind: "notification" });
    expect(says("notifications/resources/updated", {})).toEqual({ kind: "notification" });
    expect(says("notifications/resources/list_changed")).toEqual({
      kind: "list_changed",
      lists: ["resources", "resourceTemplates"],
    });
  });

  it.each(LIST_KINDS)("of a change names the list of %s", (kind) => {
    const intent = heard(legacyDialect.listChanged(kind));
    expect(intent.kind === "list_changed" && intent.lists).toContain(kind);
  });
});

describe("session state", () => {
  const stateOf = (method: string, params?: unknown) =>
    legacyDialect.readState(read(formatRequest(1, method, params)) as RequestMessage);

  it("is what the three state methods set", () => {
    expect(stateOf("logging/setLevel", { level: "info" })).toEqual({
      kind: "log_level",
      level: "info",
    });
    expect(stateOf("resources/subscribe", { uri: "u" })).toEqual({ kind: "subscribe", uri: "u" });
    expect(stateOf("resources/unsubscribe", { uri: "u" })).toEqual({
      kind: "unsubscribe",
      uri: "u",
    });
  });

  it("is nothing for any other method, or without what it needs", () => {
    expect(stateOf("resources/read", { uri: "u" })).toBeUndefined();
    expect(stateOf("logging/setLevel", { level: 1, uri: "u" })).toBeUndefined();
    expect(stateOf("resources/subscribe")).toBeUndefined();
  });
});

describe("what we say", () => {
  it("reads back as what it means", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.integer(), (text, number) => {
        const id = "1-1";
        const params = { protocolVersion: text };
        expect(legacyDialect.readClient(read(legacyDialect.handshake(id, params)))).toEqual({
          kind: "handshake",
          version: text,
          params,
        });
        const cancel = legacyDialect.cancel(JSON.stringify(text), text);
        expect(legacyDialect.readClient(read(cancel))).toEqual({
          kind: "cancel",
          idText: JSON.stringify(text),
          reason: text,
        });
        const progress = read(legacyDialect.progress(String(number), number, text));
        expect(progress.params).toEqual({ progressToken: number, progress: number, message: text });
        expect(legacyDialect.readUpstream(progress as NotificationMessage).kind).toBe("progress");
        const level = read(legacyDialect.setLogLevel(id, text)) as RequestMessage;
        expect(legacyDialect.readState(level)).toEqual({ kind: "log_level", level: text });
        const subscribe = read(legacyDialect.subscribe(id, text)) as RequestMessage;
        expect(legacyDialect.readState(subscribe)).toEqual({ kind: "subscribe", uri: text });
        expect(read(legacyDialect.resourceUpdated(text)).params).toEqual({ uri: text });
      }),
    );
    expect(legacyDialect.readClient(read(legacyDialect.ready()))).toEqual({ kind: "ready" });
    expect(legacyDialect.readClient(read(legacyDialect.ping("1-1")))).toEqual({ kind: "ping" });
    const roots = read(legacyDialect.rootsChanged());
    expect(legacyDialect.readClient(roots)).toEqual({ kind: "roots_changed" });
  });

  it.each(LIST_KINDS)("asks for the pages of %s, the first without a cursor", (list) => {
    const page = (cursor?: string) => read(legacyDialect.listPage("1-1", list, cursor));
    expect(page().params).toEqual({});
    expect(page("c").params).toEqual({ cursor: "c" });
    expect(page().method).toBe(LISTS[list].method);
    expect(methodOf(page().method)).toMatchObject({ role: "list", list });
  });
});

describe("the result of initialize", () => {
  it("can be used if it has a version and capabilities", () => {
    expect(isHandshakeResult({ protocolVersion: "v", capabilities: {} })).toBe(true);
    for (const value of [null, [], {}, { protocolVersion: 1, capabilities: {} }])
      expect(isHandshakeResult(value)).toBe(false);
    expect(isHandshakeResult({ protocolVersion: "v", capabilities: [] })).toBe(false);
  });
});
