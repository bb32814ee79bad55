/**
 * The official conformance suite against `holdfast serve`: what passes directly passes through it,
 * whether the server behind it speaks Streamable HTTP or stdio.
 */
import { describe, expect } from "vitest";
import {
  failures,
  lostChecks,
  passes,
  runSuite,
  warnings,
  type SuiteReport,
} from "../support/conformance.ts";
import {
  CONFORMANCE_SERVER,
  conformanceServerOverHttp,
  EVERYTHING,
  everythingOverHttp,
} from "../support/http-servers.ts";
import { labTest, type Lab } from "../support/lab.ts";
import { throughHoldfast } from "../support/serve-process.ts";

/** Holdfast in front of one server, reached both ways: over HTTP at this URL, and started from here. */
const bothWays = (lab: Lab, url: string, program: string) =>
  throughHoldfast(lab, {
    http: { type: "http", url },
    stdio: { command: process.execPath, args: [program, "stdio"] },
  });

/** Of a server that has everything: nothing fails, nothing is advised against, nothing is lost. */
function isWhole(direct: SuiteReport, through: SuiteReport): void {
  expect([failures(through), warnings(through)]).toEqual([[], []]);
  expect(lostChecks(direct, through)).toEqual([]);
}

/** Of server-everything: Holdfast adds that it refuses a foreign `Host`, which the server does not. */
function isKept(direct: SuiteReport, through: SuiteReport): void {
  expect(lostChecks(direct, through)).toEqual([]);
  expect(passes(through)).toContain("dns-rebinding-protection/localhost-host-rebinding-rejected");
  expect(passes(through).length).toBeGreaterThanOrEqual(14);
}

describe("the conformance suite, through holdfast serve", () => {
  labTest("passes our own server in every scenario, pending ones included", async (lab) => {
    const url = await conformanceServerOverHttp(lab);
    const holdfast = await bothWays(lab, url, CONFORMANCE_SERVER);
    const direct = await runSuite(lab, url, "all");
    isWhole(direct, await runSuite(lab, holdfast.mcp("http"), "all"));
    isWhole(direct, await runSuite(lab, holdfast.mcp("stdio"), "all"));
  });

  labTest(
    "passes server-everything in all that passes without it, and in one more",
    async (lab) => {
      const url = await everythingOverHttp(lab);
      const holdfast = await bothWays(lab, url, EVERYTHING);
      const direct = await runSuite(lab, url);
      isKept(direct, await runSuite(lab, holdfast.mcp("http")));
      isKept(direct, await runSuite(lab, holdfast.mcp("stdio")));
    },
  );
});
