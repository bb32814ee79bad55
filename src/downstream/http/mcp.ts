/**
 * Streamable HTTP for clients (MCP 2025-03-26 to 2025-11-25, "Streamable HTTP"): POST says something,
 * GET listens or returns, DELETE ends the session.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { deferred } from "../../base/async.ts";
import type { CancelTimer, World } from "../../base/world.ts";
import type { Log } from "../../ports.ts";
import { answerEmpty, refuse, trouble } from "./answers.ts";
import type { BodyLimits } from "./body.ts";
import { Gets } from "./get.ts";
import { versionTrouble } from "./headers.ts";
import { Lookup } from "./lookup.ts";
import { Posts } from "./post.ts";
import type { Route, Visit } from "./route.ts";
import { Sessions } from "./sessions.ts";

/** A comment goes out on every open stream this often. */
const KEEP_ALIVE_MS = 15_000;
/** How often `stop` looks whether all is answered. */
const STOP_STEP_MS = 20;

export interface McpRouteOptions {
  readonly world: World;
  readonly log: Log;
  readonly bodies: BodyLimits;
}

/** The route of `/mcp/NAME`. */
export function mcpRoute(options: McpRouteOptions): Route {
  return new McpRoute(options);
}

class McpRoute implements Route {
  readonly #world: World;
  readonly #sessions: Sessions;
  readonly #lookup: Lookup;
  readonly #posts: Posts;
  readonly #gets: Gets;
  #cancelTick: CancelTimer | undefined;
  #isStopping = false;

  constructor({ world, log, bodies }: McpRouteOptions) {
    this.#world = world;
    this.#sessions = new Sessions(world, log);
    this.#lookup = new Lookup(this.#sessions, log);
    this.#gets = new Gets(this.#lookup, log);
    this.#posts = new Posts({
      world,
      sessions: this.#sessions,
      lookup: this.#lookup,
      bodies,
    });
    this.#tickLater();
  }

  serve(request: IncomingMessage, response: ServerResponse, visit: Visit): void {
    if (this.#isStopping) {
      refuse(response, trouble(503, "Not executed: the proxy is stopping", ["Retry-After", "1"]));
      return;
    }
    switch (request.method) {
      case "POST":
        this.#posts.serve({ request, response, visit });
        return;
      case "GET":
        this.#gets.serve(request, response, visit);
        return;
      case "DELETE":
        this.#end(request, response, visit);
        return;
      default:
        refuse(response, trouble(405, "only GET, POST and DELETE are served", ALLOW));
    }
  }

  async stop(graceMs: number): Promise<void> {
    this.#isStopping = true;
    this.#cancelTick?.();
    const deadline = this.#world.monotonic() + graceMs;
    while (this.#wind() && this.#world.monotonic() < deadline) {
      const step = deferred<undefined>();
      this.#world.timer(STOP_STEP_MS, () => {
        step.resolve(undefined);
      });
      await step.promise;
    }
    for (const session of this.#sessions.all()) session.dismiss();
  }

  /** True while requests are being answered. */
  #wind(): boolean {
    let isBusy = false;
    for (const session of this.#sessions.all()) isBusy = session.wind() || isBusy;
    return isBusy;
  }

  #end(request: IncomingMessage, response: ServerResponse, visit: Visit): void {
    const wrong = versionTrouble(request.headers);
    if (wrong !== undefined) {
      refuse(response, wrong);
      return;
    }
    this.#lookup.find(request, response, visit, undefined, (session) => {
      const cause = "the client ended its session";
      const isOnDisk = session.handler.left(cause);
      session.ended(cause);
      // Not before: a client that has this answer must not find its session again after a restart.
      void isOnDisk.then(() => {
        answerEmpty(response, 200);
      });
    });
  }

  #tickLater(): void {
    this.#cancelTick = this.#world.timer(KEEP_ALIVE_MS, () => {
      for (const session of this.#sessions.all()) session.tick();
      this.#tickLater();
    });
  }
}

const ALLOW: readonly string[] = ["Allow", "GET, POST, DELETE"];
