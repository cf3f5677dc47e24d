import { hashText } from "./noise.ts";
import { joinLabels } from "./series.ts";
import type {
  Label,
  MetricType,
  ScrapeSpan,
  ScrapeTarget,
  SimulatedMetric,
  SimulatedSeries,
} from "./series.ts";
import type { ValueAt } from "./values.ts";

/** One series as its family describes it; the rest (name, target's labels, hash) is added. */
export interface SeriesPart {
  target: ScrapeTarget;
  labels: readonly Label[];
  /** Default: as long as time. */
  bornMs?: number;
  goneMs?: number;
  lateMs?: number;
  /** Gets a hash of the series' own name and labels. */
  value: (hash: number) => ValueAt;
  /** Where samples are native histograms. */
  histogram?: (hash: number) => NonNullable<SimulatedSeries["histogramAt"]>;
}

/** A metric of one family with the same name. */
export function metric(
  name: string,
  type: MetricType,
  help: string,
  parts: (span: ScrapeSpan) => Iterable<SeriesPart>,
): SimulatedMetric {
  return memberMetric(name, { name, type, help, unit: "" }, parts);
}

/** A metric of a family with another name (`_bucket`, `_sum`, `_count`), or of none. */
export function memberMetric(
  name: string,
  family: SimulatedMetric["family"],
  parts: (span: ScrapeSpan) => Iterable<SeriesPart>,
): SimulatedMetric {
  return {
    name,
    family,
    *series(span) {
      for (const part of parts(span)) yield toSeries(name, part);
    },
  };
}

function toSeries(name: string, part: SeriesPart): SimulatedSeries {
  let hash = hashText(name, part.target.hash);
  for (const [, value] of part.labels) hash = hashText(value, hash);
  return {
    labels: joinLabels(part.target.labels, part.labels, [["__name__", name]]),
    target: part.target,
    bornMs: part.bornMs ?? Number.NEGATIVE_INFINITY,
    goneMs: part.goneMs ?? Number.POSITIVE_INFINITY,
    ...(part.lateMs === undefined ? {} : { lateMs: part.lateMs }),
    valueAt: part.value(hash),
    ...(part.histogram ? { histogramAt: part.histogram(hash) } : {}),
  };
}
