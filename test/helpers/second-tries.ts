import type { TestModule, TestRunEndReason } from "vitest/node";

/** Names every test that passed on its second try: the retry keeps a busy machine from failing the run, and must not hide a test that depends on luck. */
export class SecondTries {
  onTestRunEnd(modules: readonly TestModule[], _errors: unknown, _reason: TestRunEndReason): void {
    const names = modules.flatMap((module) =>
      [...module.children.allTests("passed")]
        .filter((test) => test.diagnostic()?.flaky === true)
        .map((test) => `${module.relativeModuleId} > ${test.fullName}`),
    );
    if (names.length === 0) return;
    const head = `${names.length} passed on a second try, each is a defect of the test or of the program:`;
    process.stdout.write(`${[head, ...names].join("\n- ")}\n`);
  }
}
