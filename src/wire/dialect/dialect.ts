/**
 * A dialect turns what peers of one era say into what the engine works with, and back. The engine
 * knows no method name of a handshake, a cancellation or a change notification by itself.
 */
import type { JsonObject, NotificationMessage, RequestMessage } from "../message.ts";
import type { ListKind, Method } from "../methods.ts";

/** What a client's request or notification asks of us. */
export type ClientIntent =
  | { readonly kind: "handshake"; readonly version: string; readonly params: JsonObject }
  | { readonly kind: "probe" }
  | { readonly kind: "ping" }
  | { readonly kind: "list"; readonly list: ListKind; readonly isFirstPage: boolean }
  | { readonly kind: "call"; readonly method: Method; readonly tool: string | undefined }
  | { readonly kind: "ready" } // the client has finished its handshake
  | { readonly kind: "cancel"; readonly idText: string | undefined; readonly reason: string }
  | { readonly kind: "roots_changed" }
  | { readonly kind: "notification" };

/** What an upstream's notification tells us; everything else it sends is carried as it is. */
export type UpstreamIntent =
  | { readonly kind: "progress"; readonly token: string | number | undefined }
  | { readonly kind: "cancel"; readonly idText: string | undefined }
  | { readonly kind: "list_changed"; readonly lists: readonly ListKind[] }
  | { readonly kind: "resource_updated"; readonly uri: string }
  | { readonly kind: "log"; readonly level: string }
  | { readonly kind: "notification" };

/** Session state that a `state` request sets, so that it can be restored after a reconnect. */
export type StateChange =
  | { readonly kind: "log_level"; readonly level: string }
  | { readonly kind: "subscribe" | "unsubscribe"; readonly uri: string };

export interface Dialect {
  readonly era: "legacy" | "modern";
  /** A request whose parameters do not fit (such as `initialize` without a version) is an `Error` text. */
  readClient(
    message: RequestMessage | NotificationMessage,
  ): ClientIntent | { kind: "invalid"; reason: string };
  readUpstream(message: NotificationMessage): UpstreamIntent;
  readState(request: RequestMessage): StateChange | undefined;
  handshake(id: string, params: JsonObject): string;
  ready(): string;
  ping(id: string): string;
  /** `idText`: the id of the request to cancel, as JSON text. */
  cancel(idText: string, reason: string): string;
  progress(tokenText: string, progress: number, message: string): string;
  listChanged(list: ListKind): string;
  listPage(id: string, list: ListKind, cursor: string | undefined): string;
  setLogLevel(id: string, level: string): string;
  subscribe(id: string, uri: string): string;
  unsubscribe(id: string, uri: string): string;
  resourceUpdated(uri: string): string;
  rootsChanged(): string;
}
