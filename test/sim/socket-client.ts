/** Clients whose connection carries everything: over stdio (they start the proxy), WebSocket and legacy SSE. */
import type { ClientHandler, ClientLink } from "../../src/ports.ts";
import { type Carrier, KeptLink } from "../../src/downstream/kept-link.ts";
import { parseMessage } from "../../src/wire/message.ts";
import { Client } from "./client.ts";
import type { House } from "./house.ts";

/** A client that wraps one server: its proxy's end is its own end, and the other way round. */
export class StdioClient extends Client {
  connect(): void {
    const house = this.parts.house();
    if (house === undefined) {
      this.retry(50);
      return;
    }
    this.house = house;
    const { knobs, upstream } = this.parts;
    const send = (text: string) => {
      if (this.house !== house || house.isDead) return false;
      house.effect(this.effectOf(text), () => {
        this.hear(text);
      });
      return true;
    };
    const link: ClientLink = {
      id: "stdio",
      transport: "stdio",
      principal: knobs.principal,
      peer: knobs.name,
      key: undefined,
      canResume: false,
      send,
      bufferedBytes: () => 0,
    };
    const door = house.door(upstream);
    if (door === undefined) {
      this.retry(50);
      return;
    }
    this.handler = door.enter(link);
    this.handshake();
  }

  protected transmit(text: string): void {
    this.handler?.receive(parseMessage(text));
  }

  bereave(): void {
    this.#giveUp();
    this.retry(1);
  }

  #giveUp(): void {
    this.unready();
    this.house = undefined;
    this.handler = undefined;
    for (const ask of this.open()) ask.isAbandoned = true;
  }

  /** Its pipe breaks only with the process. */
  reset(): void {
    this.leave();
  }

  leave(): void {
    const { house, handler } = this;
    if (house === undefined || house.isDead || handler === undefined) return;
    this.unready();
    this.leaves();
    house.effect("client:left", () => {
      this.saidGoodbye();
      void handler.left("the client closed stdin");
    });
  }

  deafen(): void {
    // A pipe loses nothing but with its reader.
    this.leave();
  }
}

/** A client whose session outlives its connections. */
export class SocketClient extends Client {
  #key: string | undefined;
  #link: KeptLink | undefined;
  #carrier: Carrier | undefined;
  #links = 0;
  /** The process in which its link is. */
  #home: House | undefined;
  #isDeaf = false;
  #deafMs = 0;
  /** Grows with each attempt, so that a late answer to an earlier one is ignored. */
  #attempt = 0;

  connect(): void {
    const house = this.parts.house();
    const door = house?.door(this.parts.upstream);
    if (house === undefined || door === undefined) {
      this.retry(200 + this.upTo(500));
      return;
    }
    if (this.#home !== house) this.#link = undefined;
    this.#home = house;
    this.house = house;
    const attempt = ++this.#attempt;
    if (this.#link !== undefined) {
      this.#attach(house, this.#link);
      this.ready();
      return;
    }
    if (this.#key === undefined) {
      this.#enter(house, door.enter.bind(door));
      return;
    }
    const link = this.#newLink(this.#key);
    house.effect("client:return", () => {
      door.resume(link).then((handler) => {
        if (house.isDead || attempt !== this.#attempt) return;
        if (handler === undefined) this.#sessionIsGone();
        else this.#returned(house, link, handler);
      }, this.notNow(house));
    });
  }

  #enter(house: House, enter: (link: ClientLink) => ClientHandler): void {
    const { world } = this.parts;
    const key = world.secret(24);
    const link = this.#newLink(key);
    this.#link = link;
    link.bind(enter(link), false);
    this.#attach(house, link);
    this.handshake();
  }

  #returned(house: House, link: KeptLink, handler: ClientHandler): void {
    this.#link = link;
    link.bind(handler, true);
    this.#attach(house, link);
    this.ready();
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
    this.#link = undefined;
    this.#carrier = undefined;
    for (const ask of this.open()) ask.isAbandoned = true;
  }

  #newLink(key: string): KeptLink {
    const { knobs, upstream } = this.parts;
    const link: KeptLink = new KeptLink({
      id: `link${String(++this.#links)}`,
      transport: knobs.transport,
      upstream,
      principal: knobs.principal,
      peer: this.parts.name,
      key,
      canResume: knobs.transport === "sse",
      onOver: () => {
        if (this.#link === link) this.#link = undefined;
      },
      onDetached: () => undefined,
    });
    const begun = link.begun.bind(link);
    link.begun = () => {
      begun();
      this.#key = key;
    };
    return link;
  }

  #attach(house: House, link: KeptLink): void {
    const carrier: Carrier = {
      send: (text) => {
        if (house.isDead || this.#carrier !== carrier) return false;
        if (this.#isDeaf && "id" in (JSON.parse(text) as object)) {
          this.#isDeaf = false;
          this.reset(this.#deafMs);
          return false;
        }
        house.effect(this.effectOf(text), () => {
          this.hear(text);
        });
        return true;
      },
      bufferedBytes: () => 0,
      close: () => {
        if (this.#carrier !== carrier) return;
        this.#carrier = undefined;
        this.unready();
        this.house = undefined;
        this.retry(100);
      },
      destroy: () => undefined,
    };
    this.#carrier = carrier;
    link.attach(carrier);
  }

  protected transmit(text: string): void {
    this.#link?.receive(parseMessage(text));
  }

  bereave(rows: ReadonlySet<string>): void {
    this.unready();
    this.house = undefined;
    this.#carrier = undefined;
    for (const ask of this.open()) {
      if (this.#key === undefined || !rows.has(ask.text)) ask.isAbandoned = true;
    }
    this.retry(100 + this.upTo(1_000));
  }

  reset(awayMs: number): void {
    const { house } = this;
    const carrier = this.#carrier;
    const link = this.#link;
    if (house === undefined || house.isDead || carrier === undefined) return;
    this.#carrier = undefined;
    this.unready();
    if (this.#key === undefined) this.#forget();
    link?.lost(carrier, "connection reset", false);
    this.house = undefined;
    this.retry(1 + awayMs);
  }

  leave(awayMs: number): void {
    const { house } = this;
    const carrier = this.#carrier;
    const link = this.#link;
    if (house === undefined || house.isDead || carrier === undefined) return;
    this.leaves();
    house.effect("client:left", () => {
      this.saidGoodbye();
      link?.lost(carrier, "closed by the client", true);
    });
    this.#forget();
    this.house = undefined;
    this.retry(1 + awayMs);
  }

  deafen(awayMs: number): void {
    this.#isDeaf = true;
    this.#deafMs = awayMs;
  }
}
