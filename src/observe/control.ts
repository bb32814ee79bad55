/**
 * The control socket: what `holdfast status`, `calls`, `sessions`, `restart` and `events` talk to. One JSON
 * object a line in both directions, `{"id", "verb", …}` → `{"id", "ok": …}` or `{"id", "error": "in words"}`.
 * After the verb `follow` events come in between, see `follower.ts`.
 *
 * S1. Only the user who runs the proxy can connect: socket 0600 in a folder 0700.
 * S2. A socket file is replaced only if nobody answers behind it.
 * S3. A client cannot make the proxy hold more than one bounded line, `WAITING_MAX` answers and
 *     `UNREAD_MAX_BYTES` of events.
 */
import { chmodSync, lstatSync, unlinkSync } from "node:fs";
import type { Server, Socket } from "node:net";
import { connect, createServer } from "node:net";
import { errorText, RefusedError } from "../base/errors.ts";
import type { Control, Log } from "../ports.ts";
import { isObject } from "../wire/message.ts";
import type { JsonObject } from "../wire/message.ts";
import { perform } from "./control-verbs.ts";
import { follow } from "./follower.ts";

const LINE_MAX = 65_536;
const WAITING_MAX = 16;
const CONNECTIONS_MAX = 32;

export interface ControlOptions {
  /** A socket's path, or a named pipe on Windows. Its folder must be there. */
  readonly path: string;
  readonly control: Control;
  readonly log: Log;
  /** The proxy knows what its journal holds; what is asked before that is answered after it. */
  readonly ready?: Promise<unknown>;
}

export interface ControlServer {
  /** Ends all connections and removes the socket. */
  close(): Promise<void>;
}

const isPipe = (path: string) => path.startsWith("\\\\.\\pipe\\");

/** Rejects with the system's error if the socket cannot be had: `EADDRINUSE` if somebody serves it. */
export async function serveControl(options: ControlOptions): Promise<ControlServer> {
  const { path, log } = options;
  const connections = new Set<Socket>();
  const server = createServer((socket) => {
    connections.add(socket);
    socket.on("close", () => connections.delete(socket));
    socket.on("error", (error) => {
      log("debug", "a control connection broke", { cause: errorText(error) });
    });
    converse(socket, options);
  });
  server.maxConnections = CONNECTIONS_MAX;
  try {
    await listen(server, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE" || isPipe(path)) throw error;
    // Connecting to a file that is no socket is refused just like to a dead one.
    if (!lstatSync(path).isSocket() || (await isServed(path))) throw error;
    unlinkSync(path);
    await listen(server, path);
  }
  if (!isPipe(path)) chmodSync(path, 0o600);
  server.on("error", (error) => {
    log("warn", "the control socket failed", { path, cause: errorText(error) });
  });
  // The proxy's life is the client's and its calls'; a socket that waits must not prolong it.
  server.unref();
  return {
    close: () =>
      new Promise((resolve) => {
        for (const socket of connections) socket.destroy();
        // Node removes the socket file itself.
        server.close(() => {
          resolve();
        });
      }),
  };
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

/** S2: only a refused connection proves that nobody is there. */
function isServed(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", (error: NodeJS.ErrnoException) => {
      resolve(error.code !== "ECONNREFUSED");
    });
  });
}

function converse(socket: Socket, { control, log, ready }: ControlOptions): void {
  let rest = "";
  let waiting = 0;
  let isFollowing = false;
  socket.unref();
  socket.setEncoding("utf8");
  const answer = (object: JsonObject) => {
    if (socket.writable) socket.write(`${JSON.stringify(object)}\n`);
  };
  const followOnce = () => {
    if (isFollowing) throw new RefusedError("this connection follows already");
    isFollowing = true;
    follow(socket, control, log);
  };
  const handle = async (line: string) => {
    const request = readRequest(line);
    if (request === undefined) {
      answer({ id: null, error: "expected one JSON object a line" });
      socket.end();
      return;
    }
    waiting++;
    if (waiting >= WAITING_MAX) socket.pause();
    try {
      await ready;
      const isFollow = request["verb"] === "follow";
      const ok = isFollow ? followOnce() : await perform(control, request);
      answer({ id: request["id"] ?? null, ok: ok ?? null });
    } catch (error) {
      if (!(error instanceof RefusedError)) {
        log("warn", "a control request failed", {
          verb: String(request["verb"]),
          cause: errorText(error),
        });
      }
      answer({ id: request["id"] ?? null, error: errorText(error) });
    }
    waiting--;
    socket.resume();
  };
  socket.on("data", (chunk: string) => {
    rest += chunk;
    for (let end = rest.indexOf("\n"); end !== -1; end = rest.indexOf("\n")) {
      const line = rest.slice(0, end);
      rest = rest.slice(end + 1);
      void handle(line);
    }
    if (rest.length <= LINE_MAX) return;
    answer({ id: null, error: `a line may have at most ${String(LINE_MAX)} characters` });
    socket.destroySoon();
    rest = "";
  });
}

function readRequest(line: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
