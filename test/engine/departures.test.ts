import { expect, it } from "vitest";
import { Departures } from "../../src/engine/departures.ts";

it("calls leave in the order of their places, whichever is ready first", () => {
  const departures = new Departures();
  const left: string[] = [];
  const [a, b, c] = [departures.take(), departures.take(), departures.take()];
  departures.leave(c, () => left.push("c"));
  departures.leave(b);
  expect(left).toEqual([]);
  expect(departures.isClear).toBe(false);
  departures.leave(a, () => left.push("a"));
  expect(left).toEqual(["a", "c"]);
  expect(departures.isClear).toBe(true);
});

it("a call that makes another one leave does NOT leave twice itself", () => {
  const departures = new Departures();
  const left: string[] = [];
  departures.leave(departures.take(), () => {
    left.push("a");
    departures.leave(departures.take(), () => left.push("b"));
  });
  expect(left).toEqual(["a", "b"]);
  expect(departures.isClear).toBe(true);
});
