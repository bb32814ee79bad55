/** Refuses a request to become a WebSocket, with an ordinary HTTP answer. */
import { STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";

/** `words`: for people; they follow no input, so they can break no header. */
export function refuseUpgrade(socket: Duplex, status: number, words: string): void {
  const head = [
    `HTTP/1.1 ${String(status)} ${STATUS_CODES[status] ?? ""}`,
    "Connection: close",
    "Content-Type: text/plain; charset=utf-8",
    `Content-Length: ${String(Buffer.byteLength(words))}`,
    ...(status === 503 ? ["Retry-After: 1"] : []),
  ];
  socket.once("finish", () => {
    socket.destroy();
  });
  socket.end(`${head.join("\r\n")}\r\n\r\n${words}`);
}
