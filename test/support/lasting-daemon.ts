/** `holdfast serve` at one port, with one state folder, over many lives: tests kill it and start it again. */
import { configure, launchDaemon, ledgerEntry, type Launched } from "./daemon.ts";
import type { Lab } from "./lab.ts";
import { ownPort } from "./port.ts";

export interface LastingDaemon {
  readonly port: number;
  /** Of its newest life. */
  readonly pid: number;
  mcp(name: string): string;
  /** Resolves when it listens; rejects if it ends before. */
  start(): Promise<void>;
  /** Starts it and does not wait. */
  launch(): void;
  /** SIGKILL, and gone when this resolves. */
  kill(): Promise<void>;
  /** What its newest life said. */
  stderr(): string;
}

/** Thousands of calls at debug level would drown what a failing test has to say. */
const ENV = { HOLDFAST_LOG_LEVEL: "info" };

/** Ready to be started. */
export async function daemonAt(
  lab: Lab,
  mcpServers: Readonly<Record<string, object>>,
  holdfast: object = {},
): Promise<LastingDaemon> {
  configure(lab, mcpServers, holdfast);
  const port = await ownPort();
  const address = `127.0.0.1:${String(port)}`;
  let life: Launched | undefined;
  const launch = (): Launched => (life = launchDaemon(lab, address, ENV));
  const newest = (): Launched => {
    if (life === undefined) throw new Error("the daemon was never started");
    return life;
  };
  return {
    port,
    get pid() {
      return newest().pid;
    },
    mcp: (name) => `http://${address}/mcp/${name}`,
    start: async () => {
      await launch().listening;
    },
    launch,
    stderr: () => newest().stderr(),
    kill: async () => {
      const { signal, exited } = newest();
      signal("SIGKILL");
      await exited;
    },
  };
}

/** Started, and listening. */
export async function lastingDaemon(
  ...options: Parameters<typeof daemonAt>
): Promise<LastingDaemon> {
  const daemon = await daemonAt(...options);
  await daemon.start();
  return daemon;
}

/** The ledger server behind stdio, one for all sessions. `down`: the file that keeps it down. */
export const sharedLedger = (lab: Lab, settings: object = {}, down = lab.path("down")): object => ({
  ...ledgerEntry(lab, { DOWN: down }),
  holdfast: { isolation: "shared", ...settings },
});
