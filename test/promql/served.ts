import { createHash } from "node:crypto";
import type { EmbeddedDatabase } from "#allinone/chdb.ts";
import { METRIC_NAME } from "#promql/labels.ts";
import type { Series } from "#promql/source.ts";
import { createPromql } from "#query/promql/promql.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";
import { type TestHistogram, storeHistograms } from "../helpers/stored-histograms.ts";
import { marker, point, storeOfResource } from "../helpers/stored-world.ts";
import { ACCESS, startHarness } from "../integration/http-harness.ts";
import type { Outcome } from "./outcome.ts";
import type { QueryCase } from "./query-case.ts";
import { askOrigin } from "./real-prometheus.ts";

/** The HTTP API over the tables; each dataset is a cluster, and asked with a token of that cluster only. */
export interface Served {
  /** By OTLP, as the receiver stores it. Native histograms are such that OTLP can hold. */
  store(dataset: number, series: readonly Series[]): Promise<void>;
  ask(dataset: number, query: QueryCase): Promise<Outcome>;
  port: number;
  tokenOf(dataset: number): string;
  /** The data of an answer of the API; `path`: what is behind /api/v1/. */
  list(dataset: number, path: string): Promise<unknown>;
  stop(): Promise<void>;
}

const REMEMBERED_MS = 60_000;
/** ClickHouse computes what it can, however few samples there are. */
const COMPUTING = { computedSamplesMin: 0, hoursSamplesMin: 0 };
const REPORTED_BEFORE_MS = 60 * 24 * 3_600_000;

export async function startServed(
  database: EmbeddedDatabase,
  nowMs: number,
  datasets: number,
  host = "127.0.0.1",
): Promise<Served> {
  const clock = createManualClock(nowMs);
  const { databaseName, limits, promql } = QUERY_DEFAULTS;
  const numbers = Array.from({ length: datasets }, (_none, i) => i);
  const harness = await startHarness({
    access: {
      ...ACCESS,
      tokens: numbers.map((dataset) => ({
        name: `dataset-${dataset}`,
        sha256: createHash("sha256").update(tokenOf(dataset)).digest("hex"),
        scopes: ["read"],
        clusters: [idOf(dataset)],
      })),
    },
    deps: {
      clock,
      promql: createPromql(
        { database, clock },
        { ...promql, ...COMPUTING, databaseName, queryLimits: limits },
      ),
    },
    settings: { host },
  });
  const port = Number(new URL(harness.url).port);
  const origin = `http://127.0.0.1:${port}`;
  return {
    store: async (dataset, series) => {
      const id = idOf(dataset);
      const histograms: TestHistogram[] = [];
      const byName = new Map<string, Parameters<typeof storeOfResource>[2][number]["points"]>();
      for (const each of series) {
        const labels = Object.fromEntries(each.labels.without(new Set([METRIC_NAME])).entries());
        const name = each.labels.get(METRIC_NAME);
        const points = byName.get(name) ?? [];
        byName.set(name, points);
        for (const [i, ms] of each.times.entries()) {
          const histogram = each.histograms?.[i];
          const isMarker = each.stale?.[i] === 1;
          const before = isMarker ? each.histograms?.[i - 1] : undefined;
          if (histogram ?? before) histograms.push({ name, labels, timeMs: ms, histogram, before });
          else points.push(isMarker ? marker(labels, ms) : point(labels, ms, each.values[i]!));
        }
      }
      const metrics = [...byName].map(([name, points]) => ({ name, kind: kindOf(name), points }));
      await storeOfResource(
        database,
        { cluster_id: id, cluster_name: id },
        metrics.filter(({ points }) => points.length > 0),
      );
      await storeHistograms(database, { cluster_id: id, cluster_name: id }, histograms);
      // Every collected cluster has it; it is before all queries.
      await storeOfResource(database, { cluster_id: id, cluster_name: id }, [
        { name: "budcluster_cluster_up", kind: "gauge", points: [point({}, nowMs - REPORTED_BEFORE_MS, 1)] },
      ]);
      // Which clusters there are is remembered for a while.
      clock.advance(REMEMBERED_MS);
    },
    ask: (dataset, query) => askOrigin(origin, query, { authorization: `Bearer ${tokenOf(dataset)}` }),
    port,
    tokenOf,
    list: async (dataset, path) => {
      const headers = { authorization: `Bearer ${tokenOf(dataset)}` };
      const answer = await fetch(`${origin}/api/v1/${path}`, { headers });
      return ((await answer.json()) as { data: unknown }).data;
    },
    stop: () => harness.server.stop(),
  };
}

/** The series as queries see it: with its cluster's labels. */
export function ofDataset(dataset: number, series: Series): Series {
  return {
    ...series,
    labels: series.labels.with("cluster", idOf(dataset)).with("cluster_id", idOf(dataset)),
  };
}

const COUNTER = /_(?:total|bucket|count|sum)$/;

/** Counters have a table of their own. */
function kindOf(name: string): "gauge" | "sum" {
  return COUNTER.test(name) ? "sum" : "gauge";
}

function idOf(dataset: number): string {
  return `set-${dataset}`;
}

function tokenOf(dataset: number): string {
  return `token-of-dataset-${dataset}-0123456789`;
}
