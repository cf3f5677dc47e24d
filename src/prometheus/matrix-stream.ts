import { abortable, type Clock } from "#lib/clock.ts";
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
    const arrival = await scanBody(answer.body, { ...deps, scanner, budget, pause }, controller.signal);
    if (!answer.isCompressed) deps.compression?.measure(arrival.bytes, arrival.waitedMs);
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

interface ScanParts {
  clock: Clock;
  scanner: MatrixScanner;
  budget: TimeBudget;
  pause: () => Promise<void> | undefined;
}

/**
 * Time in `pause`, for the Collector or for other readers, is not Prometheus' fault: the budget does not count it. Returns the bytes after the
 * first chunk, and the time spent waiting for them.
 */
async function scanBody(
  body: AsyncIterable<Buffer>,
  { clock, scanner, budget, pause }: ScanParts,
  signal: AbortSignal,
): Promise<{ bytes: number; waitedMs: number }> {
  const arrival = { bytes: 0, waitedMs: 0 };
  let waitsSince: number | undefined;
  for await (const chunk of body) {
    if (waitsSince !== undefined) {
      arrival.bytes += chunk.length;
      arrival.waitedMs += clock.monotonic() - waitsSince;
    }
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
    waitsSince = clock.monotonic();
  }
  return arrival;
}
