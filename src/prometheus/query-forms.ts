import type { Query } from "./catalogue.ts";
import type { Window } from "./window.ts";

/** A request to Prometheus' query API. */
export interface QueryRequest {
  path: "/api/v1/query" | "/api/v1/query_range";
  form: Record<string, string>;
}

/** The request for every sample of the query in the window; undefined when the window holds no point of the query's grid. */
export function toQueryRequest(query: Query, window: Window): QueryRequest | undefined {
  if (query.kind === "selector") return { path: "/api/v1/query", form: rawForm(query.selector, window) };
  const form = gridForm(query.promql, query.stepMs, window);
  return form && { path: "/api/v1/query_range", form };
}

/** `selector[window]` at the window's end: every raw sample with its own timestamp, in ms. */
function rawForm(selector: string, { fromMs, toMs }: Window): Record<string, string> {
  return { query: `${selector}[${toMs - fromMs}ms]`, time: toSeconds(toMs) };
}

/** query_range at the multiples of the step inside the window, so that a repeat gives the same timestamps; undefined when there is none. */
function gridForm(
  promql: string,
  stepMs: number,
  { fromMs, toMs }: Window,
): Record<string, string> | undefined {
  const start = (Math.floor(fromMs / stepMs) + 1) * stepMs;
  const end = Math.floor(toMs / stepMs) * stepMs;
  if (start > end) return undefined;
  return { query: promql, start: toSeconds(start), end: toSeconds(end), step: toSeconds(stepMs) };
}

/** A time or duration in ms, as Prometheus' API takes it. */
export function toSeconds(ms: number): string {
  return (ms / 1000).toFixed(3);
}
