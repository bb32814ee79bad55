/**
 * The official SDK client works through Holdfast against the official server-everything exactly as
 * without it. Permitted differences: `listChanged` declared by us, our own `_meta` keys.
 */
import { fileURLToPath } from "node:url";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import { describe, expect } from "vitest";
import { EVERYTHING, everythingOverHttp, everythingOverSse } from "../support/http-servers.ts";
import { record } from "../support/interop-script.ts";
import { labTest, type Lab } from "../support/lab.ts";
import { expectSame, failedSteps, type Recording } from "../support/recording.ts";

const CLI = fileURLToPath(new URL("../../dist/app/cli.js", import.meta.url));

function withoutKeys(env: Readonly<Record<string, string>>, drop: (name: string) => boolean) {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !drop(name)));
}

/** A client's stdio transport to this program; a server sees the lab's environment, without ours. */
function stdio(lab: Lab, args: readonly string[]): Transport {
  const isOurs = (name: string) => name.startsWith("HOLDFAST_");
  const env = args[0] === CLI ? { ...lab.env } : withoutKeys(lab.env, isOurs);
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [...args],
    env,
    stderr: "pipe",
  });
  transport.stderr?.on("data", (chunk: Buffer) => {
    lab.log(chunk.toString());
  });
  return transport as Transport;
}

/** The official client's transport for it; deprecated with the protocol revision that it speaks. */
const legacySse = (url: string): Transport => new SSEClientTransport(new URL(url)) as Transport;

function compare(direct: Recording, through: Recording): void {
  expectSame(direct, through);
  // A change after the client had its lists must reach it; one before is only told directly.
  expect(through.listChanges).toContain("notifications/resources/list_changed");
}

/** A recording in which requests failed for another reason than the script's would prove nothing. */
function isWhole(direct: Recording): void {
  expect(failedSteps(direct)).toEqual([
    "cancelled",
    "no such resource",
    "no arguments",
    "no such prompt",
  ]);
  expect(new Map(direct.answers).get("unknown to the script")).toEqual([]);
  expect(direct.asked.length).toBeGreaterThan(5);
  expect(direct.notifications.length).toBeGreaterThan(5);
}

describe("the official client against server-everything", () => {
  labTest(
    "gets the same through Holdfast over stdio, with and without a catalogue",
    async (lab) => {
      const server = [EVERYTHING, "stdio"];
      const proxied = [CLI, "--", process.execPath, ...server];
      const [direct, cold] = await Promise.all([
        record(stdio(lab, server)),
        record(stdio(lab, proxied)),
      ]);
      isWhole(direct);
      compare(direct, cold);
      compare(direct, await record(stdio(lab, proxied)));
    },
  );

  labTest(
    "gets the same through Holdfast over Streamable HTTP, with and without a catalogue",
    async (lab) => {
      // The server keeps some resources for all its sessions: two runs side by side need two servers.
      const [own, proxied] = await Promise.all([everythingOverHttp(lab), everythingOverHttp(lab)]);
      const [direct, cold] = await Promise.all([
        record(new StreamableHTTPClientTransport(new URL(own)) as Transport),
        record(stdio(lab, [CLI, proxied])),
      ]);
      isWhole(direct);
      compare(direct, cold);
      compare(direct, await record(stdio(lab, [CLI, proxied])));
    },
  );

  labTest(
    "gets the same through Holdfast over HTTP+SSE, with and without a catalogue",
    async (lab) => {
      const [own, proxied] = await Promise.all([everythingOverSse(lab), everythingOverSse(lab)]);
      const through = [CLI, "--transport", "sse", proxied];
      const [direct, cold] = await Promise.all([
        record(legacySse(own)),
        record(stdio(lab, through)),
      ]);
      isWhole(direct);
      compare(direct, cold);
      compare(direct, await record(stdio(lab, through)));
    },
  );
});
