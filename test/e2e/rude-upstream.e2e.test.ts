/** A server that breaks the protocol harms no call but, at worst, the one it breaks it in. */
import { fileURLToPath } from "node:url";
import { describe, expect } from "vitest";
import { call, connect, type Driven } from "../support/holdfast-process.ts";
import { labTest, type Lab } from "../support/lab.ts";

const RUDE = fileURLToPath(new URL("../fixtures/rude-server.mjs", import.meta.url));

async function rudeProxy(lab: Lab, ...options: string[]): Promise<Driven & { strays: Error[] }> {
  const driven = await connect(lab, { args: [...options, "--", process.execPath, RUDE] });
  const strays: Error[] = [];
  driven.client.onerror = (error) => strays.push(error);
  return { ...driven, strays };
}

/** The same connection still answers, and the client was sent nothing that it did not expect. */
async function isUnharmed({ client, strays }: Driven & { strays: Error[] }): Promise<void> {
  expect(await call(client, "polite", {})).toMatchObject({ text: "polite", isError: false });
  expect(strays).toEqual([]);
}

describe("a rude server", () => {
  labTest("that answers twice is heard once", async (lab) => {
    const proxy = await rudeProxy(lab);
    expect(await call(proxy.client, "twice", {})).toMatchObject({ text: "first" });
    await isUnharmed(proxy);
  });

  labTest("that answers what nobody asked is not passed on", async (lab) => {
    const proxy = await rudeProxy(lab);
    expect(await call(proxy.client, "stranger", {})).toMatchObject({ text: "stranger" });
    await isUnharmed(proxy);
  });

  labTest("that answers after the call was cancelled is not passed on", async (lab) => {
    const proxy = await rudeProxy(lab);
    const giveUp = new AbortController();
    const late = call(proxy.client, "late", {}, { signal: giveUp.signal });
    const rejected = expect(late).rejects.toThrow("enough");
    await call(proxy.client, "polite", {});
    giveUp.abort("enough");
    await rejected;
    await isUnharmed(proxy);
  });

  labTest("that writes noise to stdout still answers", async (lab) => {
    const proxy = await rudeProxy(lab);
    expect(await call(proxy.client, "noise", {})).toMatchObject({ text: "noise" });
    await isUnharmed(proxy);
  });

  labTest("that floods stderr with 20 MB still answers", async (lab) => {
    const proxy = await rudeProxy(lab);
    expect(await call(proxy.client, "flood", {})).toMatchObject({ text: "flood" });
    await isUnharmed(proxy);
  });

  labTest("that sends deeply nested JSON still answers", async (lab) => {
    const proxy = await rudeProxy(lab);
    expect(await call(proxy.client, "nested", {})).toMatchObject({ text: "nested" });
    expect(await call(proxy.client, "polite", {})).toMatchObject({ text: "polite" });
  });

  labTest(
    "that answers with result and error at once gets its caller an error, not silence",
    async (lab) => {
      const proxy = await rudeProxy(lab, "--hold", "5s");
      const answer = await call(proxy.client, "both", {}).catch((error: unknown) => error);
      expect(String(JSON.stringify(answer)) + String(answer)).toMatch(
        /result and an? error|protocol/i,
      );
      await isUnharmed(proxy);
    },
  );

  labTest("that answers with more than the limit gets its caller told that it ran", async (lab) => {
    const proxy = await rudeProxy(lab);
    const answer = await call(proxy.client, "huge", {});
    expect(answer).toMatchObject({ isError: true, told: { executed: "yes" } });
    await isUnharmed(proxy);
  });
});
