/** Pages in browsers: those of an allowed origin can use the listener, all others see nothing of it. */
import { afterEach, describe, expect, it } from "vitest";
import { ask, closeFaces, face, INITIALIZE, rpc } from "../../support/http-door.ts";

afterEach(closeFaces);

const APP = "https://app.example.com";
const POLICY = {
  allowedOrigins: [APP],
  allowedHosts: [],
  isBeyondLoopback: false,
  asksTokens: true,
};
const tokens = {
  stillAdmits: () => true,
  admit: (bearer: string | undefined) =>
    bearer === undefined
      ? ({ kind: "unknown", reason: "a token is asked for" } as const)
      : ({ kind: "admitted", principal: bearer } as const),
};
const served = () => face({ policy: () => POLICY, gatekeeper: tokens });
const PREFLIGHT = {
  "access-control-request-method": "POST",
  "access-control-request-headers": "authorization,content-type,mcp-session-id",
};

describe("a page of an allowed origin", () => {
  it.each([APP, "http://localhost:6274"])(
    "%s hears that it may, without a token",
    async (origin) => {
      const at = await served();
      const headers = { ...PREFLIGHT, origin };
      const answer = await ask(at, { method: "OPTIONS", headers });
      expect(answer).toMatchObject({ status: 204, text: "" });
      expect(answer.headers["access-control-allow-origin"]).toBe(origin);
      expect(answer.headers["access-control-allow-methods"]).toContain("DELETE");
      const allowed = answer.headers["access-control-allow-headers"]?.toLowerCase();
      for (const name of PREFLIGHT["access-control-request-headers"].split(",")) {
        expect(allowed).toContain(name);
      }
      expect(answer.headers["access-control-allow-credentials"]).toBeUndefined();
    },
  );

  it("can read its session's key, answers, streams and refusals", async () => {
    const at = await served();
    const page = { origin: APP, authorization: "Bearer ann" };
    const begun = await ask(at, { headers: page, body: INITIALIZE("2025-11-25") });
    const key = String(begun.headers["mcp-session-id"]);
    expect(begun.headers).toMatchObject({
      "access-control-allow-origin": APP,
      "access-control-expose-headers": expect.stringContaining("Mcp-Session-Id") as string,
      vary: "Origin",
    });
    const headers = { ...page, "mcp-session-id": key };
    const pinged = await ask(at, { headers, body: rpc(1, "ping") });
    at.door.onRequest = (turn) => {
      at.door.settle(at.door.accept(turn), {});
    };
    const streamed = await ask(at, { headers, body: rpc(2, "tools/call") });
    const refused = await ask(at, { headers: { origin: APP }, body: rpc(3, "ping") });
    expect([pinged, streamed, refused].map(({ status }) => status)).toEqual([200, 200, 401]);
    expect(streamed.headers["content-type"]).toBe("text/event-stream");
    expect(refused.headers["www-authenticate"]).toContain("Bearer");
    for (const answer of [pinged, streamed, refused]) {
      expect(answer.headers["access-control-allow-origin"]).toBe(APP);
    }
  });
});

describe("any other page", () => {
  it.each([
    ["of another origin", { origin: "https://evil.example.com" }],
    ["of an opaque origin", { origin: "null" }],
    ["that comes under a name of its own", { origin: APP, host: "evil.example.com" }],
  ])("%s is let in by nothing that it is told", async (_what, headers) => {
    const at = await served();
    for (const method of ["OPTIONS", "POST", "GET"]) {
      const authorization = "Bearer ann";
      const answer = await ask(at, {
        method,
        headers: { ...PREFLIGHT, authorization, ...headers },
      });
      expect(answer.status).toBe(403);
      const names = Object.keys(answer.headers);
      expect(names.filter((name) => name.startsWith("access-control"))).toEqual([]);
    }
    expect(at.door.links).toEqual([]);
  });

  it("opens no stream with an image or a link, which have no Origin", async () => {
    const at = await face({ policy: () => POLICY });
    const get = (site: string) =>
      ask(at, { method: "GET", path: "/sse/box", headers: { "sec-fetch-site": site } });
    expect(await get("cross-site")).toMatchObject({ status: 403 });
    expect(await get("same-site")).toMatchObject({ status: 403 });
    expect(at.visits).toEqual([]);
    expect(await get("same-origin")).toMatchObject({ status: 200 });
    expect(await get("none")).toMatchObject({ status: 200 });
  });
});

it("a client that is no page hears nothing of pages", async () => {
  const at = await served();
  const headers = { authorization: "Bearer ann" };
  expect(await ask(at, { method: "OPTIONS", headers })).toMatchObject({ status: 405 });
  const answer = await ask(at, { headers, body: INITIALIZE("2025-11-25") });
  expect(answer.headers["access-control-allow-origin"]).toBeUndefined();
});
