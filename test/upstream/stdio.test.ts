import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { realWorld, type World } from "../../src/base/world.ts";
import { isAlive, until } from "../support/processes.ts";
import { dial } from "../support/stdio-upstream.ts";

const folder = mkdtempSync(join(tmpdir(), "holdfast-stdio-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

describe("a held connection", () => {
  const line = `{"jsonrpc":"2.0","method":"flood","params":"${"x".repeat(1_000)}"}`;

  it("leaves 100 MB in the child until it is let go", async () => {
    const done = join(folder, "done");
    const flood = `yes '${line}' | head -n 100000; : > ${done}; exec cat >/dev/null`;
    const upstream = await dial([], { command: "/bin/sh", args: ["-c", flood] });
    await until("it speaks", () => upstream.messages.length > 0);
    upstream.connection.hold?.(true);
    const taken = upstream.messages.length;
    for (let i = 0; i < 500; i++) await new Promise((resolve) => setImmediate(resolve));
    expect(upstream.messages.length).toBe(taken);
    expect(existsSync(done)).toBe(false);
    upstream.connection.hold?.(false);
    await until("all is taken", () => upstream.messages.length === 100_000);
    await upstream.connection.close(2_000);
  });

  it("is read to its end when the child exits", async () => {
    const upstream = await dial([]);
    await upstream.act();
    upstream.connection.hold?.(true);
    upstream.call("1-1", "answerAndExit", { code: 3, text: "y".repeat(40_000) });
    expect(await upstream.down()).toMatchObject({ kind: "process_exit", exitCode: 3 });
    expect(upstream.messages.at(-1)).toMatchObject({ kind: "reply", id: "1-1" });
  });

  it("is read to its end when it is closed", async () => {
    const upstream = await dial([]);
    await upstream.act();
    upstream.connection.hold?.(true);
    upstream.call("1-1", "echo", { text: "y".repeat(1_000_000) });
    await upstream.connection.close(2_000);
    expect(upstream.messages.at(-1)).toMatchObject({ kind: "reply", id: "1-1" });
  });
});

describe("messages", () => {
  it("are delivered both ways, in order", async () => {
    const upstream = await dial([]);
    for (let i = 0; i < 200; i++) expect(upstream.call(`1-${String(i)}`, "echo", { i })).toBe(true);
    await upstream.replyTo("1-199");
    expect(upstream.messages.map((message) => message.kind === "reply" && message.result)).toEqual(
      Array.from({ length: 200 }, (_, i) => ({ i })),
    );
    expect(upstream.noises).toEqual([]);
  });

  it("larger than a pipe get through in both directions", async () => {
    const upstream = await dial([], { frameMaxBytes: 8 << 20 });
    const text = "ä".repeat(1_500_000);
    upstream.call("1-1", "echo", { text });
    upstream.call("1-2", "echo", { text: "after" });
    expect(await upstream.replyTo("1-1")).toMatchObject({ result: { text } });
    expect(await upstream.replyTo("1-2")).toMatchObject({ result: { text: "after" } });
  });

  it("written over several lines are sent on one", async () => {
    const upstream = await dial([]);
    const text = '{"jsonrpc":"2.0",\r\n"id":"1-1",\n"method":"echo","params":{"a":"b\\nc"}}\n';
    upstream.connection.send(text, { kind: "request", id: "1-1", safety: "read" });
    expect(await upstream.replyTo("1-1")).toMatchObject({ result: { a: "b\nc" } });
  });

  it("of a batch are delivered one by one", async () => {
    const batch =
      '[{"jsonrpc":"2.0","method":"a"},{"jsonrpc":"2.0","id":7,"method":"b"},[{}],"c"]\n';
    const upstream = await dial([`stdout=${batch}`]);
    await upstream.notification("a");
    await until("two of the batch are noise", () => upstream.noises.length === 2);
    expect(upstream.messages.map((message) => message.kind)).toEqual(["notification", "request"]);
  });

  it("that were written right before the exit are delivered before the link is down", async () => {
    const upstream = await dial([]);
    upstream.call("1-1", "answerAndExit", { code: 3, text: "y".repeat(400_000) });
    expect(await upstream.down()).toMatchObject({ kind: "process_exit", exitCode: 3 });
    expect(upstream.messages.map((message) => message.kind === "reply" && message.id)).toEqual([
      "1-1",
    ]);
    expect(upstream.late).toBe(0);
  });

  it("that come from the pipe after the exit are delivered before the link is down", async () => {
    // The drain is stretched, so that a slow machine does not end it first.
    const real = realWorld();
    const world: World = { ...real, timer: (ms, fire) => real.timer(ms * 80, fire) };
    const go = join(folder, "go");
    const hello = `{"jsonrpc":"2.0","method":"late"}`;
    const later = `until [ -e ${go} ]; do sleep 0.01; done; echo '${hello}'; echo end >&2`;
    const args = ["-c", `trap '' TERM; (${later}) & exit 3`];
    const upstream = await dial([], { command: "/bin/sh", args, world });
    await until("the child is gone", () => !isAlive(upstream.pid));
    writeFileSync(go, "");
    expect((await upstream.down()).message).toBe("exited with code 3; last output: end");
    expect(upstream.messages).toMatchObject([{ method: "late" }]);
    expect(upstream.late).toBe(0);
  });

  it("without their line end are NOT delivered", async () => {
    const upstream = await dial(['stdout={"jsonrpc":"2.0","id":"1-1","result":{}}', "exit=0"]);
    await upstream.down();
    expect(upstream.messages).toEqual([]);
    expect(upstream.noises).toEqual(["an unfinished line of 40 bytes at the end"]);
  });
});

describe("what is no message", () => {
  it("is noise with a short preview without secrets, and the link goes on", async () => {
    const upstream = await dial(
      ["stdout=starting with hunter22 \u001b[31mred\u001b[0m\n", "raw=7b22ff227d0a"],
      { maskValues: ["hunter22"] },
    );
    upstream.call("1-1", "echo", {});
    await upstream.replyTo("1-1");
    expect(upstream.noises).toHaveLength(2);
    expect(upstream.noises[0]).toMatch(/^not a message \(.*\): starting with \*\*\* red$/);
    expect(upstream.noises[1]).toBe("a line of 5 bytes of invalid UTF-8");
    expect(upstream.downs).toEqual([]);
  });

  /** The line as hex, with a byte that no UTF-8 text has in place of each `?`. */
  const brokenHex = (line: string) =>
    Buffer.from(`${line}\n`.replaceAll("?", "\u00ff"), "latin1").toString("hex");

  it.each([
    ["at its head", '{"jsonrpc":"2.0","id":"1-9","result":{"text":"?"}}'],
    ["at its tail", '{"result":{"text":"?"},"jsonrpc":"2.0","id":"1-9"}'],
  ])("settles its request where an answer in invalid UTF-8 has its id %s", async (_, line) => {
    const upstream = await dial([`raw=${brokenHex(line)}`]);
    await upstream.act();
    expect(upstream.outcomes).toMatchObject([
      { id: "1-9", outcome: { kind: "unreadable", failure: { kind: "protocol_error" } } },
    ]);
    expect(upstream.outcomes[0]?.outcome.failure.message).toBe("answered with invalid UTF-8");
  });

  it.each([
    ["that is a request", '{"jsonrpc":"2.0","id":"1-9","method":"?"}'],
    ["with a number as its id", '{"jsonrpc":"2.0","id":9,"result":"?"}'],
    ["with a broken id", '{"jsonrpc":"2.0","id":"1-?","result":1}'],
  ])("settles nothing with invalid UTF-8 %s", async (_, line) => {
    const upstream = await dial([`raw=${brokenHex(line)}`]);
    await upstream.act();
    expect(upstream.outcomes).toEqual([]);
    expect(upstream.noises).toHaveLength(1);
  });

  it("is counted when it comes as a flood, not repeated", async () => {
    const upstream = await dial(["floodNoise=20000"]);
    await upstream.act();
    await upstream.connection.close(2000);
    expect(upstream.noises).toHaveLength(6);
    expect(upstream.noises.at(-1)).toBe("19995 more like these");
  });

  it("settles its request where it is an answer that is no reply", async () => {
    const both = '{"jsonrpc":"2.0","id":"1-9","result":{},"error":{"code":1,"message":"x"}}\n';
    const upstream = await dial([`stdout=${both}`]);
    await upstream.act();
    expect(upstream.outcomes).toMatchObject([
      { id: "1-9", outcome: { kind: "unreadable", failure: { kind: "protocol_error" } } },
    ]);
  });
});

describe("a line over the limit", () => {
  it.each(["bigHead", "bigTail"])("settles its request if its id can be read (%s)", async (how) => {
    const upstream = await dial([`${how}=e1-5,3000000`]);
    await upstream.act();
    expect(upstream.outcomes).toHaveLength(1);
    expect(upstream.outcomes[0]?.id).toBe("e1-5");
    expect(upstream.outcomes[0]?.outcome).toMatchObject({
      kind: "unreadable",
      failure: { kind: "oversize" },
    });
    expect(upstream.outcomes[0]?.outcome.failure.message).toMatch(/answered with 30000\d\d bytes/);
  });

  it.each([
    ["whose id cannot be read", `{"jsonrpc": "2.0", "x":"${"x".repeat(90_000)}", "id":"e1-5"}`],
    ["that is a request", `{"jsonrpc":"2.0","id":"e1-5","method":"${"m".repeat(90_000)}"}`],
    ["with a number as its id", `{"jsonrpc":"2.0","id":5,"result":"${"m".repeat(90_000)}"}`],
  ])("%s is noise and settles nothing", async (_what, line) => {
    const upstream = await dial([`stdout=${line}\n`], { frameMaxBytes: 65_536 });
    await upstream.act();
    expect(upstream.outcomes).toEqual([]);
    expect(upstream.noises).toHaveLength(1);
    expect(upstream.noises[0]?.length).toBeLessThan(300);
  });
});

describe("the failure of a child", () => {
  it("names the exit code and the last output, secrets masked", async () => {
    const upstream = await dial(
      ["stderr=first", "env=API_TOKEN", "stderr=\u001b[1mlast", "exit=7"],
      {
        env: { API_TOKEN: "s3cr3t-value" },
        maskValues: ["s3cr3t-value"],
      },
    );
    expect(await upstream.down()).toEqual({
      kind: "process_exit",
      message: "exited with code 7; last output: first | API_TOKEN is *** | last",
      exitCode: 7,
    });
    expect(upstream.stderr).toEqual(["first", "API_TOKEN is ***", "last"]);
  });

  it("names the signal", async () => {
    const upstream = await dial(["kill=SIGKILL"]);
    expect(await upstream.down()).toEqual({
      kind: "process_exit",
      message: "was killed by SIGKILL",
    });
  });

  it("comes although a grandchild holds the pipes, which is ended", async () => {
    const upstream = await dial(["grandchild"]);
    const message = await upstream.notification("grandchild");
    const pid = message.kind === "notification" ? Number(message.params?.["pid"]) : 0;
    expect(isAlive(pid)).toBe(true);
    process.kill(upstream.pid, "SIGKILL");
    expect(await upstream.down()).toMatchObject({ message: "was killed by SIGKILL" });
    await until("the grandchild is gone", () => !isAlive(pid));
    await until("the group is reported gone", () => upstream.gonePids.length === 1);
  });

  it("comes when the child closes its output but keeps running", async () => {
    const script = "exec >&-; exec sleep 1000";
    const upstream = await dial([], { command: "/bin/sh", args: ["-c", script] });
    const failure = await upstream.down();
    expect(failure.kind).toBe("reset");
    expect(failure.message).toBe("closed its output and was ended: was killed by SIGTERM");
  });

  it("comes when the child closes its input but keeps running", async () => {
    const hello = '{"jsonrpc":"2.0","method":"closed"}';
    const script = `exec <&-; echo '${hello}'; exec sleep 1000`;
    const upstream = await dial([], { command: "/bin/sh", args: ["-c", script] });
    await upstream.notification("closed");
    expect(upstream.call("1-1", "echo", {})).toBe(true);
    const failure = await upstream.down();
    expect(failure.kind).toBe("reset");
    expect(failure.message).toMatch(/^stopped reading its input \(.*EPIPE.*\) and was ended/);
  });
});

describe("a flood on stderr", () => {
  it("of 10 MB neither blocks the child nor its answers, and only its end is kept", async () => {
    const upstream = await dial([]);
    upstream.call("1-1", "do", { actions: ["floodStderr=100000"] });
    upstream.call("1-2", "echo", { a: 1 });
    await upstream.replyTo("1-2");
    await until("every line was logged", () => upstream.stderr.length === 100_000);
    process.kill(upstream.pid, "SIGKILL");
    expect((await upstream.down()).message.length).toBeLessThan(5000);
  });
});

describe("sending", () => {
  it("to a child that has exited says that no byte left", async () => {
    const upstream = await dial(["exit=0"]);
    await upstream.down();
    expect(upstream.call("1-1", "echo", {})).toBe(false);
  });

  it("to a child that does not read keeps 16 MiB of notifications, every request, and no more", async () => {
    const upstream = await dial(["deaf"]);
    const text = "z".repeat(1_048_576);
    const takes = () => upstream.connection.send(text, { kind: "notification" });
    let taken = 0;
    while (taken < 100 && takes()) taken++;
    expect(taken).toBeGreaterThan(15);
    expect(taken).toBeLessThan(20);
    expect(upstream.call("1-1", "echo", { text })).toBe(true);
    process.kill(upstream.pid, "SIGKILL");
    await upstream.down();
  });

  it("to a child that does not read leaves what was not written refused, when it is killed", async () => {
    const upstream = await dial(["deaf"]);
    const text = "z".repeat(100_000);
    for (let i = 0; i < 100; i++)
      expect(upstream.call(`1-${String(i)}`, "echo", { text })).toBe(true);
    upstream.connection.forget("1-99");
    // The first writes are with the operating system by now; a pipe takes far less than all.
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    process.kill(upstream.pid, "SIGKILL");
    await upstream.down();
    const refused = upstream.outcomes.map(({ id }) => Number(id.slice(2)));
    expect(upstream.outcomes.every(({ outcome }) => outcome.kind === "refused")).toBe(true);
    expect(refused.length).toBeGreaterThan(80);
    expect(refused).not.toContain(0);
    expect(refused).not.toContain(99);
    expect(refused).toEqual(
      Array.from({ length: refused.length }, (_, i) => 99 - refused.length + i),
    );
    expect(upstream.late).toBe(0);
  });
});
