/**
 * What clients have sent and the journal does not have yet, over all upstreams of a process: each such
 * call is in memory several times over (its text, its parsed parameters, the batch on its way to disk).
 *
 * IN1. While more than `INTAKE_MAX_BYTES` are on their way, a client with more than a small part of them
 *      is not read from. A single call of any size passes.
 * IN2. A client that is held is read from again when the half of that is left, whatever became of its
 *      calls; the journal never waits for a client, so that always comes.
 */

/** The largest request by default, in characters. */
const INTAKE_MAX_BYTES = 4 * 1024 * 1024;
/** A client with no more than this on its way is not what fills the memory. */
const SMALL_BYTES = 64 * 1024;

/** What one client has on its way. */
export interface IntakeSource {
  /** A call of so many bytes was taken from the client. */
  took(bytes: number): void;
  /** It is on disk, is not to go there, or is refused. */
  settled(bytes: number): void;
}

export class Intake {
  #bytes = 0;
  readonly #held = new Set<Source>();

  /** `hold`: reads nothing from the client, or reads on; it may be told the same twice. */
  source(hold: (isHeld: boolean) => void): IntakeSource {
    return new Source(this, hold);
  }

  took(source: Source, bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes <= INTAKE_MAX_BYTES || source.bytes <= SMALL_BYTES) return;
    this.#held.add(source);
    source.hold(true);
  }

  settled(bytes: number): void {
    this.#bytes -= bytes;
    if (this.#held.size === 0 || this.#bytes > INTAKE_MAX_BYTES / 2) return;
    const held = [...this.#held];
    this.#held.clear();
    for (const source of held) source.hold(false);
  }
}

class Source implements IntakeSource {
  readonly #intake: Intake;
  readonly hold: (isHeld: boolean) => void;
  bytes = 0;

  constructor(intake: Intake, hold: (isHeld: boolean) => void) {
    this.#intake = intake;
    this.hold = hold;
  }

  took(bytes: number): void {
    this.bytes += bytes;
    this.#intake.took(this, bytes);
  }

  settled(bytes: number): void {
    this.bytes -= bytes;
    this.#intake.settled(bytes);
  }
}
