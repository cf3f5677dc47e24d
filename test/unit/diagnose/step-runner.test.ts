import { describe, expect, it } from "vitest";
import {
  createStepRunner,
  notNeeded,
  passed,
  warning,
  type Finding,
  type StepRunner,
} from "#diagnose/step-runner.ts";
import { BridgeError } from "#errors/error.ts";
import { createLatch } from "../../helpers/latch.ts";
import { createManualClock } from "../../helpers/manual-clock.ts";

const LIMITS = { stepMs: 1000, totalMs: 3000 };

function start() {
  const clock = createManualClock();
  const client = new AbortController();
  return { clock, client, runner: createStepRunner(clock, LIMITS, client.signal) };
}

const fine = (): Promise<Finding<string>> => Promise.resolve(passed("value", "fine"));
const broken = (): Promise<never> =>
  Promise.reject(new BridgeError("cluster_forbidden", "no", { details: { status: 403 } }));

function never(runner: StepRunner, name: string): void {
  runner.step(name, name, [], () => new Promise<never>(() => {}));
}

describe("a runner", () => {
  it("gives what a step found to the steps that need it", async () => {
    const { runner } = start();
    const first = runner.step("first", "First", [], fine);
    const second = runner.step("second", "Second", [first], () =>
      Promise.resolve(warning(first.value().length, "odd", { hint: "do" })),
    );
    runner.step("third", "Third", [second], () => Promise.resolve(passed(undefined, `${second.value()}`)));
    const { steps, status } = await runner.finish();
    expect(status).toBe("warning");
    expect(steps).toEqual([
      { step: "first", title: "First", status: "passed", duration_ms: 0, message: "fine" },
      { step: "second", title: "Second", status: "warning", duration_ms: 0, message: "odd", hint: "do" },
      { step: "third", title: "Third", status: "passed", duration_ms: 0, message: "5" },
    ]);
  });

  it("skips what needs a step that failed, and nothing else", async () => {
    const { runner } = start();
    const first = runner.step("first", "First", [], broken);
    const second = runner.step("second", "Second", [first], fine);
    runner.step("third", "Third", [second], fine);
    runner.step("other", "Other", [], fine);
    const { steps, status } = await runner.finish();
    expect(status).toBe("failed");
    expect(steps.map((step) => step.status)).toEqual(["failed", "skipped", "skipped", "passed"]);
    expect(steps[0]).toMatchObject({ code: "cluster_forbidden", message: "no", details: { status: 403 } });
    expect(steps[1]?.message).toBe('it needs "First", which did not pass');
  });

  it("tells the steps, and each that begins and ends, as it happens", async () => {
    const events: unknown[] = [];
    const runner = createStepRunner(createManualClock(), LIMITS, new AbortController().signal, (event) => {
      events.push(event.kind === "step_finished" ? [event.result.step, event.result.status] : event);
    });
    const first = runner.step("first", "First", [], broken);
    runner.step("second", "Second", [first], fine);
    runner.step("other", "Other", [], fine);
    const { steps } = await runner.finish();
    expect(events[0]).toEqual({
      kind: "steps",
      steps: steps.map(({ step, title }) => ({ step, title })),
    });
    expect(events.slice(1)).toEqual([
      { kind: "step_started", step: "first" },
      { kind: "step_started", step: "other" },
      ["first", "failed"],
      ["other", "passed"],
      ["second", "skipped"],
    ]);
  });

  it("goes on after a step that has nothing to do", async () => {
    const { runner } = start();
    const first = runner.step("first", "First", [], () => Promise.resolve(notNeeded(1, "a proxy does")));
    runner.step("second", "Second", [first], fine);
    const { steps, status } = await runner.finish();
    expect(steps.map((step) => step.status)).toEqual(["skipped", "passed"]);
    expect(status).toBe("passed");
  });

  it("ends a step that takes too long", async () => {
    const { runner, clock } = start();
    never(runner, "hangs");
    runner.step("other", "Other", [], fine);
    const finished = runner.finish();
    await Promise.resolve();
    await new Promise(setImmediate);
    clock.advance(1000);
    const { steps } = await finished;
    expect(steps[0]).toMatchObject({
      status: "failed",
      code: "diagnosis_timeout",
      duration_ms: 1000,
      message: "the step did not end in 1 s",
    });
    expect(steps[1]?.status).toBe("passed");
    expect(clock.pending()).toBe(0);
  });

  it("runs a few at once, and skips what the time is over for", async () => {
    const { runner, clock } = start();
    for (let i = 0; i < 16; i++) never(runner, `hangs ${i}`);
    const finished = runner.finish();
    for (let i = 0; i < 3; i++) {
      await new Promise(setImmediate);
      clock.advance(1000);
    }
    const { steps, duration_ms: took } = await finished;
    expect(steps.map((step) => step.status)).toEqual([
      ...Array<string>(12).fill("failed"),
      ...Array<string>(4).fill("skipped"),
    ]);
    expect(steps.at(-1)?.message).toBe("no time was left");
    expect(took).toBe(3000);
  });

  it("ends with the client", async () => {
    const { runner, client } = start();
    const begun = createLatch();
    let stepSignal: AbortSignal | undefined;
    runner.step("hangs", "Hangs", [], (signal) => {
      stepSignal = signal;
      begun.open();
      return new Promise<never>(() => {});
    });
    await begun.opened;
    const reason = new Error("the client is gone");
    client.abort(reason);
    await expect(runner.finish()).rejects.toBe(reason);
    expect(stepSignal?.aborted).toBe(true);
  });

  it("does not tell what a defect says", async () => {
    const { runner } = start();
    runner.step("defect", "Defect", [], () => Promise.reject(new Error("Bearer abc")));
    const { steps } = await runner.finish();
    expect(steps[0]).toMatchObject({ status: "failed", code: "internal", message: "unexpected error" });
  });
});
