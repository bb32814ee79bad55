/**
 * Id maps for what travels against the usual direction: requests of the upstream to the client.
 * Both sides count from 0, so an id says nothing without its direction and its connection.
 */

export interface PendingServerRequest {
  /** The id as the upstream spelled it. */
  readonly upstreamIdText: string;
  /** The connection that it came over; an answer never goes into another. */
  readonly epoch: string;
  readonly method: string;
}

/** Upstream requests that the client has not answered yet. */
export class ServerRequests {
  #count = 0;
  readonly #byDownstreamId = new Map<string, PendingServerRequest>();

  /** Returns the id, as JSON text, under which the client sees the request. */
  add(request: PendingServerRequest): string {
    const idText = JSON.stringify(`hf-${String(++this.#count)}`);
    this.#byDownstreamId.set(idText, request);
    return idText;
  }

  /** The request that a client's reply answers, removed; undefined for an answer to nothing. */
  take(downstreamIdText: string): PendingServerRequest | undefined {
    const request = this.#byDownstreamId.get(downstreamIdText);
    this.#byDownstreamId.delete(downstreamIdText);
    return request;
  }

  /** The client's id for a request that the upstream cancels. */
  downstreamIdOf(upstreamIdText: string, epoch: string): string | undefined {
    for (const [idText, request] of this.#byDownstreamId) {
      if (request.upstreamIdText === upstreamIdText && request.epoch === epoch) return idText;
    }
    return undefined;
  }

  /** Removes and returns all: one side is gone. */
  takeAll(): readonly (PendingServerRequest & { readonly downstreamIdText: string })[] {
    const all = [...this.#byDownstreamId].map(([downstreamIdText, request]) => ({
      ...request,
      downstreamIdText,
    }));
    this.#byDownstreamId.clear();
    return all;
  }

  get size(): number {
    return this.#byDownstreamId.size;
  }
}
