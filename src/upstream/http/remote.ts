/** What a connector knows of a server behind a URL before it dials; the same for every transport. */
import { ConfigError } from "../../base/errors.ts";
import { type Mask, maskedUrl, maskOf } from "./classify.ts";
import { configuredHeaders } from "./headers.ts";

export interface RemoteOptions {
  /** A user and password in it become Basic authorization. */
  readonly url: string;
  /** Sent with every request, variables already expanded; may hold `Authorization`. */
  readonly headers: Readonly<Record<string, string>>;
  /** Words that are shown as `***` in every message (secrets from the configuration). */
  readonly maskValues?: readonly string[];
}

export interface Remote {
  readonly url: URL;
  /** For `HeaderSet`. */
  readonly headers: string[];
  readonly mask: Mask;
  /** The URL for people, secrets masked. */
  readonly target: string;
}

/** The largest reply that is taken, bytes of its JSON text, where nothing else is said. */
export const REPLY_MAX_BYTES = 16 * 1024 * 1024;
/** For DNS, TCP and TLS together, ms, where nothing else is said. */
export const CONNECT_TIMEOUT_MS = 10_000;

/**
 * `schemes`: those that can be dialled, such as `http`. Throws `ConfigError` for a URL or a header that
 * can't be used; no value stands in its message.
 */
export function readRemote(options: RemoteOptions, schemes: readonly [string, string]): Remote {
  const url = URL.canParse(options.url) ? new URL(options.url) : undefined;
  if (url === undefined || !schemes.some((scheme) => url.protocol === `${scheme}:`)) {
    const expected = schemes.map((scheme) => `${scheme}://…`).join(" or ");
    throw new ConfigError(`the upstream's URL: expected ${expected}`);
  }
  const headers = configuredHeaders(url, options.headers);
  const mask = maskOf([...(options.maskValues ?? []), url.password]);
  return { url, headers, mask, target: maskedUrl(url, mask) };
}
