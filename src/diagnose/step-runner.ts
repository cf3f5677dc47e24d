import { BridgeError, toBridgeError, toErrorBody, type ErrorCode } from "#errors/error.ts";
import { abortable, deadline, type Clock } from "#lib/clock.ts";
import { createLimiter } from "#lib/limit.ts";

/** warning: it works, but not as it should or not for long. skipped: not tried, the message says why. */
type StepStatus = "passed" | "warning" | "failed" | "skipped";

/** The result of one step, as the API returns and the command prints it. */
export interface StepResult {
  /** Stable: "tls", "right_get_services", "query_node". */
  step: string;
  title: string;
  status: StepStatus;
  duration_ms: number;
  /** Set for a failed step, and for a warning that has a code. */
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

/** What happens in a diagnosis: its steps are known, one begins, one is done. A step that is skipped does not begin. */
export type StepEvent =
  | { kind: "steps"; steps: { step: string; title: string }[] }
  | { kind: "step_started"; step: string }
  | { kind: "step_finished"; result: StepResult };

export type OnStep = (event: StepEvent) => void;

/** The finding of a step. `value` is for the steps that need this one. */
export interface Finding<T> {
  status: Exclude<StepStatus, "failed">;
  /** True when the steps that need this one may run. */
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

/** There is nothing to try and nothing is wrong: the steps that need this one run. */
export function notNeeded<T>(value: T, message: string): Finding<T> {
  return { status: "skipped", isOpen: true, value, message };
}

/** A declared step. */
export interface Step<T> {
  title: string;
  /** Never rejects. */
  outcome: Promise<{ result: StepResult; isOpen: boolean }>;
  /** The value that it found; only for the steps that need it. */
  value(): T;
}

export interface StepRunner {
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

export interface StepRunnerSettings {
  /** For one step. */
  stepMs: number;
  /** For all of them. */
  totalMs: number;
}

/** Steps at once. */
const STEPS_AT_ONCE = 4;

/**
 * Runs steps that need each other, within a time for each and one for all. When a step fails, the steps that need it are skipped; all others
 * run.
 */
export function createStepRunner(
  clock: Clock,
  settings: StepRunnerSettings,
  signal: AbortSignal,
  onStep: OnStep = () => {},
): StepRunner {
  const startedAt = clock.now();
  const startedMonotonic = clock.monotonic();
  const { stepMs, totalMs } = settings;
  const all = deadline(clock, totalMs, () => timeout(totalMs, "the diagnosis"), signal);
  const limit = createLimiter(STEPS_AT_ONCE);
  const outcomes: Step<unknown>["outcome"][] = [];
  const declared: { step: string; title: string }[] = [];

  const attempt = async <T>(run: (signal: AbortSignal) => Promise<Finding<T>>): Promise<Finding<T>> => {
    if (all.signal.aborted) return skipped("no time was left");
    const one = deadline(clock, stepMs, () => timeout(stepMs, "the step"), all.signal);
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
        return await limit(() => {
          from = clock.monotonic();
          onStep({ kind: "step_started", step: name });
          return attempt(run);
        });
      };
      const outcome = (async () => {
        const { isOpen, value, ...rest } = await work().catch(failed);
        if (rest.status !== "failed") found = { value };
        const duration_ms = Math.round(clock.monotonic() - from);
        const result = { step: name, title, duration_ms, ...rest };
        onStep({ kind: "step_finished", result });
        return { isOpen, result };
      })();
      outcomes.push(outcome);
      declared.push({ step: name, title });
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
      // No step runs before all of them are declared.
      onStep({ kind: "steps", steps: declared });
      const steps = (await Promise.all(outcomes)).map(({ result }) => result);
      all.dispose();
      if (signal.aborted) throw signal.reason;
      return {
        status: worst(steps),
        started_at: new Date(startedAt).toISOString(),
        duration_ms: Math.round(clock.monotonic() - startedMonotonic),
        steps,
      };
    },
  };
}

function failed(thrown: unknown): Omit<Finding<undefined>, "status"> & { status: "failed" } {
  const { code, message, hint, details } = toErrorBody(toBridgeError(thrown));
  return { status: "failed", isOpen: false, code, message, hint, ...(details ? { details } : {}) };
}

function timeout(ms: number, what: string): BridgeError {
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
