import { describe, expect, it } from "vitest";
import { deferred, Wakeable } from "../../src/base/async.ts";

describe("Wakeable", () => {
  it("runs once more for any number of wakes during a run, and never twice at once", async () => {
    const gates = [deferred<void>(), deferred<void>()];
    let runs = 0;
    let running = 0;
    let runningMax = 0;
    const loop = new Wakeable(
      async () => {
        runningMax = Math.max(runningMax, ++running);
        await gates[runs++]?.promise;
        running--;
      },
      (error) => {
        throw error;
      },
    );
    loop.wake();
    loop.wake();
    loop.wake();
    expect(runs).toBe(1);
    gates[0]?.resolve();
    await expect.poll(() => runs).toBe(2);
    gates[1]?.resolve();
    await expect.poll(() => running).toBe(0);
    expect([runs, runningMax]).toEqual([2, 1]);
  });

  it("does NOT lose a wake that came during a run which failed", async () => {
    const gate = deferred<void>();
    const errors: unknown[] = [];
    let runs = 0;
    const loop = new Wakeable(
      async () => {
        if (++runs === 1) await gate.promise;
      },
      (error) => errors.push(error),
    );
    loop.wake();
    loop.wake();
    gate.reject(new Error("boom"));
    await expect.poll(() => runs).toBe(2);
    expect(errors).toEqual([new Error("boom")]);
  });

  it("can be woken again after a failure, and does NOT run again by itself", async () => {
    const errors: unknown[] = [];
    let runs = 0;
    const loop = new Wakeable(
      () => {
        runs++;
        return Promise.reject(new Error(`boom ${String(runs)}`));
      },
      (error) => errors.push(error),
    );
    loop.wake();
    await expect.poll(() => errors.length).toBe(1);
    loop.wake();
    await expect.poll(() => errors.length).toBe(2);
    expect(runs).toBe(2);
  });
});
