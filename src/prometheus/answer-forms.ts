import type { ScanResult } from "./matrix-scanner.ts";
import type { AnswerForm } from "./remote-read/request.ts";
import type { Window } from "./window.ts";

/** Which form of remote read's answers a window is read in (docs/decisions/0032-remote-read.md has the measurements). */
export interface AnswerForms {
  formOf(query: string, window: Window): AnswerForm;
  /** After an answer: how many samples the query's series have. */
  learn(query: string, window: Window, result: Pick<ScanResult, "series" | "samples">): void;
}

/** Samples of a series in a window from which on it is read as chunks: these are sent whole, and hold up to 120. Over slow links as over fast ones. */
const CHUNKS_FROM_SAMPLES = 100;
/** The same border while it is not known how often a query's series are scraped. */
const SAMPLES_WINDOW_MS = 15 * 60_000;

export function createAnswerForms(): AnswerForms {
  /** Ms between two samples, by query. */
  const spacings = new Map<string, number>();
  return {
    formOf: (query, window) => {
      const lengthMs = window.toMs - window.fromMs;
      const spacing = spacings.get(query);
      if (spacing === undefined) return lengthMs <= SAMPLES_WINDOW_MS ? "samples" : "chunks";
      return lengthMs / spacing < CHUNKS_FROM_SAMPLES ? "samples" : "chunks";
    },
    learn: (query, { fromMs, toMs }, { series, samples }) => {
      if (samples > 0) spacings.set(query, ((toMs - fromMs) * series) / samples);
    },
  };
}
