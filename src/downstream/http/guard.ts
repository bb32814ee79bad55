/**
 * The checks at the door of a listener, before anything of a request is acted on: where it says that
 * it goes (`Host`), which page sends it (`Origin`), and who sends it (`Authorization`). Pure functions,
 * the same for Streamable HTTP, for SSE and for the upgrade to WebSocket, where browsers send an
 * `Origin`, too, and no CORS protects anybody.
 *
 * What is kept out is a page in a browser that can reach the listener. Such a page cannot choose its
 * `Origin`; and if it makes its own name resolve to our address (DNS rebinding), so that the browser
 * takes us for its own server and leaves `Origin` out of a GET, that name stands in `Host`.
 *
 * G11. A request passes only with one `Host`, and it has to be one that no foreign page can send:
 *      a loopback name or address, or one that is allowed. A listener that can be reached from
 *      other machines, with no hosts allowed, cannot know its names. There an address passes, because
 *      no name was resolved; any other name passes only if tokens are asked for, because browsers add
 *      none by themselves, so a page that got this far still has nothing to show.
 * G12. A request with an `Origin` passes only if it has one and that is loopback or allowed.
 *      One without passes unless the browser says that a page elsewhere had it sent.
 * G13. Nothing of a refused request is repeated in our headers.
 */
import type { Admittance, Gatekeeper } from "../../ports.ts";
import {
  authorityText,
  isAddress,
  isLoopback,
  originText,
  readAuthority,
  readOrigin,
} from "./authority.ts";

/** Headers by lower-case name, every value of a repeated one (`IncomingMessage.headersDistinct`). */
export type DistinctHeaders = Readonly<Record<string, readonly string[] | undefined>>;

export interface DoorPolicy {
  /** Besides loopback, as `originText` writes them. */
  readonly allowedOrigins: readonly string[];
  /** Besides loopback, as `authorityText` writes them; without a port: with any. */
  readonly allowedHosts: readonly string[];
  /** The listener can be reached from other machines. */
  readonly isBeyondLoopback: boolean;
  /** Whoever comes from another machine has to show a token. */
  readonly asksTokens: boolean;
}

export interface Refusal {
  readonly kind: "refused";
  readonly status: 400 | 401 | 403;
  /** For the body: says what to do. */
  readonly reason: string;
  /** The value of `WWW-Authenticate`, where one belongs into the answer. */
  readonly challenge: string | undefined;
}

export type Entry = { readonly kind: "passes"; readonly principal: string } | Refusal;

const refused = (status: 400 | 401 | 403, reason: string, challenge?: string): Refusal => ({
  kind: "refused",
  status,
  reason,
  challenge,
});

/** All checks, in their order: a place that is wrong is not told whether its token is right. */
export function checkEntry(
  headers: DistinctHeaders,
  policy: DoorPolicy,
  gatekeeper: Gatekeeper,
  upstream: string,
): Entry {
  const misplaced =
    checkHost(headers["host"], policy) ??
    checkOrigin(headers["origin"], policy) ??
    checkSite(headers);
  if (misplaced !== undefined) return misplaced;
  const shown = readBearer(headers["authorization"]);
  const token = shown.kind === "token" ? shown.token : undefined;
  const admittance = gatekeeper.admit(token, upstream);
  if (shown.kind === "malformed" && admittance.kind !== "admitted") {
    return refused(400, shown.reason, challengeText("invalid_request", shown.reason));
  }
  return entryOf(admittance, token !== undefined);
}

function entryOf(admittance: Admittance, hasToken: boolean): Entry {
  switch (admittance.kind) {
    case "admitted":
      return { kind: "passes", principal: admittance.principal };
    case "unknown":
      return refused(
        401,
        admittance.reason,
        hasToken ? challengeText("invalid_token", admittance.reason) : challengeText(),
      );
    case "forbidden":
      return refused(
        403,
        admittance.reason,
        challengeText("insufficient_scope", admittance.reason),
      );
  }
}

export function checkHost(
  values: readonly string[] | undefined,
  policy: DoorPolicy,
): Refusal | undefined {
  const [value, ...others] = values ?? [];
  if (value === undefined) return refused(400, "the Host header is missing");
  const authority = others.length > 0 ? undefined : readAuthority(value);
  if (authority === undefined) return refused(400, "the Host header is not one host and port");
  if (isHostAllowed(authority.host, authorityText(authority), policy)) return undefined;
  return refused(
    403,
    `this listener is not known as ${authorityText(authority)}; if it should be, add that name to ` +
      "allowedHosts",
  );
}

function isHostAllowed(host: string, withPort: string, policy: DoorPolicy): boolean {
  const { allowedHosts } = policy;
  if (isLoopback(host)) return true;
  const withoutPort = authorityText({ host, port: undefined });
  if (allowedHosts.includes(withoutPort) || allowedHosts.includes(withPort)) return true;
  if (!policy.isBeyondLoopback || allowedHosts.length > 0) return false;
  return isAddress(host) || policy.asksTokens;
}

export function checkOrigin(
  values: readonly string[] | undefined,
  policy: DoorPolicy,
): Refusal | undefined {
  const [value, ...others] = values ?? [];
  if (value === undefined) return undefined;
  const origin = others.length > 0 ? undefined : readOrigin(value);
  if (origin === undefined) return refused(403, "requests from this origin are not allowed");
  const isWeb = origin.scheme === "http" || origin.scheme === "https";
  if (isWeb && isLoopback(origin.host)) return undefined;
  const text = originText(origin);
  if (policy.allowedOrigins.includes(text)) return undefined;
  return refused(
    403,
    `requests from ${text} are not allowed; if they should be, add it to allowedOrigins`,
  );
}

/**
 * An image or a link on a page elsewhere is a GET without an `Origin`. The page sees nothing of the
 * answer, but it could open one stream after the other.
 */
export function checkSite(headers: DistinctHeaders): Refusal | undefined {
  if (headers["origin"] !== undefined) return undefined;
  const isElsewhere = headers["sec-fetch-site"]?.some((site) => /^(cross|same)-site$/.test(site));
  if (isElsewhere !== true) return undefined;
  return refused(403, "requests that a page elsewhere has a browser send are not allowed");
}

export type Shown =
  | { readonly kind: "token"; readonly token: string }
  /** No `Authorization`, or one of another scheme. */
  | { readonly kind: "absent" }
  | { readonly kind: "malformed"; readonly reason: string };

/** The token of `Authorization: Bearer …` (RFC 6750: the scheme in any case, a token68 after it). */
export function readBearer(values: readonly string[] | undefined): Shown {
  const [value, ...others] = values ?? [];
  if (value === undefined) return { kind: "absent" };
  if (others.length > 0) {
    return { kind: "malformed", reason: "there is more than one Authorization header" };
  }
  if (!/^bearer(\s|$)/i.test(value)) return { kind: "absent" };
  const token = /^bearer +([A-Za-z0-9\-._~+/]+=*) *$/i.exec(value)?.[1];
  if (token !== undefined) return { kind: "token", token };
  return { kind: "malformed", reason: "the Authorization header holds no bearer token" };
}

/** `WWW-Authenticate`: without an error where no token was shown (RFC 6750 §3). */
export function challengeText(
  error?: "invalid_request" | "invalid_token" | "insufficient_scope",
  reason = "",
): string {
  const realm = 'Bearer realm="holdfast"';
  if (error === undefined) return realm;
  // The characters that RFC 6750 allows in a description; all others would need escapes.
  const description = reason.replace(/"/g, "'").replace(/[^\x20-\x5b\x5d-\x7e]/g, "?");
  return `${realm}, error="${error}", error_description="${description}"`;
}
