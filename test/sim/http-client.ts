/** A client over Streamable HTTP: a stream for each request, a session by its key, answers by their calls. */
import type { ClientLink, ClientStream } from "../../src/ports.ts";
import { parseMessage } from "../../src/wire/message.ts";
import { Client } from "./client.ts";
import type { House } from "./house.ts";
import type { Ask } from "./ledger.ts";

export class HttpClient extends Client {
  /** Of the session that has begun. */
  #key: string | undefined;
  #openStreams = new Set<object>();
  /** The process in which its handler is. */
  #home: House | undefined;
  #isDeaf = false;
  #deafMs = 0;
  #attempt = 0;
  /** Answers that were lost on their way, by call: the same must come when it is asked for again. */
  readonly #lost = new Map<Ask, string>();

  connect(): void {
    const house = this.parts.house();
    const door = house?.door(this.parts.upstream);
    if (house === undefined || door === undefined) {
      this.retry(200 + this.upTo(500));
      return;
    }
    const isSame = this.handler !== undefined && this.#home === house;
    this.#home = house;
    this.house = house;
    const attempt = ++this.#attempt;
    if (isSame) {
      this.#return(house);
      return;
    }
    if (this.#key === undefined) {
      const key = this.parts.world.secret(24);
      this.handler = door.enter(this.#link(house, key));
      this.handshake();
      return;
    }
    const link = this.#link(house, this.#key);
    house.effect("client:return", () => {
      door.resume(link).then((handler) => {
        if (house.isDead || attempt !== this.#attempt) return;
        if (handler === undefined) {
          this.#sessionIsGone();
          return;
        }
        this.handler = handler;
        this.#return(house);
      }, this.notNow(house));
    });
  }

  /** It asks for the answers that it has not got, by the ids of their calls. */
  #return(house: House): void {
    const regretted = new Set(this.regretted);
    // An answer that comes at once may be lost with the connection; then it comes back anew.
    const isBack = () => this.house === house;
    for (const ask of this.open()) if (isBack() && !regretted.has(ask)) this.#askAgain(house, ask);
    if (isBack()) this.ready();
    // Its streams come back for these, too, though it has just taken them back.
    for (const ask of regretted) if (isBack() && ask.told.length === 0) this.#askAgain(house, ask);
  }

  #askAgain(house: House, ask: Ask): void {
    if (ask.callId === undefined) ask.isAbandoned = true;
    else this.#askFor(house, ask, ask.callId);
  }

  #askFor(house: House, ask: Ask, callId: string): void {
    const { handler } = this;
    handler?.resume([callId], this.#stream(house, ask)).then((unknown) => {
      if (house.isDead || unknown.length === 0 || ask.told.length > 0 || ask.isCancelled) return;
      this.parts.ledger.fault(`nothing known of ${callId}`, [ask.nonce]);
    }, house.fatal);
  }

  #sessionIsGone(): void {
    this.parts.ledger.lostSession(this.parts.name);
    this.#forget();
    this.house = undefined;
    this.retry(10);
  }

  #forget(): void {
    this.unready();
    this.#key = undefined;
    this.handler = undefined;
    for (const ask of this.open()) ask.isAbandoned = true;
  }

  #link(house: House, key: string): ClientLink & { readonly key: string } {
    const { knobs } = this.parts;
    const session = {};
    this.#openStreams.add(session);
    return {
      id: `link${String(this.#attempt)}`,
      transport: "http",
      principal: knobs.principal,
      peer: this.parts.name,
      key,
      canResume: true,
      send: (text, said) => {
        if (said.kind === "reply" || house.isDead || this.house !== house) return false;
        house.effect(this.effectOf(text), () => {
          this.hear(text);
        });
        return true;
      },
      bufferedBytes: () => 0,
      isOpen: () => this.house === house && this.#openStreams.size > 0,
      begun: () => {
        this.#key = key;
      },
      ended: () => {
        if (this.#home !== house) return;
        // Also while nothing is open: whoever comes back asks at the door.
        this.handler = undefined;
        if (this.house !== house) return;
        this.unready();
        this.house = undefined;
        this.retry(100);
      },
    };
  }

  #stream(house: House, ask: Ask | undefined): ClientStream {
    const stream = {};
    this.#openStreams.add(stream);
    const isOpen = () => !house.isDead && this.#openStreams.has(stream);
    return {
      send: (text, said) => {
        if (!isOpen()) return false;
        if (said.kind === "reply") {
          this.#openStreams.delete(stream);
          if (this.#isDeaf && ask !== undefined) {
            this.#lose(ask, text);
            return true;
          }
        }
        house.effect(this.effectOf(text), () => {
          this.#check(ask, text);
          this.hear(text);
        });
        return true;
      },
      bufferedBytes: () => 0,
      accepted: (_idText, callId) => {
        if (!isOpen() || ask === undefined || ask.callId !== undefined) return;
        house.effect("down:accepted", () => {
          ask.callId = callId;
          ask.isAcknowledged = true;
        });
      },
    };
  }

  /** The bytes of an answer were handed over, and never arrive. */
  #lose(ask: Ask, text: string): void {
    this.#isDeaf = false;
    this.#lost.set(ask, text);
    this.reset(this.#deafMs);
  }

  #check(ask: Ask | undefined, text: string): void {
    const lost = ask === undefined ? undefined : this.#lost.get(ask);
    if (ask === undefined || lost === undefined) return;
    this.#lost.delete(ask);
    const isRelayed = /nonce=n\d+/.test(lost);
    if (isRelayed && lost !== text)
      this.parts.ledger.fatal.push(`P4: the answer to ${ask.nonce} was ${lost}, and then ${text}`);
  }

  protected transmit(text: string, ask: Ask | undefined): void {
    const { house, handler } = this;
    if (house === undefined) return;
    handler?.receive(parseMessage(text), this.#stream(house, ask));
  }

  bereave(): void {
    // Nobody can come back for what has no id.
    for (const ask of this.open()) if (ask.callId === undefined) ask.isAbandoned = true;
    this.#breakOff();
    this.handler = undefined;
    if (this.#key === undefined) this.#forget();
    this.retry(100 + this.upTo(1_000));
  }

  #breakOff(): void {
    this.unready();
    this.#openStreams = new Set();
    this.house = undefined;
  }

  reset(awayMs: number): void {
    const { house } = this;
    if (house === undefined || house.isDead) return;
    this.#breakOff();
    if (this.#key === undefined) this.#forget();
    this.retry(1 + awayMs);
  }

  leave(awayMs: number): void {
    const { house, handler } = this;
    if (house === undefined || house.isDead || handler === undefined) return;
    this.leaves();
    house.effect("client:left", () => {
      this.saidGoodbye();
      void handler.left("the client ended its session");
    });
    this.#breakOff();
    this.#forget();
    this.retry(1 + awayMs);
  }

  deafen(awayMs: number): void {
    this.#isDeaf = true;
    this.#deafMs = awayMs;
  }
}
