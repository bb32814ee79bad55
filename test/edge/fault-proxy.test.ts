/** The fault proxy of the chaos run: each of its faults does what it says, or the run proves less than it says. */
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { once } from "node:events";
import { expect, it } from "vitest";
import { openFaultProxy, type FaultProxy, type Toxic } from "../chaos/fault-proxy.ts";
import { heldConnectionsTo } from "../support/proc.ts";
import { until } from "../support/processes.ts";
import { randomFrom } from "../support/random.ts";

/** One end of a connection, and all that came of it. */
interface End {
  readonly socket: Socket;
  readonly chunks: Buffer[];
  text(): string;
  hasEnded: boolean;
  error: string | undefined;
}

function watch(socket: Socket): End {
  const end: End = {
    socket,
    chunks: [],
    text: () => Buffer.concat(end.chunks).toString("latin1"),
    hasEnded: false,
    error: undefined,
  };
  socket.on("data", (chunk: Buffer) => end.chunks.push(chunk));
  socket.on("end", () => (end.hasEnded = true));
  socket.on("error", (error: NodeJS.ErrnoException) => (end.error = error.code ?? error.message));
  return end;
}

interface Rig {
  readonly proxy: FaultProxy;
  /** A client's connection and, once something reached it, the server's end of the same. */
  dial(): Promise<End>;
  readonly accepted: End[];
  /** A whole round trip past the proxy: what was written before it and passes has arrived. */
  settle(): Promise<void>;
}

async function withRig(body: (rig: Rig) => Promise<void>): Promise<void> {
  const accepted: End[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => accepted.push(watch(socket)));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const targetPort = (server.address() as AddressInfo).port;
  const proxy = await openFaultProxy({ targetPort, random: randomFrom(1) });
  const echo = createServer((socket) => socket.pipe(socket)).listen(0, "127.0.0.1");
  await once(echo, "listening");
  const dial = async () => {
    const socket = connect({ port: proxy.port, host: "127.0.0.1", allowHalfOpen: true });
    await once(socket, "connect");
    return watch(socket);
  };
  const settle = async () => {
    const { port } = echo.address() as AddressInfo;
    for (let trips = 0; trips < 5; trips++) {
      const socket = connect({ port, host: "127.0.0.1" });
      socket.write("there and back");
      await once(socket, "data");
      socket.destroy();
    }
  };
  try {
    await body({ proxy, dial, accepted, settle });
  } finally {
    await proxy.close();
    for (const { socket } of accepted) socket.destroy();
    echo.close();
    server.close();
    await once(server, "close");
  }
}

/** A connection over which a first message went each way. */
async function talking(rig: Rig): Promise<{ client: End; server: End }> {
  const before = rig.accepted.length;
  const client = await rig.dial();
  client.socket.write("hello");
  await until("the server to hear it", () => rig.accepted[before]?.text() === "hello");
  const server = rig.accepted[before];
  if (server === undefined) throw new Error("nobody was accepted");
  server.socket.write("hi");
  await until("the client to hear it", () => client.text() === "hi");
  return { client, server };
}

const faulty = (
  name: string,
  toxic: Toxic,
  body: (rig: Rig, ends: { client: End; server: End }) => Promise<void>,
) =>
  it(name, () =>
    withRig(async (rig) => {
      const ends = await talking(rig);
      await rig.proxy.set(toxic);
      await body(rig, ends);
    }),
  );

faulty(
  "passes bytes, and the end of one direction before the other's",
  { kind: "pass" },
  async (_rig, { client, server }) => {
    client.socket.end("question");
    await until("the server to see the end", () => server.hasEnded);
    expect(server.text()).toBe("helloquestion");
    server.socket.end("answer");
    await until("the client to see the end", () => client.hasEnded);
    expect([client.text(), client.error]).toEqual(["hianswer", undefined]);
  },
);

it("resets a client whose server is not there", () =>
  withRig(async ({ proxy, accepted }) => {
    const nobody = await openFaultProxy({ targetPort: proxy.port, random: randomFrom(1) });
    await proxy.close();
    const client = watch(connect(nobody.port, "127.0.0.1"));
    await until("the client to be cut off", () => client.error !== undefined);
    expect([client.error, accepted.length]).toEqual(["ECONNRESET", 0]);
    await nobody.close();
  }));

faulty(
  "delays each chunk",
  { kind: "latency", ms: 60, jitterMs: 20 },
  async (_rig, { client, server }) => {
    const at = performance.now();
    client.socket.write("x");
    await until("it to arrive", () => server.text() === "hellox");
    expect(performance.now() - at).toBeGreaterThanOrEqual(39);
  },
);

faulty(
  "resets both sides in the middle of an answer",
  { kind: "reset", afterBytes: 4 },
  async (_rig, { client, server }) => {
    server.socket.write("an answer");
    await until("the client to be cut off", () => client.error !== undefined);
    await until("the server to be cut off", () => server.error !== undefined);
    // A reset may overtake the bytes before it, but nothing that comes after them arrives.
    expect([client.error, server.error]).toEqual(["ECONNRESET", "ECONNRESET"]);
    expect("hian a").toContain(client.text());
  },
);

faulty(
  "ends an answer in its middle as if it were whole",
  { kind: "fin", afterBytes: 4 },
  async (_rig, { client, server }) => {
    server.socket.write("an answer");
    await until("the client to see the end", () => client.hasEnded);
    await until("the server to be cut off", () => server.error !== undefined);
    expect([client.text(), client.error]).toEqual(["hian a", undefined]);
  },
);

faulty(
  "is rid of a client that wrote on after a false end, once it is gone too",
  { kind: "fin", afterBytes: 4 },
  async (rig, { client, server }) => {
    server.socket.write("an answer");
    await until("the client to see the end", () => client.hasEnded);
    client.socket.write("a word more");
    await rig.settle();
    client.socket.end("and the last one");
    await until("nothing to be open", () => rig.proxy.open() === 0);
  },
);

faulty(
  "lets nothing through while it is a black hole, and everything afterwards",
  { kind: "black_hole" },
  async (rig, { client, server }) => {
    client.socket.write("lost?");
    server.socket.end("me too?");
    const late = await rig.dial();
    late.socket.write("and I?");
    await rig.settle();
    expect([server.text(), client.text(), client.hasEnded, rig.accepted.length]).toEqual([
      "hello",
      "hi",
      false,
      1,
    ]);
    await rig.proxy.set({ kind: "pass" });
    await until(
      "all of it to arrive",
      () => client.hasEnded && rig.accepted[1]?.text() === "and I?",
    );
    expect([server.text(), client.text()]).toEqual(["hellolost?", "hime too?"]);
  },
);

faulty(
  "a reset within a black hole is seen after it",
  { kind: "black_hole" },
  async (rig, { client, server }) => {
    client.socket.resetAndDestroy();
    await rig.settle();
    expect(server.error).toBeUndefined();
    await rig.proxy.set({ kind: "pass" });
    await until("the server to be cut off", () => server.error !== undefined);
  },
);

faulty(
  "accepts newcomers and leaves them without an answer, until they are forgotten",
  { kind: "silence" },
  async (rig, { client, server }) => {
    const late = await rig.dial();
    late.socket.write("anybody?");
    client.socket.write("!");
    await until("the old connection to go on", () => server.text() === "hello!");
    await rig.proxy.set({ kind: "pass" });
    await rig.settle();
    expect([rig.accepted.length, late.error]).toEqual([1, undefined]);
    rig.proxy.forgetSilent();
    await until("it to be forgotten", () => late.error === "ECONNRESET");
    expect([server.error, client.error]).toEqual([undefined, undefined]);
  },
);

faulty(
  "refuses newcomers while nobody listens, and is back at the same port",
  { kind: "refuse" },
  async (rig, { client, server }) => {
    const refused = watch(connect(rig.proxy.port, "127.0.0.1"));
    await until("a newcomer to be refused", () => refused.error === "ECONNREFUSED");
    client.socket.write("!");
    await until("the old connection to go on", () => server.text() === "hello!");
    await rig.proxy.set({ kind: "pass" });
    await talking(rig);
  },
);

faulty(
  "hands over one byte at a time",
  { kind: "slice", everyMs: 5 },
  async (_rig, { client, server }) => {
    const at = performance.now();
    client.socket.write("one by one");
    await until("all of it to arrive", () => server.text() === "helloone by one");
    expect(performance.now() - at).toBeGreaterThanOrEqual(40);
    expect(server.chunks.length).toBeGreaterThan(3);
  },
);

faulty(
  "goes on at once with the rest of a chunk when it is healed",
  { kind: "slice", everyMs: 60_000 },
  async (rig, { client, server }) => {
    client.socket.write("one by one");
    await until("the first byte to arrive", () => server.text() === "helloo");
    await rig.proxy.set({ kind: "pass" });
    await until("all of it to arrive", () => server.text() === "helloone by one");
  },
);

faulty(
  "limits what passes in a second",
  { kind: "bandwidth", bytesPerSecond: 10_000 },
  async (_rig, { client, server }) => {
    const at = performance.now();
    server.socket.write("x".repeat(3_000));
    await until("all of it to arrive", () => client.text().length === 3_002);
    expect(performance.now() - at).toBeGreaterThanOrEqual(240);
  },
);

faulty(
  "puts noise before the next chunk to the client, once",
  { kind: "garbage", bytes: 20 },
  async (rig, { client, server }) => {
    client.socket.write("untouched");
    await until("it to arrive", () => server.text() === "hellountouched");
    server.socket.write("first");
    await until("it to arrive", () => client.text().endsWith("first"));
    server.socket.write("second");
    await until("it to arrive", () => client.text().endsWith("firstsecond"));
    expect(client.text()).toHaveLength("hi".length + 20 + "firstsecond".length);
    expect(rig.proxy.toxic.kind).toBe("garbage");
  },
);

faulty(
  "repeats the next chunk to the client, once",
  { kind: "duplicate" },
  async (_rig, { client, server }) => {
    client.socket.write("untouched");
    await until("it to arrive", () => server.text() === "hellountouched");
    server.socket.write("twice");
    await until("it to arrive twice", () => client.text() === "hitwicetwice");
    server.socket.write("once");
    await until("it to arrive", () => client.text() === "hitwicetwiceonce");
  },
);

it("cuts what is open, and leaves nothing open when it is closed", () =>
  withRig(async (rig) => {
    const { client, server } = await talking(rig);
    rig.proxy.cut();
    await until(
      "both to be cut off",
      () => client.error !== undefined && server.error !== undefined,
    );
    await talking(rig);
    await until("only the new one to be open", () => rig.proxy.open() === 1);
    await rig.proxy.close();
    expect(rig.proxy.open()).toBe(0);
  }));

it("has as many connections as the kernel says that somebody holds", () =>
  withRig(async (rig) => {
    const { client } = await talking(rig);
    await talking(rig);
    expect([rig.proxy.open(), heldConnectionsTo(rig.proxy.port)]).toEqual([2, 2]);
    client.socket.destroy();
    await until("one to be left", () => heldConnectionsTo(rig.proxy.port) === 1);
  }));
