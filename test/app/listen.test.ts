import { describe, expect, test } from "vitest";
import { type ListenAddress, readListenAddress } from "../../src/app/address.ts";
import { doorPolicy, isBeyondLoopback, listenRefusal } from "../../src/app/listen.ts";
import type { Settings } from "../../src/app/option-table.ts";
import { resolveSettings } from "../../src/app/resolve.ts";
import type { Given, Layer } from "../../src/app/resolve.ts";

describe("the address to listen on", () => {
  test.each<[string, ListenAddress, boolean]>([
    ["127.0.0.1:7411", { host: "127.0.0.1", port: 7411 }, false],
    ["127.0.0.1:0", { host: "127.0.0.1", port: 0 }, false],
    ["localhost:80", { host: "localhost", port: 80 }, false],
    [" LOCALHOST:80 ", { host: "localhost", port: 80 }, false],
    ["[::1]:7411", { host: "::1", port: 7411 }, false],
    ["0.0.0.0:7411", { host: "0.0.0.0", port: 7411 }, true],
    ["[::]:65535", { host: "::", port: 65_535 }, true],
    ["192.168.1.7:1", { host: "192.168.1.7", port: 1 }, true],
    ["proxy.lan:7411", { host: "proxy.lan", port: 7411 }, true],
  ])("may be %s; beyond loopback: %s", (text, address, isBeyond) => {
    expect(readListenAddress(text)).toEqual({ value: address });
    expect(isBeyondLoopback(address)).toBe(isBeyond);
  });

  test.each([
    ...["", "7411", ":7411", "127.0.0.1", "localhost:", "localhost:65536", "localhost:-1"],
    ...["::1:7411", "[::1]", "[127.0.0.1]:1", "127.1:80", "http://localhost:1", "a b:1", "*:7411"],
    7411,
    null,
  ])("is not %j", (raw) => {
    expect(readListenAddress(raw)).toBeUndefined();
  });
});

const settingsOf = (given: Record<string, unknown>): Settings => {
  const entries = Object.entries(given).map(([key, raw]): [string, Given] => [
    key,
    { raw, origin: `--${key}`, folder: "/" },
  ]);
  return resolveSettings([new Map(entries) as unknown as Layer], "stdio", "/").settings;
};

describe("the listener", () => {
  const tokens = (valid: number, trouble?: string) => ({
    countValid: () => valid,
    trouble: () => trouble,
  });
  const refusal = (given: Record<string, unknown>, known = tokens(0)) =>
    listenRefusal(settingsOf(given), known);
  const REACH = "--listen 0.0.0.0:7411 can be reached from other machines, and ";

  test("may be on loopback whatever else is said", () => {
    for (const auth of ["auto", "required", "none"]) {
      expect(refusal({ auth })).toBeUndefined();
      expect(refusal({ auth, listen: "[::1]:0" }, tokens(0, "damaged"))).toBeUndefined();
    }
  });

  test("may be beyond loopback with a valid token", () => {
    for (const auth of ["auto", "required"]) {
      expect(refusal({ auth, listen: "0.0.0.0:7411" }, tokens(1))).toBeUndefined();
    }
  });

  test("may NOT be beyond loopback without one, and says what to run", () => {
    for (const auth of ["auto", "required"]) {
      for (const insecure of [false, true]) {
        expect(refusal({ auth, insecure, listen: "0.0.0.0:7411" })).toBe(
          `${REACH}there is no valid token. Make one (holdfast token create --name NAME), ` +
            "or listen on 127.0.0.1, or use --auth none --insecure to let everybody in",
        );
      }
    }
  });

  test("may NOT be beyond loopback while the tokens can't be read, and says why", () => {
    expect(refusal({ listen: "0.0.0.0:7411" }, tokens(0, "it is damaged"))).toBe(
      `${REACH}its tokens can't be checked: it is damaged`,
    );
  });

  test("may be open beyond loopback only if that is said twice", () => {
    const open = { auth: "none", listen: "0.0.0.0:7411" };
    expect(refusal({ ...open, insecure: true })).toBeUndefined();
    // Tokens that nobody asks for protect nobody.
    expect(refusal(open, tokens(1))).toBe(
      `${REACH}with --auth none everybody there could use every server. Leave --auth out and make a ` +
        "token (holdfast token create --name NAME), or listen on 127.0.0.1, or add --insecure if " +
        "that is meant",
    );
  });

  test("knows its door's policy from the settings, in one spelling", () => {
    const given = {
      listen: "proxy.lan:7411",
      auth: "none",
      allowedHosts: "PROXY.lan., [0:0::1]:80",
      allowedOrigins: ["HTTPS://App.example.com:443"],
    };
    expect(doorPolicy(settingsOf(given))).toEqual({
      isBeyondLoopback: true,
      asksTokens: false,
      allowedHosts: ["proxy.lan", "[::1]:80"],
      allowedOrigins: ["https://app.example.com"],
    });
    expect(doorPolicy(settingsOf({}))).toEqual({
      isBeyondLoopback: false,
      asksTokens: true,
      allowedHosts: [],
      allowedOrigins: [],
    });
  });

  test.each([
    ["listen", "7411", "host and port such as"],
    ["allowedHosts", "http://proxy.lan", "names such as"],
    ["allowedOrigins", "app.example.com", "origins such as"],
    ["allowedOrigins", "*", "origins such as"],
    ["allowedOrigins", "null", "origins such as"],
    ["auth", "off", "one of auto, required, none"],
  ])("is not told %s %j: that is an error which says what was expected", (key, raw, expected) => {
    expect(() => settingsOf({ [key]: raw })).toThrow(`expected ${expected}`);
  });
});
