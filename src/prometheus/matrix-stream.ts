import { streamAnswer, type ReadHooks, type StreamDeps } from "./answer-stream.ts";
import { hiderOf } from "./answer-errors.ts";
import type { Query } from "./catalogue.ts";
import type { Window } from "./window.ts";
import { createMatrixScanner, SCAN_LIMITS, type ScanLimits, type ScanResult } from "./matrix-scanner.ts";
import { toQueryRequest } from "./query-forms.ts";
import { sendRequest, type RequestSettings } from "./requests.ts";

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
  const { limits = SCAN_LIMITS, acceptPartial } = settings;
  const partial = acceptPartial ? "accepted" : "refused";
  const scanner = createMatrixScanner(hooks.sink, window, limits, hiderOf(settings.authorization), partial);
  const send = async (sending: AbortSignal) => ({
    ...(await sendRequest(deps, settings, sent.path, sent.form, sending)),
    scanner,
  });
  return await streamAnswer(deps, settings, send, hooks, signal);
}
