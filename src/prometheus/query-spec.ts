/** One line of the catalogue, as data. */
export interface QuerySpec {
  /** Unique; the metric's name when the PromQL's result has none. */
  name: string;
  promql: string;
  group: string;
  /** UCUM; overrides the unit from metadata and name; empty: no unit. */
  unit?: string;
  /** Overrides the metadata; needed where the PromQL is not a plain selector. */
  type?: "counter" | "gauge";
  /** Seconds between the points of query_range; only where the PromQL is not a plain selector. */
  stepSeconds?: number;
}
