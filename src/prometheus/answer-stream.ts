import { abortable, type Clock } from "#lib/clock.ts";
import type { Turns } from "#lib/turns.ts";
import { toRequestError } from "./answer-errors.ts";
import { timedOut, type Answer, type RequestDeps, type RequestSettings } from "./requests.ts";
import type { SeriesSink } from "./series-sink.ts";
import { TimeBudget } from "./time-budget.ts";

export interface ReadHooks {
  sink: SeriesSink;
  /** Waited for between chunks: back-pressure. Throws to abandon the answer. */
  pause(): Promise<void> | undefined;
  /**
   * Series that were handed over do not count: the read begins again in another way. Resolves when it may begin. Absent: samples are read by the
   * query API alone, which never needs it.
   */
  restart?(): Promise<void>;
}

export interface StreamDeps extends RequestDeps {
  turns: Turns;
}

/** Reads the body of an answer as its bytes arrive. */
export interface BodyScanner<Result> {
  /** Reads on in a chunk from `at` and returns the position that it came to, after a bounded piece of work. Keeps nothing of the chunk. */
  scan(chunk: Buffer, at: number): number;
  /** Goes on behind the answer's last byte, with a bounded piece of work; false when nothing is left. */
  drain?(): boolean;
  /** Checks that the answer was whole. */
  end(): Result;
}

/** An answer whose body is not read yet, and what reads it. */
export type ScannedAnswer<Result> = Answer & { scanner: BodyScanner<Result> };

/**
 * Sends a request by `send`, and reads its answer with the scanner: within the time for one request, with pauses in between. Throws BridgeError
 * prometheus_*, and the reason of the signal.
 */
export async function streamAnswer<Result>(
  deps: StreamDeps,
  { timeoutMs }: Pick<RequestSettings, "timeoutMs">,
  send: (signal: AbortSignal) => Promise<ScannedAnswer<Result>>,
  hooks: Pick<ReadHooks, "pause">,
  signal: AbortSignal,
): Promise<Result> {
  if (signal.aborted) throw signal.reason;
  const controller = new AbortController();
  const abort = (): void => controller.abort(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  const budget = new TimeBudget(deps.clock, timeoutMs, () => controller.abort(timedOut(timeoutMs)));
  try {
    budget.resume();
    const answer = await abortable(send(controller.signal), controller.signal);
    const { scanner } = answer;
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
  scanner: BodyScanner<unknown>;
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
  /** Undefined: it is not to pause. Hundreds of thousands of pieces are read without a promise for each. */
  const rest = (): Promise<void> | undefined => {
    budget.check();
    signal.throwIfAborted();
    const pausing = pause();
    if (!pausing) return undefined;
    budget.suspend();
    return abortable(pausing, signal).then(() => budget.resume());
  };
  for await (const chunk of body) {
    if (waitsSince !== undefined) {
      arrival.bytes += chunk.length;
      arrival.waitedMs += clock.monotonic() - waitsSince;
    }
    for (let at = 0; at < chunk.length;) {
      at = scanner.scan(chunk, at);
      const resting = rest();
      if (resting) await resting;
    }
    waitsSince = clock.monotonic();
  }
  while (scanner.drain?.()) {
    const resting = rest();
    if (resting) await resting;
  }
  return arrival;
}
