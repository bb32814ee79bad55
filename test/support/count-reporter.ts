/** Closes the run with `N passed, N failed` alone on a line; a skipped test counts as a failure of the run. */
import type { Reporter, TestModule } from "vitest/node";

export default class CountReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const count = { passed: 0, failed: 0 };
    for (const module of modules) {
      // A file that could not even be loaded has no tests to count, yet it failed.
      if (module.state() === "failed" && [...module.children.allTests()].length === 0)
        count.failed++;
      for (const test of module.children.allTests()) {
        if (test.result().state === "passed") count.passed++;
        else count.failed++;
      }
    }
    process.stdout.write(`\n${String(count.passed)} passed, ${String(count.failed)} failed\n`);
    if (count.failed > 0) process.exitCode = 1;
  }
}
