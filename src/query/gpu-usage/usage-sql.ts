import type { GpuQuantity } from "#query/gpu-exporters.ts";
import { gpuMetrics, gpuQuantityOf, gpuValueSql } from "#query/gpu-metrics.ts";
import { gpuColumnsSql, gpuHolderSql, gpuPlaceSql } from "#query/gpu-sql.ts";
import { samplesSource } from "#storage/samples-sql.ts";

const QUANTITIES: readonly GpuQuantity[] = [
  "utilization",
  "memoryUsed",
  "memoryFree",
  "memoryTotal",
  "power",
  "energy",
  "temperature",
  "slowdownTemperature",
  "clockReasons",
  "xid",
];
/** What the usage of GPUs is made of. */
export const GPU_USAGE_METRICS = gpuMetrics(...QUANTITIES);

/** Bits of NVML's clock event reasons: hardware slowdown, both thermal slowdowns, power brake. */
const ALARMING_REASONS = 0x8 | 0x20 | 0x40 | 0x80;
const XIDS_MAX = 1000;
const IDLE_PERCENT = 1;

/** A row of the statement: what one holder, or several that shared it, did with one GPU or part of one. Seconds, joules. */
export interface UsageRow {
  device: string;
  part: string;
  /** "namespace/pod" of each; empty: no Pod. */
  holders: string[];
  seconds: number;
  /** Of which the utilization was measured. */
  known_seconds: number;
  active_seconds: number;
  idle_seconds: number;
  throttled_seconds: number;
  hot_seconds: number;
  /** By the energy counter, and by power over time; null: not measured. */
  energy_joules: number | null;
  power_joules: number | null;
  xid_codes: number[];
  xid_ms: string[];
}

/** The value of a quantity in one scrape: of the first metric that has one, and of the device's series before that of a Pod. */
function valueSql(quantity: GpuQuantity): string {
  const names = gpuMetrics(quantity);
  const list = names.map((name) => `'${name}'`).join(", ");
  const rank = `indexOf([${list}], metric_name)`;
  const factors = names.map((name) => gpuQuantityOf(name)?.metric.factor ?? 1).join(", ");
  const unpartitioned = names.filter((name) => gpuQuantityOf(name)?.metric.unpartitioned);
  const isUsable = unpartitioned.map((name) => ` AND NOT (has_parts AND metric_name = '${name}')`).join("");
  return `argMinOrNullIf(value * [${factors}][${rank}], (${rank}, is_held), metric_name IN (${list})${isUsable})`;
}

/**
 * The use of all GPUs of a cluster in (from, to]. Each scrape of a GPU stands for the time up to the next one, at most a lookback. Parameters: `cluster`, `names`, and in ms
 * `from`, `to`, `read_from`, `read_to` (with a margin for what idle time reaches beyond), `lookback`, `idle`; `hot` in °C.
 */
export function toUsageSql(databaseName: string): string {
  const samples = samplesSource(
    databaseName,
    ["gauge", "sum"],
    "metric_name, series_id, labels, toUnixTimestamp64Milli(time) AS ms, value",
    `cluster_id = {cluster:String} AND metric_name IN {names:Array(String)}
      AND time > fromUnixTimestamp64Milli({read_from:Int64}) AND time <= fromUnixTimestamp64Milli({read_to:Int64})
      AND ${gpuValueSql("metric_name", "value")}`,
  );
  const series = `SELECT metric_name, groupArray(1)(labels)[1] AS series_labels, groupArray((ms, value)) AS points FROM (${samples}) GROUP BY metric_name, series_id`;
  const known = `SELECT metric_name, points, ${gpuColumnsSql("metric_name", "series_labels")},
      if(is_held, ${gpuHolderSql("metric_name", "series_labels")}, '') AS holder, ${gpuPlaceSql("metric_name")} AS place,
      arrayUniq(arrayMap(point -> intDiv(point.1, {lookback:Int64}), points)) AS stretches
    FROM (${series})`;
  return toSecondsSql(toScrapesSql(known));
}

/**
 * One row for each scrape of a GPU or part. Of several sources the best counts (one that knows Pods, then the exporter's place, then as `sourceOrder`); another's scrapes only
 * where the best has none for more than a lookback. A partitioned GPU counts by its parts.
 */
function toScrapesSql(known: string): string {
  const ranked = `SELECT *, max(part != '') OVER (PARTITION BY device) AS has_parts,
      max(is_held) OVER (PARTITION BY device, part, source) AS knows_pods, max(stretches) OVER (PARTITION BY device, part, source) AS covered
    FROM (${known})`;
  const points = `SELECT metric_name, device, part, has_parts, is_held, holder, point.1 AS ms, point.2 AS value,
      (1 - knows_pods, place, -toInt64(covered), length(source), source) AS rank
    FROM (${ranked}) ARRAY JOIN points AS point WHERE NOT (has_parts AND part = '')`;
  const values = [
    ["utilization", "utilization"],
    ["memoryUsed", "used"],
    ["memoryFree", "free_memory"],
    ["memoryTotal", "total_memory"],
    ["power", "power"],
    ["energy", "energy"],
    ["temperature", "temperature"],
    ["slowdownTemperature", "slowdown"],
    ["clockReasons", "reasons"],
    ["xid", "xid"],
  ] as const;
  const scrapes = `SELECT device, part, rank, ms, arraySort(groupUniqArrayIf(holder, is_held)) AS holders,
      ${values.map(([quantity, name]) => `${valueSql(quantity)} AS ${name}`).join(",\n      ")}
    FROM (${points}) GROUP BY device, part, rank, ms`;
  // In a gap of the best, another's count from half a lookback on: until then the best's last scrape stands.
  const rows = "PARTITION BY device, part ORDER BY ms ROWS BETWEEN";
  return `SELECT * FROM (
      SELECT *, max(if(rank = best, ms, 0)) OVER (${rows} UNBOUNDED PRECEDING AND CURRENT ROW) AS best_ms,
        min(if(rank = best, ms, ${Number.MAX_SAFE_INTEGER})) OVER (${rows} CURRENT ROW AND UNBOUNDED FOLLOWING) AS next_best_ms
      FROM (SELECT *, min(rank) OVER (PARTITION BY device, part) AS best FROM (${scrapes}))
    ) WHERE rank = best OR (next_best_ms - best_ms > {lookback:Int64} AND ms - best_ms > {lookback:Int64} / 2)`;
}

function toSecondsSql(scrapes: string): string {
  const order = "PARTITION BY device, part ORDER BY ms ROWS BETWEEN";
  const neighbours = `SELECT *, holders != [] AND ifNull(utilization < ${IDLE_PERCENT}, false)
        AND ifNull(used > ifNull(ifNull(used + free_memory, total_memory), 0) / 100, false) AS is_idle,
      leadInFrame(ms, 1, ms + {lookback:Int64}) OVER (${order} CURRENT ROW AND UNBOUNDED FOLLOWING) AS next_ms,
      leadInFrame(energy, 1, NULL) OVER (${order} CURRENT ROW AND UNBOUNDED FOLLOWING) AS next_energy,
      lagInFrame(ms, 1, toInt64(0)) OVER (${order} UNBOUNDED PRECEDING AND CURRENT ROW) AS last_ms,
      lagInFrame(holders, 1, []) OVER (${order} UNBOUNDED PRECEDING AND CURRENT ROW) AS last_holders,
      lagInFrame(xid, 1, NULL) OVER (${order} UNBOUNDED PRECEDING AND CURRENT ROW) AS last_xid
    FROM (${scrapes})`;
  const spans = `SELECT *, least(next_ms, ms + {lookback:Int64}) AS until_ms,
      greatest(0, least(until_ms, {to:Int64}) - greatest(ms, {from:Int64})) / 1000 AS span,
      lagInFrame(is_idle, 1, false) OVER (${order} UNBOUNDED PRECEDING AND CURRENT ROW) AS was_idle
    FROM (${neighbours})`;
  // A run of idle time: the same Pods, without a gap.
  const runs = `SELECT *, sum(NOT (is_idle AND was_idle AND last_holders = holders AND ms - last_ms <= {lookback:Int64}))
        OVER (${order} UNBOUNDED PRECEDING AND CURRENT ROW) AS run
    FROM (${spans})`;
  const measured = `SELECT *, sum(until_ms - ms) OVER (PARTITION BY device, part, run) AS run_ms,
      if(next_energy IS NULL OR next_ms - ms > {lookback:Int64}, NULL,
        if(next_energy >= energy, next_energy - energy, next_energy) * span * 1000 / (next_ms - ms)) AS joules,
      ifNull(xid != 0 AND xid != last_xid, false) AND ms > {from:Int64} AND ms <= {to:Int64} AS is_error
    FROM (${runs})`;
  return `SELECT device, part, holders, sum(span) AS seconds, sumIf(span, utilization IS NOT NULL) AS known_seconds,
      sumIf(span, utilization >= ${IDLE_PERCENT}) AS active_seconds, sumIf(span, is_idle AND run_ms >= {idle:Int64}) AS idle_seconds,
      sumIf(span, bitAnd(toUInt64(ifNull(reasons, 0)), ${ALARMING_REASONS}) != 0) AS throttled_seconds,
      sumIf(span, temperature > ifNull(slowdown, {hot:Float64})) AS hot_seconds,
      sumOrNull(joules) AS energy_joules, sumOrNull(power * span) AS power_joules,
      groupArrayIf(${XIDS_MAX})(assumeNotNull(xid), is_error) AS xid_codes, groupArrayIf(${XIDS_MAX})(ms, is_error) AS xid_ms
    FROM (${measured}) WHERE span > 0 OR is_error GROUP BY device, part, holders LIMIT {rows:UInt32}`;
}
