import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { openChdb, type EmbeddedDatabase } from "#allinone/chdb.ts";
import { createApp } from "#app/app.ts";
import type { NativeHistogram } from "#simulator/native-histogram.ts";
import { startSimulator, type Simulator } from "#simulator/simulator.ts";
import type { StoredSeries } from "#simulator/world.ts";
import { loadConfig } from "../../src/config.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";

// The whole program as all-in-one: native histograms of a simulated cluster are rows of the histogram tables, equal to what it scraped.

const TIMEOUT_MS = 300_000;
const MINUTE = 60_000;
const METRICS = ["sim_rpc_latency_seconds", "sim_request_size_bytes", "sim_mixed_seconds"];

let simulator: Simulator | undefined;
afterEach(async () => simulator?.stop());

interface Status {
  clusters: { warnings: string[]; samples?: { transport: string } }[];
}
interface Completeness {
  stretches: { query: string; state: string; source: number | null; acknowledged: number; refused: number }[];
}

/** Collects once by the program; gives what it says of itself, and calls `look` with its database. */
async function collect(
  remoteRead: "auto" | "off",
  look: (database: EmbeddedDatabase) => Promise<void>,
): Promise<{ status: Status; completeness: Completeness }> {
  const folder = createTemporaryFolder();
  const write = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text, { mode: 0o600 });
    return join(folder, name);
  };
  const queries = METRICS.map((name) => ({ name, group: "test" }));
  const dataDir = join(folder, "data");
  const config = loadConfig({
    ROLE: "all-in-one",
    PORT: "0",
    SCHEDULER: "dapr",
    DATA_DIR: dataDir,
    CLUSTERS_FILE: write("clusters.yaml", simulator!.clustersFile()),
    QUERIES_FILE: write("queries.yaml", JSON.stringify({ extends: "none", queries })),
    API_SERVER_CIDRS: "127.0.0.1",
    OWN_METRICS_INTERVAL: "0",
    INITIAL_LOOKBACK: "30m",
    PROOF_STRETCH: "1m",
    PROOF_DELAY: "0",
    REMOTE_READ: remoteRead,
  });
  const app = createApp(config, createSilentLogger(), { work: "local" });
  const { url } = await app.start();
  const get = async <T>(path: string, method = "GET"): Promise<T> => {
    const answer = await fetch(`${url}${path}`, { method });
    expect(answer.status).toBe(200);
    return (await answer.json()) as T;
  };
  await get("/metrics/collect-all?wait=true", "POST");
  const status = await get<Status>("/metrics/status");
  const completeness = await get<Completeness>("/metrics/completeness?cluster=sim-1");
  await app.stop();
  const logger = createSilentLogger();
  const database = await openChdb({ path: join(dataDir, "clickhouse"), logger, memoryBytesMax: 1e9 });
  try {
    await look(database);
  } finally {
    await database.close();
  }
  return { status, completeness };
}

const labelsText = (labels: readonly (readonly [string, string])[]): string =>
  JSON.stringify(labels.toSorted(([a], [b]) => (a < b ? -1 : 1)));

function bitsOf(value: number): string {
  return new BigUint64Array(Float64Array.of(value).buffer)[0]!.toString();
}

/** Buckets with observations, as [number or interval, count]. */
function bucketsOf(spans: NativeHistogram["positiveSpans"], counts: readonly number[]): [number, number][] {
  let next = 0;
  const indexes = spans.flatMap(([offset, length]) => {
    next += offset;
    return Array.from({ length }, () => next++);
  });
  return indexes.map((index, i): [number, number] => [index, counts[i]!]).filter(([, count]) => count > 0);
}

function toText(series: StoredSeries, timeMs: number, histogram: NativeHistogram): string {
  const { schema, customValues: bounds, count, sum, zeroCount } = histogram;
  const positive = bucketsOf(histogram.positiveSpans, histogram.positiveCounts);
  const negative = bucketsOf(histogram.negativeSpans, histogram.negativeCounts);
  const buckets =
    schema === 3
      ? { zeroCount, positive, negative }
      : positive.map(([i, n]) => [bounds[i - 1] ?? null, bounds[i] ?? null, n]);
  return JSON.stringify([labelsText(series.labels), timeMs, count, bitsOf(sum), buckets]);
}

interface Row {
  name: string;
  labels: Record<string, string>;
  ms: string;
  flags: number;
  count: string;
  sum: string;
  scale: number;
  zero: string;
  up: number;
  ups: string[];
  down: number;
  downs: string[];
  bounds: number[];
  counts: string[];
}

const HEAD = `MetricName AS name, Attributes AS labels, toString(toUnixTimestamp64Milli(TimeUnix)) AS ms,
  Flags AS flags, toString(Count) AS count, toString(reinterpretAsUInt64(Sum)) AS sum`;
const texts = (column: string): string => `arrayMap(n -> toString(n), ${column})`;
const EXPONENTIAL = `SELECT ${HEAD}, Scale AS scale, toString(ZeroCount) AS zero, PositiveOffset AS up,
  ${texts("PositiveBucketCounts")} AS ups, NegativeOffset AS down, ${texts("NegativeBucketCounts")} AS downs
  FROM metrics.otel_metrics_exponential_histogram FINAL`;
const EXPLICIT = `SELECT ${HEAD}, ExplicitBounds AS bounds, ${texts("BucketCounts")} AS counts
  FROM metrics.otel_metrics_histogram FINAL`;

const labelsOf = ({ name, labels }: Row): string =>
  labelsText([["__name__", name], ...Object.entries(labels)]);

function rowText(row: Row): string {
  const sparse = (offset: number, counts: readonly string[]): [number, number][] =>
    counts
      .map((count, i): [number, number] => [offset + i + 1, Number(count)])
      .filter(([, count]) => count > 0);
  const exponential = () => {
    expect(row.scale).toBe(3);
    return {
      zeroCount: Number(row.zero),
      positive: sparse(row.up, row.ups),
      negative: sparse(row.down, row.downs),
    };
  };
  const explicit = () => {
    expect(row.counts.length).toBe(row.bounds.length + 1);
    return row.counts
      .map((count, i) => [row.bounds[i - 1] ?? null, row.bounds[i] ?? null, Number(count)])
      .filter(([, , count]) => count! > 0);
  };
  const buckets = row.bounds ? explicit() : exponential();
  return JSON.stringify([labelsOf(row), Number(row.ms), Number(row.count), row.sum, buckets]);
}

test.each(["auto", "off"] as const)(
  "native histograms and the plain samples beside them are stored as they are, with REMOTE_READ=%s",
  async (remoteRead) => {
    simulator = await startSimulator({
      clusters: 1,
      shape: {
        nodes: 2,
        pods: 2,
        cpus: 1,
        gpus: 0,
        nativeHistograms: true,
        outages: { everyMs: 7 * MINUTE, forMs: MINUTE },
      },
    });
    const { world } = simulator.clusters[0]!;
    const startedMs = Date.now();
    const window = { fromMs: startedMs - 25 * MINUTE, toMs: startedMs - 5 * MINUTE };
    const isInWindow = ({ ms }: { ms: string }): boolean =>
      Number(ms) > window.fromMs && Number(ms) <= window.toMs;
    const stored = METRICS.flatMap((metric) => world.stored({ ...window, metric }));
    const expected = stored.flatMap((series) =>
      (series.histograms ?? []).map(({ timeMs, histogram }) => toText(series, timeMs, histogram)),
    );
    const ends = stored.flatMap((series) =>
      (series.histogramMarkers ?? []).map((ms) => `${labelsText(series.labels)} ${ms}`),
    );
    const plain = stored.flatMap(({ labels, timestamps, values }) =>
      timestamps.map((ms, i) => `${labelsText(labels)} ${ms} ${bitsOf(values[i]!)}`),
    );
    expect(expected.length).toBeGreaterThan(100);
    expect(ends.length).toBeGreaterThan(0);
    expect(plain.length).toBeGreaterThan(10);

    const { status, completeness } = await collect(remoteRead, async (database) => {
      const rows = [
        ...(await database.query(EXPONENTIAL)),
        ...(await database.query(EXPLICIT)),
      ] as unknown as Row[];
      const inWindow = rows.filter(isInWindow);
      const samples = inWindow.filter(({ flags }) => flags === 0).map(rowText);
      expect(samples.toSorted()).toEqual(expected.toSorted());
      const markers = inWindow.filter(({ flags }) => flags === 1);
      const markerTexts = markers.map((row) => `${labelsOf(row)} ${row.ms}`);
      expect(markerTexts.toSorted()).toEqual(remoteRead === "auto" ? ends.toSorted() : []);
      for (const { sum } of markers) expect(sum).toBe("9218868437227405314");
      const floats = await database.query(
        `SELECT MetricName AS name, Attributes AS labels, toString(toUnixTimestamp64Milli(TimeUnix)) AS ms,
           toString(reinterpretAsUInt64(Value)) AS bits FROM metrics.otel_metrics_gauge FINAL
         WHERE MetricName LIKE 'sim_%' AND Flags = 0`,
      );
      const found = (floats as unknown as (Row & { bits: string })[])
        .filter(isInWindow)
        .map((row) => `${labelsOf(row)} ${row.ms} ${row.bits}`);
      expect(found.toSorted()).toEqual(plain.toSorted());
    });
    expect(status.clusters[0]!.warnings.join("\n")).not.toMatch(/histogram/);
    const proved = completeness.stretches.filter(({ state }) => state === "proved");
    expect(new Set(proved.map(({ query }) => query))).toEqual(new Set(METRICS));
    const withSamples = proved.filter(({ source }) => source! > 0);
    expect(withSamples.length).toBeGreaterThan(20);
    for (const { source, acknowledged, refused } of withSamples) {
      expect([acknowledged, refused]).toEqual([source, 0]);
    }
  },
  TIMEOUT_MS,
);
