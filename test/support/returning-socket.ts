/**
 * A client's WebSocket that comes back: MCP's official client has none. After a loss it connects again,
 * until it is let in, with the session key that Holdfast named in its answer to the first upgrade; its
 * client neither notices nor initialises anew.
 */
import type { IncomingMessage } from "node:http";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import type { JSONRPCMessage } from "@modelcontextprotocol/sdk/types.js";
import { WebSocket } from "ws";

const RETRY_MS = 50;

export class ReturningSocketTransport implements Transport {
  onclose?: () => void;
  onerror?: (error: Error) => void;
  onmessage?: (message: JSONRPCMessage) => void;
  readonly #url: string;
  #key: string | undefined;
  #socket: WebSocket | undefined;
  #isOver = false;

  constructor(url: string) {
    this.#url = url;
  }

  async start(): Promise<void> {
    await this.#open();
  }

  /** Rejects if nobody lets it in. */
  #open(): Promise<void> {
    const url = this.#key === undefined ? this.#url : `${this.#url}?session=${this.#key}`;
    const socket = new WebSocket(url, "mcp");
    this.#socket = socket;
    socket.on("upgrade", (response: IncomingMessage) => {
      const named = response.headers["mcp-session-id"];
      if (typeof named === "string") this.#key = named;
    });
    socket.on("message", (data: Buffer) => {
      this.onmessage?.(JSON.parse(data.toString()) as JSONRPCMessage);
    });
    return new Promise((resolve, reject) => {
      socket.on("error", reject);
      socket.on("open", () => {
        socket.on("close", () => {
          this.#lost();
        });
        resolve();
      });
    });
  }

  #lost(): void {
    if (this.#isOver) this.onclose?.();
    else
      setTimeout(() => {
        this.#open().catch(() => {
          this.#lost();
        });
      }, RETRY_MS);
  }

  send(message: JSONRPCMessage): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#socket?.send(JSON.stringify(message), (error) => {
        if (error instanceof Error) reject(error);
        else resolve();
      });
    });
  }

  close(): Promise<void> {
    this.#isOver = true;
    this.#socket?.close(1000);
    return Promise.resolve();
  }
}
