import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { clientFacts, handshakeVariant } from "../../src/core/session.ts";
import { isObject } from "../../src/wire/message.ts";
import { aHandshake } from "../support/builders.ts";

describe("what is known of a client", () => {
  it("is what it said", () => {
    const capabilities = { sampling: {}, x: 1 };
    expect(clientFacts(aHandshake({ capabilities }))).toEqual({
      name: "test-client",
      version: "1.0.0",
      protocolVersion: "2025-11-25",
      capabilities,
    });
  });

  it("is never an error, whatever it said", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.jsonValue(), (other, info) => {
        const facts = clientFacts({ ...other, clientInfo: info, capabilities: info });
        expect(typeof facts.name + typeof facts.version).toBe("stringstring");
        expect(isObject(facts.capabilities)).toBe(true);
      }),
    );
    expect(clientFacts({})).toMatchObject({
      name: "unknown client",
      version: "",
      capabilities: {},
    });
  });
});

describe("the variant of a handshake", () => {
  it("is equal for another name, version or order of keys", () => {
    const one = aHandshake({ capabilities: { sampling: {}, roots: { listChanged: true } } });
    const other = aHandshake({
      capabilities: { roots: { listChanged: true }, sampling: {} },
      clientInfo: { name: "other", version: "2" },
    });
    expect(handshakeVariant(one)).toBe(handshakeVariant(other));
    const none = { protocolVersion: "2025-11-25" };
    expect(handshakeVariant(none)).toBe(handshakeVariant({ ...none, capabilities: {} }));
  });

  it("is different for another protocol version or other capabilities", () => {
    const base = handshakeVariant(aHandshake());
    expect(handshakeVariant(aHandshake({ protocolVersion: "2025-06-18" }))).not.toBe(base);
    expect(handshakeVariant(aHandshake({ capabilities: { sampling: {} } }))).not.toBe(base);
  });
});
