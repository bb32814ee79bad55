/**
 * The other sides of a downstream route: a scripted door behind it, and a bare server before it that
 * lets everybody in. Real sockets on loopback; no engine.
 */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { realWorld, type World } from "../../src/base/world.ts";
import type { ClientHandler, ClientLink, Door, Inbound, Said } from "../../src/ports.ts";
import type { Route, UpgradeRoute } from "../../src/downstream/http/route.ts";
import { formatError, formatResult, type RequestMessage } from "../../src/wire/message.ts";

/** A real world whose timers fire when a test says so. */
export class HandWorld implements World {
  readonly #real = realWorld();
  #timers: { delayMs: number; fire: () => void }[] = [];
  now = this.#real.now;
  monotonic = this.#real.monotonic;
  soon = this.#real.soon;
  random = this.#real.random;
  newId = this.#real.newId;
  secret = this.#real.secret;
  digest = this.#real.digest;
  litter = this.#real.litter;

  timer(delayMs: number, fire: () => void): () => void {
    const timer = { delayMs, fire };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  hasTimer(delayMs: number): boolean {
    return this.#timers.some((timer) => timer.delayMs === delayMs);
  }

  /** Fires the timers of this delay that are set now. Resolves when what they do soon is done. */
  async fire(delayMs: number): Promise<void> {
    const due = this.#timers.filter((timer) => timer.delayMs === delayMs);
    if (due.length === 0) throw new Error(`no timer of ${String(delayMs)} ms is set`);
    this.#timers = this.#timers.filter((timer) => timer.delayMs !== delayMs);
    for (const timer of due) timer.fire();
    await new Promise<void>((resolve) => {
      this.#real.soon(resolve);
    });
  }
}

/** A session: answers `initialize` and calls, keeps what can't be sent, writes down what it hears. */
export class ScriptedHandler implements ClientHandler {
  link: ClientLink;
  readonly received: Inbound[] = [];
  /** "detached: cause", "attached", "left: cause". */
  readonly told: string[] = [];
  readonly owed: string[] = [];
  /** Calls are answered by `answer` only. */
  isSilent = false;
  hasBegun = false;

  constructor(link: ClientLink) {
    this.link = link;
  }

  /** Words of what was received, in order. */
  get heard(): string[] {
    return this.received.map((m) => ("method" in m ? m.method : m.kind));
  }

  get isDetached(): boolean {
    return this.told.at(-1)?.startsWith("detached") ?? false;
  }

  receive(inbound: Inbound): void {
    this.received.push(inbound);
    if (inbound.kind === "oversize") {
      this.say(formatError(inbound.idText, { code: -32600, message: "too large" }));
    }
    if (inbound.kind !== "request") return;
    if (inbound.method === "initialize") {
      this.hasBegun = true;
      this.link.begun?.();
    }
    if (!this.isSilent || inbound.method !== "tools/call") this.answer(inbound);
  }

  answer({ idText, method, params }: RequestMessage): void {
    const results: Record<string, unknown> = {
      initialize: {
        protocolVersion: params?.["protocolVersion"],
        capabilities: { tools: {} },
        serverInfo: { name: "scripted", version: "1" },
      },
      "tools/call": { content: [{ type: "text", text: String(params?.["name"]) }] },
    };
    this.say(formatResult(idText, results[method] ?? {}), { kind: "reply", idText });
  }

  say(text: string, said: Said = { kind: "message" }): void {
    if (!this.link.send(text, said)) this.owed.push(text);
  }

  moveTo(link: ClientLink): void {
    this.link = link;
    this.told.push("moved");
    this.#pay();
  }

  resume(callIds: readonly string[]): Promise<readonly string[]> {
    return Promise.resolve(callIds);
  }
  detached(cause: string): void {
    this.told.push(`detached: ${cause}`);
  }
  attached(): void {
    this.told.push("attached");
    this.#pay();
  }
  left(cause: string): Promise<void> {
    this.told.push(`left: ${cause}`);
    return Promise.resolve();
  }

  #pay(): void {
    for (const text of this.owed.splice(0)) this.say(text);
  }
}

/** What a route asks of its door. `resume` and `adopt` know the sessions that were begun here. */
export class ScriptedDoor implements Door {
  readonly handlers: ScriptedHandler[] = [];
  readonly resumed: string[] = [];
  /** Links for which a session was looked for. */
  readonly adopting: ClientLink[] = [];
  /** Awaited before the door answers. */
  gate: Promise<void> = Promise.resolve();

  get last(): ScriptedHandler {
    const handler = this.handlers.at(-1);
    if (handler === undefined) throw new Error("nobody has entered");
    return handler;
  }

  enter(link: ClientLink): ScriptedHandler {
    const handler = new ScriptedHandler(link);
    this.handlers.push(handler);
    return handler;
  }

  async resume(link: ClientLink & { readonly key: string }): Promise<ClientHandler | undefined> {
    this.resumed.push(link.key);
    await this.gate;
    const own = this.handlers.find((h) => h.hasBegun && h.link.key === link.key);
    own?.moveTo(link);
    return own;
  }

  async adopt(link: ClientLink): Promise<ClientHandler | undefined> {
    this.adopting.push(link);
    await this.gate;
    const { peer, principal } = link;
    const own = this.handlers.filter(
      (h) => h.isDetached && h.link.peer === peer && h.link.principal === principal,
    );
    if (own.length !== 1) return undefined;
    own[0]?.moveTo(link);
    return own[0];
  }
}

export interface Front {
  readonly server: Server;
  /** Such as `127.0.0.1:40000`. */
  readonly host: string;
  close(): Promise<void>;
}

/**
 * Serves `/sse/NAME…` or `/ws/NAME` from one door for all names. The header `x-principal` says who a
 * visitor is; "local" without it.
 */
export async function front(door: Door, route: Route | UpgradeRoute): Promise<Front> {
  const server = createServer();
  const visitOf = (path: string | undefined, principal: unknown) => {
    const url = new URL(path ?? "/", "http://front");
    const upstream = decodeURIComponent(url.pathname.split("/")[2] ?? "");
    return { upstream, door, url, principal: typeof principal === "string" ? principal : "local" };
  };
  server.on("request", (request, response) => {
    if ("serve" in route) {
      const visit = visitOf(request.url, request.headers["x-principal"]);
      route.serve(request, response, visit);
    }
  });
  server.on("upgrade", (request, socket, head) => {
    if ("upgrade" in route) {
      const visit = visitOf(request.url, request.headers["x-principal"]);
      route.upgrade(request, socket, head, visit);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    server,
    host: `127.0.0.1:${String(port)}`,
    close: async () => {
      await route.stop(0);
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export const request = (id: number, method: string, params: object = {}): string =>
  JSON.stringify({ jsonrpc: "2.0", id, method, params });

export const initialize = (id = 0): string =>
  request(id, "initialize", {
    protocolVersion: "2024-11-05",
    capabilities: {},
    clientInfo: { name: "test", version: "1" },
  });
