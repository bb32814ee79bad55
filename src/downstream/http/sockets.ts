/**
 * The connections of a listener: how many there are, and what is said where no response object is:
 * to bytes that are no request, and to a request for another protocol.
 */
import { type IncomingMessage, type ServerResponse, STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import { errorBody, type Trouble } from "./answers.ts";

/** Beyond the bound this many are told so; the rest are cut. */
const SURPLUS_MAX = 256;

export interface SocketUser {
  readonly principal: string;
  readonly upstream: string;
}

export class Sockets {
  readonly #max: number;
  readonly #all = new Set<Duplex>();
  readonly #surplus = new WeakSet<Duplex>();
  /** Whose answers may still go out there, and for what they asked. */
  readonly #users = new Map<Duplex, readonly SocketUser[]>();
  /** Answers under way, in the order of their requests: nothing else may be written there. */
  readonly #answering = new WeakMap<Duplex, Set<ServerResponse>>();

  constructor(max: number) {
    this.#max = max;
  }

  get size(): number {
    return this.#all.size;
  }

  /** A connection came in. False where it was cut. */
  add(socket: Duplex): boolean {
    // One that asked for another protocol comes in twice (`readmit`).
    if (this.#all.has(socket)) return true;
    if (this.#all.size >= this.#max + SURPLUS_MAX) {
      socket.destroy();
      return false;
    }
    if (this.#all.size >= this.#max) this.#surplus.add(socket);
    this.#all.add(socket);
    socket.on("close", () => {
      this.#all.delete(socket);
      this.#users.delete(socket);
    });
    return true;
  }

  /** It is over the bound: its requests are refused. */
  isSurplus(socket: Duplex): boolean {
    return this.#surplus.has(socket);
  }

  answering(socket: Duplex, response: ServerResponse): void {
    const answers = this.#answering.get(socket) ?? new Set();
    this.#answering.set(socket, answers.add(response));
    response.on("close", () => {
      answers.delete(response);
    });
  }

  /** The answers that are due on this connection, the next one first. */
  answersOn(socket: Duplex): readonly ServerResponse[] {
    return [...(this.#answering.get(socket) ?? [])];
  }

  /** A request on this connection was admitted. One that did not wait for its turn joins the others. */
  usedBy(socket: Duplex, user: SocketUser): void {
    if (!this.#all.has(socket)) return;
    const hasOthers = (this.#answering.get(socket)?.size ?? 0) > 1;
    const others = hasOthers ? (this.#users.get(socket) ?? []) : [];
    const isKnown = others.some(
      ({ principal, upstream }) => principal === user.principal && upstream === user.upstream,
    );
    this.#users.set(socket, isKnown ? others : [...others, user]);
  }

  /** Cuts the connections of those who would not be admitted any more: streams last longer than tokens. */
  review(isAdmitted: (user: SocketUser) => boolean): void {
    for (const [socket, users] of this.#users) if (!users.every(isAdmitted)) socket.destroy();
  }

  destroyAll(): void {
    for (const socket of this.#all) socket.destroy();
  }
}

/** Answers on the bare socket, and ends it. */
export function refuseSocket(socket: Duplex, what: Trouble): void {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const body = errorBody(what.code, what.reason);
  const lines = [
    `HTTP/1.1 ${String(what.status)} ${STATUS_CODES[what.status] ?? ""}`,
    "Connection: close",
    "Content-Type: application/json",
    `Content-Length: ${String(Buffer.byteLength(body))}`,
    "X-Content-Type-Options: nosniff",
  ];
  const headers = what.headers ?? [];
  for (let i = 0; i < headers.length; i += 2) {
    lines.push(`${headers[i] ?? ""}: ${headers[i + 1] ?? ""}`);
  }
  socket.end(`${lines.join("\r\n")}\r\n\r\n${body}`);
}

const OF_THE_UPGRADE = new Set(["connection", "upgrade", "http2-settings"]);

/**
 * Puts back what was read of a request that offers a protocol which is not WebSocket (Java clients
 * offer h2c with every request), without the offer: a server may always go on as before (RFC 9110
 * §7.8). The socket is then to be taken as a new connection.
 */
export function readmit(request: IncomingMessage, socket: Duplex, head: Buffer): void {
  const { method = "GET", url = "/", rawHeaders } = request;
  let text = `${method} ${url} HTTP/1.1\r\n`;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] ?? "";
    if (!OF_THE_UPGRADE.has(name.toLowerCase())) text += `${name}: ${rawHeaders[i + 1] ?? ""}\r\n`;
  }
  socket.unshift(Buffer.concat([Buffer.from(`${text}\r\n`, "latin1"), head]));
}
