/**
 * A client of Streamable HTTP that costs next to nothing, and that hides nothing: every answer is
 * counted, however often it came, and a stream that broke is taken up again only when a test says so.
 * For a thousand sessions in one test, and for questions that the SDK's client does not let one ask.
 */
import { request as httpRequest, type Agent, type IncomingMessage } from "node:http";
import type { Answer, CallData, Reply } from "./holdfast-process.ts";
import { until } from "./lab.ts";

export const VERSION = "2025-11-25";
const ACCEPT = "application/json, text/event-stream";

/** One whole response. */
export interface Whole {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
}

export interface Plain {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
  readonly agent?: Agent;
}

/** Sends one request and reads all of its answer. */
export function exchange(url: string, { method = "GET", headers, body, agent }: Plain) {
  return new Promise<Whole>((resolve, reject) => {
    const outgoing = httpRequest(url, { method, agent, headers }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => (text += chunk));
      response.on("error", reject);
      response.on("end", () => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text });
      });
    });
    outgoing.on("error", reject);
    outgoing.end(body);
  });
}

/** One request of a session, and all that came of it. */
export interface Asked {
  readonly idText: string;
  readonly tool: string;
  readonly nonce: string;
  /** Every answer that came, over whichever stream. One is right. */
  readonly answers: Reply[];
  /** With which the client comes back; undefined while it could not. */
  lastEventId: string | undefined;
  /** The status of the response to the POST; 0 until there is one. */
  status: number;
  /** The connection of its newest stream. */
  isOpen: boolean;
  /** Settles when the response to the POST ended, or broke. Never rejects. */
  readonly ended: Promise<void>;
}

export interface SessionOptions {
  readonly agent?: Agent;
  /** With every request: a token, an origin. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly version?: string;
}

/**
 * Reads a stream of events as the WHATWG text says, as far as MCP uses it. Of a long event each part is looked
 * through twice at most: whoever shares the process with this client would wait for more.
 */
function eachEvent(
  response: IncomingMessage,
  take: (id: string | undefined, data: string) => void,
) {
  const held: string[] = [];
  const takeBlock = (block: string) => {
    const lines = block.split("\n");
    const value = (name: string) =>
      lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
    take(value("id"), value("data") ?? "");
  };
  response.setEncoding("utf8");
  response.on("data", (chunk: string) => {
    // An end may lie across two parts.
    const before = held.pop() ?? "";
    const [first = "", ...more] = (before + chunk).split("\n\n");
    const rest = more.pop();
    if (rest === undefined) {
      held.push(before, chunk);
      return;
    }
    takeBlock(held.splice(0).join("") + first);
    more.forEach(takeBlock);
    held.push(rest);
  });
}

/** One session, from its handshake on, over however many connections and lives of the proxy. */
export class RawSession {
  readonly url: string;
  readonly key: string;
  readonly #options: SessionOptions;
  /** Messages on its streams that are no answer to what was asked there. */
  readonly strays: Reply[] = [];
  #nextId = 1;

  private constructor(url: string, key: string, options: SessionOptions) {
    this.url = url;
    this.key = key;
    this.#options = options;
  }

  /** initialize and initialized. */
  static async open(url: string, options: SessionOptions = {}): Promise<RawSession> {
    const clientInfo = { name: "raw-session", version: "1" };
    const protocolVersion = options.version ?? VERSION;
    const params = { protocolVersion, capabilities: {}, clientInfo };
    const greeting = await exchange(url, {
      method: "POST",
      headers: { ...POST_HEADERS, ...options.headers },
      body: JSON.stringify({ jsonrpc: "2.0", id: 0, method: "initialize", params }),
      ...agentOf(options),
    });
    const key = greeting.headers["mcp-session-id"];
    if (greeting.status !== 200 || typeof key !== "string") {
      throw new Error(`initialize was answered ${String(greeting.status)}: ${greeting.text}`);
    }
    const session = new RawSession(url, key, options);
    const { status } = await session.post({ method: "notifications/initialized" });
    if (status !== 202) throw new Error(`initialized was answered ${String(status)}`);
    return session;
  }

  headers(): Record<string, string> {
    return {
      "mcp-session-id": this.key,
      "mcp-protocol-version": this.#options.version ?? VERSION,
      ...this.#options.headers,
    };
  }

  /** POSTs one message and waits for the whole response. */
  post(message: object): Promise<Whole> {
    return this.postText(JSON.stringify({ jsonrpc: "2.0", ...message }));
  }

  /** The same with a body that need be no message. */
  postText(body: string): Promise<Whole> {
    return exchange(this.url, {
      method: "POST",
      headers: { ...POST_HEADERS, ...this.headers() },
      body,
      ...agentOf(this.#options),
    });
  }

  /** One request whose answer is plain JSON or the last event of its stream. */
  async request(method: string, params: object = {}): Promise<Reply> {
    const { status, headers, text } = await this.post({ id: this.#nextId++, method, params });
    if (status !== 200) throw new Error(`${method} was answered ${String(status)}: ${text}`);
    if (String(headers["content-type"]).startsWith("application/json")) {
      return JSON.parse(text) as Reply;
    }
    const data = text.split("\n").filter((line) => line.startsWith("data: {"));
    return JSON.parse((data.at(-1) ?? "").slice(6)) as Reply;
  }

  /** Calls a tool and does not wait. `nonce` is among the arguments. */
  ask(tool: string, nonce: string, more: Readonly<Record<string, string>> = {}): Asked {
    const id = this.#nextId++;
    const params = { name: tool, arguments: { nonce, ...more } };
    const body = JSON.stringify({ jsonrpc: "2.0", id, method: "tools/call", params });
    let end: () => void = () => undefined;
    const ended = new Promise<void>((resolve) => (end = resolve));
    const asked: Asked = {
      idText: String(id),
      tool,
      nonce,
      answers: [],
      lastEventId: undefined,
      status: 0,
      isOpen: true,
      ended,
    };
    const outgoing = httpRequest(
      this.url,
      {
        method: "POST",
        headers: {
          ...POST_HEADERS,
          "content-length": String(Buffer.byteLength(body)),
          ...this.headers(),
        },
        ...agentOf(this.#options),
      },
      (response) => {
        this.#read(asked, response);
      },
    );
    outgoing.on("error", () => undefined);
    outgoing.on("close", () => {
      asked.isOpen = false;
      end();
    });
    outgoing.end(body);
    return asked;
  }

  /** Calls a tool and waits for the one answer. Rejects where the stream broke before. */
  async call(tool: string, nonce: string, more: Readonly<Record<string, string>> = {}) {
    const asked = this.ask(tool, nonce, more);
    await asked.ended;
    return answerOf(asked);
  }

  /**
   * Comes back for one request with the last event id that was seen, until that stream ends. Resolves
   * to the status; 0 where nobody was there, or the connection broke.
   */
  resume(asked: Asked): Promise<number> {
    const lastEventId = asked.lastEventId;
    if (lastEventId === undefined) throw new Error(`no event of ${asked.nonce} was seen`);
    const headers = {
      accept: "text/event-stream",
      "last-event-id": lastEventId,
      ...this.headers(),
    };
    return new Promise((resolve) => {
      let status = 0;
      const outgoing = httpRequest(
        this.url,
        { method: "GET", headers, ...agentOf(this.#options) },
        (response) => {
          status = response.statusCode ?? 0;
          asked.isOpen = true;
          this.#read(asked, response);
          response.on("error", () => {
            status = 0;
          });
        },
      );
      outgoing.on("error", () => undefined);
      outgoing.on("close", () => {
        asked.isOpen = false;
        resolve(status);
      });
      outgoing.end();
    });
  }

  /** Comes back as often as it takes. */
  async untilAnswered(asked: Asked): Promise<void> {
    await asked.ended;
    await until(`the answer to ${asked.nonce}`, async () => {
      if (asked.answers.length > 0) return true;
      const status = await this.resume(asked);
      if (status !== 0 && status !== 200 && status !== 503) {
        throw new Error(`coming back for ${asked.nonce} was answered ${String(status)}`);
      }
      return asked.answers.length > 0;
    });
  }

  /** Opens the standalone stream; what comes over it is a stray. Resolves when it is open. */
  listen(): Promise<void> {
    const headers = { accept: "text/event-stream", ...this.headers() };
    return new Promise((resolve, reject) => {
      const outgoing = httpRequest(this.url, { headers, ...agentOf(this.#options) });
      outgoing.on("error", reject);
      outgoing.on("response", (response) => {
        if (response.statusCode !== 200) {
          reject(new Error(`the stream was answered ${String(response.statusCode)}`));
        }
        response.on("error", () => undefined);
        eachEvent(response, (_id, data) => {
          if (data !== "") this.strays.push(JSON.parse(data) as Reply);
        });
        resolve();
      });
      outgoing.end();
    });
  }

  end(): Promise<Whole> {
    return exchange(this.url, {
      method: "DELETE",
      headers: this.headers(),
      ...agentOf(this.#options),
    });
  }

  #read(asked: Asked, response: IncomingMessage): void {
    asked.status = response.statusCode ?? 0;
    // A connection that breaks is a matter of course here; `close` tells it.
    response.on("error", () => undefined);
    if (!String(response.headers["content-type"]).startsWith("text/event-stream")) {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => (text += chunk));
      response.on("end", () => {
        if (text !== "") this.#take(asked, JSON.parse(text) as Reply);
      });
      return;
    }
    eachEvent(response, (id, data) => {
      if (id !== undefined) asked.lastEventId = id;
      if (data !== "") this.#take(asked, JSON.parse(data) as Reply);
    });
  }

  #take(asked: Asked, message: Reply): void {
    const isAnswer = message.method === undefined && String(message.id) === asked.idText;
    if (isAnswer) asked.answers.push(message);
    else this.strays.push(message);
  }
}

export const POST_HEADERS: Readonly<Record<string, string>> = {
  "content-type": "application/json",
  accept: ACCEPT,
};

const agentOf = ({ agent }: SessionOptions): { agent?: Agent } =>
  agent === undefined ? {} : { agent };

interface ToolResult {
  readonly content?: readonly { readonly text?: string }[];
  readonly isError?: boolean;
  readonly _meta?: Readonly<Record<string, unknown>>;
}

/** The one answer, as a tool's caller sees it. */
export function answerOf(asked: Asked): Answer {
  const [message, ...others] = asked.answers;
  if (message === undefined || others.length > 0) {
    const count = String(asked.answers.length);
    throw new Error(`${asked.nonce} has ${count} answers (HTTP ${String(asked.status)})`);
  }
  if (message.error !== undefined) {
    const told = message.error.data as CallData | undefined;
    return { text: message.error.message, isError: true, told };
  }
  const result = (message.result ?? {}) as ToolResult;
  return {
    text: (result.content ?? []).map((block) => block.text ?? "").join("\n"),
    isError: result.isError === true,
    told: result._meta?.["holdfast/call"] as CallData | undefined,
  };
}
