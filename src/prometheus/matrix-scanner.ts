import { BridgeError } from "#errors.ts";
import { readJsonSeries } from "./matrix-json.ts";
import { createSeriesScanner, INCOMPLETE, OTHER_LAYOUT, type SeriesLimits } from "./series-scanner.ts";
import type { ScannedSeries, SeriesSink } from "./series-sink.ts";

/** Bounds of one answer. Whatever exceeds them fails the window by name; memory never grows with the answer's size. */
export interface ScanLimits extends SeriesLimits {
  seriesMax: number;
  /** JSON bytes of one series. */
  seriesBytesMax: number;
  /** JSON bytes of an answer in a layout that can't be streamed. */
  fallbackBytesMax: number;
}

export const SCAN_LIMITS: ScanLimits = {
  seriesMax: 2_000_000,
  seriesBytesMax: 16 << 20,
  labelsMax: 256,
  labelBytesMax: 64 << 10,
  fallbackBytesMax: 64 << 20,
};

/** What was in an answer: series and samples inside the window, native histogram samples that were left out, Prometheus' warnings. */
export interface ScanResult {
  series: number;
  samples: number;
  histogramSamples: number;
  warnings: string[];
}

export interface MatrixScanner {
  /** Takes the next bytes of the answer; calls the sink for each series that is whole. Throws BridgeError prometheus_*. */
  push(chunk: Buffer): void;
  /** Checks that the answer was whole. Throws BridgeError `prometheus_answer_truncated` when it was not. */
  end(): ScanResult;
}

const PREAMBLE_END = Buffer.from('"result":[');
const PREAMBLE_BYTES_MAX = 4096;
const TAIL_BYTES_MAX = 256 << 10;
/** How a series ends in Prometheus' own layout. */
const SERIES_END = Buffer.from('"]]}');
/** A series of which that much came without such an end may be in another layout. */
const UNUSUAL_SERIES_BYTES = 256 << 10;

/**
 * Reads a matrix answer of Prometheus' query API (`{"status":"success","data":{"resultType":"matrix","result":[...]}}`) as its bytes arrive,
 * without JSON.parse. A series in another layout than Prometheus' own (white space, other key order, native histograms) goes through
 * JSON.parse alone; an answer whose beginning is unknown is collected, up to `fallbackBytesMax`, and parsed whole.
 * Samples outside (fromMs, toMs] are dropped: Prometheus 2 ranges are closed, 3 left-open.
 * `hide` takes what must not be shown out of Prometheus' own words (warnings).
 */
export function createMatrixScanner(
  sink: SeriesSink,
  window: { fromMs: number; toMs: number },
  limits: ScanLimits = SCAN_LIMITS,
  hide: (words: string) => string = (words) => words,
): MatrixScanner {
  const scanner = createSeriesScanner(window, limits);
  let state: "preamble" | "series" | "tail" | "fallback" = "preamble";
  let preamble = "";
  let carry: Buffer | undefined;
  /** To scan a carried series again is only worth it when much more of it has come. */
  let carryRetryBytes = 0;
  let fallbackParts: Buffer[] = [];
  let bytesSeen = 0;
  const result: ScanResult = { series: 0, samples: 0, histogramSamples: 0, warnings: [] };

  const emit = (series: ScannedSeries): void => {
    result.series++;
    result.samples += series.sampleCount;
    if (result.series > limits.seriesMax) {
      throw new BridgeError(
        "prometheus_answer_too_large",
        `the answer has more than ${limits.seriesMax} series`,
      );
    }
    sink.series(series);
  };

  const emitJson = (series: unknown): void => {
    result.histogramSamples += readJsonSeries(series, window, limits, emit);
  };

  /** A series in another layout: its end is found by brackets and strings, then it is parsed alone. */
  const parseSeries = (b: Buffer, start: number): number => {
    const stop = endOfObject(b, start);
    if (stop === INCOMPLETE) return INCOMPLETE;
    let parsed: unknown;
    try {
      parsed = JSON.parse(b.toString("utf8", start, stop));
    } catch {
      throw new BridgeError("prometheus_answer_invalid", "the answer has a series that is not JSON");
    }
    emitJson(parsed);
    return stop;
  };

  /** Scans the series that are whole in `chunk` and carries the rest. `last`: nothing more will come. */
  const scanAll = (chunk: Buffer, last = false): void => {
    // Reading behind a buffer's end would slow the scanner's machine code down for good: only what has an end in sight is scanned.
    const lastEnd =
      last || chunk.length > UNUSUAL_SERIES_BYTES ? chunk.length : chunk.lastIndexOf(SERIES_END);
    let p = 0;
    for (;;) {
      while (p < chunk.length && isBetweenSeries(chunk[p]!)) p++;
      if (p >= chunk.length) {
        carry = undefined;
        return;
      }
      if (chunk[p] === 0x5d) {
        state = "tail";
        carry = Buffer.from(chunk.subarray(p));
        return;
      }
      if (p > lastEnd) break;
      let next = scanner.scan(chunk, p);
      if (next === OTHER_LAYOUT) next = parseSeries(chunk, p);
      else if (next !== INCOMPLETE && scanner.series.sampleCount > 0) emit(scanner.series);
      if (next === INCOMPLETE) break;
      p = next;
    }
    carry = chunk.subarray(p);
    carryRetryBytes = carry.length * 2;
    if (carry.length > limits.seriesBytesMax) {
      throw new BridgeError(
        "prometheus_answer_too_large",
        `one series is larger than ${limits.seriesBytesMax} bytes`,
      );
    }
  };

  /** Scans the carried series with only as much of the next chunk as ends it, so that the chunk itself is not copied. Returns the rest. */
  const completeCarried = (carried: Buffer, chunk: Buffer): Buffer => {
    // A large one may be in another layout, in which such ends are no ends: it is scanned again only when it has doubled.
    const at = carried.length > UNUSUAL_SERIES_BYTES ? -1 : chunk.indexOf(SERIES_END);
    if (at < 0) return chunk;
    const end = at + SERIES_END.length;
    scanAll(Buffer.concat([carried, chunk.subarray(0, end)]));
    return chunk.subarray(end);
  };

  const keepForFallback = (chunk: Buffer): void => {
    if (bytesSeen > limits.fallbackBytesMax) {
      throw new BridgeError(
        "prometheus_answer_too_large",
        `an answer in a layout that can't be streamed is larger than ${limits.fallbackBytesMax} bytes`,
      );
    }
    fallbackParts.push(chunk);
  };

  const readPreamble = (bytes: Buffer): void => {
    carry = undefined;
    const at = bytes.indexOf(PREAMBLE_END);
    if (at < 0 && bytes.length < PREAMBLE_BYTES_MAX) {
      carry = bytes;
      return;
    }
    preamble = at < 0 ? "" : bytes.toString("utf8", 0, at + PREAMBLE_END.length);
    if (at < PREAMBLE_BYTES_MAX && isMatrixPreamble(preamble)) {
      state = "series";
      scanAll(bytes.subarray(at + PREAMBLE_END.length));
    } else {
      state = "fallback";
      keepForFallback(bytes);
    }
  };

  const readFallback = (): Answer => {
    const answer = parseAnswer(Buffer.concat(fallbackParts).toString("utf8"), bytesSeen);
    fallbackParts = [];
    if (
      answer.status !== "success" ||
      answer.data?.resultType !== "matrix" ||
      !Array.isArray(answer.data.result)
    ) {
      throw new BridgeError("prometheus_answer_invalid", "the answer is not a matrix result");
    }
    for (const series of answer.data.result) emitJson(series);
    return answer;
  };

  return {
    push: (chunk) => {
      bytesSeen += chunk.length;
      if (state === "fallback") return keepForFallback(chunk);
      let bytes = chunk;
      if (state === "series" && carry) {
        bytes = completeCarried(carry, chunk);
        if (bytes.length === 0) return;
      }
      if (carry) bytes = Buffer.concat([carry, bytes]);
      if (state === "preamble") return readPreamble(bytes);
      if (state === "series" && (!carry || bytes.length >= carryRetryBytes)) return scanAll(bytes);
      carry = bytes;
      if (state === "tail" && bytes.length > TAIL_BYTES_MAX) {
        throw new BridgeError("prometheus_answer_invalid", "the answer goes on after its result");
      }
    },
    end: () => {
      if (state === "series" && carry) scanAll(carry, true);
      if (state === "series") throw truncated(bytesSeen);
      if (state === "preamble" && carry) keepForFallback(carry);
      const answer =
        state === "tail" ? parseAnswer(preamble + carry!.toString("utf8"), bytesSeen) : readFallback();
      refusePartial(answer, hide);
      result.warnings = warningsOf(answer, hide);
      return result;
    },
  };
}

function truncated(bytes: number): BridgeError {
  return new BridgeError(
    "prometheus_answer_truncated",
    `the answer ended after ${bytes} bytes, in the middle`,
  );
}

interface Answer {
  status?: unknown;
  isPartial?: unknown;
  warnings?: unknown;
  infos?: unknown;
  data?: { resultType?: unknown; result?: unknown[] };
}

function parseAnswer(text: string, bytes: number): Answer {
  let answer: Answer | null;
  try {
    answer = JSON.parse(text) as Answer | null;
  } catch {
    throw text === "" || text.trimStart().startsWith("{")
      ? truncated(bytes)
      : new BridgeError("prometheus_unexpected_answer", "the answer is not JSON");
  }
  if (typeof answer !== "object" || answer === null) {
    throw new BridgeError("prometheus_answer_invalid", "the answer is not a JSON object");
  }
  // VictoriaMetrics' way to say that a storage node did not answer: to commit such a window would lose data.
  if (answer.isPartial === true) {
    throw new BridgeError(
      "prometheus_answer_truncated",
      "the backend says that its answer is partial (isPartial)",
    );
  }
  return answer;
}

/** Prometheus' own remarks on a query begin with "PromQL"; any other is a storage that could not be read (remote read, Thanos). */
function refusePartial(answer: Answer, hide: (words: string) => string): void {
  const list = Array.isArray(answer.warnings) ? (answer.warnings as unknown[]) : [];
  const warnings = list.map((warning) => textOf(warning, hide));
  const words = warnings.find((warning) => !warning.startsWith("PromQL "));
  if (words === undefined) return;
  throw new BridgeError(
    "prometheus_answer_truncated",
    `a part of the data may be missing, says the backend: ${words}`,
  );
}

function warningsOf(answer: Answer, hide: (words: string) => string): string[] {
  const lists = [answer.warnings, answer.infos].flatMap((list) =>
    Array.isArray(list) ? (list as unknown[]) : [],
  );
  return lists.slice(0, 5).map((warning) => textOf(warning, hide));
}

/** Hidden before it is cut: the beginning of a secret would not be recognised. */
function textOf(warning: unknown, hide: (words: string) => string): string {
  return hide(typeof warning === "string" ? warning : JSON.stringify(warning)).slice(0, 300);
}

/** Is this the beginning of a success whose result is a matrix, so that series may follow? */
function isMatrixPreamble(preamble: string): boolean {
  try {
    const answer = JSON.parse(`${preamble}]}}`) as Answer;
    return answer.status === "success" && answer.data?.resultType === "matrix";
  } catch {
    return false;
  }
}

/** Comma or white space. */
function isBetweenSeries(c: number): boolean {
  return c === 0x2c || c === 0x20 || c === 0x0a || c === 0x0d || c === 0x09;
}

/** Position after the JSON object that begins at `start`, or INCOMPLETE. Throws when there is none. */
function endOfObject(b: Buffer, start: number): number {
  if (b[start] !== 0x7b) {
    throw new BridgeError(
      "prometheus_answer_invalid",
      "the answer has something else than an object as a series",
    );
  }
  let depth = 0;
  for (let p = start; p < b.length; p++) {
    const c = b[p];
    if (c === 0x22) {
      for (p++; p < b.length && b[p] !== 0x22; p++) if (b[p] === 0x5c) p++;
      if (p >= b.length) return INCOMPLETE;
    } else if (c === 0x7b || c === 0x5b) depth++;
    else if (c === 0x7d || c === 0x5d) {
      depth--;
      if (depth === 0) return p + 1;
    }
  }
  return INCOMPLETE;
}
