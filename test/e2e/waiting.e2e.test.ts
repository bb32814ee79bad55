/** What a waiting caller sees and may do: hold, progress, expiry, deferral, cancellation, bounds. */
import { describe, expect } from "vitest";
import {
  call,
  calls,
  command,
  connect,
  spawnRaw,
  untilAway,
  untilWaiting,
  type Driven,
} from "../support/holdfast-process.ts";
import { labTest, until, type Lab } from "../support/lab.ts";
import { UPSTREAMS, type OpenUpstream, type Upstream } from "../support/upstream-process.ts";

/** A proxy with these options whose upstream was up once and is now down. */
async function waitingProxy(
  lab: Lab,
  open: OpenUpstream,
  ...options: string[]
): Promise<Driven & { upstream: Upstream }> {
  const upstream = await open(lab);
  const driven = await connect(lab, { args: [...options, ...upstream.target] });
  // Without the tools' annotations every call would be unsafe.
  await driven.client.listTools();
  await call(driven.client, "read_value", { nonce: "before" });
  await upstream.down();
  await untilAway(lab, driven.client);
  return { ...driven, upstream };
}

/** Whatever would run late has run once a later unsafe call of the same session was answered. */
async function answeredAfterReturn(
  lab: Lab,
  { client, upstream }: Driven & { upstream: Upstream },
) {
  await upstream.up();
  // A short hold may end before a slow machine has the server up; each call wakes what cools down.
  await until("the later call to be answered", async () => {
    const { isError } = await call(client, "append", { nonce: "later" });
    return !isError;
  });
}

describe.each(UPSTREAMS)("a %s upstream that is down", (_name, open) => {
  labTest("a call whose hold ended is told no, and NEVER runs afterwards", async (lab) => {
    const proxy = await waitingProxy(lab, open, "--hold", "2s");
    const [unsafe, read] = await Promise.all([
      call(proxy.client, "append", { nonce: "expired" }),
      call(proxy.client, "read_value", { nonce: "expired too" }),
    ]);
    for (const answer of [unsafe, read]) {
      expect(answer.isError).toBe(true);
      expect(answer.told).toMatchObject({ executed: "no", state: "expired" });
    }
    await answeredAfterReturn(lab, proxy);
    expect(lab.nonces()).toEqual(["before", "later"]);
  });

  labTest(
    "a call whose hold ends before the journal is open is told no, and the proxy goes on",
    async (lab) => {
      const upstream = await open(lab);
      const first = await connect(lab, { args: upstream.target });
      await first.client.listTools();
      await first.close();
      await upstream.down();
      // The shortest hold: it is over before any disk could have answered.
      const proxy = spawnRaw(lab, { args: ["--hold", "1ms", ...upstream.target] });
      const params = { name: "append", arguments: { nonce: "expired" } };
      const greeting = proxy.handshake();
      await proxy.send({ id: 1, method: "tools/call", params });
      expect((await greeting).result).toBeDefined();
      const answer = await proxy.receive("an answer", (message) => message.id === 1);
      expect(JSON.stringify(answer)).toContain('"executed":"no"');
      expect((await proxy.request(2, "tools/list")).result).toBeDefined();
      proxy.end();
      expect(await proxy.exited).toEqual({ code: 0, signal: null });
      expect(lab.nonces()).toEqual([]);
    },
  );

  labTest("a queued call that its client cancelled NEVER runs, and gets no answer", async (lab) => {
    const proxy = await waitingProxy(lab, open);
    const giveUp = new AbortController();
    const cancelled = call(
      proxy.client,
      "append",
      { nonce: "cancelled" },
      { signal: giveUp.signal },
    );
    const rejected = expect(cancelled).rejects.toThrow("enough");
    await untilWaiting(lab, 1);
    giveUp.abort("enough");
    await rejected;
    await untilWaiting(lab, 0);
    await answeredAfterReturn(lab, proxy);
    expect(lab.nonces()).toEqual(["before", "later"]);
    const [row] = await calls(lab, "--state", "cancelled");
    expect(row).toMatchObject({ tool: "append", executed: "no" });
  });

  labTest(
    "a queued call withdrawn by a person NEVER runs, and its caller is told no",
    async (lab) => {
      const proxy = await waitingProxy(lab, open);
      const answer = call(proxy.client, "append", { nonce: "withdrawn" });
      await untilWaiting(lab, 1);
      const [row] = await calls(lab, "--state", "queued");
      expect((await command(lab, ["calls", "cancel", row?.id ?? ""])).code).toBe(0);
      expect(await answer).toMatchObject({ isError: true, told: { executed: "no" } });
      await answeredAfterReturn(lab, proxy);
      expect(lab.nonces()).toEqual(["before", "later"]);
    },
  );

  labTest(
    "a harmless call is deferred: told pending, it runs later; a repeat gets the outcome",
    async (lab) => {
      const proxy = await waitingProxy(lab, open, "--hold", "1s");
      const told = await call(proxy.client, "note", { nonce: "deferred" });
      expect(told).toMatchObject({ isError: true, told: { executed: "pending", state: "queued" } });
      expect(told.text).toContain(told.told?.callId);
      await proxy.upstream.up();
      await until("the deferred call to run", () => lab.nonces().includes("deferred"));
      const repeat = await call(proxy.client, "note", { nonce: "deferred" });
      expect(repeat).toMatchObject({ isError: false, text: "noted deferred" });
      expect(lab.nonces()).toEqual(["before", "deferred"]);
      // Delivered once: the next equal call is a call of its own.
      await call(proxy.client, "note", { nonce: "deferred" });
      expect(lab.nonces()).toEqual(["before", "deferred", "deferred"]);
    },
  );

  labTest("a deferred call survives that the client leaves and the proxy ends", async (lab) => {
    const proxy = await waitingProxy(lab, open, "--hold", "1s");
    expect((await call(proxy.client, "note", { nonce: "deferred" })).told?.executed).toBe(
      "pending",
    );
    await proxy.close();
    await proxy.upstream.up();
    const next = await connect(lab, { args: ["--hold", "1s", ...proxy.upstream.target] });
    await until("the deferred call to run", () => lab.nonces().includes("deferred"));
    const repeat = await call(next.client, "note", { nonce: "deferred" });
    expect(repeat).toMatchObject({ isError: false, text: "noted deferred" });
    expect(lab.nonces()).toEqual(["before", "deferred"]);
  });

  labTest("with --defer none a harmless call expires too and NEVER runs", async (lab) => {
    const proxy = await waitingProxy(lab, open, "--hold", "1s", "--defer", "none");
    const answer = await call(proxy.client, "note", { nonce: "expired" });
    expect(answer.told).toMatchObject({ executed: "no" });
    await answeredAfterReturn(lab, proxy);
    expect(lab.nonces()).toEqual(["before", "later"]);
  });

  labTest("a waiting caller with a progress token is told how it stands", async (lab) => {
    const proxy = await waitingProxy(lab, open, "--progress-every", "1s");
    const heard: { progress: number; message?: string | undefined }[] = [];
    const answer = call(
      proxy.client,
      "append",
      { nonce: "waits" },
      {
        onprogress: ({ progress, message }) => {
          heard.push({ progress, message });
        },
      },
    );
    await until("two words of progress", () => heard.length >= 2);
    await proxy.upstream.up();
    expect(await answer).toMatchObject({ isError: false });
    for (const { message } of heard) expect(message).toMatch(/queued|down|next attempt/);
    const steps = heard.map(({ progress }) => progress);
    expect(steps).toEqual([...steps].sort((a, b) => a - b));
    expect(new Set(steps).size).toBe(steps.length);
  });

  labTest(
    "over the bound a call is refused at once, told no, and accepted ones still run",
    async (lab) => {
      const proxy = await waitingProxy(lab, open, "--max-calls-per-session", "3");
      const nonces = ["a", "b", "c"];
      const accepted = Promise.all(nonces.map((nonce) => call(proxy.client, "append", { nonce })));
      await untilWaiting(lab, 3);
      const refused = await call(proxy.client, "append", { nonce: "too many" });
      expect(refused).toMatchObject({ isError: true, told: { executed: "no" } });
      expect(refused.text).toContain("max-calls-per-session");
      await proxy.upstream.up();
      for (const answer of await accepted) expect(answer).toMatchObject({ isError: false });
      expect(lab.nonces()).toEqual(["before", ...nonces]);
    },
  );

  labTest("queued calls of a client that leaves are cancelled and NEVER run", async (lab) => {
    const proxy = await waitingProxy(lab, open);
    // A client that closes its end may still read: then it is told, and truthfully.
    const left = call(proxy.client, "append", { nonce: "left" }).catch(() => undefined);
    await untilWaiting(lab, 1);
    await proxy.close();
    expect((await left)?.told ?? { state: "cancelled", executed: "no" }).toMatchObject({
      state: "cancelled",
      executed: "no",
    });
    await proxy.upstream.up();
    const next = await connect(lab, { args: proxy.upstream.target });
    expect(await call(next.client, "append", { nonce: "later" })).toMatchObject({ isError: false });
    expect(lab.nonces()).toEqual(["before", "later"]);
  });
});
