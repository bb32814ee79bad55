/** A server that says more than anybody can want: messages, noise, last words, depth. */
import assert from "node:assert/strict";
import { until } from "../../support/lab.ts";
import type { AbuseCase } from "./case.ts";
import { BAD, beside, besideGood, openServe, sessionAt } from "./stage.ts";
import { openWrapped } from "./wrapped.ts";

const PER_SECOND = 100_000;
const SECONDS = 5;
const CHATTER = { perSecond: String(PER_SECOND), seconds: String(SECONDS) };
const NOISE_BYTES = 100_000_000;
const DEPTH = 1_000_000;

const chatter: AbuseCase = {
  name: "notifications-100k",
  isQuick: false,
  run: async (lab) => {
    const stage = await openServe(lab);
    const session = await sessionAt(stage, BAD);
    await session.listen();
    return besideGood(stage, async () => {
      const { text } = await session.call("chatter", "c", CHATTER);
      assert.match(text, /^sent \d+$/);
      return `${text} of ${String(PER_SECOND * SECONDS)}; ${String(session.strays.length)} arrived`;
    });
  },
};

const chatterWrapped: AbuseCase = {
  name: "notifications-100k-wrapped",
  isQuick: false,
  // Its calls share a pipe with what floods them.
  bounds: { neighbourP99MaxMs: 5_000, neighbourWorstMaxMs: 15_000 },
  run: async (lab) => {
    const wrapped = await openWrapped(lab);
    return beside(wrapped, wrapped, async () => {
      const { text } = await wrapped.call("chatter", "c", CHATTER);
      assert.match(text, /^sent \d+$/);
      return `${text} of ${String(PER_SECOND * SECONDS)}; ${String(wrapped.notifications())} arrived`;
    });
  },
};

/** Floods of what is no message: `tool` answers when all of it is written. */
const flood = (name: string, tool: string, isQuick: boolean): AbuseCase => ({
  name,
  isQuick,
  run: async (lab) => {
    const stage = await openServe(lab);
    const session = await sessionAt(stage, BAD);
    return besideGood(stage, async () => {
      const { text } = await session.call(tool, "f", { bytes: String(NOISE_BYTES) });
      assert.equal(text, tool);
      // Some of it is said, so that people can find it; all of it would be a flood of our own.
      const said = stage.stderr().length;
      assert.ok(said < 200_000, `the proxy itself said ${String(said)} characters`);
      return `100 MB read past, ${String(said)} characters of it said`;
    });
  },
});

const nested: AbuseCase = {
  name: "nested-json",
  isQuick: true,
  run: async (lab) => {
    const stage = await openServe(lab);
    const session = await sessionAt(stage, BAD);
    return besideGood(stage, async () => {
      const asked = session.ask("nested", "n", { depth: String(DEPTH) });
      await asked.ended;
      assert.equal(asked.answers.length, 1);
      const after = await session.call("read_value", "after");
      assert.equal(after.text, "value of after");
      return `${String(DEPTH)} levels, closed and not: answered, the server goes on`;
    });
  },
};

const nestedRequest: AbuseCase = {
  name: "nested-request",
  isQuick: true,
  run: async (lab) => {
    const stage = await openServe(lab);
    const session = await sessionAt(stage, BAD);
    return besideGood(stage, async (neighbour) => {
      const depth = DEPTH;
      const deep = "[".repeat(depth) + "]".repeat(depth);
      const before = neighbour.calls();
      const { status } = await session.postText(
        `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"append","arguments":{"nonce":"n","deep":${deep}}}}`,
      );
      await until("the neighbour's calls", () => neighbour.calls() > before + 20);
      return `arguments of ${String(depth)} levels: HTTP ${String(status)}`;
    });
  },
};

export const FLOODS: readonly AbuseCase[] = [
  chatter,
  chatterWrapped,
  flood("stdout-noise", "noise", true),
  flood("stderr-flood", "stderr", true),
  nested,
  nestedRequest,
];
