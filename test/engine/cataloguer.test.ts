import { expect, it } from "vitest";
import { EMPTY_CATALOGUE, type Catalogue } from "../../src/core/catalogue.ts";
import { Cataloguer } from "../../src/engine/cataloguer.ts";
import { Stage, TOOLS } from "../support/stage.ts";

const HANDSHAKE = { protocolVersion: "2025-11-25", capabilities: { tools: {} } };
const LATE = [{ name: "late", inputSchema: { type: "object" } }];

it("a list that comes late for another caller is neither taken nor kept", () => {
  const { branch } = new Stage();
  const saved: Catalogue[] = [];
  const catalogues = {
    load: () => saved.at(-1) ?? EMPTY_CATALOGUE,
    save: (catalogue: Catalogue) => {
      saved.push(catalogue);
    },
  };
  const cataloguer = new Cataloguer({ ...branch.context, catalogues }, "{}");
  cataloguer.sawHandshake(HANDSHAKE);
  cataloguer.learn("tools", TOOLS);
  expect(saved).toHaveLength(1);
  cataloguer.learn("tools", TOOLS);
  expect(saved).toHaveLength(1);

  cataloguer.reconsider(true);
  cataloguer.learn("tools", LATE);
  expect(cataloguer.tool("late").isKnown).toBe(false);
  expect(saved).toHaveLength(1);
});
