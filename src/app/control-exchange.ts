/**
 * One connection to a proxy's control socket: requests with their answers, matched by id, and events in
 * between. Whatever ends the connection rejects all that still waits, with the reason in words.
 */
import type { Socket } from "node:net";
import { deferred } from "../base/async.ts";
import { errorText, RefusedError } from "../base/errors.ts";
import type { World } from "../base/world.ts";
import type { ProxyEvent } from "../core/event.ts";
import { isObject } from "../wire/message.ts";

/** A proxy that is busy answers late; one that is frozen must not freeze `holdfast status`. */
const ANSWER_TIMEOUT_MS = 5_000;
/** One call with its largest payloads, and room. */
const LINE_MAX = 256 * 1_048_576;

interface Pending {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

export class ControlExchange {
  readonly #socket: Socket;
  readonly #world: World;
  readonly #pending = new Map<number, Pending>();
  readonly #tellers = new Set<(event: ProxyEvent) => void>();
  readonly #ended = deferred<string>();
  #count = 0;
  #isFollowing = false;
  #parts: string[] = [];
  #size = 0;

  /** `socket` is connected. */
  constructor(socket: Socket, world: World) {
    this.#socket = socket;
    this.#world = world;
    socket.setEncoding("utf8");
    socket.on("error", (error) => {
      this.#fail(`the proxy's control socket broke: ${errorText(error)}`);
    });
    socket.on("close", () => {
      this.#fail("the proxy closed its control socket");
    });
    socket.on("data", (chunk: string) => {
      this.#receive(chunk);
    });
  }

  /** Resolves when the connection is over, to the reason in words: nothing is told any more. */
  get ended(): Promise<string> {
    return this.#ended.promise;
  }

  /** Rejects with `RefusedError`: the proxy's own words, or why there is no answer. */
  ask(request: Record<string, unknown>, timeoutMs = ANSWER_TIMEOUT_MS): Promise<unknown> {
    return new Promise<unknown>((resolve, reject) => {
      const id = ++this.#count;
      const cancelTimer = this.#world.timer(timeoutMs, () => {
        this.#fail(`the proxy did not answer in ${String(timeoutMs / 1_000)} s`);
      });
      this.#pending.set(id, {
        resolve: (value) => {
          cancelTimer();
          resolve(value);
        },
        reject: (error) => {
          cancelTimer();
          reject(error);
        },
      });
      this.#socket.write(`${JSON.stringify({ id, ...request })}\n`);
    });
  }

  /** Returns what stops telling; the proxy stops when the connection is closed. */
  follow(tell: (event: ProxyEvent) => void): () => void {
    this.#tellers.add(tell);
    if (!this.#isFollowing) {
      this.#isFollowing = true;
      this.ask({ verb: "follow" }).catch((error: unknown) => {
        this.#fail(errorText(error));
      });
    }
    return () => {
      this.#tellers.delete(tell);
    };
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(chunk: string): void {
    const lines = chunk.split("\n");
    const rest = lines.pop() ?? "";
    try {
      for (const line of lines) {
        this.#take(this.#parts.join("") + line);
        this.#parts = [];
        this.#size = 0;
      }
    } catch (error) {
      this.#fail(`the proxy's control socket spoke nonsense: ${errorText(error)}`);
    }
    this.#parts.push(rest);
    this.#size += rest.length;
    if (this.#size > LINE_MAX) this.#fail("the proxy's answer is too long");
  }

  #take(line: string): void {
    const answer: unknown = JSON.parse(line);
    if (!isObject(answer)) return;
    if ("event" in answer) {
      for (const tell of this.#tellers) tell(answer["event"] as unknown as ProxyEvent);
      return;
    }
    if ("end" in answer) {
      this.#ended.resolve(String(answer["end"]));
      return;
    }
    const waiting = this.#pending.get(Number(answer["id"]));
    this.#pending.delete(Number(answer["id"]));
    if ("error" in answer) waiting?.reject(new RefusedError(String(answer["error"])));
    else waiting?.resolve(answer["ok"]);
  }

  /** The first cause stands. */
  #fail(why: string): void {
    this.#ended.resolve(why);
    for (const one of this.#pending.values()) one.reject(new RefusedError(why));
    this.#pending.clear();
    this.#socket.destroy();
  }
}
