/** A client over WebSocket that has thousands of calls open on one connection. */
import { once } from "node:events";
import { WebSocket } from "ws";
import type { Reply } from "../../support/holdfast-process.ts";

export interface SocketClient {
  /** Answers to calls, by id. */
  readonly answers: ReadonlyMap<number, Reply>;
  /** Sends a call and does not wait. `padding`: so many characters more in its arguments. */
  ask(id: number, tool: string, nonce: string, padding?: number): void;
  /** Bytes that the proxy has not taken yet. */
  unsentBytes(): number;
  close(): Promise<void>;
}

/** Connected and initialised. `url`: of the proxy's Streamable HTTP for the server. */
export async function openSocketClient(url: string): Promise<SocketClient> {
  const socket = new WebSocket(url.replace("http:", "ws:").replace("/mcp/", "/ws/"), "mcp");
  const answers = new Map<number, Reply>();
  socket.on("message", (data: Buffer) => {
    const message = JSON.parse(data.toString()) as Reply;
    // 0 is the handshake's.
    if (typeof message.id === "number" && message.id > 0 && message.method === undefined) {
      answers.set(message.id, message);
    }
  });
  await once(socket, "open");
  const send = (message: object) => {
    socket.send(JSON.stringify({ jsonrpc: "2.0", ...message }));
  };
  const greeted = once(socket, "message");
  const clientInfo = { name: "socket-client", version: "1" };
  const params = { protocolVersion: "2025-11-25", capabilities: {}, clientInfo };
  send({ id: 0, method: "initialize", params });
  await greeted;
  send({ method: "notifications/initialized" });
  return {
    answers,
    ask: (id, tool, nonce, padding = 0) => {
      const args = { nonce, ...(padding === 0 ? {} : { padding: "p".repeat(padding) }) };
      send({ id, method: "tools/call", params: { name: tool, arguments: args } });
    },
    unsentBytes: () => socket.bufferedAmount,
    close: async () => {
      if (socket.readyState === socket.CLOSED) return;
      const closed = once(socket, "close");
      socket.terminate();
      await closed;
    },
  };
}
