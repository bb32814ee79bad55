/** Doctor's look at an upstream behind a URL: Streamable HTTP, legacy HTTP+SSE, or WebSocket. */
import { unreachable } from "../../base/assert.ts";
import { errorText } from "../../base/errors.ts";
import type { World } from "../../base/world.ts";
import type { JsonObject } from "../../wire/message.ts";
import { isObject } from "../../wire/message.ts";
import type { Target } from "../options.ts";
import type { Found } from "./probe-words.ts";
import {
  INITIALIZE,
  INITIALIZED,
  LIST,
  parseObject,
  resultOf,
  SHOWN_CHARS,
} from "./probe-words.ts";

type UrlTarget = Extract<Target, { url: string }>;

export function probeUrl(target: UrlTarget, world: World, signal: AbortSignal): Promise<Found> {
  switch (target.kind) {
    case "http":
      return probeHttp(target, world, signal);
    case "sse":
      return probeSse(target, world, signal);
    case "ws":
      return probeSocket(target, world, signal);
    default:
      return unreachable(target.kind);
  }
}

async function probeHttp(target: UrlTarget, world: World, signal: AbortSignal): Promise<Found> {
  const headers: Record<string, string> = {
    ...target.headers,
    "content-type": "application/json",
    accept: "application/json, text/event-stream",
  };
  const post = (body: object) =>
    fetch(target.url, { method: "POST", headers, body: JSON.stringify(body), signal });
  const first = await post(INITIALIZE);
  const initialize = resultOf(await readAnswer(first, 1));
  const answeredAt = world.monotonic();
  const session = first.headers.get("mcp-session-id");
  if (session !== null) headers["mcp-session-id"] = session;
  headers["mcp-protocol-version"] = String(initialize["protocolVersion"]);
  try {
    await (await post(INITIALIZED)).body?.cancel();
    const { result } = await readAnswer(await post(LIST), 2);
    return { initialize, answeredAt, tools: isObject(result) ? result : undefined };
  } finally {
    if (session !== null) {
      const ended = await fetch(target.url, { method: "DELETE", headers, signal });
      await ended.body?.cancel();
    }
  }
}

/** The JSON body, or the message with this id of an event stream. */
async function readAnswer(response: Response, id: number): Promise<JsonObject> {
  await mustBeFine(response);
  if (!isStream(response)) {
    return parseObject(await response.text()) ?? {};
  }
  for await (const { data } of eventsOf(response)) {
    const message = parseObject(data);
    if (message?.["id"] === id) return message;
  }
  throw new Error("its event stream ended without an answer");
}

const isStream = (response: Response): boolean =>
  (response.headers.get("content-type") ?? "").includes("text/event-stream");

async function mustBeFine(response: Response): Promise<void> {
  if (response.ok) return;
  const text = (await response.text()).slice(0, SHOWN_CHARS).replace(/\s+/g, " ");
  throw new Error(`HTTP ${String(response.status)} ${response.statusText} ${text}`.trim());
}

interface ServerEvent {
  readonly event: string;
  readonly data: string;
}

async function* eventsOf(response: Response): AsyncGenerator<ServerEvent> {
  let text = "";
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) {
    text = (text + decoder.decode(chunk as Uint8Array, { stream: true })).replace(/\r\n/g, "\n");
    const blocks = text.split("\n\n");
    text = blocks.pop() ?? "";
    for (const block of blocks) yield readEvent(block);
  }
}

function readEvent(block: string): ServerEvent {
  const values = (name: string) =>
    block.split("\n").flatMap((line) => {
      const found = new RegExp(`^${name}: ?(.*)$`).exec(line)?.[1];
      return found === undefined ? [] : [found];
    });
  return { event: values("event").at(-1) ?? "message", data: values("data").join("\n") };
}

// ── Legacy HTTP+SSE ─────────────────────────────────────────────────────────────────────────────

async function probeSse(target: UrlTarget, world: World, signal: AbortSignal): Promise<Found> {
  const over = new AbortController();
  const headers = { ...target.headers };
  const either = AbortSignal.any([signal, over.signal]);
  const accept = { ...headers, accept: "text/event-stream" };
  const stream = await fetch(target.url, { headers: accept, signal: either });
  try {
    await mustBeFine(stream);
    if (!isStream(stream)) {
      const type = stream.headers.get("content-type") ?? "none";
      throw new Error(`it has content of type ${type}, not an event stream; is it of type http?`);
    }
    return await talkOverSse(target, stream, headers, world, either);
  } finally {
    over.abort();
  }
}

async function talkOverSse(
  target: UrlTarget,
  stream: Response,
  headers: Record<string, string>,
  world: World,
  signal: AbortSignal,
): Promise<Found> {
  let endpoint: URL | undefined;
  let first: { readonly initialize: JsonObject; readonly answeredAt: number } | undefined;
  const post = async (message: object): Promise<void> => {
    const typed = { ...headers, "content-type": "application/json" };
    const spec = { method: "POST", headers: typed, body: JSON.stringify(message), signal };
    const taken = await fetch(endpoint ?? target.url, spec);
    await mustBeFine(taken);
    await taken.body?.cancel();
  };
  for await (const { event, data } of eventsOf(stream)) {
    const message = parseObject(data);
    if (event === "endpoint" && endpoint === undefined) {
      endpoint = new URL(data, target.url);
      if (endpoint.origin !== new URL(target.url).origin) {
        throw new Error(`it names an endpoint of another origin: ${endpoint.origin}`);
      }
      await post(INITIALIZE);
    } else if (message?.["id"] === 1) {
      first = { initialize: resultOf(message), answeredAt: world.monotonic() };
      await post(INITIALIZED);
      await post(LIST);
    } else if (message?.["id"] === 2 && first !== undefined) {
      const { result } = message;
      return { ...first, tools: isObject(result) ? result : undefined };
    }
  }
  throw new Error("its event stream ended without an answer");
}

// ── WebSocket ───────────────────────────────────────────────────────────────────────────────────

async function probeSocket(target: UrlTarget, world: World, signal: AbortSignal): Promise<Found> {
  const { WebSocket } = await import("ws");
  const socket = new WebSocket(target.url, ["mcp"], { headers: { ...target.headers } });
  const say = (message: object): void => {
    socket.send(JSON.stringify(message));
  };
  try {
    return await new Promise((resolve, reject) => {
      let first: { readonly initialize: JsonObject; readonly answeredAt: number } | undefined;
      signal.addEventListener("abort", () => {
        reject(new Error(errorText(signal.reason)));
      });
      socket.on("error", reject);
      socket.on("close", (code, reason) => {
        reject(new Error(`it closed the connection: ${String(code)} ${reason.toString()}`.trim()));
      });
      // A server that names no subprotocol may well speak ours.
      socket.on("upgrade", (response) => {
        response.headers["sec-websocket-protocol"] ??= "mcp";
      });
      socket.on("open", () => {
        say(INITIALIZE);
      });
      socket.on("message", (data: Buffer) => {
        const message = parseObject(data.toString());
        if (message?.["id"] === 1) {
          if (!isObject(message["result"])) {
            reject(
              new Error(`it answered with an error: ${data.toString().slice(0, SHOWN_CHARS)}`),
            );
            return;
          }
          first = { initialize: message["result"], answeredAt: world.monotonic() };
          say(INITIALIZED);
          say(LIST);
        } else if (message?.["id"] === 2 && first !== undefined) {
          const { result } = message;
          resolve({ ...first, tools: isObject(result) ? result : undefined });
        }
      });
    });
  } finally {
    // A second error of a socket that is being cut off is no news.
    socket.on("error", () => undefined);
    socket.terminate();
  }
}
