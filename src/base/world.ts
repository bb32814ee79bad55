/**
 * The world: clocks, timers, randomness and ids. The only file in `src/` that may touch them, so that
 * the engine can run in a virtual world where time is data (house rule R19).
 */
import { createHmac, randomBytes } from "node:crypto";
import { garbageCollector, Litter } from "./litter.ts";

/** Stops a timer; calling it twice, or after the timer fired, does nothing. */
export type CancelTimer = () => void;

export interface World {
  /** Wall clock, epoch ms. For instants that are stored or shown. May step. */
  now(): number;
  /** Monotonic clock, ms. For durations inside one process. On Linux it stands still in suspend. */
  monotonic(): number;
  /** Runs `fire` once after `delayMs` (≥ 0). Timers never keep the process alive by themselves. */
  timer(delayMs: number, fire: () => void): CancelTimer;
  /** Runs `fire` after the current turn's input has been read. Used to batch; never to wait. */
  soon(fire: () => void): void;
  /** Uniform in [0, 1). */
  random(): number;
  /** A new id: prefix, underscore, 26 characters; ids made later in one process sort later. */
  newId(prefix: string): string;
  /** `bytes` unguessable bytes as base64url: for keys and tokens. At least 16. */
  secret(bytes: number): string;
  /** Hex HMAC-SHA-256 of a text, which may come in pieces; an empty key is allowed. */
  digest(key: string, text: string | Iterable<string>): string;
  /** Tells that a payload of so many characters or bytes is garbage, or will be after this turn. */
  litter(size: number): void;
}

const ID_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";

function encodeBase32(value: number, length: number): string {
  let rest = value;
  let text = "";
  for (let i = 0; i < length; i++) {
    text = ID_ALPHABET.charAt(rest % 32) + text;
    rest = Math.floor(rest / 32);
  }
  return text;
}

/** Ids of one millisecond; more of them borrow from the next one. */
const IDS_PER_MS = 32 ** 4;

/**
 * Makes ids of 10 characters of time, 4 of a counter and 12 random (60 bits). Each sorts after the
 * one before, also when the wall clock is set back. `random`: 12 bytes.
 */
export function idMaker(): (prefix: string, now: number, random: Uint8Array) => string {
  let at = -1;
  let count = 0;
  return (prefix, now, random) => {
    count = now > at ? 0 : count + 1;
    at = Math.max(at, now);
    if (count === IDS_PER_MS) {
      at++;
      count = 0;
    }
    let tail = "";
    for (let i = 0; i < 12; i++) tail += ID_ALPHABET.charAt((random[i] ?? 0) % 32);
    return `${prefix}_${encodeBase32(at, 10)}${encodeBase32(count, 4)}${tail}`;
  };
}

/** As `World.digest`. */
export function keyedDigest(key: string, text: string | Iterable<string>): string {
  const sum = createHmac("sha256", key);
  if (typeof text === "string") sum.update(text);
  else for (const piece of text) sum.update(piece);
  return sum.digest("hex");
}

/** The real world. */
export function realWorld(): World {
  const makeId = idMaker();
  let pool = randomBytes(0);
  let poolAt = 0;
  const litter = new Litter(setImmediate, garbageCollector());
  return {
    now: () => Date.now(),
    monotonic: () => performance.now(),
    timer(delayMs, fire) {
      // Node clamps longer delays to 1 ms; nothing of ours waits for 24 days in one go.
      const handle = setTimeout(fire, Math.min(Math.max(0, delayMs), 2_147_483_647));
      handle.unref();
      return () => {
        clearTimeout(handle);
      };
    },
    soon(fire) {
      setImmediate(fire);
    },
    random: () => Math.random(),
    newId(prefix) {
      if (poolAt + 12 > pool.length) {
        pool = randomBytes(12 * 64);
        poolAt = 0;
      }
      const random = pool.subarray(poolAt, poolAt + 12);
      poolAt += 12;
      return makeId(prefix, Date.now(), random);
    },
    secret: (bytes) => randomBytes(bytes).toString("base64url"),
    digest: keyedDigest,
    litter(size) {
      litter.add(size);
    },
  };
}
