/** `holdfast sessions`, `events --follow` and `restart` beside a running proxy. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { describe, expect } from "vitest";
import type { ProxyEvent } from "../../src/core/event.ts";
import { call, command, connect } from "../support/holdfast-process.ts";
import { labTest, until, type Lab } from "../support/lab.ts";
import { UPSTREAMS } from "../support/upstream-process.ts";

const CLI = fileURLToPath(new URL("../../dist/app/cli.js", import.meta.url));

/** `holdfast events --follow --json` as a process. */
function follow(lab: Lab) {
  const args = [CLI, "events", "--follow", "--json"];
  const child = spawn(process.execPath, args, { env: lab.env, stdio: ["ignore", "pipe", "pipe"] });
  if (child.pid !== undefined) lab.watch(child.pid);
  const exited = once(child, "close").then(([code]) => code as number | null);
  lab.onClose(async () => {
    child.kill("SIGINT");
    await exited;
  });
  const events: ProxyEvent[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => {
    events.push(JSON.parse(line) as ProxyEvent);
  });
  let stderr = "";
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  return { events, exited, interrupt: () => child.kill("SIGINT"), stderr: () => stderr };
}

interface ListedSession {
  readonly id: string;
  readonly client: string;
  readonly upstream: string;
  readonly state: string;
}

async function sessions(lab: Lab): Promise<readonly ListedSession[]> {
  const { stdout } = await command(lab, ["sessions", "list", "--all", "--json"]);
  return (JSON.parse(stdout) as { sessions: ListedSession[] }).sessions;
}

describe.each(UPSTREAMS)("with a %s upstream", (_name, open) => {
  labTest(
    "a restart is seen by followers, and calls go on over the new connection",
    async (lab) => {
      const upstream = await open(lab);
      const { client } = await connect(lab, { args: ["--name", "books", ...upstream.target] });
      const { events, exited, interrupt } = follow(lab);
      let count = 0;
      await until("the first event", async () => {
        await call(client, "append", { nonce: `before-${String(count++)}` });
        return events.length > 0;
      });
      const [session] = await sessions(lab);
      expect(session).toMatchObject({ upstream: "books", state: "attached" });
      expect(session?.client).toBe("e2e 1.0.0");

      const restarted = await command(lab, ["restart", "books", "--json"]);
      expect(restarted.code).toBe(0);
      expect(JSON.parse(restarted.stdout)).toMatchObject({
        restarted: [{ upstream: "books", connections: 1 }],
      });
      expect(await call(client, "append", { nonce: "after" })).toMatchObject({ isError: false });
      await until("the connection to serve again", () =>
        events.some((event) => event.kind === "upstream" && event.state === "serving"),
      );
      expect(events.every((event) => event.upstream === "books")).toBe(true);
      expect((await command(lab, ["restart", "shelves"])).code).toBe(2);

      interrupt();
      expect(await exited).toBe(0);
    },
  );

  labTest("a follower ends in words when its proxy does", async (lab) => {
    const upstream = await open(lab);
    const proxy = await connect(lab, { args: ["--name", "books", ...upstream.target] });
    const { events, exited, stderr } = follow(lab);
    let count = 0;
    await until("the first event", async () => {
      await call(proxy.client, "append", { nonce: `before-${String(count++)}` });
      return events.length > 0;
    });
    await proxy.kill();
    expect(await exited).toBe(1);
    expect(stderr()).toContain('no more events of "books"');
    const [left] = await sessions(lab);
    expect(left).toMatchObject({ upstream: "books", state: "ended" });
  });
});
