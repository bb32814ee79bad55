/** HTTP by hand: exactly these bytes on a socket of its own, and what the other side says to them. */
import { connect, type Socket } from "node:net";
import { once } from "node:events";
import { until } from "./lab.ts";

export interface Heard {
  /** 0 where the connection ended without an answer. */
  readonly status: number;
  /** All bytes of the answer. */
  readonly text: string;
}

/** An open socket, what came over it, and whether it is still open. */
export interface Wire {
  readonly socket: Socket;
  text(): string;
  isOver(): boolean;
  write(bytes: string | Buffer): void;
  destroy(): void;
}

export async function wireTo(port: number): Promise<Wire> {
  const socket = connect(port, "127.0.0.1");
  let text = "";
  let isOver = false;
  socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
  // Being cut off is an answer, too.
  socket.on("error", () => undefined);
  socket.on("close", () => (isOver = true));
  await once(socket, "connect");
  return {
    socket,
    text: () => text,
    isOver: () => isOver,
    write: (bytes) => {
      if (!socket.destroyed) socket.write(bytes);
    },
    destroy: () => socket.destroy(),
  };
}

export const statusOf = (text: string): number =>
  Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0);

/** Whether the head is there, and the body that it announces. */
function isWhole(text: string): boolean {
  const head = text.indexOf("\r\n\r\n");
  if (head < 0) return false;
  const length = /^content-length: *(\d+)/im.exec(text.slice(0, head))?.[1];
  if (length === undefined) return text.endsWith("\r\n0\r\n\r\n");
  return text.length >= head + 4 + Number(length);
}

/** Sends the bytes and waits for one answer, or for the end of the connection. */
export async function speak(port: number, bytes: string | Buffer): Promise<Heard> {
  const wire = await wireTo(port);
  wire.write(bytes);
  await until("an answer or the end", () => wire.isOver() || isWhole(wire.text()));
  wire.destroy();
  return { status: statusOf(wire.text()), text: wire.text() };
}

/** A request as bytes; what is not given is as a client of loopback says it. */
export function requestText(
  method: string,
  target: string,
  headers: readonly string[],
  body = "",
): string {
  return [`${method} ${target} HTTP/1.1`, ...headers, "", body].join("\r\n");
}

const BLOCK = Buffer.alloc(1024 * 1024, "x");

/**
 * Pours a body of that many bytes behind a head that was written before, until it is taken or refused.
 * Resolves to the status.
 */
export async function pourBody(
  wire: Wire,
  bytes: number,
  form: "length" | "chunks",
): Promise<number> {
  const head = Buffer.from(`${BLOCK.length.toString(16)}\r\n`);
  const piece = form === "chunks" ? Buffer.concat([head, BLOCK, Buffer.from("\r\n")]) : BLOCK;
  for (let sent = 0; sent < bytes && !wire.isOver(); sent += BLOCK.length) {
    wire.write(piece);
    const isTaken = () => wire.isOver() || wire.socket.writableLength < 4 * BLOCK.length;
    await until("it to be taken", isTaken);
  }
  await until("the refusal", () => wire.isOver() || statusOf(wire.text()) > 0);
  wire.destroy();
  return statusOf(wire.text());
}
