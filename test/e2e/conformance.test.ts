/**
 * The official conformance suite against servers without a proxy: what it says of them directly is
 * what it must say of them through Holdfast. And that its word, as we read it, can be no as well as yes.
 */
import { describe, expect } from "vitest";
import { failures, lostChecks, passes, runSuite, warnings } from "../support/conformance.ts";
import { conformanceServerOverHttp, everythingOverHttp } from "../support/http-servers.ts";
import { labTest } from "../support/lab.ts";
import { ownPort } from "../support/port.ts";

/** What passes in front of server-everything: it lacks most of the tools that scenarios call. */
const EVERYTHING_PASSES = [
  "dns-rebinding-protection/localhost-host-valid-accepted",
  "logging-set-level/logging-set-level",
  "ping/ping",
  "prompts-list/prompts-list",
  "resources-list/resources-list",
  "resources-subscribe/resources-subscribe",
  "resources-unsubscribe/resources-unsubscribe",
  "server-initialize/server-initialize",
  "server-sse-multiple-streams/server-accepts-multiple-post-streams",
  "server-sse-multiple-streams/server-sse-streams-functional",
  "tools-call-error/tools-call-error",
  "tools-call-simple-text/tools-call-simple-text",
  "tools-list/tools-list",
];

describe("the conformance suite, without a proxy", () => {
  labTest("passes our own server in every scenario, pending ones included", async (lab) => {
    const report = await runSuite(lab, await conformanceServerOverHttp(lab), "all");
    expect([failures(report), warnings(report)]).toEqual([[], []]);
    expect(report.size).toBe(32);
    expect(passes(report)).toHaveLength(47);
  });

  labTest("passes server-everything in what it has, and fails it in the rest", async (lab) => {
    const report = await runSuite(lab, await everythingOverHttp(lab));
    expect(passes(report)).toEqual(EVERYTHING_PASSES);
    expect(failures(report)).toHaveLength(19);
    expect(report.size).toBe(30);
  });

  labTest("passes nothing where no server is, and that is noticed", async (lab) => {
    const [there, notThere] = await Promise.all([
      runSuite(lab, await conformanceServerOverHttp(lab)),
      runSuite(lab, `http://127.0.0.1:${String(await ownPort())}/mcp`),
    ]);
    expect(passes(notThere)).toEqual([]);
    expect(lostChecks(there, notThere)).toEqual(passes(there));
    expect(lostChecks(there, there)).toEqual([]);
  });
});
