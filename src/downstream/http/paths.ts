/**
 * The paths of a listener. A path is read in its one spelling; whatever else decodes to it (`..`,
 * `%2f`, doubled slashes, a needless escape) is no path of ours, so that no two readers of a request
 * (a gateway before us, a log, we) can take it for different things.
 */

export type Place =
  | { readonly kind: "mcp"; readonly upstream: string }
  /** `/sse/NAME` and `/sse/NAME/message`. */
  | { readonly kind: "sse"; readonly upstream: string }
  | { readonly kind: "ws"; readonly upstream: string };

const PATH = /^\/(?:(mcp|sse|ws)\/([^/?#]+)|(sse)\/([^/?#]+)\/message)$/;

/** `target`: the request target as it came, with its query. Undefined where it names nothing. */
export function readPlace(target: string): Place | undefined {
  const query = target.indexOf("?");
  const match = PATH.exec(query < 0 ? target : target.slice(0, query));
  if (match === null) return undefined;
  const kind = (match[1] ?? match[3]) as Place["kind"];
  const upstream = readSegment(match[2] ?? match[4] ?? "");
  return upstream === undefined ? undefined : { kind, upstream };
}

/** What a path may hold as it is (RFC 3986, `pchar`). */
const PLAIN = /^[A-Za-z0-9\-._~!$&'()*+,;=:@]+$/;

/** A name may need escapes (a space), but then those that everybody writes, and no others. */
function readSegment(segment: string): string | undefined {
  if (segment === "." || segment === "..") return undefined;
  if (PLAIN.test(segment)) return segment;
  let name: string;
  try {
    name = decodeURIComponent(segment);
  } catch {
    return undefined;
  }
  if (/[/\\\p{Cc}]/u.test(name)) return undefined;
  return encodeURIComponent(name) === segment ? name : undefined;
}
