/**
 * The last messages of one stream, kept for a client that returns. Pure.
 *
 * RG1. At most 256 messages and 1 MiB a stream, and 4 MiB a session: the oldest go first.
 * RG2. A message that is not kept any more is never skipped silently: `after` says so.
 */

const MESSAGES_MAX = 256;
const SIZE_MAX = 1_048_576;
const SESSION_SIZE_MAX = 4 * 1_048_576;

/** What all rings of one session hold, in characters. */
export interface RingBudget {
  size: number;
}

export interface Kept {
  readonly seq: number;
  readonly text: string;
}

export interface Missed {
  readonly messages: readonly Kept[];
  /** False where some between the given number and the first of these are lost. */
  readonly isComplete: boolean;
}

export class Ring {
  readonly #budget: RingBudget;
  #messages: Kept[] = [];
  #size = 0;
  /** The newest that is not kept any more. */
  #lostSeq = -1;

  constructor(budget: RingBudget) {
    this.#budget = budget;
  }

  /** The newest that is kept. */
  get lastSeq(): number | undefined {
    return this.#messages.at(-1)?.seq;
  }

  push(seq: number, text: string): void {
    this.#messages.push({ seq, text });
    this.#grow(text.length);
    while (this.#isOver()) this.#drop();
  }

  /** All that came after `seq`. */
  after(seq: number): Missed {
    const messages = this.#messages.filter((message) => message.seq > seq);
    return { messages, isComplete: this.#lostSeq <= seq };
  }

  clear(): void {
    while (this.#messages.length > 0) this.#drop();
  }

  #isOver(): boolean {
    const { length } = this.#messages;
    if (length === 0) return false;
    return length > MESSAGES_MAX || this.#size > SIZE_MAX || this.#budget.size > SESSION_SIZE_MAX;
  }

  #drop(): void {
    const oldest = this.#messages.shift();
    if (oldest === undefined) return;
    this.#lostSeq = oldest.seq;
    this.#grow(-oldest.text.length);
  }

  #grow(size: number): void {
    this.#size += size;
    this.#budget.size += size;
  }
}
