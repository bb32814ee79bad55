/** What a client asked over one stream, and which of it is still open. Pure. */

interface Entry {
  /** As the client spelled it; undefined for a call that it came back for, until that is known. */
  idText: string | undefined;
  /** Once the request is a durable call. */
  callId: string | undefined;
  state: "open" | "answered" | "cancelled" | "renounced";
}

export class Asked {
  readonly #entries: Entry[];

  private constructor(entries: Entry[]) {
    this.#entries = entries;
  }

  /** `idTexts`: one for each answer that will come. */
  static anew(idTexts: readonly string[]): Asked {
    return new Asked(
      idTexts.map((idText): Entry => ({ idText, callId: undefined, state: "open" })),
    );
  }

  /** By a client that came back. */
  static again(callIds: readonly string[]): Asked {
    return new Asked(callIds.map(entryOf));
  }

  /** The request became this call. False where that is no news. */
  accepted(idText: string, callId: string): boolean {
    const known = this.#entries.find((entry) => entry.callId === callId);
    if (known !== undefined) {
      known.idText = idText;
      return false;
    }
    const entry = this.#entries.find((e) => e.idText === idText && e.callId === undefined);
    if (entry === undefined) return false;
    entry.callId = callId;
    return true;
  }

  /** False where no answer to this was to come. */
  answered(idText: string): boolean {
    const entry =
      this.#entries.find((e) => e.idText === idText && isAwaited(e)) ??
      this.#entries.find((e) => e.idText === undefined && e.state === "open");
    if (entry === undefined) return false;
    entry.state = "answered";
    return true;
  }

  /** False where nothing of this id is open. */
  cancelled(idText: string): boolean {
    const entry = this.#entries.find((e) => e.idText === idText && e.state === "open");
    if (entry === undefined) return false;
    entry.state = "cancelled";
    return true;
  }

  /** The client did not see the answers of these, or has none. */
  reopen(callIds: readonly string[]): void {
    for (const callId of callIds) {
      const entry = this.#entries.find((e) => e.callId === callId);
      if (entry === undefined) this.#entries.push(entryOf(callId));
      else entry.state = "open";
    }
  }

  /** No answer of these will come. */
  renounce(callIds: readonly string[]): void {
    for (const entry of this.#entries) {
      if (entry.callId !== undefined && callIds.includes(entry.callId)) entry.state = "renounced";
    }
  }

  /** Nothing is open any more. An answer to what was cancelled may still come. */
  get isSettled(): boolean {
    return !this.#entries.some((entry) => entry.state === "open");
  }

  /** The last answer was one that did not come. */
  get hasCancelled(): boolean {
    return this.#entries.some((entry) => entry.state === "cancelled");
  }

  callIds(): readonly string[] {
    return this.#entries.flatMap((entry) => entry.callId ?? []);
  }

  /** The calls whose answers the client has not been given. */
  owed(): readonly string[] {
    // Which of several answers belongs to which call is not known for those that were come back for.
    const isVague = this.#entries.some((e) => e.idText === undefined && e.state === "open");
    return this.#entries.flatMap((e) => {
      const isOwed = e.state === "open" || (isVague && e.idText === undefined);
      return isOwed && e.callId !== undefined ? [e.callId] : [];
    });
  }

  /** What the ids of the next events say; undefined while the client could not come back. */
  streamName(): string | undefined {
    const owed = this.owed();
    if (owed.length > 0) return owed.join("+");
    return this.isSettled && this.callIds().length > 0 ? "done" : undefined;
  }

  /** The ids of open requests. */
  open(): readonly string[] {
    return this.#entries.flatMap((e) => (e.state === "open" ? (e.idText ?? []) : []));
  }

  /** The ids of open requests that nobody can come back for. */
  orphans(): readonly string[] {
    const orphans = this.#entries.filter((e) => e.state === "open" && e.callId === undefined);
    return orphans.flatMap((e) => e.idText ?? []);
  }
}

const entryOf = (callId: string): Entry => ({ idText: undefined, callId, state: "open" });

const isAwaited = ({ state }: Entry): boolean => state === "open" || state === "cancelled";
