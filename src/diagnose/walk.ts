import { BridgeError, toBridgeError, toErrorBody, type ErrorCode } from "#errors/error.ts";
import { abortable, deadline, type Clock } from "#lib/clock.ts";
import { createLimiter } from "#lib/limit.ts";

/** warning: it works, but not as it should or not for long. skipped: not tried, the message says why. */
type StepStatus = "passed" | "warning" | "failed" | "skipped";

/** What one step came to, as it is answered and printed. */
export interface StepResult {
  /** Stable: "tls", "right_get_services", "query_node". */
  step: string;
  title: string;
  status: StepStatus;
  duration_ms: number;
  /** Of a failed step, and of a warning that has one. */
  code?: ErrorCode;
  message: string;
  /** The remedy. */
  hint?: string;
  details?: Record<string, unknown>;
}

export interface Diagnosis {
  /** failed when any step failed, else warning when any step warns. */
  status: "passed" | "warning" | "failed";
  /** RFC 3339. */
  started_at: string;
  duration_ms: number;
  /** In the order in which a collection takes them. */
  steps: StepResult[];
}

/** What a step found out. `value` is for the steps that need this one. */
export interface Finding<T> {
  status: Exclude<StepStatus, "failed">;
  /** May steps that need this one run? */
  isOpen: boolean;
  value?: T;
  message: string;
  code?: ErrorCode;
  hint?: string;
  details?: Record<string, unknown>;
}

interface Remarks {
  code?: ErrorCode;
  hint?: string;
  details?: Record<string, unknown>;
}

export function passed<T>(value: T, message: string, details?: Record<string, unknown>): Finding<T> {
  return { status: "passed", isOpen: true, value, message, ...(details ? { details } : {}) };
}

export function warning<T>(value: T, message: string, remarks: Remarks = {}): Finding<T> {
  return { status: "warning", isOpen: true, value, message, ...remarks };
}

/** There is nothing to try, and nothing is wrong: what needs this step goes on. */
export function notNeeded<T>(value: T, message: string): Finding<T> {
  return { status: "skipped", isOpen: true, value, message };
}

/** A step that was declared. */
export interface Step<T> {
  title: string;
  /** Never rejects. */
  outcome: Promise<{ result: StepResult; isOpen: boolean }>;
  /** What it found; only for the steps that need it. */
  value(): T;
}

export interface Walk {
  /** Declares a step, which runs as soon as those that it needs are done. */
  step<T>(
    name: string,
    title: string,
    needs: readonly Step<unknown>[],
    run: (signal: AbortSignal) => Promise<Finding<T>>,
  ): Step<T>;
  /** When every step is done. Throws the signal's reason when that was aborted. */
  finish(): Promise<Diagnosis>;
}

export interface WalkSettings {
  /** For one step. */
  stepMs: number;
  /** For all of them. */
  totalMs: number;
}

/** Steps at once. */
const STEPS_AT_ONCE = 4;

/** Runs steps that need each other, each and all of them bounded in time. A step that fails takes along those that need it, and no other. */
export function createWalk(clock: Clock, settings: WalkSettings, signal: AbortSignal): Walk {
  const startedAt = clock.now();
  const begun = clock.monotonic();
  const all = deadline(clock, settings.totalMs, () => late(settings.totalMs, "the diagnosis"), signal);
  const limit = createLimiter(STEPS_AT_ONCE);
  const outcomes: Step<unknown>["outcome"][] = [];

  const attempt = async <T>(run: (signal: AbortSignal) => Promise<Finding<T>>): Promise<Finding<T>> => {
    const one = deadline(clock, settings.stepMs, () => late(settings.stepMs, "the step"), all.signal);
    try {
      return await abortable(run(one.signal), one.signal);
    } finally {
      one.dispose();
    }
  };

  return {
    step: (name, title, needs, run) => {
      let found: { value: unknown } | undefined;
      let from = clock.monotonic();
      const work = async (): ReturnType<typeof attempt> => {
        const blocker = await firstBlocker(needs);
        from = clock.monotonic();
        if (blocker !== undefined) return skipped(`it needs "${blocker}", which did not pass`);
        return await limit(async () => {
          from = clock.monotonic();
          return all.signal.aborted ? skipped("no time was left") : await attempt(run);
        });
      };
      const outcome = (async () => {
        const head = { step: name, title };
        const took = (): number => Math.round(clock.monotonic() - from);
        try {
          const { isOpen, value, ...rest } = await work();
          found = { value };
          return { isOpen, result: { ...head, duration_ms: took(), ...rest } };
        } catch (thrown) {
          const { code, message, hint, details } = toErrorBody(toBridgeError(thrown));
          const failure = { code, message, hint, ...(details ? { details } : {}) };
          const result: StepResult = { ...head, status: "failed", duration_ms: took(), ...failure };
          return { isOpen: false, result };
        }
      })();
      outcomes.push(outcome);
      return {
        title,
        outcome,
        value: () => {
          if (!found) throw new BridgeError("internal", `the step ${name} found nothing`);
          return found.value as never;
        },
      };
    },
    finish: async () => {
      const steps = (await Promise.all(outcomes)).map(({ result }) => result);
      all.dispose();
      if (signal.aborted) throw signal.reason;
      return {
        status: worst(steps),
        started_at: new Date(startedAt).toISOString(),
        duration_ms: Math.round(clock.monotonic() - begun),
        steps,
      };
    },
  };
}

function late(ms: number, what: string): BridgeError {
  return new BridgeError("diagnosis_timeout", `${what} did not end in ${Math.round(ms / 1000)} s`);
}

function skipped(message: string): Finding<never> {
  return { status: "skipped", isOpen: false, message };
}

async function firstBlocker(needs: readonly Step<unknown>[]): Promise<string | undefined> {
  for (const { title, outcome } of needs) {
    if (!(await outcome).isOpen) return title;
  }
  return undefined;
}

function worst(steps: readonly StepResult[]): Diagnosis["status"] {
  if (steps.some(({ status }) => status === "failed")) return "failed";
  return steps.some(({ status }) => status === "warning") ? "warning" : "passed";
}
