/**
 * Lines of a file as records, checked as rows from a disk are: by type, member by member, and by what a
 * row can be. A file may come from anywhere.
 *
 * MV2. Nothing is dropped or made up: a record with a member that is unknown, missing or of another type
 *      is refused, and so is a row that no journal would hold (`illegality`).
 */
import type { CallRow } from "../../core/call.ts";
import type { SessionRow } from "../../core/session.ts";
import { TRANSPORT_KINDS } from "../../core/transport.ts";
import type { JsonObject } from "../../wire/message.ts";
import { illegality } from "../rows.ts";
import { parseObject } from "./format.ts";
import { CALL, JOURNAL, SESSION } from "./shapes.ts";
import type { Shape } from "./shapes.ts";
import type { MovedRecord } from "./format.ts";
import type { JournalRecord } from "./shapes.ts";

const ERAS: readonly string[] = ["legacy", "modern"];

/** It names a folder. */
const DIGEST = /^[0-9a-f]{16}([0-9a-f]{48})?$/;

const isText = (value: unknown): value is string => typeof value === "string";

function fits(value: unknown, shape: Shape): boolean {
  switch (shape) {
    case "text":
      return isText(value);
    case "text?":
      return value === undefined || isText(value);
    case "number":
      return Number.isFinite(value);
    case "number?":
      return value === undefined || Number.isFinite(value);
    case "boolean":
      return typeof value === "boolean";
    case "texts":
      return Array.isArray(value) && value.every(isText);
  }
}

/** The members of these shapes, absent ones as undefined; or in words what is wrong. */
function readMembers<T>(value: JsonObject, shapes: Readonly<Record<keyof T, Shape>>): T | string {
  const entries = Object.entries<Shape>(shapes);
  for (const name of Object.keys(value)) {
    if (name !== "kind" && !Object.hasOwn(shapes, name)) return `unknown member ${quoted(name)}`;
  }
  for (const [name, shape] of entries) {
    if (!fits(value[name], shape)) return `"${name}" is ${quoted(value[name])}`;
  }
  return Object.fromEntries(entries.map(([name]) => [name, value[name]])) as T;
}

const QUOTED_MAX = 40;

function quoted(value: unknown): string {
  const text = value === undefined ? "missing" : JSON.stringify(value);
  return text.length > QUOTED_MAX ? `${text.slice(0, QUOTED_MAX)}…` : text;
}

function readCall(value: JsonObject): CallRow | string {
  const call = readMembers<CallRow>(value, CALL);
  if (typeof call === "string") return call;
  if (call.id === "") return '"id" is ""';
  return illegality(call) ?? call;
}

function readSession(value: JsonObject): SessionRow | string {
  const session = readMembers<SessionRow>(value, SESSION);
  if (typeof session === "string") return session;
  if (session.id === "") return '"id" is ""';
  if (!TRANSPORT_KINDS.includes(session.transport))
    return `"transport" is ${quoted(session.transport)}`;
  if (!ERAS.includes(session.era)) return `"era" is ${quoted(session.era)}`;
  if (parseObject(session.handshake) === undefined) return '"handshake" holds no JSON object';
  return session;
}

function readJournal(value: JsonObject): JournalRecord | string {
  const journal = readMembers<JournalRecord>(value, JOURNAL);
  if (typeof journal === "string") return journal;
  return DIGEST.test(journal.upstream) ? journal : `"upstream" is ${quoted(journal.upstream)}`;
}

/** A record of a parsed line, or in words what is wrong with it. */
export function readRecord(value: JsonObject): MovedRecord | string {
  switch (value["kind"]) {
    case "journal": {
      const journal = readJournal(value);
      return typeof journal === "string" ? journal : { kind: "journal", journal };
    }
    case "session": {
      const session = readSession(value);
      return typeof session === "string" ? session : { kind: "session", session };
    }
    case "call": {
      const call = readCall(value);
      return typeof call === "string" ? call : { kind: "call", call };
    }
    default:
      return `"kind" is ${quoted(value["kind"])}`;
  }
}
