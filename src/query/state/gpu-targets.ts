import { createHash } from "node:crypto";
import type { Clock } from "#lib/clock.ts";
import { plainHolder, toScrapeTargets, type ScrapeTargets } from "#query/gpu-holders.ts";
import { gpuExporterOf } from "#query/gpu-metrics.ts";
import type { LimitedDatabase } from "#query/limits.ts";
import type { GpuRow } from "./gpu-rows.ts";

/** Finds the exporters' targets of rows whose plain label `pod` may be the exporter's own Pod or the one that uses the GPU: the series of `up` tell. */
export type GpuTargetReader = (
  rows: readonly GpuRow[],
  of: { clusterId: string; fromMs: number; asOfMs: number },
  signal: AbortSignal | undefined,
) => Promise<ScrapeTargets>;

interface Row {
  labels: Readonly<Record<string, string>>;
  first_ms: string;
}

const REMEMBERED_MS = 60_000;
const REMEMBERED_MAX = 200;
const TARGETS_MAX = 20_000;

/** Reads the table of series, which has a row a day for each, and remembers it for a minute. */
export function createGpuTargetReader(
  deps: { database: LimitedDatabase; clock: Clock },
  settings: { databaseName: string },
): GpuTargetReader {
  const { database, clock } = deps;
  const remembered = new Map<string, { readAtMs: number; rows: readonly Row[] }>();
  const sql = `SELECT labels, toUnixTimestamp64Milli(first_time) AS first_ms FROM ${settings.databaseName}.series
    WHERE cluster_id = {cluster:String} AND metric_name = 'up' AND day BETWEEN toDate({first_day:String}) AND toDate({last_day:String})
      AND labels['instance'] IN {instances:Array(String)} AND labels['pod'] != ''
    ORDER BY last_time DESC LIMIT ${TARGETS_MAX}`;
  return async (rows, { clusterId, fromMs, asOfMs }, signal) => {
    const instances = openInstances(rows);
    if (instances.length === 0) return toScrapeTargets([]);
    const parameters = {
      cluster: clusterId,
      first_day: toDay(fromMs),
      last_day: toDay(asOfMs),
      instances,
    };
    const key = createHash("sha256").update(JSON.stringify(parameters)).digest("base64");
    let known = remembered.get(key);
    if (known === undefined || clock.monotonic() - known.readAtMs >= REMEMBERED_MS) {
      const readAtMs = clock.monotonic();
      known = { readAtMs, rows: await database.query<Row>(sql, parameters, signal) };
      remembered.delete(key);
      remembered.set(key, known);
      const [oldest] = remembered.keys();
      if (remembered.size > REMEMBERED_MAX && oldest !== undefined) remembered.delete(oldest);
    }
    // Of several Pods that had the address, the last that had it up to then.
    const then = known.rows.filter(({ first_ms }) => Number(first_ms) <= asOfMs).toReversed();
    return toScrapeTargets(then.map(({ labels }) => labels));
  };
}

/** The addresses of the targets of rows with a plain `pod` that says no more. */
function openInstances(rows: readonly GpuRow[]): string[] {
  const open = rows.filter(
    ({ samples, labels }) => plainHolder(gpuExporterOf(samples[0]!.metric)!, labels) !== undefined,
  );
  return [...new Set(open.map(({ labels }) => labels["instance"] ?? ""))].sort();
}

function toDay(timeMs: number): string {
  return new Date(timeMs).toISOString().slice(0, 10);
}
