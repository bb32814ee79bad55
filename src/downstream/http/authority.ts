/**
 * Hosts and origins as headers and people write them: read into one spelling, compared, and told
 * loopback or not. Pure. What cannot be read is undefined, and never taken for something near it: the
 * shorthands of addresses (`127.1`, `0x7f000001`) are neither addresses nor names here.
 */
import { BlockList, isIP, isIPv4, isIPv6 } from "node:net";

export interface Authority {
  /** Lower case, without the brackets of IPv6 and without a final dot. */
  readonly host: string;
  /** 0 to 65535; undefined where none is written. */
  readonly port: number | undefined;
}

const PORT_MAX = 65_535;
const HOST_MAX_CHARS = 253;
const LABEL = /^(?!-)[a-z0-9_-]{1,63}(?<!-)$/;
/** A name that ends like this is read as an address by browsers. */
const LIKE_A_NUMBER = /^(\d+|0x[0-9a-f]*)$/;

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8, "ipv4");
LOOPBACK.addAddress("::1", "ipv6");

/** `host`, `host:port`, `[address]` or `[address]:port`. */
export function readAuthority(text: string): Authority | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text.toLowerCase());
  if (match === null) return undefined;
  const [, address, name = "", digits] = match;
  const host = address === undefined ? readName(name) : readAddress(address);
  const port = digits === undefined ? undefined : Number(digits);
  if (host === undefined || (port !== undefined && port > PORT_MAX)) return undefined;
  return { host, port };
}

/** An IPv6 address in its one short spelling. A zone (`%eth0`) has no place in a header. */
function readAddress(text: string): string | undefined {
  if (!isIPv6(text) || text.includes("%")) return undefined;
  return new URL(`http://[${text}]`).hostname.slice(1, -1);
}

function readName(text: string): string | undefined {
  if (isIPv4(text)) return text;
  const name = text.endsWith(".") ? text.slice(0, -1) : text;
  const labels = name.split(".");
  if (name.length > HOST_MAX_CHARS || !labels.every((label) => LABEL.test(label))) return undefined;
  return LIKE_A_NUMBER.test(labels.at(-1) ?? "") ? undefined : name;
}

/** As it would stand in a URL. */
export function authorityText({ host, port }: Authority): string {
  const written = isIPv6(host) ? `[${host}]` : host;
  return port === undefined ? written : `${written}:${String(port)}`;
}

export const isAddress = (host: string): boolean => isIP(host) !== 0;

/** Whether this host is this very machine: `localhost`, 127.0.0.0/8, ::1. No name is looked up. */
export function isLoopback(host: string): boolean {
  if (host === "localhost") return true;
  const version = isIP(host);
  return version !== 0 && LOOPBACK.check(host, version === 4 ? "ipv4" : "ipv6");
}

export interface Origin extends Authority {
  /** Lower case, without the colon. */
  readonly scheme: string;
}

const DEFAULT_PORTS: Readonly<Record<string, number>> = { http: 80, https: 443 };

/** `scheme://host` or `scheme://host:port`, and nothing behind it. The opaque `null` is none. */
export function readOrigin(text: string): Origin | undefined {
  const match = /^([a-z][a-z0-9+.-]*):\/\/(.+)$/.exec(text.toLowerCase());
  const [, scheme = "", rest = ""] = match ?? [];
  const authority = readAuthority(rest);
  if (match === null || authority === undefined) return undefined;
  const { host, port } = authority;
  return { scheme, host, port: port === DEFAULT_PORTS[scheme] ? undefined : port };
}

export const originText = (origin: Origin): string => `${origin.scheme}://${authorityText(origin)}`;
