/**
 * Holds requests back until the server has taken the first notification after the handshake
 * (`notifications/initialized`): separate POSTs may overtake each other.
 *
 *     idle → awaiting (handshake done) → shut (notification under way) → idle
 */
import type { CancelTimer, World } from "../base/world.ts";

type State =
  | { readonly kind: "idle" }
  | { readonly kind: "awaiting" }
  | { readonly kind: "shut"; readonly cancel: CancelTimer };

export class HandshakeGate {
  readonly #world: World;
  readonly #patienceMs: number;
  readonly #onOpen: () => void;
  #state: State = { kind: "idle" };

  /** `onOpen` runs when a shut gate opens: by `open()`, or after `patienceMs`. */
  constructor(world: World, patienceMs: number, onOpen: () => void) {
    this.#world = world;
    this.#patienceMs = patienceMs;
    this.#onOpen = onOpen;
  }

  get isShut(): boolean {
    return this.#state.kind === "shut";
  }

  handshaken(): void {
    if (this.#state.kind === "idle") this.#state = { kind: "awaiting" };
  }

  /** A notification is about to leave. True if it is the one whose answer opens the gate. */
  shut(): boolean {
    if (this.#state.kind !== "awaiting") return false;
    const cancel = this.#world.timer(this.#patienceMs, () => {
      this.open();
    });
    this.#state = { kind: "shut", cancel };
    return true;
  }

  open(): void {
    if (this.#state.kind !== "shut") return;
    this.drop();
    this.#onOpen();
  }

  /** The connection is over: the gate never opens. */
  drop(): void {
    if (this.#state.kind === "shut") this.#state.cancel();
    this.#state = { kind: "idle" };
  }
}
