/** A client that breaks the protocol gets a clear error, and the connection goes on. */
import { existsSync, readFileSync } from "node:fs";
import { describe, expect } from "vitest";
import { spawnRaw, type RawProxy, type Reply } from "../support/holdfast-process.ts";
import { labTest, type Lab } from "../support/lab.ts";
import { stdioUpstream } from "../support/upstream-process.ts";

async function greeted(lab: Lab): Promise<RawProxy> {
  const upstream = await stdioUpstream(lab);
  const proxy = spawnRaw(lab, { args: upstream.target });
  expect((await proxy.handshake()).result).toMatchObject({ serverInfo: { name: "ledger" } });
  return proxy;
}

/** A normal call is still answered, and only it has run. */
async function goesOn(lab: Lab, proxy: RawProxy): Promise<void> {
  const params = { name: "append", arguments: { nonce: "after" } };
  const reply = await proxy.request("after", "tools/call", params);
  expect(reply.error).toBeUndefined();
  expect(lab.nonces()).toEqual(["after"]);
}

const errorOf = (proxy: RawProxy, id: string | number | null): Promise<Reply> =>
  proxy.receive(
    `an error for id ${String(id)}`,
    (message) => message.error !== undefined && (message.id ?? null) === id,
  );

const BAD_LINES: readonly (readonly [string, string | Buffer, number | null, number])[] = [
  ["broken JSON", '{"jsonrpc":"2.0","id":7,"method":', null, -32700],
  ["invalid UTF-8", Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x7d]), null, -32700],
  ["a number", "42", null, -32600],
  ["an object that is no message", '{"hello":"world"}', null, -32600],
  [
    "a request with an id of a wrong kind",
    '{"jsonrpc":"2.0","id":{},"method":"ping"}',
    null,
    -32600,
  ],
  [
    "a batch, which this revision does not have",
    '[{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"name":"append","arguments":{"nonce":"b"}}}]',
    null,
    -32600,
  ],
];

describe("a client's line", () => {
  for (const [name, line, id, code] of BAD_LINES) {
    labTest(`${name} is answered with an error, and the next call works`, async (lab) => {
      const proxy = await greeted(lab);
      await proxy.write(Buffer.concat([Buffer.from(line), Buffer.from("\n")]));
      const reply = await errorOf(proxy, id);
      expect(reply.error?.code).toBe(code);
      expect(reply.error?.message).not.toBe("");
      await goesOn(lab, proxy);
    });
  }

  labTest(
    "of 200 MB is refused without being kept in memory, and the next call works",
    async (lab) => {
      const proxy = await greeted(lab);
      await proxy.write(
        '{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"append","arguments":{"nonce":"',
      );
      const chunk = Buffer.alloc(1024 * 1024, "x");
      for (let i = 0; i < 200; i++) await proxy.write(chunk);
      await proxy.write('"}}}\n');
      const reply = await proxy.receive("the refusal", (message) => message.error !== undefined);
      expect([9, null, undefined]).toContain(reply.id);
      expect(reply.error?.message).toMatch(/limit|large|bytes|MiB/i);
      await goesOn(lab, proxy);
      const statusFile = `/proc/${String(proxy.pid)}/status`;
      if (existsSync(statusFile)) {
        const peakKb = /VmHWM:\s+(\d+)/.exec(readFileSync(statusFile, "utf8"))?.[1];
        expect(Number(peakKb)).toBeLessThan(200 * 1024);
      }
    },
  );

  labTest("nested 100,000 deep is answered or refused, and the next call works", async (lab) => {
    const proxy = await greeted(lab);
    const deep = `${"[".repeat(100_000)}${"]".repeat(100_000)}`;
    await proxy.write(
      `{"jsonrpc":"2.0","id":10,"method":"tools/call","params":{"name":"nothing","arguments":{"deep":${deep}}}}\n`,
    );
    const reply = await proxy.receive("an answer", (message) => message.id === 10);
    expect(reply.error ?? reply.result).toBeDefined();
    await goesOn(lab, proxy);
  });

  labTest("that answers a request nobody made is ignored", async (lab) => {
    const proxy = await greeted(lab);
    await proxy.send({ id: "never asked", result: {} });
    await proxy.send({ id: 99, error: { code: 1, message: "nothing" } });
    await proxy.send({ id: 5, result: {}, error: { code: 1, message: "both" } });
    await goesOn(lab, proxy);
  });

  labTest("that calls an unknown method or tool gets the server's own error", async (lab) => {
    const proxy = await greeted(lab);
    const method = await proxy.request(11, "no/such/method");
    expect(method.error?.code).toBe(-32601);
    const tool = await proxy.request(12, "tools/call", { name: "nothing", arguments: {} });
    expect(JSON.stringify(tool)).toContain("nothing");
    await goesOn(lab, proxy);
  });

  labTest("of an unfinished message before the end of input is no message", async (lab) => {
    const proxy = await greeted(lab);
    const params = { name: "append", arguments: { nonce: "half" } };
    await proxy.write(JSON.stringify({ jsonrpc: "2.0", id: 13, method: "tools/call", params }));
    proxy.end();
    expect(await proxy.exited).toEqual({ code: 0, signal: null });
    expect(lab.nonces()).toEqual([]);
  });

  labTest("for a modern server is told that its method is not there", async (lab) => {
    const upstream = await stdioUpstream(lab);
    const proxy = spawnRaw(lab, { args: upstream.target });
    const reply = await proxy.request(1, "server/discover");
    expect(reply.error?.code).toBe(-32601);
    expect((await proxy.handshake()).result).toBeDefined();
    await goesOn(lab, proxy);
  });
});
