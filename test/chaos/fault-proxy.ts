/**
 * A TCP relay on loopback that does to a connection what networks do: nothing, delay, a cut, silence, a
 * trickle, noise. One stands before each server that is reached over the network. What it does is
 * switched while connections are open, and holds for those too.
 *
 * Noise and repeated bytes go only towards the client (the side that connects here), and only between
 * two chunks. TCP would let neither through; a relay that doubled a whole request would make a server run it
 * twice, and no proxy on the near side could be blamed for that.
 */
import { connect, createServer, type Server, type Socket } from "node:net";
import { once } from "node:events";
import { setTimeout as pause } from "node:timers/promises";
import { ownPort } from "../support/port.ts";

/** What is done to every connection while it is set. Lengths in bytes, times in ms. */
export type Toxic =
  | { readonly kind: "pass" }
  /** Each chunk waits `ms`, give or take up to `jitterMs`. Order stays. */
  | { readonly kind: "latency"; readonly ms: number; readonly jitterMs: number }
  /** RST to both sides once so many bytes of the server's have passed. */
  | { readonly kind: "reset"; readonly afterBytes: number }
  /** FIN to the client in the same place; the server gets a RST. */
  | { readonly kind: "fin"; readonly afterBytes: number }
  /** Nothing passes, neither bytes nor ends; afterwards all of it does, as after a partition. */
  | { readonly kind: "black_hole" }
  /** New connections are accepted, and nobody answers on them, also afterwards; until `forgetSilent`. */
  | { readonly kind: "silence" }
  /** Nobody listens. Open connections go on. */
  | { readonly kind: "refuse" }
  /** One byte at a time, in both directions. */
  | { readonly kind: "slice"; readonly everyMs: number }
  | { readonly kind: "bandwidth"; readonly bytesPerSecond: number }
  /** So many bytes of noise before the next chunk of each connection, once. */
  | { readonly kind: "garbage"; readonly bytes: number }
  /** The next chunk of each connection comes twice. */
  | { readonly kind: "duplicate" };

export interface FaultProxy {
  readonly port: number;
  readonly toxic: Toxic;
  /** RST to those that met silence, as a network does that has forgotten them: in life their callers give up. */
  forgetSilent(): void;
  /** Resolves when it holds for all connections, new ones included. */
  set(toxic: Toxic): Promise<void>;
  /** RST to both sides of every connection, now. */
  cut(): void;
  /** Connections of clients that are open. */
  open(): number;
  close(): Promise<void>;
}

export interface FaultProxyOptions {
  /** Where the server listens, on loopback. */
  readonly targetPort: number;
  /** From 0 to 1, without 1: jitter and noise. */
  readonly random: () => number;
}

type Direction = "to_server" | "to_client";

/** Pieces of a limited line go out this often. */
const BANDWIDTH_TICK_MS = 50;
const CUT_AFTER_MS = 5;

/** A setting, and which connections have had what it gives but once. */
interface Setting {
  readonly toxic: Toxic;
  readonly passed: Map<Link, number>;
  readonly served: Set<Link>;
  readonly over: Promise<void>;
  end(): void;
}

function setting(toxic: Toxic): Setting {
  let end: () => void = () => undefined;
  const over = new Promise<void>((resolve) => (end = resolve));
  return { toxic, passed: new Map(), served: new Set(), over, end };
}

/** One client's connection and the one to the server that belongs to it. */
interface Link {
  readonly client: Socket;
  server: Socket | undefined;
  /** The client was told a proper end; it closes its side when it likes. */
  isSevered: boolean;
  /** Nobody answers on it. */
  isSilent: boolean;
}

export async function openFaultProxy(options: FaultProxyOptions): Promise<FaultProxy> {
  const proxy = new Relay(options, await ownPort());
  await proxy.listen();
  return proxy;
}

class Relay implements FaultProxy {
  readonly #options: FaultProxyOptions;
  readonly #links = new Set<Link>();
  #server: Server | undefined;
  #setting = setting({ kind: "pass" });
  readonly port: number;

  constructor(options: FaultProxyOptions, port: number) {
    this.#options = options;
    this.port = port;
  }

  get toxic(): Toxic {
    return this.#setting.toxic;
  }

  async listen(): Promise<void> {
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      void this.#serve(socket);
    });
    server.listen(this.port, "127.0.0.1");
    await once(server, "listening");
    this.#server = server;
  }

  async set(toxic: Toxic): Promise<void> {
    const before = this.#setting;
    this.#setting = setting(toxic);
    before.end();
    if (toxic.kind === "refuse") this.#stopListening();
    else if (this.#server === undefined) await this.listen();
  }

  #stopListening(): void {
    this.#server?.close();
    this.#server = undefined;
  }

  cut(): void {
    for (const link of this.#links) breakLink(link);
  }

  forgetSilent(): void {
    for (const link of this.#links) if (link.isSilent) breakLink(link);
  }

  open(): number {
    return this.#links.size;
  }

  async close(): Promise<void> {
    const gone = [...this.#links].map(({ client }) => closed(client));
    this.#stopListening();
    this.cut();
    this.#setting.end();
    await Promise.all(gone);
  }

  async #serve(client: Socket): Promise<void> {
    const link: Link = { client, server: undefined, isSevered: false, isSilent: false };
    this.#links.add(link);
    client.on("close", () => this.#links.delete(link));
    // Its pump sees it as well, and tells the server when that may be told.
    client.on("error", () => undefined);
    if (this.#setting.toxic.kind === "silence") {
      link.isSilent = true;
      client.resume();
      client.on("end", () => client.end());
      return;
    }
    while (this.#setting.toxic.kind === "black_hole" && !client.destroyed) await this.#setting.over;
    if (client.destroyed) return;
    const server = connect({
      port: this.#options.targetPort,
      host: "127.0.0.1",
      noDelay: true,
      allowHalfOpen: true,
    });
    link.server = server;
    server.on("error", () => undefined);
    await Promise.all([
      this.#pump(link, client, server, "to_server"),
      this.#pump(link, server, client, "to_client"),
    ]);
  }

  /** One direction, chunk after chunk, so that a slow reader slows its writer. */
  async #pump(link: Link, from: Socket, to: Socket, direction: Direction): Promise<void> {
    try {
      // Its end must not end what goes the other way.
      const chunks = from.iterator({ destroyOnReturn: false });
      for await (const chunk of chunks) await this.#pass(link, to, direction, chunk as Buffer);
      if (link.isSevered) return;
      await this.#whileClogged();
      to.end();
    } catch {
      if (link.isSevered) {
        // Nobody wants what it still says, but its end is seen only by who reads up to there.
        link.client.resume();
        return;
      }
      // The one side is gone, so the other one has to see it; after a partition, not during it.
      await this.#whileClogged();
      breakLink(link);
    }
  }

  async #whileClogged(): Promise<void> {
    while (this.#setting.toxic.kind === "black_hole") await this.#setting.over;
  }

  async #pass(link: Link, to: Socket, direction: Direction, chunk: Buffer): Promise<void> {
    let rest = chunk;
    while (rest.length > 0) rest = await this.#step(this.#setting, link, to, direction, rest);
  }

  /** Does what is set now to the beginning of `chunk`; resolves to what is left of it. */
  async #step(now: Setting, link: Link, to: Socket, direction: Direction, chunk: Buffer) {
    const { toxic } = now;
    const all = async (bytes: Buffer) => {
      await write(to, bytes);
      return chunk.subarray(chunk.length);
    };
    switch (toxic.kind) {
      case "pass":
      case "silence":
      case "refuse":
        return all(chunk);
      case "black_hole":
        await now.over;
        return chunk;
      case "latency": {
        const spread = (this.#options.random() * 2 - 1) * toxic.jitterMs;
        await pause(Math.max(0, toxic.ms + spread));
        return all(chunk);
      }
      case "slice":
        await write(to, chunk.subarray(0, 1));
        await Promise.race([pause(toxic.everyMs), now.over]);
        return chunk.subarray(1);
      case "bandwidth": {
        const size = Math.max(1, Math.floor((toxic.bytesPerSecond * BANDWIDTH_TICK_MS) / 1000));
        await write(to, chunk.subarray(0, size));
        await Promise.race([pause(BANDWIDTH_TICK_MS), now.over]);
        return chunk.subarray(size);
      }
      case "reset":
      case "fin":
        return direction === "to_server" ? all(chunk) : sever(now, link, toxic, chunk);
      case "garbage":
        return all(
          this.#isDue(now, link, direction)
            ? Buffer.concat([this.#noise(toxic.bytes), chunk])
            : chunk,
        );
      case "duplicate":
        return all(this.#isDue(now, link, direction) ? Buffer.concat([chunk, chunk]) : chunk);
      default:
        return toxic satisfies never;
    }
  }

  /** Whether this connection is still to get what each gets once. */
  #isDue({ served }: Setting, link: Link, direction: Direction): boolean {
    if (direction === "to_server" || served.has(link)) return false;
    served.add(link);
    return true;
  }

  #noise(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => Math.floor(this.#options.random() * 256)));
  }
}

/** Lets bytes through up to the place of the cut, and cuts there. */
async function sever(
  { passed }: Setting,
  link: Link,
  { kind, afterBytes }: Extract<Toxic, { kind: "reset" | "fin" }>,
  chunk: Buffer,
): Promise<Buffer> {
  const before = passed.get(link) ?? 0;
  const part = chunk.subarray(0, Math.max(0, afterBytes - before));
  passed.set(link, before + part.length);
  if (part.length > 0) await write(link.client, part);
  if (before + part.length < afterBytes) return chunk.subarray(chunk.length);
  // Node reads bytes and a RST that come together as bytes and a proper end.
  await pause(CUT_AFTER_MS);
  if (kind === "fin") {
    link.isSevered = true;
    link.client.end();
    link.server?.resetAndDestroy();
  } else breakLink(link);
  throw new Error("severed");
}

function breakLink({ client, server }: Link): void {
  for (const socket of [client, server]) if (socket?.destroyed === false) socket.resetAndDestroy();
}

/** Rejects if the socket is gone. Waits while its reader is slow. */
async function write(socket: Socket, bytes: Buffer): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    socket.write(bytes, (error) => {
      if (error) reject(error);
      else resolve();
    });
  });
}

const closed = (socket: Socket): Promise<unknown> =>
  socket.closed ? Promise.resolve() : new Promise((resolve) => socket.once("close", resolve));
