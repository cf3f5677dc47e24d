import type { GridRequest, GridSeries, Series } from "#promql/source.ts";
import type { LimitedColumns } from "#query/limits.ts";
import { IS_MARKER, type SampleTable } from "#storage/samples-sql.ts";
import { readNative } from "#storage/native-columns.ts";
import type { ListedSeries } from "./list-series.ts";
import { placeSamples } from "./place-samples.ts";
import { type ChunkRead, SAMPLE_COLUMNS, toSampleScope } from "./read-samples.ts";
import { toRangeParameters } from "./series-rows.ts";

/** From this step on a grid has fewer points than a series has samples, as a rule. */
const STEP_MS_MIN = 60_000;

/**
 * May ClickHouse compute this? Its grid functions take whole seconds. Of rates it takes four times as long as reading their samples, and its sum of resets is not exact.
 */
export function isComputable({ func, rangeMs, grid }: GridRequest): boolean {
  const isWhole = (ms: number): boolean => ms > 0 && ms % 1000 === 0;
  return (
    func === "instant" &&
    grid.count > 1 &&
    grid.stepMs >= STEP_MS_MIN &&
    isWhole(grid.stepMs) &&
    isWhole(rangeMs) &&
    Number.isInteger(grid.startMs)
  );
}

export interface ReadGrids {
  computed: GridSeries[];
  /** The series that ClickHouse can't compute: their samples are to be read. */
  others: ListedSeries[];
}

/** What a row of a grid's answer is: a point of the grid, or one that says that the series can't be computed. */
const [POINT, UNSAFE] = [0, 1];

/** The newest values of a chunk's series, computed by ClickHouse. A series with a stale marker or NaN, which its function can't tell from each other, is left to its samples. */
export async function readGrids(
  database: LimitedColumns,
  databaseName: string,
  request: GridRequest,
  { chunk, range, isAll, signal }: ChunkRead,
): Promise<ReadGrids> {
  const tableOf = ({ stored }: ListedSeries): SampleTable | undefined => {
    const [table, ...others] = stored.flatMap(({ tables }) => tables);
    return others.length === 0 && (table === "gauge" || table === "sum") ? table : undefined;
  };
  const single = chunk.filter((series) => tableOf(series) !== undefined);
  const blocks = await Promise.all(
    (["gauge", "sum"] as const).map(async (table) => {
      const wanted = single.filter((series) => tableOf(series) === table);
      if (wanted.length === 0) return [];
      const { sql, parameters } = toStatement(databaseName, table, wanted, isAll);
      const more = { ...toRangeParameters(range), ...toGridParameters(request) };
      return [
        ...readNative(await database.queryNative(sql, { ...parameters, ...more }, signal), SAMPLE_COLUMNS),
      ];
    }),
  );
  const found = placeSamples(single, blocks.flat());
  const kindOf = ({ stale }: Series): number => stale?.[0] ?? POINT;
  const unsafe = new Set(found.filter((series) => kindOf(series) === UNSAFE).map(({ labels }) => labels));
  return {
    computed: found
      .filter((series) => kindOf(series) === POINT)
      .map((series) => toGrid(series, request.grid.count)),
    others: chunk.filter((series) => tableOf(series) === undefined || unsafe.has(series.labels)),
  };
}

function toGridParameters({ rangeMs, grid }: GridRequest) {
  return {
    first: String(grid.startMs),
    last: String(grid.startMs + (grid.count - 1) * grid.stepMs),
    step_s: grid.stepMs / 1000,
    window_s: rangeMs / 1000,
  };
}

/** Rows (id, index of the point, value, POINT); of a series that is not safe one row (id, 0, 0, UNSAFE). */
function toStatement(
  databaseName: string,
  table: SampleTable,
  wanted: readonly ListedSeries[],
  isAll: boolean,
) {
  const { where, parameters } = toSampleScope(wanted, isAll);
  return {
    sql: `SELECT series_id AS id, toFloat64(place - 1) AS time, assumeNotNull(point) AS value, CAST(if(safe, ${POINT}, ${UNSAFE}), 'UInt8') AS marker
      FROM (
        SELECT series_id, countIf(${IS_MARKER} OR isNaN(Value)) = 0 AS safe,
          if(safe, timeSeriesResampleToGridWithStaleness(${GRID})(TimeUnix, Value), [CAST(0, 'Nullable(Float64)')]) AS points
        FROM ${databaseName}.otel_metrics_${table} WHERE ${where} GROUP BY series_id
      ) ARRAY JOIN points AS point, arrayEnumerate(points) AS place WHERE isNotNull(point)`,
    parameters,
  };
}

const GRID =
  "fromUnixTimestamp64Milli({first:Int64}), fromUnixTimestamp64Milli({last:Int64}), {step_s:UInt32}, {window_s:UInt32}";

function toGrid({ labels, times, values }: Series, count: number): GridSeries {
  const grid = { labels, values: new Float64Array(count), present: new Uint8Array(count) };
  for (let k = 0; k < times.length; k++) {
    grid.values[times[k]!] = values[k]!;
    grid.present[times[k]!] = 1;
  }
  return grid;
}
