import { useEffect, useRef, useState } from "preact/hooks";
import type { ApiError } from "./api.ts";
import type { Diagnosis, DiagnosisStep, DiagnosisSteps } from "./api-types.ts";
import { readEvents } from "./events.ts";
import { count, duration, plural } from "./format.ts";
import { toApiError } from "./loaded.ts";
import { Badge, html, Problem, type Html, type Tone } from "./ui.ts";
import { Needs } from "./who.ts";

const TONES: Record<DiagnosisStep["status"] | "running" | "to do", Tone> = {
  passed: "good",
  warning: "warn",
  failed: "bad",
  skipped: "off",
  running: "wait",
  "to do": "off",
};

type WalkStep = Pick<DiagnosisStep, "step" | "title"> &
  ({ status: "running" | "to do" } | Omit<DiagnosisStep, "step" | "title">);

/** A diagnosis as far as it is. */
interface Walk {
  steps: WalkStep[];
  /** Set when it is done. */
  result: Diagnosis | null;
  error: ApiError | null;
  isRunning: boolean;
}

const NO_WALK: Walk = { steps: [], result: null, error: null, isRunning: false };

function after(walk: Walk, name: string, data: unknown): Walk {
  const change = (step: string, to: object): Walk => ({
    ...walk,
    steps: walk.steps.map((each) => (each.step === step ? { ...each, ...to } : each)),
  });
  switch (name) {
    case "steps":
      return { ...walk, steps: (data as DiagnosisSteps).steps.map((each) => ({ ...each, status: "to do" })) };
    case "step_started":
      return change((data as WalkStep).step, { status: "running" });
    case "step_finished":
      return change((data as WalkStep).step, data as object);
    case "result":
      return { ...walk, steps: (data as Diagnosis).steps, result: data as Diagnosis };
    default:
      return walk;
  }
}

/** A diagnosis that `run` begins by a POST to `path`; another `path` forgets it. */
export function useWalk(path: string): { walk: Walk; run: (body?: unknown) => void } {
  const [walk, setWalk] = useState<Walk>(NO_WALK);
  const ended = useRef(new AbortController());
  useEffect(() => {
    setWalk(NO_WALK);
    ended.current = new AbortController();
    return () => ended.current.abort();
  }, [path]);
  const run = async (body?: unknown): Promise<void> => {
    const { signal } = ended.current;
    const set = (change: (before: Walk) => Walk): void => {
      if (!signal.aborted) setWalk(change);
    };
    set(() => ({ ...NO_WALK, isRunning: true }));
    try {
      await readEvents(
        "POST",
        path,
        signal,
        (name, data) => set((before) => after(before, name, data)),
        body,
      );
      set((before) => ({ ...before, isRunning: false }));
    } catch (error) {
      set((before) => ({ ...before, error: toApiError(error), isRunning: false }));
    }
  };
  return { walk, run: (body) => void run(body) };
}

/** Walks the way to a cluster's Prometheus, step by step. Needs the scope admin. */
export function Diagnose({ id }: { id: string }): Html {
  const { walk, run } = useWalk(`/clusters/${encodeURIComponent(id)}/diagnose`);
  return html`<section aria-labelledby="diagnose">
    <h2 id="diagnose">Diagnosis</h2>
    <p class="quiet">Checks each step of a collection, and stores nothing.</p>
    <${Needs} scope="admin" what="It">
      <button type="button" onClick=${() => run()} disabled=${walk.isRunning}>
        ${walk.isRunning ? "Checking ..." : "Diagnose"}
      </button>
    <//>
    <${WalkState} walk=${walk} />
  </section>`;
}

/** The steps with their results and remedies, as they come. */
export function WalkState({ walk }: { walk: Walk }): Html {
  const { steps, error, isRunning } = walk;
  const done = steps.filter(({ status }) => status !== "running" && status !== "to do").length;
  return html`<div>
    ${error ? html`<${Problem} error=${error} what="the diagnosis" />` : ""}
    <p role="status"><strong>${summaryOf(walk)}</strong></p>
    ${
      isRunning && steps.length > 0
        ? html`<p>
            <progress max=${steps.length} value=${done} aria-label="Steps done"></progress>
            ${` ${count(done)} of ${plural(steps.length, "step")}`}
          </p>`
        : ""
    }
    ${steps.length > 0 ? html`<${Steps} steps=${steps} />` : ""}
  </div>`;
}

/** Read out when it changes: not at each step, but when one fails and at the end. */
function summaryOf({ steps, result, isRunning }: Walk): string {
  const failed = steps.filter(({ status }) => status === "failed");
  const text = failed.length === 0 ? "no step failed" : `${plural(failed.length, "step")} failed`;
  if (result) return `${text}, ${plural(steps.length, "step")} in ${duration(result.duration_ms / 1000)}`;
  if (!isRunning) return "";
  return failed.length === 0
    ? "Checking ..."
    : `Checking ...: ${text}, the last one: ${failed.at(-1)?.title}`;
}

function Steps({ steps }: { steps: readonly WalkStep[] }): Html {
  return html`<ol class="steps">
    ${steps.map((each) => {
      const { step, title, status } = each;
      return html`<li key=${step}>
        <${Badge} tone=${TONES[status]}>${status}<//> <strong>${title}</strong>
        ${"message" in each ? html`<${Finding} step=${each} />` : ""}
      </li>`;
    })}
  </ol>`;
}

function Finding({
  step,
}: {
  step: Pick<DiagnosisStep, "status" | "duration_ms" | "message" | "hint">;
}): Html {
  const { status, duration_ms: ms, message, hint } = step;
  return html`<span class="quiet">${status === "skipped" ? "" : `${ms} ms`}</span>
    <span class="line">${message}</span
    >${hint === undefined ? "" : html`<span class="line remedy">${hint}</span>`}`;
}
