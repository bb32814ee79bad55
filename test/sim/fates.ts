/** What becomes of a call of a tool that reaches a scripted server. */
import { unreachable } from "../../src/base/assert.ts";
import { type Failure, failure } from "../../src/core/failure.ts";
import type { JsonObject, RequestMessage } from "../../src/wire/message.ts";
import type { Fate } from "./plan.ts";
import { error, nonceOf, result, type ServerLink } from "./server-link.ts";

const RESET = failure("reset", "connection reset by peer");
const EXITED = failure("process_exit", "exited with code 7");
const LOST_SESSION = failure("session_lost", "HTTP 404: session not found");

/** The call is here. Without a fate it is run and answered. */
export function meet(link: ServerLink, request: RequestMessage, fate: Fate | undefined): void {
  const call = new Meeting(link, request);
  if (fate === undefined) call.serve();
  else call.meet(fate);
}

class Meeting {
  readonly #link: ServerLink;
  readonly #id: string;
  readonly #tool: string;
  readonly #nonce: string;
  readonly #progressToken: unknown;

  constructor(link: ServerLink, request: RequestMessage) {
    this.#link = link;
    this.#id = String(request.id);
    this.#tool = String(request.params?.["name"]);
    this.#nonce = nonceOf(request);
    const meta = request.params?.["_meta"] as JsonObject | undefined;
    this.#progressToken = meta?.["progressToken"];
  }

  get #isHttp(): boolean {
    return this.#link.server.knobs.transport === "http";
  }

  /** Runs it, and answers after a while. */
  serve(waitMs = 0): void {
    const { server } = this.#link;
    // Begun in the order in which calls come, ended in any.
    this.#run();
    this.#after(server.upTo(server.knobs.workMs) + waitMs, () => {
      this.#link.say(this.#answer());
    });
  }

  #after(ms: number, act: () => void): void {
    if (ms === 0) act();
    else
      this.#link.server.world.timer(ms, () => {
        if (this.#link.isAlive) act();
      });
  }

  #run(): void {
    const { server, name } = this.#link;
    server.ledger.executed({
      nonce: this.#nonce,
      upstream: server.name,
      tool: this.#tool,
      requestId: this.#id,
      link: name,
      isOrdered: true,
    });
  }

  #answer(extra: JsonObject = {}): string {
    const runs = this.#link.server.ledger.executions.length;
    const text = `${this.#tool} done, run ${String(runs)}, nonce=${this.#nonce}`;
    return result(this.#id, { content: [{ type: "text", text }], ...extra });
  }

  /** The request is lost, or its answer: over HTTP that alone, else with the connection. */
  #lose(why: Failure, isServerAlive = true): void {
    if (this.#isHttp) this.#link.fate(this.#id, { kind: "lost", failure: why });
    else this.#link.drop(why, isServerAlive);
  }

  meet(fate: Fate): void {
    const link = this.#link;
    link.server.ledger.fault(fate, [this.#nonce]);
    switch (fate) {
      case "request lost":
        this.#lose(RESET);
        return;
      case "refused": {
        const why = failure("connect_refused", "ECONNREFUSED");
        link.fate(this.#id, { kind: "refused", failure: why });
        return;
      }
      case "ignored":
        return;
      case "answer lost":
        this.#run();
        this.#lose(RESET);
        return;
      case "answer delayed":
        this.serve(500 + link.server.upTo(20_000));
        return;
      case "answer twice":
        this.#run();
        link.say(this.#answer());
        link.say(this.#answer());
        return;
      case "answer late":
        this.#run();
        this.#lose(RESET);
        this.#after(link.server.upTo(3_000), () => {
          link.say(this.#answer());
        });
        return;
      case "wrong id":
        this.#run();
        link.say(result(`${this.#id}9`, { content: [{ type: "text", text: "of somebody else" }] }));
        this.#after(2_000, () => {
          link.say(this.#answer());
        });
        return;
      case "cut off":
        this.#run();
        link.drop(RESET);
        return;
      default:
        this.#meetMore(fate);
    }
  }

  #meetMore(
    fate: Exclude<
      Fate,
      | "request lost"
      | "refused"
      | "ignored"
      | "answer lost"
      | "answer delayed"
      | "answer twice"
      | "answer late"
      | "wrong id"
      | "cut off"
    >,
  ): void {
    const link = this.#link;
    switch (fate) {
      case "garbage": {
        this.#run();
        link.noise("not a message");
        const why = failure("protocol_error", "answered with what is no JSON-RPC reply");
        link.fate(this.#id, { kind: "unreadable", failure: why });
        return;
      }
      case "oversize": {
        this.#run();
        const why = failure("oversize", "answered with 17000000 bytes");
        link.fate(this.#id, { kind: "unreadable", failure: why });
        return;
      }
      case "session lost":
        if (!this.#isHttp) {
          link.say(error(this.#id, -32_001, `session not found, nonce=${this.#nonce}`));
          return;
        }
        link.fate(this.#id, { kind: "refused", failure: LOST_SESSION });
        this.#after(1, () => {
          link.drop(LOST_SESSION);
        });
        return;
      case "rate limited":
        if (!this.#isHttp) {
          link.say(error(this.#id, -32_000, `too many requests, nonce=${this.#nonce}`));
          return;
        }
        link.fate(this.#id, {
          kind: "refused",
          failure: { ...failure("rate_limited", "HTTP 429"), retryAfterMs: 3_000 },
        });
        return;
      case "server error":
        if (link.server.random() < 0.5) this.#run();
        if (this.#isHttp) this.#lose(failure("server_error", "HTTP 500"));
        else link.say(error(this.#id, -32_603, `internal error, nonce=${this.#nonce}`));
        return;
      case "tool error":
        this.#run();
        link.say(this.#answer({ isError: true }));
        return;
      case "rpc error":
        if (link.server.random() < 0.5) this.#run();
        link.say(error(this.#id, -32_000, `something failed, nonce=${this.#nonce}`));
        return;
      case "unknown tool":
        link.say(error(this.#id, -32_602, `unknown tool, nonce=${this.#nonce}`));
        return;
      case "exits before":
        this.#link.drop(this.#isHttp ? RESET : EXITED);
        return;
      case "exits after":
        this.#run();
        this.#link.drop(this.#isHttp ? RESET : EXITED);
        return;
      case "progress":
        this.#progress();
        this.serve(300);
        return;
      default:
        unreachable(fate);
    }
  }

  #progress(): void {
    const progressToken = this.#progressToken;
    if (progressToken === undefined) return;
    const params = { progressToken, progress: 1, message: `nonce=${this.#nonce}` };
    const method = "notifications/progress";
    this.#link.say(JSON.stringify({ jsonrpc: "2.0", method, params }));
  }
}
