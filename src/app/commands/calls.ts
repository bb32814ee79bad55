/** `holdfast calls`: list, show, retry, cancel and settle calls, with and without a running proxy. */
import { unreachable } from "../../base/assert.ts";
import { ConfigError, RefusedError } from "../../base/errors.ts";
import type { CallRow } from "../../core/call.ts";
import { CALL_STATES } from "../../core/call.ts";
import type { Paint } from "../../observe/text.ts";
import { ageText } from "../../observe/text.ts";
import { didYouMean } from "../nearest.ts";
import type { Folders } from "../options.ts";
import type { Outside, Say } from "./screen.ts";
import { paintFor, sayer } from "./screen.ts";
import type { CallSource } from "./sources.ts";
import { findCall, upstreamNameOf, withSources } from "./sources.ts";

export type CallsRequest =
  | { readonly verb: "list"; readonly states: readonly string[]; readonly limit: number }
  | { readonly verb: "show" | "retry" | "cancel"; readonly id: string }
  | { readonly verb: "settle"; readonly id: string; readonly note: string };

/** `queued,sent` → states. Throws `ConfigError` for a word that is none. */
export function readStates(text: string | undefined): string[] {
  if (text === undefined) return [];
  return text.split(",").map((part) => {
    const word = part.trim();
    if ((CALL_STATES as readonly string[]).includes(word)) return word;
    throw new ConfigError(
      `--state: "${word}" is not a state${didYouMean(word, CALL_STATES)}; ` +
        `expected ${CALL_STATES.join(", ")}`,
    );
  });
}

const flat = (text: string) => text.replace(/[\u0000-\u001f\u007f-\u009f\s]+/g, " ").trim();

function stateText(row: CallRow, paint: Paint): string {
  const text = row.reason === undefined ? row.state : `${row.state} (${row.reason})`;
  if (row.state === "done") return paint.green(text);
  if (row.state === "queued" || row.state === "sent" || row.state === "tasked") return text;
  return row.executed === "unknown" ? paint.red(text) : paint.yellow(text);
}

interface Listed extends CallRow {
  readonly upstreamName: string;
}

const CAUSE_WIDTH = 40;

async function tableOf(rows: readonly Listed[], now: number, paint: Paint): Promise<string> {
  const { default: Table } = await import("cli-table3");
  const table = new Table({
    head: ["call", "server", "tool", "state", "executed", "age", "why"],
    style: { head: [], border: [] },
    wordWrap: true,
  });
  for (const row of rows) {
    const why = flat(row.note ?? row.cause ?? "");
    table.push([
      row.id,
      flat(row.upstreamName),
      flat(row.tool ?? row.method),
      stateText(row, paint),
      row.executed,
      ageText(now - row.acceptedAt),
      why.length > CAUSE_WIDTH ? `${why.slice(0, CAUSE_WIDTH - 1)}…` : why,
    ]);
  }
  return `${table.toString()}\n`;
}

const instant = (at: number | undefined) =>
  at === undefined ? undefined : new Date(at).toISOString();

/** Every field that has a value, one a line, the payloads last. */
function details(row: CallRow, upstreamName: string, paint: Paint): string {
  const lines: (readonly [string, string | undefined])[] = [
    ["call", row.id],
    ["server", flat(upstreamName)],
    ["tool", row.tool === undefined ? undefined : flat(row.tool)],
    ["method", flat(row.method)],
    ["safety", row.safety],
    ["state", stateText(row, paint)],
    ["executed", row.executed],
    ["attempts", String(row.attempt)],
    ["accepted", instant(row.acceptedAt)],
    ["sent", instant(row.sentAt)],
    ["ended", instant(row.settledAt)],
    ["delivered", instant(row.deliveredAt)],
    ["runs until", instant(row.acknowledgedAt === undefined ? undefined : row.deadlineAt)],
    ["why", row.cause === undefined ? undefined : flat(row.cause)],
    ["note", row.note === undefined ? undefined : flat(row.note)],
    ["repeats", row.redriveOf],
    ["request", row.request === "" ? "(not kept any more)" : flat(row.request)],
    ["reply", row.reply === undefined ? undefined : flat(row.reply)],
  ];
  return lines
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${paint.dim(name.padEnd(10))} ${value ?? ""}\n`)
    .join("");
}

async function list(
  request: CallsRequest & { verb: "list" },
  sources: readonly CallSource[],
  outside: Outside,
  say: Say,
): Promise<number> {
  const { states, limit } = request;
  const filter = { limit, ...(states.length === 0 ? {} : { states }) };
  const lists = await Promise.all(
    sources.map(async (source) =>
      (await source.control.list(filter)).map((row) => ({
        ...row,
        request: "",
        reply: undefined,
        upstreamName: upstreamNameOf(row, source),
      })),
    ),
  );
  const calls = lists
    .flat()
    .sort((a, b) => b.acceptedAt - a.acceptedAt)
    .slice(0, limit);
  const paint = await paintFor(outside);
  const table =
    calls.length === 0 ? "No calls.\n" : await tableOf(calls, outside.world.now(), paint);
  const notices = sources.flatMap(({ notice }) => (notice === undefined ? [] : [`${notice}\n`]));
  return say({ calls }, table + notices.join(""));
}

async function steerOne(
  request: Exclude<CallsRequest, { verb: "list" }>,
  sources: readonly CallSource[],
  outside: Outside,
  say: Say,
): Promise<number> {
  const { source, id } = await findCall(request.id, sources);
  switch (request.verb) {
    case "show": {
      const row = await source.control.show(id);
      if (row === undefined) throw new RefusedError(`there is no call ${id} any more`);
      return say({ call: row }, details(row, upstreamNameOf(row, source), await paintFor(outside)));
    }
    case "retry": {
      const copy = await source.control.retry(id);
      const when =
        source.status !== undefined ? "now" : "when its server is wrapped again, within 1 h";
      return say({ id: copy, redriveOf: id }, `Repeats ${id} as ${copy}; runs ${when}.\n`);
    }
    case "cancel": {
      const row = await source.control.cancel(id);
      return say({ call: row }, `Call ${id} is ${row.state}; executed: ${row.executed}.\n`);
    }
    case "settle": {
      const row = await source.control.settle(id, request.note);
      return say({ call: row }, `Noted at ${id}: ${flat(row.note ?? request.note)}\n`);
    }
    default:
      return unreachable(request);
  }
}

/** Rejects with `RefusedError` where it cannot be done. */
export async function steerCalls(
  request: CallsRequest,
  isJson: boolean,
  folders: Folders,
  outside: Outside,
): Promise<number> {
  const say = sayer(isJson, outside);
  return withSources(folders, outside, (sources) =>
    request.verb === "list"
      ? list(request, sources, outside, say)
      : steerOne(request, sources, outside, say),
  );
}
