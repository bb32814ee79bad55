#!/usr/bin/env node
/** The entry: joins the command line to this process. */
import { deferred } from "../base/async.ts";
import { realWorld } from "../base/world.ts";
import { runCommandLine } from "./command-line.ts";
import { realSurroundings } from "./plan.ts";

const unread = deferred<undefined>();

const interrupted = () =>
  new Promise<void>((resolve) => {
    process.once("SIGINT", resolve);
    process.once("SIGTERM", resolve);
    void unread.promise.then(resolve);
  });

const written = new Set<NodeJS.WriteStream>();

function write(stream: NodeJS.WriteStream, text: string): void {
  if (!written.has(stream)) {
    written.add(stream);
    // `holdfast calls list | head` closes the pipe early; that is no failure.
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
      unread.resolve(undefined);
    });
  }
  stream.write(text);
}

const world = realWorld();
const code = await runCommandLine(process.argv.slice(2), {
  around: realSurroundings(),
  world,
  isTerminal: process.stdout.isTTY,
  out: (text) => {
    write(process.stdout, text);
  },
  error: (text) => {
    write(process.stderr, text);
  },
  outTaken: async () => {
    if (!process.stdout.writableNeedDrain) return;
    const drained = new Promise((resolve) => process.stdout.once("drain", resolve));
    await Promise.race([drained, unread.promise]);
  },
  input: () => process.stdin,
  interrupted,
  runProxy: async (plan) => {
    const ended = await (await import("./main.ts")).runProxy(plan);
    // Everything is flushed and closed by now, but a client that never closes our stdin would keep
    // the process alive. The other commands end by themselves when their output is written.
    process.exit(ended);
  },
  serve: async (request) => {
    const ended = await (await import("./serve.ts")).serve(request);
    process.exit(ended);
  },
  journals: async (stateFolder) => {
    const { journalReader } = await import("./journals.ts");
    return journalReader(stateFolder, world, (level, message) => {
      if (level === "warn" || level === "error") write(process.stderr, `holdfast: ${message}\n`);
    });
  },
});
process.exitCode = code;
