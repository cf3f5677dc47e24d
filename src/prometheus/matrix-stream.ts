import { abortable } from "#lib/clock.ts";
import type { Turns } from "#lib/turns.ts";
import { hiderOf, toRequestError } from "./answer-errors.ts";
import type { Query } from "./catalogue.ts";
import type { SeriesSink } from "./series-sink.ts";
import type { Window } from "./window.ts";
import {
  createMatrixScanner,
  SCAN_LIMITS,
  type MatrixScanner,
  type ScanLimits,
  type ScanResult,
} from "./matrix-scanner.ts";
import { toQueryRequest } from "./query-forms.ts";
import { sendRequest, timedOut, type RequestDeps, type RequestSettings } from "./requests.ts";
import { TimeBudget } from "./time-budget.ts";

export interface ReadHooks {
  sink: SeriesSink;
  /** Waited for between chunks: back-pressure. Throws to abandon the answer. */
  pause(): Promise<void> | undefined;
}

export interface StreamDeps extends RequestDeps {
  turns: Turns;
}

export interface StreamSettings extends RequestSettings {
  limits?: ScanLimits;
  /** Answers that say that data may be missing: default, they are refused. */
  acceptPartial?: true;
}

/** Streams every sample of the query in the window to the sink. Throws BridgeError prometheus_*, and the reason of the signal. */
export async function streamMatrix(
  deps: StreamDeps,
  settings: StreamSettings,
  query: Query,
  window: Window,
  hooks: ReadHooks,
  signal: AbortSignal,
): Promise<ScanResult> {
  const sent = toQueryRequest(query, window);
  if (!sent) return { series: 0, samples: 0, histogramSamples: 0, refused: [], warnings: [] };
  if (signal.aborted) throw signal.reason;
  const controller = new AbortController();
  const abort = (): void => controller.abort(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  const { timeoutMs } = settings;
  const budget = new TimeBudget(deps.clock, timeoutMs, () => controller.abort(timedOut(timeoutMs)));
  try {
    const hide = hiderOf(settings.authorization);
    const { limits = SCAN_LIMITS, acceptPartial } = settings;
    const partial = acceptPartial ? "accepted" : "refused";
    const scanner = createMatrixScanner(hooks.sink, window, limits, hide, partial);
    budget.resume();
    const answer = await abortable(
      sendRequest(deps, settings, sent.path, sent.form, controller.signal),
      controller.signal,
    );
    const pause = (): Promise<void> | undefined => deps.turns.pause() ?? hooks.pause();
    await scanBody(answer.body, scanner, budget, pause, controller.signal);
    return scanner.end();
  } catch (error) {
    const cause: unknown = controller.signal.aborted ? controller.signal.reason : error;
    controller.abort(cause);
    throw toRequestError(cause);
  } finally {
    budget.suspend();
    signal.removeEventListener("abort", abort);
  }
}

/** Time in `pause`, for the Collector or for other readers, is not Prometheus' fault: the budget does not count it. */
async function scanBody(
  body: AsyncIterable<Buffer>,
  scanner: MatrixScanner,
  budget: TimeBudget,
  pause: () => Promise<void> | undefined,
  signal: AbortSignal,
): Promise<void> {
  for await (const chunk of body) {
    for (let at = 0; at < chunk.length;) {
      at = scanner.scan(chunk, at);
      budget.check();
      signal.throwIfAborted();
      const pausing = pause();
      if (!pausing) continue;
      budget.suspend();
      await abortable(pausing, signal);
      budget.resume();
    }
  }
}
