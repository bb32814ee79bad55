/**
 * From what was measured to lines of a table: what, target, measured, ok or miss. The targets stand
 * here and nowhere else in the benchmark.
 */
import Table from "cli-table3";
import pc from "picocolors";

const round = (value, digits = 2) => Number(value.toFixed(digits));
const ms = (value) => (value >= 10 ? `${Math.round(value)} ms` : `${round(value, 3)} ms`);

function line(what, target, measured, isOk, detail = "") {
  return { what, target, measured, isOk, detail };
}

const CPU_TARGETS = {
  "stdio→stdio": { look: 2, write: 4.5 },
  "stdio→http": { look: 2, write: 1.8 },
  "http→stdio": { look: 2, write: 2 },
  "http→http": { look: 2, write: undefined },
};
const KINDS = { look: "reads", write: "writes, journalled" };

function* callLines(lanes, fsync) {
  for (const [lane, tools] of Object.entries(lanes)) {
    for (const [tool, { variants, cpuRatio }] of Object.entries(tools)) {
      const limit = CPU_TARGETS[lane][tool];
      const { relay, holdfast } = variants;
      if (holdfast === undefined) continue;
      yield line(
        `CPU per call, ${lane}, ${KINDS[tool]}`,
        limit === undefined ? "–" : `≤ ${limit} × bare relay`,
        Number.isNaN(cpuRatio) ? "n/a" : `${round(cpuRatio)} ×`,
        limit === undefined || Number.isNaN(cpuRatio) ? undefined : cpuRatio <= limit,
        `${round(holdfast.cpuUs, 1)} µs against ${round(relay.cpuUs, 1)} µs`,
      );
    }
  }
  yield* latencyLines(lanes, fsync);
}

function* latencyLines(lanes, fsync) {
  for (const [lane, tools] of Object.entries(lanes)) {
    for (const [tool, { variants }] of Object.entries(tools)) {
      const { direct, relay, holdfast } = variants;
      if (holdfast === undefined) continue;
      const added = holdfast.p50Ms - direct.p50Ms;
      const hasTarget = lane === "stdio→stdio";
      const limit = tool === "look" ? 0.15 : 0.5 + 2 * fsync;
      yield line(
        `added latency p50, one at a time, ${lane}, ${KINDS[tool]}`,
        hasTarget ? `≤ ${ms(limit)}${tool === "write" ? " (0.5 ms + 2 fsync)" : ""}` : "–",
        ms(added),
        hasTarget ? added <= limit : undefined,
        `p50 ${ms(holdfast.p50Ms)} (direct ${ms(direct.p50Ms)}, relay ${ms(relay.p50Ms)}), ` +
          `p99 ${ms(holdfast.p99Ms)} (direct ${ms(direct.p99Ms)}, relay ${ms(relay.p99Ms)})`,
      );
    }
  }
}

function* startupLines(startup) {
  if (Number.isNaN(startup.holdfastMs)) return;
  yield line(
    "start → initialize answered, upstream not there",
    "≤ 150 ms",
    ms(startup.holdfastMs),
    startup.holdfastMs <= 150,
    `${round(startup.ratioToBareNode)} × a bare node start (${ms(startup.bareNodeMs)})`,
  );
}

function* memoryLines(memory) {
  if (memory.holdfast === undefined) return;
  const { idleMb, afterMb } = memory.holdfast;
  const known = !Number.isNaN(idleMb);
  const say = (mb) => (known ? `${round(mb, 1)} MB` : "n/a");
  const relay = (mb) => `relay ${round(mb, 1)} MB`;
  yield line(
    "resident memory, idle",
    "≤ 80 MB",
    say(idleMb),
    known ? idleMb <= 80 : undefined,
    relay(memory.relay.idleMb),
  );
  yield line(
    "resident memory, after 10,000 calls",
    "≤ 110 MB",
    say(afterMb),
    known ? afterMb <= 110 : undefined,
    relay(memory.relay.afterMb),
  );
}

function* sessionLines({ sessions, noneMb, idleKb, openKb }) {
  const known = !Number.isNaN(noneMb);
  const say = (kb) => (known ? `${round(kb, 1)} kB` : "n/a");
  const detail = `${sessions} sessions against none (${known ? round(noneMb, 1) : "n/a"} MB)`;
  yield line("resident memory of an idle session", "–", say(idleKb), undefined, detail);
  yield line("the same with its stream open", "–", say(openKb), undefined, detail);
}

function* drainLines(drain, fsync) {
  for (const [lane, found] of Object.entries(drain.lanes)) {
    const isStdio = lane === "stdio→stdio";
    const past = found.firstMs.worst - (isStdio ? drain.serverStartMs : 0);
    yield line(
      `upstream back → first answer, ${lane} (worst of ${found.firstMs.times})`,
      isStdio ? "≤ 1 s past its own start" : "≤ 15 s",
      ms(past),
      past <= (isStdio ? 1_000 : 15_000),
      isStdio ? `the server's own start takes ${ms(drain.serverStartMs)}` : "",
    );
    yield line(
      `drain of queued reads, one session, ${lane}`,
      "≥ 2,000 calls/s",
      `${Math.round(found.readsPerSecond)} calls/s`,
      found.readsPerSecond >= 2_000,
    );
    yield line(
      `drain of queued unsafe calls, one session, ${lane}`,
      "≥ 500 calls/s at 0.2 ms fsync",
      `${Math.round(found.writesPerSecond)} calls/s`,
      found.writesPerSecond >= 500,
      `fsync here: ${ms(fsync)}`,
    );
  }
}

function* recoveryLines(recovery) {
  const { fullJournal, emptyJournal } = recovery;
  yield line(
    `killed with ${recovery.open} open calls → a new call answered`,
    "≤ 500 ms",
    ms(fullJournal.firstCallMs),
    fullJournal.firstCallMs <= 500,
    `initialize after ${ms(fullJournal.initializedMs)}; empty journal: ` +
      `${ms(emptyJournal.firstCallMs)}; recovery itself: ${ms(recovery.reportedMs)}`,
  );
}

export function linesOf(found) {
  const fsync = found.machine.fsyncMs;
  return [
    ...(found.calls === undefined ? [] : callLines(found.calls, fsync)),
    ...(found.startup === undefined ? [] : startupLines(found.startup)),
    ...(found.memory === undefined ? [] : memoryLines(found.memory)),
    ...(found.sessions === undefined ? [] : sessionLines(found.sessions)),
    ...(found.drain === undefined ? [] : drainLines(found.drain, fsync)),
    ...(found.recovery === undefined ? [] : recoveryLines(found.recovery)),
  ];
}

const verdictOf = (isOk) => (isOk === undefined ? "–" : isOk ? pc.green("ok") : pc.red("miss"));

export function print(found) {
  const { machine } = found;
  const table = new Table({
    head: ["what", "target", "measured", "", "detail"],
    style: { head: [], border: [], compact: true },
    colWidths: [undefined, undefined, undefined, undefined, 44],
    wordWrap: true,
  });
  for (const { what, target, measured, isOk, detail } of linesOf(found))
    table.push([what, target, measured, verdictOf(isOk), detail]);
  process.stdout.write(`${table.toString()}\n`);
  process.stdout.write(
    `Node ${machine.node}, ${machine.cpus} cores, fsync ${ms(machine.fsyncMs)}` +
      `${machine.isQuick ? ", quick run: noisier" : ""}. Believe the ratios: milliseconds depend on the machine.\n`,
  );
}
