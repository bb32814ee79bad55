import { defineConfig } from "vitest/config";

/**
 * Projects by folder. Files of `edge` and `e2e` start real processes and sockets; they run beside
 * the others and bind port 0, so no order between files is needed.
 */
const project = (name: string, include: string[], testTimeout: number) => ({
  extends: true as const,
  test: { name, include, testTimeout, hookTimeout: testTimeout },
});

export default defineConfig({
  test: {
    // Two cores: vitest's own default leaves one of them idle.
    maxWorkers: 2,
    reporters: ["default", "./test/support/count-reporter.ts"],
    projects: [
      project(
        "unit",
        ["test/*.test.ts", "test/{base,wire,core,engine,observe,app,proof,mutants}/**/*.test.ts"],
        20_000,
      ),
      project("store", ["test/store/**/*.test.ts"], 60_000),
      project("edge", ["test/{edge,upstream,downstream}/**/*.test.ts"], 60_000),
      project("sim", ["test/sim/**/*.test.ts"], 120_000),
      project("e2e", ["test/e2e/**/*.test.ts"], 120_000),
    ],
  },
});
