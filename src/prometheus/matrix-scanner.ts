import { isAscii } from "node:buffer";
import { BridgeError } from "#errors/error.ts";
import { JsonTokens, Next, type JsonErrors, type JsonEvents } from "#lib/json-tokens.ts";
import { createMatrixEvents, notAMatrix, type MatrixFrame } from "./matrix-events.ts";
import {
  createOpenSeries,
  endLabels,
  endSeries,
  makeRoom,
  releaseBytes,
  SLICE_BYTES,
  type SeriesLimits,
} from "./open-series.ts";
import { createRefusals } from "./refusals.ts";
import { createRemarks, type PartialAnswers } from "./remarks.ts";
import { createFastScan, scanHead, scanSamples, Stop } from "./series-scanner.ts";
import type { RefusedSeries, SeriesSink } from "./series-sink.ts";

/** Bounds of one answer. One over `seriesMax` fails the window by name; a series over the limits of a series is refused alone. */
export interface ScanLimits extends SeriesLimits {
  seriesMax: number;
}

export const SCAN_LIMITS: ScanLimits = {
  seriesMax: 2_000_000,
  labelsMax: 256,
  labelBytesMax: 64 << 10,
};

/** The contents of an answer: series, samples and native histograms inside the window, Prometheus' warnings. */
export interface ScanResult {
  series: number;
  samples: number;
  histogramSamples: number;
  /** Series that were left out because they can never be stored. */
  refused: RefusedSeries[];
  warnings: string[];
  /** How it was read. Absent: by the query API. */
  transport?: "remote_read";
  /** Thanos: no store has data of this time, and the answer is empty. Either it is before the oldest data, or a store is gone. */
  noStores?: true;
}

export interface MatrixScanner {
  /**
   * Reads on in a chunk of the answer from `at`, and calls the sink. Does a bounded piece of work, whatever the bytes are, and returns the position that
   * it came to: call it again from there until it returns the chunk's length. Nothing of the chunk is kept. Throws BridgeError prometheus_*.
   */
  scan(chunk: Buffer, at: number): number;
  /** Checks that the answer was whole. Throws BridgeError `prometheus_answer_truncated` when it was not, `prometheus_answer_partial` when it says so. */
  end(): ScanResult;
}

/** Bytes that one call of `scan` reads at most; SLICE_BYTES limits the points that it hands over. */
const PIECE_BYTES = 32 << 10;
/** Fewer bytes hold no whole series for the fast path. */
const FAST_BYTES_MIN = 64;
/** Bytes that an answer may have beside its series. */
const FRAME_BYTES_MAX = 256 << 10;
/** How a sample and the last one of a series end in Prometheus' own layout. */
const SAMPLE_END = Buffer.from('"],[');
const SERIES_END = Buffer.from('"]]}');
const COMMA = 0x2c;
const BRACE_CLOSE = 0x7d;
/** Brackets within brackets: Prometheus' own answers have seven. */
const DEPTH_MAX = 64;
const ERRORS: JsonErrors = {
  invalid: (problem, hasBegun) =>
    hasBegun
      ? new BridgeError("prometheus_answer_invalid", `the answer is not valid JSON: ${problem}`)
      : new BridgeError("prometheus_unexpected_answer", "the answer is not JSON"),
  tooDeep: () =>
    new BridgeError("prometheus_answer_invalid", `the answer nests brackets more than ${DEPTH_MAX} deep`),
};

/**
 * Reads a matrix answer of Prometheus' query API (`{"status":"success","data":{"resultType":"matrix","result":[...]}}`) as its bytes arrive, in
 * constant time for each byte and with memory for one series' labels and a slice of its samples. Series in Prometheus' own layout are read by a
 * fast path; any other layout (white space, another order of keys, native histograms, a series cut by the end of a chunk) is read token by token.
 * Samples outside (fromMs, toMs] are dropped: Prometheus 2 ranges are closed, 3 left-open.
 * `hide` removes secrets and addresses from Prometheus' own texts. `partial`: whether answers count that say that data may be missing.
 */
export function createMatrixScanner(
  sink: SeriesSink,
  window: { fromMs: number; toMs: number },
  limits: ScanLimits = SCAN_LIMITS,
  hide: (words: string) => string = (words) => words,
  partial: PartialAnswers = "refused",
): MatrixScanner {
  const open = createOpenSeries(window, limits, sink);
  const fast = createFastScan(open);
  const refusals = createRefusals(hide);
  const remarks = createRemarks(hide, partial);
  let seriesSeen = 0;
  let bytesSeen = 0;
  let frameBytes = 0;
  const result = { series: 0, samples: 0, histogramSamples: 0 };

  const finishSeries = (): void => {
    if (++seriesSeen > limits.seriesMax) {
      throw new BridgeError(
        "prometheus_answer_too_large",
        `the answer has more than ${limits.seriesMax} series`,
      );
    }
    const samples = endSeries(open);
    result.histogramSamples += open.histograms;
    if (samples + open.histograms === 0) return;
    if (open.refusal) {
      refusals.add(open, samples);
      return;
    }
    result.series++;
    result.samples += samples;
  };

  const frame: MatrixFrame = {
    isMatrix: false,
    isSuccess: false,
    hasResult: false,
    remark: (kind, text) => remarks.add(kind, text),
    partial: () => remarks.partial("isPartial is true"),
    endSeries: finishSeries,
  };
  const events = createMatrixEvents(open, frame);
  const isFast = (): boolean => events.place === "result" || events.place === "values";
  const pausing: JsonEvents = {
    ...events,
    open: (isObject) => {
      events.open(isObject);
      tokens.pauseDepth = isFast() ? tokens.depth : -1;
    },
    close: () => {
      events.close();
      tokens.pauseDepth = isFast() ? tokens.depth : -1;
    },
  };
  const tokens = new JsonTokens(pausing, DEPTH_MAX, ERRORS);

  /** Reads samples as long as there is room; the caller looks at `fast.stop`. */
  const readSamples = (bytes: Buffer, from: number, sight: number): number => {
    let p = from;
    while (open.output < SLICE_BYTES) {
      if (open.series.sampleCount >= open.full) makeRoom(open);
      p = scanSamples(fast, bytes, p, sight);
      if (fast.stop !== Stop.full) return p;
    }
    fast.stop = Stop.full;
    return p;
  };

  /** Reads the series that begin from `from` on and before `sight`. */
  const readSeries = (bytes: Buffer, from: number, sight: number): number => {
    let p = from;
    while (p < sight && open.output < SLICE_BYTES) {
      const first = scanHead(fast, bytes, p);
      if (first < 0) return p;
      endLabels(open);
      p = readSamples(bytes, first, sight);
      if (fast.stop !== Stop.closed || bytes[p] !== BRACE_CLOSE) {
        enterSamples(p > first);
        return p;
      }
      finishSeries();
      p++;
      if (p >= bytes.length || bytes[p] !== COMMA) {
        tokens.next = Next.commaOrEnd;
        return p;
      }
      tokens.next = Next.value;
      p++;
    }
    return p;
  };

  /** The rest of a series that the fast path began is for the tokens. */
  const enterSamples = (hasSamples: boolean): void => {
    tokens.enter(true);
    tokens.enter(false);
    events.enterSamples();
    tokens.pauseDepth = tokens.depth;
    afterSamples(hasSamples);
  };

  const afterSamples = (hasSamples: boolean): void => {
    if (fast.stop === Stop.closed) {
      tokens.leave();
      events.close();
      tokens.pauseDepth = -1;
    } else if (fast.stop === Stop.between) tokens.next = Next.commaOrEnd;
    else if (hasSamples) tokens.next = Next.value;
  };

  const readFast = (bytes: Buffer, from: number, sight: number): number => {
    if (events.place === "result") return readSeries(bytes, from, sight);
    const p = readSamples(bytes, from, sight);
    afterSamples(p > from);
    return p;
  };

  const isBeforeValue = (): boolean => tokens.depth === tokens.pauseDepth && tokens.next <= Next.valueOrEnd;

  const readPiece = (bytes: Buffer): number => {
    const sight = sightOf(bytes);
    fast.isAscii = sight > 0 && isAscii(bytes);
    open.output = 0;
    let p = 0;
    while (p < bytes.length && open.output < SLICE_BYTES) {
      if (p < sight && isBeforeValue()) {
        p = readFast(bytes, p, sight);
        if (open.output >= SLICE_BYTES) break;
      }
      p = tokens.run(bytes, p);
    }
    releaseBytes(open, events.place !== "result");
    return p;
  };

  return {
    scan: (chunk, at) => {
      const bytes = at === 0 && chunk.length <= PIECE_BYTES ? chunk : chunk.subarray(at, at + PIECE_BYTES);
      const wasInResult = events.isInResult;
      const read = readPiece(bytes);
      bytesSeen += read;
      if (!wasInResult && !events.isInResult && (frameBytes += read) > FRAME_BYTES_MAX) {
        throw new BridgeError("prometheus_answer_invalid", "the answer has too much beside its series");
      }
      return at + read;
    },
    end: () => {
      if (!tokens.end()) {
        throw bytesSeen > 0 && tokens.depth === 0 && tokens.next === Next.value
          ? new BridgeError("prometheus_unexpected_answer", "the answer is not JSON")
          : truncated(bytesSeen);
      }
      if (!frame.isSuccess || !frame.isMatrix || !frame.hasResult) throw notAMatrix();
      return { ...result, refused: refusals.list(), ...remarks.end(seriesSeen > 0) };
    },
  };
}

/**
 * Up to where series and samples have an end in the bytes, in Prometheus' own layout. Reading behind a buffer's end would slow the fast path's machine
 * code down for good.
 */
function sightOf(bytes: Buffer): number {
  if (bytes.length < FAST_BYTES_MIN) return -1;
  return Math.max(bytes.lastIndexOf(SERIES_END), bytes.lastIndexOf(SAMPLE_END));
}

function truncated(bytes: number): BridgeError {
  return new BridgeError(
    "prometheus_answer_truncated",
    `the answer ended after ${bytes} bytes, in the middle`,
  );
}
