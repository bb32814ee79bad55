/**
 * `ProxyStatus` for people: what is wrong first, then what a daemon serves, the sessions that matter, and
 * the journal.
 */
import type { JournalStats, ProxyStatus, SessionStatus, UpstreamStatus } from "../core/status.ts";
import { servingLines, sessionsThatMatter, shortSessionLines } from "./serving.ts";
import { ageText, countsText, many, msText, safe, sizeText, stateText } from "./text.ts";
import type { Paint } from "./text.ts";

const SESSIONS_SHOWN = 20;

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
    `${paint.bold(safe(upstream.name))} ${stateText(upstream.state, paint)} for ` +
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

/** A daemon's sessions are one line each: their upstreams stand above them. */
function allSessionLines(status: ProxyStatus, paint: Paint): string[] {
  const { sessions, now } = status;
  const shown = sessionsThatMatter(sessions, SESSIONS_SHOWN);
  const lines = shown.flatMap((session) =>
    status.serving === undefined
      ? sessionLines(session, now, paint)
      : shortSessionLines(session, now, paint),
  );
  const more = sessions.length - shown.length;
  if (more > 0) lines.push(`… and ${many(more, "more session")}: holdfast sessions`);
  return sessions.length === 0 ? ["session  none"] : lines;
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
    const { expectedSeq, foundSeq, because } = recovery.wentBackwards;
    const what =
      because === undefined
        ? `the journal went backwards: it ends at ${String(foundSeq)}, ` +
          `and ${String(expectedSeq)} was written once`
        : `the journal was ${because}`;
    lines.push(paint.red(`recovery ${what}`));
  }
  return lines;
}

function snapshotLines({ snapshots, now }: ProxyStatus, paint: Paint): string[] {
  if (snapshots === undefined) return [];
  const { count, bytes, last, nextAt, failure } = snapshots;
  const next = nextAt === undefined ? "being made" : `next in ${ageText(nextAt - now)}`;
  const kept =
    last === undefined
      ? "none yet"
      : `last ${ageText(now - last.at)} ago (${sizeText(last.bytes)}), ` +
        `${String(count)} kept, ${sizeText(bytes)}`;
  const lines = [`snapshot ${kept}; ${next}`];
  if (failure !== undefined) {
    const ago = ageText(now - failure.at);
    lines.push(paint.red(`snapshot failed ${ago} ago: ${safe(failure.message)}`));
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
    ...servingLines(status, paint).map((line) => `  ${line}`),
    ...allSessionLines(status, paint).map((line) => `  ${line}`),
  ];
  lines.push(
    `  calls    ${String(calls.accepted)} accepted, ${String(calls.answered)} answered, ` +
      `${String(calls.expired)} expired, ${String(calls.outcomeUnknown)} with unknown outcome, ` +
      `${String(calls.refused)} refused`,
  );
  if (status.heldForPerson > 0) {
    lines.push(
      `  held     ${many(status.heldForPerson, "call")} of an earlier process wait for you: ` +
        "holdfast calls list --state queued",
    );
  }
  const failures = countsText(status.failures);
  if (failures !== "nothing") lines.push(`  failures ${failures}`);
  lines.push(`  ${journalLine(status.journal)}`);
  lines.push(...snapshotLines(status, paint).map((line) => `  ${line}`));
  if (status.journal.degraded !== undefined) {
    lines.push(`  ${paint.yellow("!")} journal: ${safe(status.journal.degraded)}`);
  }
  lines.push(...recoveryLines(status, paint).map((line) => `  ${line}`));
  return lines.join("\n");
}
