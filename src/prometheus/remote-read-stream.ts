import { BridgeError, type ErrorCode } from "#errors/error.ts";
import { streamAnswer, type BodyScanner, type ReadHooks, type StreamDeps } from "./answer-stream.ts";
import { hiderOf } from "./answer-errors.ts";
import { withoutLabels, type ExternalLabel } from "./external-labels.ts";
import { SCAN_LIMITS, type ScanResult } from "./matrix-scanner.ts";
import type { StreamSettings } from "./matrix-stream.ts";
import { createChunkedAnswer, type AnswerDecoder } from "./remote-read/chunked-answer.ts";
import { CUSTOM_SCHEMA } from "./remote-read/native-histogram.ts";
import type { ReadOptions, ReadResult } from "./remote-read/read-series.ts";
import { RemoteReadError, type RemoteReadReason } from "./remote-read/remote-read-error.ts";
import { encodeReadRequest, type AnswerForm, type LabelMatcher } from "./remote-read/request.ts";
import { createSamplesAnswer } from "./remote-read/samples-answer.ts";
import { sendRemoteRead } from "./requests.ts";
import { separatingMarkers } from "./stale-markers.ts";
import type { Window } from "./window.ts";

/** A plain selector as remote read is asked for it. */
export interface RemoteRead {
  matchers: readonly LabelMatcher[];
  window: Window;
  form: AnswerForm;
  /** Labels that are taken off each series. */
  added: readonly ExternalLabel[];
  /** External labels of which each series has its own. */
  own: readonly ExternalLabel[];
}

const DECODERS: Record<AnswerForm, (options: ReadOptions) => AnswerDecoder> = {
  samples: createSamplesAnswer,
  chunks: createChunkedAnswer,
};

const CODES: Record<RemoteReadReason, ErrorCode> = {
  truncated: "prometheus_answer_truncated",
  checksum: "prometheus_answer_invalid",
  invalid: "prometheus_answer_invalid",
  unknown_encoding: "prometheus_answer_invalid",
  too_large: "prometheus_answer_too_large",
};

/** The answer can't be decoded. */
export class UndecodableAnswer extends BridgeError {
  readonly reason: RemoteReadReason;

  constructor(cause: RemoteReadError) {
    super(CODES[cause.reason], `remote read: ${cause.message}`, { cause });
    this.reason = cause.reason;
  }
}

/**
 * Streams every sample of the series in the window to the sink, and their stale markers apart from them. Throws RemoteReadRefused,
 * UndecodableAnswer, LabelsContradict, other BridgeErrors prometheus_*, and the reason of the signal.
 */
export async function streamRemoteRead(
  deps: StreamDeps,
  settings: StreamSettings,
  { matchers, window, form, ...labels }: RemoteRead,
  hooks: ReadHooks,
  signal: AbortSignal,
): Promise<ScanResult> {
  // Remote read's range is closed at both ends, a window is left-open.
  const query = { startMs: window.fromMs + 1, endMs: window.toMs, matchers };
  const body = encodeReadRequest(query, form === "chunks" ? ["chunks", "samples"] : ["samples"]);
  const send = async (sending: AbortSignal) => {
    const answer = await sendRemoteRead(deps, settings, body, sending);
    return { ...answer, scanner: createScanner(DECODERS[answer.form], settings, window, hooks, labels) };
  };
  return await streamAnswer(deps, settings, send, hooks, signal);
}

function createScanner(
  createDecoder: (options: ReadOptions) => AnswerDecoder,
  { limits = SCAN_LIMITS, authorization }: StreamSettings,
  window: Window,
  { sink }: ReadHooks,
  { added, own }: Pick<RemoteRead, "added" | "own">,
): BodyScanner<ScanResult> {
  const stripped = withoutLabels(sink, added, own);
  const samples = separatingMarkers(stripped);
  let staleHistograms = 0;
  const decoder = createDecoder({
    window,
    limits,
    sink: {
      series: samples.series,
      histogram: (series, histogram, isCustom) => {
        const { isStale } = histogram;
        staleHistograms += Number(isStale);
        const given = isStale && isCustom ? { ...histogram, schema: CUSTOM_SCHEMA } : histogram;
        stripped.histogram?.(series, given);
      },
    },
    hide: hiderOf(authorization),
  });
  return {
    scan: (chunk, at) => decoding(() => decoder.scan(chunk, at)),
    drain: () => decoding(() => decoder.drain()),
    end: () =>
      toScanResult(
        decoding(() => decoder.end()),
        samples.count(),
        staleHistograms,
      ),
  };
}

/** Markers are no samples. */
function toScanResult(result: ReadResult, markers: number, staleHistograms: number): ScanResult {
  const { series, refused } = result;
  return {
    series,
    samples: result.samples - markers,
    histogramSamples: result.histogramSamples - staleHistograms,
    refused,
    warnings: [],
    transport: "remote_read",
  };
}

function decoding<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw error instanceof RemoteReadError ? new UndecodableAnswer(error) : error;
  }
}
