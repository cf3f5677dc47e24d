import type { PrometheusVersion } from "./answer-format.ts";
import type { Matcher } from "./promql.ts";
import { QueryError } from "./query-error.ts";
import type { Label, ScrapeSpan, SimulatedMetric, SimulatedSeries } from "./series.ts";

/**
 * All series that the matchers choose and that may have a sample from a scrape in the span. Throws QueryError
 * on a bad regular expression.
 */
export function selectSeries(
  metrics: readonly SimulatedMetric[],
  matchers: readonly Matcher[],
  span: ScrapeSpan,
  version: PrometheusVersion,
): SimulatedSeries[] {
  const tests = matchers.map((matcher) => ({ name: matcher.name, test: toTest(matcher, version) }));
  if (tests.every(({ test }) => test(""))) {
    const problem = "1:1: parse error: vector selector must contain at least one non-empty matcher";
    throw new QueryError(400, "bad_data", `invalid parameter "query": ${problem}`);
  }
  return chooseSeries(metrics, tests, span, version);
}

/** As `selectSeries`, for matchers that may choose everything: remote read takes them. */
export function matchSeries(
  metrics: readonly SimulatedMetric[],
  matchers: readonly Matcher[],
  span: ScrapeSpan,
  version: PrometheusVersion,
): SimulatedSeries[] {
  const tests = matchers.map((matcher) => ({ name: matcher.name, test: toTest(matcher, version) }));
  return chooseSeries(metrics, tests, span, version);
}

function chooseSeries(
  metrics: readonly SimulatedMetric[],
  tests: readonly { name: string; test: (text: string) => boolean }[],
  span: ScrapeSpan,
  version: PrometheusVersion,
): SimulatedSeries[] {
  const ofName = tests.filter(({ name }) => name === "__name__");
  const ofLabels = tests.filter(({ name }) => name !== "__name__");
  const chosen: SimulatedSeries[] = [];
  for (const metric of metrics) {
    if ((metric.since ?? 0) > version) continue;
    if (!ofName.every(({ test }) => test(metric.name))) continue;
    for (const series of metric.series(span)) {
      if (ofLabels.every(({ name, test }) => test(labelValue(series.labels, name)))) chosen.push(series);
    }
  }
  return chosen;
}

export function labelValue(labels: readonly Label[], name: string): string {
  for (const label of labels) if (label[0] === name) return label[1];
  return "";
}

function toTest({ operator, value }: Matcher, version: PrometheusVersion): (text: string) => boolean {
  if (operator === "=") return (text) => text === value;
  if (operator === "!=") return (text) => text !== value;
  const pattern = toRegExp(value, version);
  return operator === "=~" ? (text) => pattern.test(text) : (text) => !pattern.test(text);
}

/** Anchored at both ends; since 3.0 a dot also matches a newline. */
function toRegExp(value: string, version: PrometheusVersion): RegExp {
  const flags = /^\(\?([ims]+)\)/.exec(value);
  const body = flags ? value.slice(flags[0].length) : value;
  const all = new Set([...(flags?.[1] ?? "").split(""), ...(version === 3 ? ["s"] : [])]);
  for (const unicode of ["u", ""]) {
    try {
      return new RegExp(`^(?:${body})$`, [...all].join("") + unicode);
    } catch {
      // RE2 allows escapes that ECMAScript's strict mode refuses; the second turn is without it.
    }
  }
  const problem = `1:3: parse error: error parsing regexp: \`${value}\``;
  throw new QueryError(400, "bad_data", `invalid parameter "query": ${problem}`);
}
