/**
 * A client over Streamable HTTP that hides nothing: every byte of an answer is kept as it came. A stream
 * that broke is taken up again with its last event id until all is answered.
 */
import { Agent, request as httpRequest, type ClientRequest, type IncomingMessage } from "node:http";
import type { Lost, Way } from "../caller.ts";

const ACCEPT = "application/json, text/event-stream";
const RETURN_MS = 80;
const CLOSE_MS = 2_000;

/** One request whose answer is owed. */
interface Owed {
  readonly id: string | undefined;
  lastEventId: string | undefined;
  isAnswered: boolean;
  onKept(): void;
}

export const openHttp = (url: string): Way => new HttpWay(url);

class HttpWay implements Way {
  readonly #url: string;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 64 });
  readonly #open = new Set<ClientRequest>();
  readonly #responses = new Set<IncomingMessage>();
  /** Requests with an event id: those that can be come back for. */
  readonly #known = new Set<string>();
  #hear: (text: string) => void = () => undefined;
  #lost: Lost = () => undefined;
  #key: string | undefined;
  #version: string | undefined;
  #isOver = false;

  constructor(url: string) {
    this.#url = url;
  }

  open(hear: (text: string) => void, lost: Lost): Promise<void> {
    this.#hear = hear;
    this.#lost = lost;
    return Promise.resolve();
  }

  send(message: object, onKept: () => void): Promise<void> {
    const isRequest = "id" in message && "method" in message;
    const id = isRequest ? String(message.id) : undefined;
    const owed: Owed = { id, lastEventId: undefined, isAnswered: !isRequest, onKept };
    const body = JSON.stringify(message);
    const headers = {
      "content-type": "application/json",
      "content-length": String(Buffer.byteLength(body)),
      accept: ACCEPT,
    };
    return new Promise((resolve, reject) => {
      const settle = (status: number) => {
        const isTaken = status === 200 || status === 202;
        if (owed.isAnswered && isTaken) resolve();
        else if (owed.lastEventId === undefined) reject(new Error(`HTTP ${String(status)}`));
        else {
          resolve();
          void this.#comeBack(owed);
        }
      };
      this.#exchange("POST", headers, body, owed).then(settle, reject);
    });
  }

  /** Resolves when the response has ended, or broke, to its status; 0 if there was none. */
  #exchange(
    method: string,
    headers: Readonly<Record<string, string>>,
    body: string | undefined,
    owed: Owed,
  ): Promise<number> {
    return new Promise((resolve) => {
      let status = 0;
      const options = { method, agent: this.#agent, headers: { ...headers, ...this.#session() } };
      const outgoing = httpRequest(this.#url, options, (response) => {
        status = response.statusCode ?? 0;
        const named = response.headers["mcp-session-id"];
        if (typeof named === "string") this.#key = named;
        this.#responses.add(response);
        response.on("error", () => undefined);
        response.on("close", () => this.#responses.delete(response));
        this.#read(response, owed);
      });
      this.#open.add(outgoing);
      outgoing.on("error", () => undefined);
      outgoing.on("close", () => {
        this.#open.delete(outgoing);
        if (status === 404 && this.#key !== undefined && !this.#isOver) {
          this.#lost("its session is not known (404)", true);
        }
        resolve(status);
      });
      outgoing.end(body);
    });
  }

  #session(): Record<string, string> {
    return {
      ...(this.#key === undefined ? {} : { "mcp-session-id": this.#key }),
      ...(this.#version === undefined ? {} : { "mcp-protocol-version": this.#version }),
    };
  }

  #read(response: IncomingMessage, owed: Owed): void {
    let held = "";
    response.setEncoding("utf8");
    const isStream = String(response.headers["content-type"]).startsWith("text/event-stream");
    response.on("data", (chunk: string) => {
      held += chunk;
      if (!isStream) return;
      const events = held.split("\n\n");
      held = events.pop() ?? "";
      for (const event of events) this.#take(event, owed);
    });
    response.on("end", () => {
      if (!isStream && response.statusCode === 200 && held !== "") this.#message(held, owed);
    });
  }

  #take(event: string, owed: Owed): void {
    const lines = event.split("\n");
    const value = (name: string) =>
      lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2) ?? "";
    const id = value("id");
    if (id !== "" && owed.id !== undefined) {
      owed.lastEventId = id;
      this.#known.add(owed.id);
      owed.onKept();
    }
    const data = value("data");
    if (data !== "") this.#message(data, owed);
  }

  #message(text: string, owed: Owed): void {
    const { id, method } = JSON.parse(text) as { id?: unknown; method?: unknown };
    if (method === undefined && String(id) === owed.id) owed.isAnswered = true;
    this.#hear(text);
  }

  async #comeBack(owed: Owed): Promise<void> {
    while (!owed.isAnswered && !this.#isOver) {
      const headers = { accept: "text/event-stream", "last-event-id": owed.lastEventId ?? "" };
      const status = await this.#exchange("GET", headers, undefined, owed);
      // 204: nothing is owed for this stream any more.
      if (status === 204 || status === 404) return;
      await new Promise((resolve) => setTimeout(resolve, RETURN_MS));
    }
  }

  agreed(version: string): void {
    this.#version = version;
  }

  drop(): void {
    for (const outgoing of this.#open) outgoing.destroy();
  }

  pause(ms: number): void {
    const paused = [...this.#responses];
    for (const response of paused) response.pause();
    setTimeout(() => {
      for (const response of paused) response.resume();
    }, ms);
  }

  async close(): Promise<boolean> {
    this.#isOver = true;
    this.drop();
    if (this.#key === undefined) return false;
    const owed: Owed = {
      id: undefined,
      lastEventId: undefined,
      isAnswered: true,
      onKept: () => undefined,
    };
    const due = setTimeout(() => {
      this.drop();
    }, CLOSE_MS);
    const status = await this.#exchange("DELETE", {}, undefined, owed);
    clearTimeout(due);
    this.#agent.destroy();
    return status >= 200 && status < 300;
  }

  canReturnFor(id: string): boolean {
    return this.#known.has(id);
  }
}
