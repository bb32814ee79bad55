/**
 * Every transport of clients before every transport of servers: what is answered, and what becomes of
 * calls when the server or Holdfast itself is killed. No pair may know what the other side speaks.
 */
import { describe, expect } from "vitest";
import { direct, FORGETTING_FRONTS, FRONTS, RESUMING_FRONTS } from "../support/front.ts";
import { labTest, touch, until, type Lab } from "../support/lab.ts";
import { expectWhole, recordLedger } from "../support/ledger-script.ts";
import { expectSame } from "../support/recording.ts";
import { ALL_UPSTREAMS, type Upstream } from "../support/upstream-process.ts";
import { join, queue, untilLost, type User } from "../support/user.ts";

const QUEUED = ["q1", "q2", "q3"];

const untilStarted = (lab: Lab, nonce: string) =>
  until(`${nonce} to be started`, () => lab.nonces().includes(nonce));

const timesOf = (lab: Lab, nonce: string) => lab.nonces().filter((ran) => ran === nonce).length;
const ofQueue = (lab: Lab) => lab.nonces().filter((ran) => QUEUED.includes(ran));

/** A read and a write that the server has begun and does not end before `gate` is there. */
async function beginBoth(lab: Lab, user: User, gate: string) {
  const read = user.call("slow_read", { nonce: "r", gate });
  const write = user.call("slow_append", { nonce: "w", gate });
  for (const answer of [read, write]) answer.catch(() => undefined);
  await untilStarted(lab, "r");
  await untilStarted(lab, "w");
  return { read, write };
}

/** Kills the server, and lets Holdfast notice before anything else is asked of it. */
async function lose(lab: Lab, upstream: Upstream, user: User): Promise<void> {
  await upstream.down();
  // A read shows it where an idle line does not; it waits with the rest.
  user.call("read_value", { nonce: "look" }).catch(() => undefined);
  await untilLost(lab);
}

describe.each(ALL_UPSTREAMS)("a %s server", (_upstream, openUpstream) => {
  describe.each(FRONTS)("before a %s client", (_front, openFront) => {
    labTest("answers what it answers without Holdfast", async (lab) => {
      const upstream = await openUpstream(lab);
      const front = await openFront(lab, upstream);
      const [plain, through] = await Promise.all([
        recordLedger(lab, direct(lab, upstream), "plain"),
        recordLedger(lab, front.transport(), "through"),
      ]);
      expectWhole(plain);
      expectSame(plain, through);
    });

    labTest("is killed: its client waits for what is safe, and goes on", async (lab) => {
      const upstream = await openUpstream(lab);
      const user = await join(lab, await openFront(lab, upstream));
      const gate = lab.path("gate");
      const { read, write } = await beginBoth(lab, user, gate);
      await lose(lab, upstream, user);
      touch(gate);
      const waiting = await queue(lab, user, QUEUED);
      await upstream.up();

      expect(await read).toMatchObject({ text: "slow_read r", isError: false });
      expect((await write).told).toMatchObject({ executed: "unknown", state: "dead" });
      for (const [i, answer] of (await Promise.all(waiting)).entries()) {
        expect(answer.text).toContain(`append ${String(QUEUED[i])} `);
      }
      expect(await user.call("append", { nonce: "later" })).toMatchObject({ isError: false });
      expect(ofQueue(lab)).toEqual(QUEUED);
      expect([timesOf(lab, "r"), timesOf(lab, "w"), timesOf(lab, "later")]).toEqual([2, 1, 1]);
      expect([user.hasClosed(), user.strays()]).toEqual([false, []]);
    });
  });

  describe.each(RESUMING_FRONTS)("before a %s client", (_front, openFront, keepsReads) => {
    labTest("calls in flight are answered when Holdfast was killed and is back", async (lab) => {
      const upstream = await openUpstream(lab);
      const front = await openFront(lab, upstream);
      const user = await join(lab, front);
      const gate = lab.path("gate");
      const { read, write } = await beginBoth(lab, user, gate);
      await front.kill();
      await front.back();
      touch(gate);

      expect((await write).told).toMatchObject({ executed: "unknown", state: "dead" });
      const again = keepsReads ? read : user.call("slow_read", { nonce: "r", gate });
      expect(await again).toMatchObject({ text: "slow_read r", isError: false });
      expect(await user.call("append", { nonce: "later" })).toMatchObject({ isError: false });
      expect([timesOf(lab, "w"), timesOf(lab, "later")]).toEqual([1, 1]);
      expect([user.hasClosed(), user.strays()]).toEqual([false, []]);
    });

    labTest("waiting calls are answered when Holdfast was killed and is back", async (lab) => {
      const upstream = await openUpstream(lab);
      const front = await openFront(lab, upstream);
      const user = await join(lab, front);
      await lose(lab, upstream, user);
      const waiting = await queue(lab, user, QUEUED);
      await front.kill();
      await upstream.up();
      await front.back();

      for (const [i, answer] of (await Promise.all(waiting)).entries()) {
        expect(answer.text).toContain(`append ${String(QUEUED[i])} `);
      }
      expect(await user.call("append", { nonce: "later" })).toMatchObject({ isError: false });
      expect(ofQueue(lab)).toEqual(QUEUED);
      expect(timesOf(lab, "later")).toBe(1);
      expect([user.hasClosed(), user.strays()]).toEqual([false, []]);
    });
  });

  describe.each(FORGETTING_FRONTS)("before a %s client", (_front, openFront) => {
    labTest(
      "a client that begins anew when Holdfast was killed runs nothing twice",
      async (lab) => {
        const upstream = await openUpstream(lab);
        const front = await openFront(lab, upstream);
        const gate = lab.path("gate");
        const first = await join(lab, front);
        const { read, write } = await beginBoth(lab, first, gate);
        await front.kill();
        await Promise.all([read, write].map((lost) => expect(lost).rejects.toThrow()));
        touch(gate);
        await front.back();
        const second = await join(lab, front);
        const args = { nonce: "w", gate };
        expect((await second.call("slow_append", args)).told).toMatchObject({
          executed: "unknown",
        });
        expect(timesOf(lab, "w")).toBe(1);
        expect(await second.call("slow_read", { nonce: "r", gate })).toMatchObject({
          isError: false,
        });

        await lose(lab, upstream, second);
        const waiting = await queue(lab, second, QUEUED);
        await front.kill();
        await Promise.all(waiting.map((lost) => expect(lost).rejects.toThrow()));
        await upstream.up();
        await front.back();
        const third = await join(lab, front);
        for (const nonce of QUEUED) {
          const repeat = await third.call("append", { nonce });
          expect(repeat.text).toContain(`append ${nonce} `);
        }
        expect(ofQueue(lab)).toEqual(QUEUED);
        expect(third.strays()).toEqual([]);
      },
    );
  });
});
