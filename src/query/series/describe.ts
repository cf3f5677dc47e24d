import type { Clock } from "#lib/clock.ts";
import { refuseSize, type LimitedDatabase, type QueryLimits } from "#query/limits.ts";
import type { MetricType } from "./aggregations.ts";
import { toHoursDescribeStatement } from "./hours-sql.ts";
import { toDescribeStatement, toScopeParameters, type Scope, type Source } from "./series-sql.ts";
import {
  toAnySampleSql,
  toTableDescribeSql,
  type IsInSeriesTable,
  type TableDescription,
} from "./series-table.ts";

const HOUR_MS = 3_600_000;
const AGE_MS_MAX = 5000;
const METRICS_MAX = 10_000;

/** What a metric is in a scope, and where it is read. */
interface Description {
  type: MetricType;
  /** As stored; "" is not known. */
  unit: string;
  source: Source;
  newestMs: number;
}

/** The same from the table `series`, of a metric with one type and unit on the days of the scope. */
export interface TableMetric {
  type: MetricType;
  unit: string;
  /** How many samples there are in the hours of the scope, copies included. */
  samplesMax: number;
}

interface TableReading {
  /** When the reading began; of Clock.monotonic. */
  readAtMs: number;
  metric?: TableMetric;
}

/** Each resolves with undefined where there is nothing, and throws `query_too_large` for too many series and what a LimitedDatabase throws. */
export interface Describe {
  /**
   * Without a metric also where the samples must be asked: days that are not in the table, a metric whose type or unit changed, very many series. What is there is
   * remembered for five seconds, and read again if that was before `sinceMs`.
   */
  table(scope: Scope, signal: AbortSignal | undefined, sinceMs?: number): Promise<TableReading>;
  samples(scope: Scope, signal: AbortSignal | undefined): Promise<Description | undefined>;
  /** From the roll-ups; from the samples when the metric's type changed in the scope, because hours keep the types apart. */
  hours(scope: Scope, signal: AbortSignal | undefined): Promise<Description | undefined>;
}

interface SamplesRow {
  series: string;
  newest_kind: MetricType | "";
  newest_unit: string;
  newest_ms: string;
  in_gauge: number;
  in_sum: number;
}

interface HoursRow {
  series: string;
  newest_unit: string;
  newest_ms: string;
  gauges: string;
  counters: string;
}

export function createDescribe(
  deps: { database: LimitedDatabase; isInSeriesTable: IsInSeriesTable; clock: Clock },
  { databaseName, limits }: { databaseName: string; limits: QueryLimits },
): Describe {
  const { database, clock } = deps;
  const checkSeries = (series: string): void => {
    if (Number(series) <= limits.seriesMax) return;
    throw refuseSize(
      "series",
      `the metric has ${series} series in the range, more than ${limits.seriesMax}`,
      "Ask for a shorter range.",
    );
  };

  const samples: Describe["samples"] = async (scope, signal) => {
    const { sql, parameters } = toDescribeStatement(databaseName, scope);
    const [row] = await database.query<SamplesRow>(sql, parameters, signal);
    if (row === undefined || row.newest_kind === "") return undefined;
    checkSeries(row.series);
    const source = row.in_gauge && row.in_sum ? "both" : row.in_gauge ? "gauge" : "sum";
    return { type: row.newest_kind, unit: row.newest_unit, source, newestMs: Number(row.newest_ms) };
  };

  const remembered = new Map<string, TableReading>();

  const readTable = async (
    hours: Scope,
    signal: AbortSignal | undefined,
  ): Promise<TableMetric | undefined> => {
    const parameters = toScopeParameters(hours);
    const sql = toTableDescribeSql(databaseName);
    const [row] = await database.query<TableDescription>(sql, parameters, signal);
    // It may count some series too many: the samples decide whether they are.
    if (row === undefined || Number(row.series) > limits.seriesMax) return undefined;
    const [kind, unit] = [row.kinds[0], row.units[0]];
    if (row.kinds.length !== 1 || row.units.length !== 1 || !isMetricType(kind)) return undefined;
    // Samples of another kind whose rows are missing.
    const other = kind === "gauge" ? "sum" : "gauge";
    const others = await database.query(toAnySampleSql(databaseName, other), parameters, signal);
    if (others.length > 0) return undefined;
    return { type: kind, unit: unit ?? "", samplesMax: Number(row.samples_max ?? 0) };
  };

  return {
    samples,
    table: async (scope, signal, sinceMs = -Infinity) => {
      if (!(await deps.isInSeriesTable(scope.fromMs, signal))) return { readAtMs: Infinity };
      const hours = toHours(scope);
      const key = JSON.stringify(hours);
      const found = remembered.get(key);
      if (found && found.readAtMs >= sinceMs && clock.monotonic() - found.readAtMs < AGE_MS_MAX) return found;
      const readAtMs = clock.monotonic();
      const metric = await readTable(hours, signal);
      if (metric === undefined) return { readAtMs };
      remembered.delete(key);
      remembered.set(key, { readAtMs, metric });
      const [oldest] = remembered.keys();
      if (remembered.size > METRICS_MAX && oldest !== undefined) remembered.delete(oldest);
      return { readAtMs, metric };
    },
    hours: async (scope, signal) => {
      const { sql, parameters } = toHoursDescribeStatement(databaseName, toScopeParameters(scope));
      const [row] = await database.query<HoursRow>(sql, parameters, signal);
      if (row === undefined || row.series === "0") return undefined;
      if (row.gauges !== "0" && row.counters !== "0") return await samples(scope, signal);
      checkSeries(row.series);
      const found = { unit: row.newest_unit, newestMs: Number(row.newest_ms) };
      if (row.counters !== "0") return { ...found, type: "counter", source: { hours: "counter" } };
      // Hours of gauges and of non-monotonic sums are alike.
      const atNewest = { ...scope, fromMs: found.newestMs - 1, toMs: found.newestMs + 1 };
      const newest = await samples(atNewest, signal);
      return { ...found, type: newest?.type ?? "gauge", source: { hours: "gauge" } };
    },
  };
}

/** Requests of one hour share what is remembered: the end of most is the time of asking. */
function toHours({ fromMs, toMs, ...metric }: Scope): Scope {
  return {
    ...metric,
    fromMs: Math.floor(fromMs / HOUR_MS) * HOUR_MS,
    toMs: Math.ceil(toMs / HOUR_MS) * HOUR_MS,
  };
}

function isMetricType(kind: string | undefined): kind is MetricType {
  return kind === "gauge" || kind === "counter" || kind === "sum";
}
