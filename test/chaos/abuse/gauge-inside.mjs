/**
 * Loaded into the proxy's process before it (`node --import`): on SIGUSR2 it writes down what only the
 * process itself knows. The proxy's own code does not change for it.
 */
import { renameSync, writeFileSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { isMainThread } from "node:worker_threads";

const { GAUGE } = process.env;
const RESOLUTION_MS = 2;

// Servers and threads that the proxy starts inherit the option and have no gauge.
if (isMainThread && GAUGE !== undefined && process.argv[1]?.endsWith("/dist/app/cli.js")) {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delay.enable();
  let reports = 0;
  const lagMs = (nanoseconds) => Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS);
  const collect = () => {
    setFlagsFromString("--expose-gc");
    runInNewContext("gc")();
    setFlagsFromString("--no-expose-gc");
  };
  process.on("SIGUSR2", () => {
    const lag = { p99: lagMs(delay.percentile(99)), max: lagMs(delay.max), count: delay.count };
    collect();
    const { heapUsed, external, arrayBuffers } = process.memoryUsage();
    const resources = {};
    for (const name of process.getActiveResourcesInfo()) {
      resources[name] = (resources[name] ?? 0) + 1;
    }
    reports++;
    const report = { number: reports, lag, heapUsed, external, arrayBuffers, resources };
    writeFileSync(`${GAUGE}.draft`, JSON.stringify(report));
    renameSync(`${GAUGE}.draft`, GAUGE);
    delay.reset();
  });
}
