/** `ProxyStatus` for people: what is wrong first, then one block a session, then the journal. */
import type { JournalStats, ProxyStatus, SessionStatus, UpstreamStatus } from "../core/status.ts";

/** Colours, or none. */
export interface Paint {
  bold(text: string): string;
  dim(text: string): string;
  red(text: string): string;
  green(text: string): string;
  yellow(text: string): string;
}

const plain = (text: string) => text;
export const NO_PAINT: Paint = { bold: plain, dim: plain, red: plain, green: plain, yellow: plain };

const UNITS: readonly (readonly [string, number])[] = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["min", 60_000],
  ["s", 1_000],
];

/** "3 min 12 s"; the two largest units, nothing finer than seconds. Clocks that went back give "0 s". */
export function ageText(ms: number): string {
  let rest = Math.max(0, ms);
  const parts: string[] = [];
  for (const [unit, size] of UNITS) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count > 0) parts.push(`${String(count)} ${unit}`);
    if (parts.length === 2) break;
  }
  return parts.length === 0 ? "0 s" : parts.join(" ");
}

/** "1.5 MiB". */
export function sizeText(bytes: number): string {
  if (bytes < 1_024) return `${String(bytes)} B`;
  const units = ["KiB", "MiB", "GiB"];
  let value = bytes / 1_024;
  let unit = 0;
  for (; value >= 1_024 && unit < units.length - 1; unit++) value /= 1_024;
  return `${value >= 10 ? value.toFixed(0) : value.toFixed(1)} ${units[unit] ?? ""}`;
}

const msText = (ms: number) => `${ms < 10 ? ms.toFixed(1) : ms.toFixed(0)} ms`;

const many = (count: number, word: string) => `${String(count)} ${word}${count === 1 ? "" : "s"}`;

/** "queued 3, sent 1"; names with a zero are left out. */
export function countsText(counts: Readonly<Record<string, number | undefined>>): string {
  const parts = Object.entries(counts)
    .filter(([, count]) => count !== undefined && count > 0)
    .map(([name, count]) => `${name} ${String(count)}`);
  return parts.length === 0 ? "nothing" : parts.join(", ");
}

/** Terminals obey control characters; server names and errors come from outside. */
const safe = (text: string) => text.replace(/[\u0000-\u001f\u007f-\u009f]/g, " ");

function stateText(upstream: UpstreamStatus, paint: Paint): string {
  switch (upstream.state) {
    case "serving":
      return paint.green(upstream.state);
    case "idle":
    case "dialling":
    case "handshaking":
    case "draining":
    case "stopped":
      return paint.yellow(upstream.state);
    case "waiting":
    case "open":
    case "needs_auth":
    case "misconfigured":
      return paint.red(upstream.state);
  }
}

function upstreamLines(upstream: UpstreamStatus, now: number, paint: Paint): string[] {
  const ago = (at: number) => `${ageText(now - at)} ago`;
  const reply =
    upstream.lastReplyAt === undefined ? "no reply yet" : `last reply ${ago(upstream.lastReplyAt)}`;
  const next =
    upstream.nextAttemptAt === undefined
      ? ""
      : `, next attempt in ${ageText(upstream.nextAttemptAt - now)}`;
  const oldest =
    upstream.oldestWaitingAt === undefined
      ? ""
      : ` (oldest ${ageText(now - upstream.oldestWaitingAt)})`;
  const latency =
    upstream.latencyMs === undefined
      ? ""
      : `, p50 ${msText(upstream.latencyMs.p50)}, p95 ${msText(upstream.latencyMs.p95)}`;
  const details = Object.entries(upstream.details)
    .map(([name, value]) => ` ${name} ${String(value)}`)
    .join("");
  const lines = [
    `${paint.bold(safe(upstream.name))} ${stateText(upstream, paint)} for ` +
      `${ageText(now - upstream.since)}${details}  ${paint.dim(safe(upstream.target))}`,
    `${reply}, ${many(upstream.restarts, "restart")}, breaker ${upstream.breaker}${next}`,
    `${String(upstream.waiting)} waiting${oldest}, ${String(upstream.inFlight)} in flight${latency}`,
  ];
  if (upstream.lastFailure !== undefined) {
    const { kind, message, at } = upstream.lastFailure;
    lines.push(`last error ${ago(at)}: ${safe(message)} ${paint.dim(`(${kind})`)}`);
  }
  return lines;
}

function sessionLines(session: SessionStatus, now: number, paint: Paint): string[] {
  const attached = session.isAttached ? "attached" : "detached";
  return [
    `session  ${safe(session.client)} (MCP ${safe(session.protocolVersion)}), ${attached}, ` +
      `${ageText(now - session.createdAt)} old`,
    ...upstreamLines(session.upstream, now, paint).map(
      (line, i) => (i === 0 ? "  " : "    ") + line,
    ),
  ];
}

function journalLine(journal: JournalStats): string {
  const where = journal.kind === "memory" ? "in memory" : (journal.path ?? "?");
  const fsync = journal.fsyncMs === undefined ? "" : `, fsync ${msText(journal.fsyncMs)}`;
  return (
    `journal  ${safe(where)}, ${sizeText(journal.bytes)} + WAL ${sizeText(journal.walBytes)}${fsync}, ` +
    `${many(journal.rows, "row")}, ${many(journal.commits, "commit")}`
  );
}

function recoveryLines(status: ProxyStatus, paint: Paint): string[] {
  const { recovery } = status;
  if (recovery === undefined) return [];
  const lines = [
    `recovery took ${msText(recovery.tookMs)}; found ${countsText(recovery.found)}; ` +
      `${String(recovery.expired)} expired, ${String(recovery.putInDoubt)} put in doubt`,
  ];
  if (recovery.wentBackwards !== undefined) {
    const { expectedSeq, foundSeq } = recovery.wentBackwards;
    lines.push(
      paint.red(
        `recovery the journal went backwards: it ends at ${String(foundSeq)}, ` +
          `and ${String(expectedSeq)} was written once`,
      ),
    );
  }
  return lines;
}

/** Several lines, the last without a line break. */
export function renderStatus(status: ProxyStatus, paint: Paint): string {
  const { now, calls } = status;
  const health =
    status.health === "healthy" ? paint.green(status.health) : paint.red(status.health);
  const lines = [
    `${paint.bold(safe(status.upstreamName))}: ${health}  ` +
      paint.dim(
        `holdfast ${status.version}, pid ${String(status.pid)}, ` +
          `up ${ageText(now - status.startedAt)}`,
      ),
    ...status.reasons.map((reason) => `  ${paint.yellow("!")} ${safe(reason)}`),
    ...status.sessions.flatMap((session) =>
      sessionLines(session, now, paint).map((line) => `  ${line}`),
    ),
  ];
  if (status.sessions.length === 0) lines.push("  session  none");
  lines.push(
    `  calls    ${String(calls.accepted)} accepted, ${String(calls.answered)} answered, ` +
      `${String(calls.expired)} expired, ${String(calls.outcomeUnknown)} with unknown outcome, ` +
      `${String(calls.refused)} refused`,
  );
  if (status.heldForPerson > 0) {
    lines.push(
      `  held     ${many(status.heldForPerson, "call")} of an earlier process with other credentials ` +
        "wait for you: holdfast calls list --state queued",
    );
  }
  const failures = countsText(status.failures);
  if (failures !== "nothing") lines.push(`  failures ${failures}`);
  lines.push(`  ${journalLine(status.journal)}`);
  if (status.journal.degraded !== undefined) {
    lines.push(`  ${paint.yellow("!")} journal: ${safe(status.journal.degraded)}`);
  }
  lines.push(...recoveryLines(status, paint).map((line) => `  ${line}`));
  return lines.join("\n");
}
