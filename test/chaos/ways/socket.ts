/** A client over WebSocket: one that comes back with its session, or one that has to begin anew. */
import type { IncomingMessage } from "node:http";
import { WebSocket } from "ws";
import type { Lost, Way } from "../caller.ts";

const RETRY_MS = 60;

export function openSocket(url: string, isReturning: boolean): Way {
  let key: string | undefined;
  let socket: WebSocket | undefined;
  let isOver = false;
  /** Requests that were handed to a connection. */
  const sent = new Set<string>();

  const connect = (hear: (text: string) => void, lost: Lost): Promise<void> => {
    const mine = new WebSocket(key === undefined ? url : `${url}?session=${key}`, "mcp");
    socket = mine;
    mine.on("upgrade", (response: IncomingMessage) => {
      const named = response.headers["mcp-session-id"];
      if (typeof named === "string") key = named;
    });
    mine.on("message", (data: Buffer) => {
      hear(data.toString());
    });
    const again = (status: number | undefined) => {
      if (isOver) return;
      if (status === 404 || !isReturning) {
        lost(`the connection is lost (${String(status)})`, status === 404);
      } else
        setTimeout(() => {
          if (!isOver) connect(hear, lost).catch(() => undefined);
        }, RETRY_MS);
    };
    return new Promise((resolve, reject) => {
      let status: number | undefined;
      mine.on("unexpected-response", (request, response) => {
        status = response.statusCode;
        request.destroy();
        mine.emit("error", new Error(`refused with ${String(status)}`));
        mine.emit("close", 1006, Buffer.alloc(0));
      });
      mine.on("error", reject);
      mine.on("open", () => {
        resolve();
      });
      mine.once("close", () => {
        if (key !== undefined) again(status);
        else reject(new Error("closed before there was a session"));
      });
    });
  };

  return {
    open: connect,
    send: (message) =>
      new Promise((resolve, reject) => {
        if (socket?.readyState !== WebSocket.OPEN) {
          reject(new Error("not connected"));
          return;
        }
        if ("id" in message) sent.add(String(message.id));
        socket.send(JSON.stringify(message), (error) => {
          if (error instanceof Error) reject(error);
          else resolve();
        });
      }),
    drop: () => {
      socket?.terminate();
    },
    pause: (ms) => {
      const mine = socket;
      if (mine?.readyState !== WebSocket.OPEN) return;
      mine.pause();
      setTimeout(() => {
        if (mine.readyState === WebSocket.OPEN) mine.resume();
      }, ms);
    },
    close: () => {
      isOver = true;
      const mine = socket;
      if (mine?.readyState !== WebSocket.OPEN) {
        mine?.terminate();
        return Promise.resolve(false);
      }
      return new Promise((resolve) => {
        const due = setTimeout(() => {
          mine.terminate();
        }, 2_000);
        mine.once("close", () => {
          clearTimeout(due);
          // Its session is kept for a while: it may come back.
          resolve(false);
        });
        mine.close(1000);
      });
    },
    canReturnFor: (id) => isReturning && sent.has(id),
  };
}
