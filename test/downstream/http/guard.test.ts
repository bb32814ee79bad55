import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import {
  authorityText,
  isLoopback,
  originText,
  readAuthority,
  readOrigin,
} from "../../../src/downstream/http/authority.ts";
import type { DoorPolicy, Entry } from "../../../src/downstream/http/guard.ts";
import {
  challengeText,
  checkEntry,
  checkHost,
  checkOrigin,
  readBearer,
} from "../../../src/downstream/http/guard.ts";
import type { Admittance, Gatekeeper } from "../../../src/ports.ts";

const LOCAL: DoorPolicy = {
  allowedOrigins: [],
  allowedHosts: [],
  isBeyondLoopback: false,
  asksTokens: true,
};
const PUBLIC: DoorPolicy = { ...LOCAL, isBeyondLoopback: true };

const hostStatus = (host: string, policy: DoorPolicy) => checkHost([host], policy)?.status;
const originStatus = (origin: string, policy: DoorPolicy) => checkOrigin([origin], policy)?.status;

const LOOPBACK_HOSTS = [
  ...["localhost", "LOCALHOST:7411", "localhost.", "127.0.0.1", "127.0.0.1:65535", "127.8.9.10:1"],
  ...["[::1]", "[::1]:80", "[0:0:0:0:0:0:0:1]:7411", "[::ffff:127.0.0.1]"],
];

describe("the Host of a request to a loopback listener", () => {
  test.each(LOOPBACK_HOSTS)("passes as %s", (host) => {
    expect(checkHost([host], LOCAL)).toBeUndefined();
  });

  test.each([
    ...["evil.example.com", "evil.example.com:7411", "localhost.evil.com", "127.0.0.1.evil.com"],
    ...["10.0.0.1", "0.0.0.0:7411", "[::]:7411", "128.0.0.1", "[fe80::1]", "notlocalhost"],
  ])("is refused with 403 as %s: a page can send it after rebinding its name", (host) => {
    expect(hostStatus(host, LOCAL)).toBe(403);
  });

  test.each([
    ...["", " ", "localhost:", "localhost:99999", "localhost:7411:1", "user@localhost", "a b"],
    ...[
      "localhost/",
      "localhost#",
      "127.1",
      "0x7f000001",
      "2130706433",
      "1.2.3.4.5",
      "[::1",
      "::1",
    ],
    ...["[::1%lo]", "[127.0.0.1]", "-a.com", "a..b", "loc\u0000alhost", "ℓocalhost", "[]:1"],
  ])("is refused with 400 as %j, which is no host and port", (host) => {
    expect(hostStatus(host, LOCAL)).toBe(400);
  });

  test("is refused where it is missing or there are two, also if one is right", () => {
    expect(checkHost(undefined, LOCAL)?.status).toBe(400);
    expect(checkHost([], LOCAL)?.status).toBe(400);
    expect(checkHost(["localhost", "localhost"], LOCAL)?.status).toBe(400);
    expect(hostStatus("localhost, evil.example.com", LOCAL)).toBe(400);
  });

  test("passes as what is allowed: a name without a port with any, one with a port with that", () => {
    const policy = { ...LOCAL, allowedHosts: ["proxy.lan", "mcp.example.com:8443"] };
    expect(hostStatus("proxy.lan", policy)).toBeUndefined();
    expect(hostStatus("PROXY.lan:7411", policy)).toBeUndefined();
    expect(hostStatus("mcp.example.com:8443", policy)).toBeUndefined();
    expect(hostStatus("mcp.example.com", policy)).toBe(403);
    expect(hostStatus("mcp.example.com:443", policy)).toBe(403);
    expect(hostStatus("a.proxy.lan", policy)).toBe(403);
    expect(hostStatus("localhost", policy)).toBeUndefined();
  });

  test("is refused with words that say what to do", () => {
    expect(checkHost(["proxy.lan:7411"], LOCAL)?.reason).toBe(
      "this listener is not known as proxy.lan:7411; if it should be, add that name to allowedHosts",
    );
  });
});

describe("the Host of a request to a listener beyond loopback", () => {
  test("passes under any name where tokens are asked for: a page has none to show", () => {
    for (const host of ["mcp.example.com", "10.0.0.1:7411", "[fe80::1]:7411", ...LOOPBACK_HOSTS]) {
      expect(hostStatus(host, PUBLIC)).toBeUndefined();
    }
  });

  test("passes as an address only where none are asked for: no name was rebound", () => {
    const open = { ...PUBLIC, asksTokens: false };
    expect(hostStatus("10.0.0.1:7411", open)).toBeUndefined();
    expect(hostStatus("[2001:db8::1]", open)).toBeUndefined();
    expect(hostStatus("localhost", open)).toBeUndefined();
    expect(hostStatus("evil.example.com", open)).toBe(403);
  });

  test("has to be an allowed one or loopback as soon as hosts are allowed", () => {
    const policy = { ...PUBLIC, allowedHosts: ["mcp.example.com"] };
    expect(hostStatus("mcp.example.com", policy)).toBeUndefined();
    expect(hostStatus("127.0.0.1", policy)).toBeUndefined();
    expect(hostStatus("10.0.0.1", policy)).toBe(403);
    expect(hostStatus("other.example.com", policy)).toBe(403);
  });

  test("has to be well formed all the same", () => {
    expect(hostStatus("a b", PUBLIC)).toBe(400);
    expect(checkHost(undefined, PUBLIC)?.status).toBe(400);
  });
});

describe("the Origin of a request", () => {
  test("may be missing: only browsers send one", () => {
    expect(checkOrigin(undefined, LOCAL)).toBeUndefined();
    expect(checkOrigin([], LOCAL)).toBeUndefined();
  });

  test.each([
    ...["http://localhost", "http://localhost:6274", "https://localhost:1", "http://127.0.0.1:80"],
    ...["http://[::1]:3000", "HTTP://LocalHost:5173"],
  ])("passes as %s", (origin) => {
    expect(originStatus(origin, LOCAL)).toBeUndefined();
    expect(originStatus(origin, PUBLIC)).toBeUndefined();
  });

  test.each([
    ...[
      "http://evil.example.com",
      "https://localhost.evil.com",
      "null",
      "",
      "localhost",
      "file://",
    ],
    ...["http://localhost/", "http://localhost@evil.com", "http://evil.com:80#localhost"],
    ...["tauri://localhost", "http://10.0.0.1:7411", "http://localhost, http://evil.com"],
  ])("is refused with 403 as %j", (origin) => {
    expect(originStatus(origin, LOCAL)).toBe(403);
    expect(originStatus(origin, PUBLIC)).toBe(403);
  });

  test("is refused where there are two", () => {
    expect(checkOrigin(["http://localhost", "http://localhost"], LOCAL)?.status).toBe(403);
  });

  test("passes as one that is allowed, scheme and port included", () => {
    const allowedOrigins = ["https://app.example.com", "http://a.com:8080", "vscode-webview://x1"];
    const policy = { ...LOCAL, allowedOrigins };
    expect(originStatus("https://app.example.com", policy)).toBeUndefined();
    expect(originStatus("https://APP.example.com:443", policy)).toBeUndefined();
    expect(originStatus("vscode-webview://x1", policy)).toBeUndefined();
    expect(originStatus("http://app.example.com", policy)).toBe(403);
    expect(originStatus("https://app.example.com:8443", policy)).toBe(403);
    expect(originStatus("http://a.com", policy)).toBe(403);
    expect(originStatus("https://b.app.example.com", policy)).toBe(403);
  });
});

describe("the Authorization of a request", () => {
  test("gives its token, with the scheme in any case", () => {
    for (const scheme of ["Bearer", "bearer", "BEARER", "Bearer  "]) {
      expect(readBearer([`${scheme} aZ09-._~+/==`])).toEqual({
        kind: "token",
        token: "aZ09-._~+/==",
      });
    }
  });

  test("is absent where there is none, or one of another scheme", () => {
    for (const values of [undefined, [], ["Basic dTpw"], ["Bearerx y"], [""]]) {
      expect(readBearer(values)).toEqual({ kind: "absent" });
    }
  });

  test.each([
    "Bearer",
    "Bearer ",
    "Bearer a b",
    "Bearer a,b",
    'Bearer "a"',
    "Bearer =",
    "bearer\ta",
  ])("is malformed as %j", (value) => {
    expect(readBearer([value]).kind).toBe("malformed");
  });

  test("is malformed where there are two, also if they are equal", () => {
    expect(readBearer(["Bearer a", "Bearer a"]).kind).toBe("malformed");
  });
});

/** Takes the token "good" for the upstream "github" only. */
const GATEKEEPER: Gatekeeper = {
  admit(bearer, upstream): Admittance {
    if (bearer !== "good") return { kind: "unknown", reason: "the token is unknown" };
    return upstream === "github"
      ? { kind: "admitted", principal: "t_1" }
      : { kind: "forbidden", reason: `the token is not for "${upstream}"` };
  },
  stillAdmits: (principal, upstream) => principal === "t_1" && upstream === "github",
};
const OPEN: Gatekeeper = {
  admit: () => ({ kind: "admitted", principal: "local" }),
  stillAdmits: () => true,
};

describe("at the door", () => {
  const enter = (headers: Record<string, string[]>, upstream = "github", keeper = GATEKEEPER) =>
    checkEntry({ host: ["localhost"], ...headers }, LOCAL, keeper, upstream);

  test("a valid token passes, as its principal", () => {
    expect(enter({ authorization: ["Bearer good"] })).toEqual({ kind: "passes", principal: "t_1" });
  });

  test("no token gets 401 and a challenge without an error, a wrong one 401 and why", () => {
    const none = { kind: "refused", status: 401, challenge: 'Bearer realm="holdfast"' };
    expect(enter({})).toMatchObject(none);
    expect(enter({ authorization: ["Basic dTpw"] })).toMatchObject(none);
    expect(enter({ authorization: ["Bearer bad"] })).toMatchObject({
      status: 401,
      challenge:
        'Bearer realm="holdfast", error="invalid_token", error_description="the token is unknown"',
    });
  });

  test("a token for another upstream gets 403", () => {
    expect(enter({ authorization: ["Bearer good"] }, "docs")).toMatchObject({
      status: 403,
      challenge:
        'Bearer realm="holdfast", error="insufficient_scope", ' +
        `error_description="the token is not for 'docs'"`,
    });
  });

  test("a malformed Authorization gets 400, and is left alone where no token is asked for", () => {
    expect(enter({ authorization: ["Bearer a b"] })).toMatchObject({ status: 400 });
    expect(enter({ authorization: ["Bearer good", "Bearer good"] })).toMatchObject({ status: 400 });
    expect(enter({ authorization: ["Bearer a b"] }, "x", OPEN)).toMatchObject({ kind: "passes" });
  });

  test("a wrong Host or Origin is refused first, so that nothing is learnt of the token", () => {
    const authorization = ["Bearer good"];
    const wrong = [
      enter({ authorization, host: ["evil.example.com"] }),
      enter({ authorization, origin: ["http://evil.example.com"] }),
      enter({ authorization: ["Bearer bad"], origin: ["http://evil.example.com"] }),
    ];
    for (const entry of wrong) {
      expect(entry).toMatchObject({ kind: "refused", status: 403, challenge: undefined });
    }
  });

  test("no text whatever makes a check throw, or puts a line break into a header of ours", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        const echo: Gatekeeper = {
          admit: () => ({ kind: "unknown", reason: text }),
          stillAdmits: () => false,
        };
        for (const headers of [
          { host: [text] },
          { host: ["localhost"], origin: [text] },
          { host: ["localhost"], authorization: [text] },
          { host: ["localhost"], authorization: [`Bearer ${text}`] },
        ]) {
          const entry = checkEntry(headers, LOCAL, echo, "github");
          if (entry.kind === "refused") {
            expect(entry.challenge ?? "").toMatch(/^[\x20-\x5b\x5d-\x7e]*$/);
          }
        }
        expect(challengeText("invalid_token", text).split('"')).toHaveLength(7);
      }),
    );
  });
});

describe("hosts and origins", () => {
  test("that were read are written so that they are read the same", () => {
    const hosts = fc.oneof(
      fc.domain(),
      fc.ipV4(),
      fc.ipV6().map((text) => `[${text}]`),
    );
    const ports = fc.option(fc.integer({ min: 0, max: 65_535 }));
    fc.assert(
      fc.property(hosts, ports, (host, port) => {
        const text = port === null ? host : `${host}:${String(port)}`;
        const authority = readAuthority(text);
        expect(authority).toBeDefined();
        if (authority === undefined) return;
        expect(readAuthority(authorityText(authority))).toEqual(authority);
        const origin = readOrigin(`https://${text}`);
        expect(origin && readOrigin(originText(origin))).toEqual(origin);
      }),
    );
  });

  test("are loopback only where no other machine can be meant", () => {
    for (const host of ["localhost", "127.0.0.1", "127.255.0.1", "::1", "::ffff:127.0.0.1"]) {
      expect(isLoopback(host)).toBe(true);
    }
    for (const host of ["0.0.0.0", "::", "10.0.0.1", "localhost.lan", "", "::ffff:10.0.0.1"]) {
      expect(isLoopback(host)).toBe(false);
    }
  });
});

describe("over a real socket", () => {
  /** Sends raw header lines, as no browser and no library would. */
  async function entryFor(lines: string[]): Promise<Entry> {
    const server = createServer();
    onTestFinished(() => void server.close());
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const seen = new Promise<Entry>((resolve) => {
      server.on("request", (incoming, response) => {
        resolve(checkEntry(incoming.headersDistinct, LOCAL, GATEKEEPER, "github"));
        response.end();
      });
    });
    const sent = request({ port, host: "127.0.0.1", setHost: false, agent: false, headers: lines });
    sent.on("error", () => undefined).end();
    return seen;
  }

  test("a second header of a kind is seen, which Node's joined headers hide", async () => {
    const ok = ["Host", "localhost", "Authorization", "Bearer good"];
    expect(await entryFor(ok)).toEqual({ kind: "passes", principal: "t_1" });
    expect(await entryFor([...ok, "Authorization", "Bearer other"])).toMatchObject({ status: 400 });
    expect(await entryFor([...ok, "host", "evil.example.com"])).toMatchObject({ status: 400 });
    expect(
      await entryFor([...ok, "Origin", "http://localhost", "origin", "http://evil.example.com"]),
    ).toMatchObject({ status: 403 });
  });
});
