/** What is collected where QUERIES_FILE does not say otherwise: see docs/queries.md. */
export const CATALOGUES = ["base", "dashboards", "all"] as const;

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
  /** The names of the metrics that the PromQL reads, where it is a selector of several: QUERIES_FILE can leave out each of them. */
  metrics?: readonly string[];
  /** It reads whatever metrics the source has: not more series than CATALOGUE_SERIES_MAX. */
  isUnlisted?: true;
  /** Seconds between the points of query_range; only where the PromQL is not a plain selector. */
  stepSeconds?: number;
}
