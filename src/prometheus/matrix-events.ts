import { BridgeError } from "#errors/error.ts";
import { WORD_BYTES_MAX, type JsonEvents, type JsonText } from "#lib/json-tokens.ts";
import { createJsonHistogram, notAHistogram } from "./json-histogram.ts";
import { addHistogram, addSample, beginSeries, type OpenSeries } from "./open-series.ts";
import { createSeriesLabels } from "./series-labels.ts";
import { jsonNumberOf, parseSampleValue } from "./sample-value.ts";

/** Which brackets of a matrix answer the reader is in. `other`: nothing of it is wanted. */
type Place =
  | "nowhere"
  | "answer"
  | "data"
  | "result"
  | "series"
  | "metric"
  | "values"
  | "sample"
  | "histograms"
  | "histogram"
  | "body"
  | "buckets"
  | "bucket"
  | "remarks"
  | "other";

/** The parts of an answer beside its series. */
export interface MatrixFrame {
  isMatrix: boolean;
  isSuccess: boolean;
  hasResult: boolean;
  /** JSON texts of warnings and infos. */
  remark(kind: "warnings" | "infos", text: string): void;
  /** VictoriaMetrics' `isPartial`: a storage node did not answer. */
  partial(): void;
  /** A series is read. */
  endSeries(): void;
}

export interface MatrixEvents extends JsonEvents {
  readonly place: Place;
  /** Is the reader in the list of series? */
  readonly isInResult: boolean;
  /** The fast path has read a series up to its samples. */
  enterSamples(): void;
}

const KEY_BYTES_MAX = 64;
const TIME_AND_VALUE = 2;
const VALUE_BYTES_MAX = 512;
const REMARK_BYTES_MAX = 4096;

/**
 * Puts a matrix answer of Prometheus' query API together from the tokens of its JSON, whatever the order of its members. Throws
 * `prometheus_answer_invalid` when it is none. A series over a limit is refused alone.
 */
export function createMatrixEvents(open: OpenSeries, frame: MatrixFrame): MatrixEvents {
  const places: Place[] = ["nowhere"];
  /** The member of an object that is being read. */
  let member = "";
  /** Which of the elements of a sample comes next. */
  let element = 0;
  let timeMs = Number.NaN;
  const histogram = createJsonHistogram();
  /** Does the histogram have its body? */
  let hasBody = false;
  /** Which of the elements of a bucket comes next. */
  let bucketElement = 0;
  let hasValues = false;
  let isInResult = false;

  const labels = createSeriesLabels(open);

  const placeOfMember = (place: Place, isObject: boolean): Place => {
    if (place === "answer") {
      if (member === "data" && isObject) return "data";
      return (member === "warnings" || member === "infos") && !isObject ? "remarks" : "other";
    }
    if (place === "data") {
      if (member !== "result") return "other";
      if (isObject || frame.hasResult) throw notAMatrix();
      frame.hasResult = true;
      isInResult = true;
      return "result";
    }
    if (member === "metric") {
      if (!isObject || open.hasMetric) throw invalid("a series' metric is not one object");
      labels.begin();
      return "metric";
    }
    if (member === "values") {
      if (isObject || hasValues) throw invalid("a series' values are not one list");
      hasValues = true;
      return "values";
    }
    return member === "histograms" && !isObject ? "histograms" : "other";
  };

  const placeOf = (place: Place, isObject: boolean): Place => {
    switch (place) {
      case "nowhere":
        if (!isObject) throw notAnObject();
        return "answer";
      case "answer":
      case "data":
      case "series":
        return placeOfMember(place, isObject);
      case "result":
        if (!isObject) throw notASeries();
        beginSeries(open);
        hasValues = false;
        return "series";
      case "metric":
        throw invalid("a label's value is not a text");
      case "values":
        if (isObject) throw notASample();
        element = 0;
        return "sample";
      case "sample":
        throw notASample();
      case "histograms":
        if (isObject) throw notAHistogram();
        element = 0;
        timeMs = Number.NaN;
        hasBody = false;
        return "histogram";
      case "histogram":
        if (element++ !== 1 || !isObject) throw notAHistogram();
        hasBody = true;
        histogram.begin(timeMs);
        return "body";
      case "body":
        return member === "buckets" && !isObject ? "buckets" : "other";
      case "buckets":
        if (isObject) throw notAHistogram();
        bucketElement = 0;
        return "bucket";
      case "bucket":
        throw notAHistogram();
      case "remarks":
        frame.remark(member as "warnings" | "infos", "(not a text)");
        return "other";
      case "other":
      default:
        return "other";
    }
  };

  const close = (): void => {
    const place = places.pop();
    if (place === "result") isInResult = false;
    if (place === "sample" && element !== TIME_AND_VALUE) throw notASample();
    if (place === "bucket") histogram.endBucket(bucketElement);
    if (place === "histogram") {
      if (!hasBody) throw notAHistogram();
      addHistogram(open, histogram.end());
    }
    if (place === "metric") labels.end();
    if (place === "series") {
      if (!open.hasMetric && open.series.sampleCount > 0) throw invalid("a series has no metric");
      frame.endSeries();
    }
  };

  /** A string, number or literal where none is expected, or where it matters. */
  const value = (text: string, isText: boolean): void => {
    switch (places.at(-1)!) {
      case "nowhere":
        throw notAnObject();
      case "answer":
        return answerValue(text, isText);
      case "data":
        if (member === "result") throw notAMatrix();
        if (member !== "resultType") return;
        if (text !== "matrix") throw notAMatrix();
        frame.isMatrix = true;
        return;
      case "result":
        throw notASeries();
      case "series":
        if (member === "metric") throw invalid("a series' metric is not one object");
        if (member === "values") throw invalid("a series' values are not one list");
        return;
      case "metric":
        throw invalid("a label's value is not a text");
      case "values":
        throw notASample();
      case "sample":
        return sampleValue(text, isText);
      case "histogram":
        if (element++ !== 0 || isText) throw notAHistogram();
        timeMs = Math.round((jsonNumberOf(text) ?? Number.NaN) * 1000);
        return;
      case "body":
        if (member === "count" && isText) histogram.count(text);
        else if (member === "sum" && isText) histogram.sum(text);
        return;
      case "buckets":
        throw notAHistogram();
      case "bucket":
        return histogram.element(bucketElement++, text, isText);
      case "remarks":
        frame.remark(member as "warnings" | "infos", text);
        return;
      case "histograms":
      case "other":
    }
  };

  const answerValue = (text: string, isText: boolean): void => {
    if (member === "data") throw notAMatrix();
    if (member === "status") {
      if (text !== "success") throw notAMatrix();
      frame.isSuccess = true;
    }
    if (member === "isPartial" && !isText && text === "true") frame.partial();
  };

  const sampleValue = (text: string, isText: boolean): void => {
    if (element === 0 && !isText) {
      const seconds = jsonNumberOf(text);
      if (seconds === undefined) throw notASample();
      timeMs = Math.round(seconds * 1000);
    } else if (element === 1 && isText) addSample(open, timeMs, parseSampleValue(text));
    else throw notASample();
    element++;
  };

  return {
    get place() {
      return places.at(-1)!;
    },
    get isInResult() {
      return isInResult;
    },
    enterSamples: () => {
      places.push("series", "values");
      member = "values";
      hasValues = true;
    },
    open: (isObject) => void places.push(placeOf(places.at(-1)!, isObject)),
    close,
    wanted: (what) => {
      if (what === "word") return WORD_BYTES_MAX;
      const place = places.at(-1)!;
      if (place === "metric") return open.limits.labelBytesMax;
      if (what === "key") return place === "other" ? 0 : KEY_BYTES_MAX;
      if (place === "sample" || place === "body" || place === "bucket") return VALUE_BYTES_MAX;
      if (place === "remarks") return REMARK_BYTES_MAX;
      return place === "answer" || place === "data" ? KEY_BYTES_MAX : 0;
    },
    key: (text) => {
      const place = places.at(-1)!;
      if (place === "metric") labels.key(text);
      else if (place !== "other") member = shortText(text);
    },
    text: (text) => {
      const place = places.at(-1)!;
      if (place === "metric") labels.value(text);
      // Go writes no escapes into a value.
      else if (place === "sample" || place === "body" || place === "bucket")
        value(text.bytes.toString("latin1"), true);
      else value(place === "remarks" ? remarkText(text) : shortText(text), true);
    },
    word: (word) => value(word, false),
  };
}

/** A member's name, or a value that decides: `""` for one that is longer than any that is known. */
function shortText({ bytes, size, hasEscapes }: JsonText): string {
  if (size > bytes.length) return "";
  const text = bytes.toString("utf8");
  return hasEscapes ? parseText(text) : text;
}

/** As much of a warning as is kept. */
function remarkText({ bytes, size, hasEscapes }: JsonText): string {
  const text = bytes.toString("utf8");
  return hasEscapes && size === bytes.length ? parseText(text) : text;
}

function parseText(text: string): string {
  try {
    return JSON.parse(`"${text}"`) as string;
  } catch {
    throw invalid("the answer is not valid JSON: a string has a wrong escape");
  }
}

function invalid(message: string): BridgeError {
  return new BridgeError("prometheus_answer_invalid", message);
}

const notAnObject = (): BridgeError => invalid("the answer is not a JSON object");
export const notAMatrix = (): BridgeError => invalid("the answer is not a matrix result");
const notASeries = (): BridgeError => invalid("the answer has something else than an object as a series");
const notASample = (): BridgeError => invalid("a sample is not [time, value]");
