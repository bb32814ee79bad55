/** Addresses as people write them: where `serve` listens, and whom its door lets in. */
import {
  authorityText,
  originText,
  readAuthority,
  readOrigin,
} from "../downstream/http/authority.ts";
import type { Reader } from "./values.ts";

export interface ListenAddress {
  /** Lower case; an IPv6 address without brackets. */
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
}

/** `host:port`, with an IPv6 address in brackets. */
export const readListenAddress: Reader<ListenAddress> = (raw) => {
  const authority = typeof raw === "string" ? readAuthority(raw.trim()) : undefined;
  if (authority?.port === undefined) return undefined;
  return { value: { host: authority.host, port: authority.port } };
};

/** A name or address of this listener, in the spelling that `DoorPolicy` wants. */
export const readAllowedHost: Reader<string> = (raw) => {
  const authority = typeof raw === "string" ? readAuthority(raw) : undefined;
  return authority && { value: authorityText(authority) };
};

/** An origin, in the spelling that `DoorPolicy` wants. */
export const readAllowedOrigin: Reader<string> = (raw) => {
  const origin = typeof raw === "string" ? readOrigin(raw) : undefined;
  return origin && { value: originText(origin) };
};
