import { spawn, type ChildProcessByStdio } from "node:child_process";
import { PassThrough, type Readable, type Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, it } from "vitest";
import { must } from "../../src/base/assert.ts";
import { realWorld } from "../../src/base/world.ts";
import { stdioListener } from "../../src/downstream/stdio.ts";
import type { ClientLink, Inbound, Listener } from "../../src/ports.ts";
import { until } from "../support/processes.ts";

type Client = ChildProcessByStdio<Writable, Readable, null>;

const clients: Client[] = [];
afterEach(() => {
  for (const client of clients.splice(0)) client.kill("SIGKILL");
});

interface Face {
  readonly listener: Listener;
  readonly link: ClientLink;
  readonly received: Inbound[];
  readonly causes: string[];
  readonly congested: boolean[];
  readonly logs: string[];
}

function listen(
  input: Readable,
  output: Writable,
  onReceive?: (link: ClientLink, inbound: Inbound) => void,
): Face {
  const received: Inbound[] = [];
  const causes: string[] = [];
  const congested: boolean[] = [];
  const logs: string[] = [];
  const listener = stdioListener({
    world: realWorld(),
    log: (_level, message) => logs.push(message),
    input,
    output,
    frameMaxBytes: 4096,
  });
  let link: ClientLink | undefined;
  listener.start((accepted) => {
    link = accepted;
    return {
      receive: (inbound) => {
        received.push(inbound);
        onReceive?.(accepted, inbound);
      },
      resume: (ids) => Promise.resolve(ids),
      congested: (is) => congested.push(is),
      detached: () => undefined,
      attached: () => undefined,
      left: (cause) => {
        causes.push(cause);
        return Promise.resolve();
      },
    };
  });
  return { listener, link: must(link, "a link"), received, causes, congested, logs };
}

/** A real client process: its output is our input, its input our output. */
function startClient(...actions: string[]): Client {
  const program = fileURLToPath(new URL("../fixtures/client.mjs", import.meta.url));
  const client = spawn(process.execPath, [program, ...actions], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  clients.push(client);
  return client;
}

const MESSAGE = { kind: "message" } as const;
const NOTE = '{"jsonrpc":"2.0","method":"note"}';

describe("the client's messages", () => {
  it("are handed on in order, and what is broken as what it is", async () => {
    const client = startClient(
      `say=${NOTE}`,
      `say=[${NOTE},${NOTE}]`,
      "say=no json",
      "raw=7b22ff227d0a",
      "long=5000",
      'say={"jsonrpc":"2.0","id":1,"method":"a"}',
      'say={"jsonrpc":"1.0","id":2}',
    );
    const face = listen(client.stdout, client.stdin);
    await until("the client left", () => face.causes.length === 1);
    expect(face.received).toMatchObject([
      { kind: "notification", method: "note" },
      { kind: "batch", texts: [NOTE, NOTE] },
      { kind: "malformed", code: -32700 },
      { kind: "malformed", code: -32700, reason: "invalid UTF-8", idText: undefined },
      { kind: "oversize", idText: '"big"' },
      { kind: "request", id: 1 },
      { kind: "malformed", code: -32600, idText: "2" },
    ]);
    expect(face.causes).toEqual(["the client closed our stdin"]);
  });

  it("in invalid UTF-8 are refused under their id, and an answer under none", async () => {
    const hex = (line: string) =>
      Buffer.from(`${line}\n`.replaceAll("?", "\u00ff"), "latin1").toString("hex");
    const client = startClient(
      `raw=${hex('{"jsonrpc":"2.0","id":7,"method":"tools/call","params":"?"}')}`,
      `raw=${hex('{"method":"tools/call","params":"?","jsonrpc":"2.0","id":"a"}')}`,
      `raw=${hex('{"jsonrpc":"2.0","id":7,"result":"?"}')}`,
      `raw=${hex('{"result":"?","jsonrpc":"2.0","id":7}')}`,
    );
    const face = listen(client.stdout, client.stdin);
    await until("the client left", () => face.causes.length === 1);
    const invalid = { kind: "malformed", code: -32700, reason: "invalid UTF-8" };
    expect(face.received).toEqual([
      { ...invalid, idText: "7" },
      { ...invalid, idText: '"a"' },
      { ...invalid, idText: undefined },
      { ...invalid, idText: undefined },
    ]);
  });

  it("are whole also when they come byte by byte or as text", async () => {
    const input = new PassThrough();
    const face = listen(input, new PassThrough());
    const text = '{"jsonrpc":"2.0","method":"☃"}\n';
    for (const byte of Buffer.from(text)) input.write(Buffer.of(byte));
    input.setEncoding("utf8");
    input.write(text);
    await until("both came", () => face.received.length === 2);
    expect(face.received).toMatchObject([{ method: "☃" }, { method: "☃" }]);
  });

  it("without their line end are NOT handed on when the client leaves", async () => {
    const input = new PassThrough();
    const face = listen(input, new PassThrough());
    input.end(NOTE);
    await until("the client left", () => face.causes.length === 1);
    expect(face.received).toEqual([]);
    expect(face.logs).toEqual(["the client's last line was not finished and is ignored"]);
  });
});

describe("our messages", () => {
  it("reach the client one a line, in order", async () => {
    const client = startClient("echo");
    const face = listen(client.stdout, client.stdin);
    face.link.send('{"jsonrpc":"2.0",\n"method":"a"}', MESSAGE);
    face.link.send('{"jsonrpc":"2.0","method":"b"}', MESSAGE);
    await until("they came back", () => face.received.length === 2);
    expect(face.received).toMatchObject([
      { kind: "notification", text: '{"jsonrpc":"2.0", "method":"a"}' },
      { kind: "notification", method: "b" },
    ]);
    expect(face.link.canResume).toBe(false);
  });

  it("of one turn go out in one write", async () => {
    const output = new PassThrough();
    const chunks: string[] = [];
    output.on("data", (chunk: Buffer) => chunks.push(chunk.toString()));
    const face = listen(new PassThrough(), output);
    for (let i = 0; i < 3; i++) face.link.send(NOTE, MESSAGE);
    expect(face.link.bufferedBytes()).toBe(3 * (NOTE.length + 1));
    await until("they were written", () => chunks.length > 0);
    expect(chunks).toEqual([`${NOTE}\n`.repeat(3)]);
  });

  it("still go out after the client has ended its input", async () => {
    const input = new PassThrough();
    const output = new PassThrough();
    const face = listen(input, output);
    face.link.send(NOTE, MESSAGE);
    input.end();
    input.resume();
    await until("the client left", () => face.causes.length === 1);
    await face.listener.stop();
    expect(String(output.read())).toBe(`${NOTE}\n`);
  });
});

describe("a client that dies", () => {
  it("has left exactly once, though both streams break under a write", async () => {
    const client = startClient("stay");
    const face = listen(client.stdout, client.stdin);
    for (let i = 0; i < 50; i++) face.link.send(JSON.stringify("x".repeat(100_000)), MESSAGE);
    await until("bytes wait for the client", () => client.stdin.writableLength > 0);
    client.kill("SIGKILL");
    await until("both streams are closed", () => client.stdin.destroyed && client.stdout.destroyed);
    face.link.send(NOTE, MESSAGE);
    await face.listener.stop();
    expect(face.causes).toHaveLength(1);
  });

  it("and closed only our output has left, and is written to no more", async () => {
    const input = new PassThrough();
    const output = new PassThrough();
    const face = listen(input, output);
    output.destroy(new Error("write EPIPE"));
    await until("the client left", () => face.causes.length === 1);
    expect(face.causes).toEqual(["the client closed our stdout: write EPIPE"]);
    face.link.send(NOTE, MESSAGE);
    input.write(`${NOTE}\n`);
    input.end();
    await until("the input is at its end", () => input.readableEnded);
    expect(face.received).toEqual([]);
    expect(face.link.bufferedBytes()).toBe(0);
    expect(face.causes).toHaveLength(1);
  });
});

describe("a client whose calls are on their way to disk", () => {
  const line = (id: number) => `${JSON.stringify({ jsonrpc: "2.0", id, method: "ping" })}\n`;

  it("is not read from until they are there, whatever it reads meanwhile", async () => {
    const [input, output] = [new PassThrough(), new PassThrough()];
    output.resume();
    const face = listen(input, output);
    input.write(line(1));
    await until("the first", () => face.received.length === 1);
    face.link.hold?.(true);
    face.link.hold?.(true);
    input.write(line(2));
    face.link.send("{}", MESSAGE);
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
    expect(face.received).toHaveLength(1);
    face.link.hold?.(false);
    await until("the second", () => face.received.length === 2);
  });

  it("is NOT read from before it has read what it was sent, either", async () => {
    const [input, output] = [new PassThrough(), new PassThrough()];
    const face = listen(input, output);
    face.link.hold?.(true);
    face.link.send("x".repeat(9 << 20), MESSAGE);
    face.link.hold?.(false);
    input.write(line(1));
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
    expect(face.received).toEqual([]);
    output.resume();
    await until("it is read from", () => face.received.length === 1);
  });
});

describe("a client that does not read", () => {
  it("is not read from any more, so that its flood cannot fill our memory", async () => {
    const client = startClient("floodDeaf");
    const answer = JSON.stringify({ jsonrpc: "2.0", id: 1, result: { text: "x".repeat(10_000) } });
    const face = listen(client.stdout, client.stdin, (link) => {
      link.send(answer, MESSAGE);
    });
    await until("we stopped reading", () => client.stdout.isPaused());
    const count = face.received.length;
    const buffered = face.link.bufferedBytes();
    expect(buffered).toBeGreaterThan(8 << 20);
    // One chunk of input (64 KiB, about 1,600 pings) may be answered beyond the bound.
    expect(buffered).toBeLessThan((8 << 20) + 1_700 * answer.length);
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
    expect(face.received).toHaveLength(count);
    expect(face.causes).toEqual([]);
  });

  it("is read from again once it has read everything", async () => {
    const bytes = 9 << 20;
    const client = startClient(`count=${String(bytes + 1)}`);
    const face = listen(client.stdout, client.stdin);
    face.link.send("x".repeat(bytes), MESSAGE);
    expect(face.congested).toEqual([true]);
    await until("it has counted", () => face.received.length === 1);
    expect(face.received).toMatchObject([{ method: "counted", params: { seen: bytes + 1 } }]);
    expect(face.congested).toEqual([true, false]);
  });

  it("does not hold up stop() for ever", async () => {
    const client = startClient("stay");
    const face = listen(client.stdout, client.stdin);
    face.link.send("x".repeat(5 << 20), MESSAGE);
    await face.listener.stop();
    expect(face.logs).toEqual(["the client does not read; some of its answers are left behind"]);
  });
});

describe("stop", () => {
  it("flushes what was sent, takes no more input, and is no leaving of the client", async () => {
    const client = startClient(`count=${String(2 << 20)}`, `say=${NOTE}`);
    const face = listen(client.stdout, client.stdin);
    await until("the first message came", () => face.received.length === 1);
    face.link.send("x".repeat((2 << 20) - 1), MESSAGE);
    await face.listener.stop();
    expect(face.link.bufferedBytes()).toBe(0);
    client.stdin.end();
    await until("the client ended", () => client.exitCode !== null);
    expect(face.received).toHaveLength(1);
    expect(face.causes).toEqual([]);
  });
});
