import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createMetricLookup, type LabelsAnswer, type MetricsAnswer } from "#query/series/lookup.ts";
import { createSeriesQuery, type SeriesAnswer, type SeriesRequest } from "#query/series/series.ts";
import { systemClock } from "#lib/clock.ts";
import { useEngine } from "../helpers/engine.ts";
import { storeMetric } from "../helpers/stored-series.ts";
import { errorOf, startHarness, type Harness } from "./http-harness.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";

const engine = useEngine({ migrated: true });
const END_MS = Math.floor(Date.now() / 60_000) * 60_000 - 600_000;
const START_MS = END_MS - 600_000;
const requests: SeriesRequest[] = [];
let harness: Harness;
let hang: ((signal: AbortSignal) => void) | undefined;

beforeAll(async () => {
  const deps = { database: engine.database, clock: systemClock };
  const settings = QUERY_DEFAULTS;
  const series = createSeriesQuery(deps, settings);
  harness = await startHarness({
    deps: {
      metricQueries: {
        ...createMetricLookup(deps, settings),
        series: async (request) => {
          requests.push(request);
          if (hang === undefined) return await series(request);
          const { signal } = request;
          hang(signal!);
          return await new Promise((_resolve, reject) => {
            signal!.addEventListener("abort", () => reject(signal!.reason as Error));
          });
        },
      },
    },
  });
  await storeMetric(engine.database, {
    clusterId: "edge-1",
    metric: "node_load1",
    kind: "gauge",
    series: ["a", "b"].map((host, i) => ({
      labels: { host },
      samples: Array.from({ length: 20 }, (_unused, k) => [START_MS + k * 30_000, k === 0 ? Number.NaN : i]),
    })),
  });
});
afterAll(() => harness.server.stop());

const BODY = {
  cluster_id: "edge-1",
  metric_name: "node_load1",
  start_time: new Date(START_MS).toISOString(),
  end_time: new Date(END_MS).toISOString(),
  aggregation: "avg",
};

function post(body: object, signal?: AbortSignal): Promise<Response> {
  return fetch(`${harness.url}/cluster-metrics/query`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    ...(signal ? { signal } : {}),
  });
}

describe("POST /cluster-metrics/query", () => {
  it("answers the least body", async () => {
    const answer = await post(BODY);
    expect(answer.status).toBe(200);
    const json = (await answer.json()) as SeriesAnswer;
    expect(json).toMatchObject({
      promql: "avg(avg_over_time(node_load1[120s]))",
      start_time: BODY.start_time,
      step_seconds: 60,
      storage: "raw",
      completeness: null,
      series_total: 1,
    });
    expect(json.series[0]?.points[0]).toEqual({
      timestamp: new Date(START_MS + 60_000).toISOString(),
      value: "NaN",
    });
    expect(json.series[0]?.points.at(-1)?.value).toBe(0.5);
  });

  it("takes Unix seconds, offsets, durations, labels and filters", async () => {
    const answer = await post({
      ...BODY,
      start_time: START_MS / 1000,
      end_time: new Date(END_MS + 3_600_000).toISOString().replace("Z", "+01:00"),
      step: "5m",
      group_by: ["*"],
      filters: [{ label: "host", value: "b" }],
      limit: 5,
    });
    expect(answer.status).toBe(200);
    expect(requests.at(-1)).toMatchObject({
      startMs: START_MS,
      endMs: END_MS,
      stepMs: 300_000,
      groupBy: ["*"],
      filters: [{ label: "host", op: "=", value: "b" }],
      limit: 5,
    });
    const json = (await answer.json()) as SeriesAnswer;
    expect(json.series.map(({ labels }) => labels)).toEqual([{ host: "b" }]);
  });

  it.each([
    ["cluster_id", { cluster_id: "a/b" }],
    ["metric_name", { metric_name: undefined }],
    ["start_time", { start_time: "yesterday" }],
    ["start_time", { start_time: "2025-02-30T00:00:00Z" }],
    ["start_time", { start_time: "2025-01-01T00:00:00" }],
    ["end_time", { end_time: END_MS }],
    ["end_time", { end_time: -1 }],
    ["aggregation", { aggregation: "median" }],
    ["step", { step: "5 minutes" }],
    ["step", { step: 0 }],
    ["filters.0.op", { filters: [{ label: "host", op: "~", value: "a" }] }],
    ["limit", { limit: 1.5 }],
    ["start_time", { start_time: BODY.end_time }],
  ])("refuses %s of %j", async (field, more) => {
    const answer = await post({ ...BODY, ...more });
    expect(answer.status).toBe(400);
    const error = await errorOf(answer);
    expect(error.code).toBe("request_invalid");
    expect(error.details?.["fields"]).toMatchObject([{ field }]);
  });

  it("names the aggregations and the fields that it knows", async () => {
    expect((await errorOf(await post({ ...BODY, aggregation: "median" }))).message).toContain('"p99"');
    expect((await errorOf(await post({ ...BODY, query: "x" }))).message).toContain("cluster_id, metric_name");
  });

  it("answers 404 for what is not stored", async () => {
    const cluster = await post({ ...BODY, cluster_id: "edge-9" });
    expect([cluster.status, (await errorOf(cluster)).code]).toEqual([404, "cluster_not_found"]);
    const metric = await post({ ...BODY, metric_name: "node_load" });
    expect(metric.status).toBe(404);
    expect((await errorOf(metric)).details).toEqual({ similar: ["node_load1"] });
  });

  it("ends the query of a client that goes away", async () => {
    const started = new Promise<AbortSignal>((resolve) => (hang = resolve));
    const client = new AbortController();
    const answer = post(BODY, client.signal).catch(() => "gone");
    const signal = await started;
    hang = undefined;
    const ended = new Promise((resolve) => signal.addEventListener("abort", resolve));
    client.abort();
    await ended;
    expect(await answer).toBe("gone");
  });
});

describe("GET /cluster-metrics/{cluster_id}", () => {
  it("/metrics lists what is stored", async () => {
    const answer = await fetch(`${harness.url}/cluster-metrics/edge-1/metrics`);
    expect(answer.status).toBe(200);
    const { metrics } = (await answer.json()) as MetricsAnswer;
    expect(metrics).toMatchObject([{ metric_name: "node_load1", type: "gauge", series: 2 }]);
  });

  it("/labels lists a metric's labels in a range", async () => {
    const url = `${harness.url}/cluster-metrics/edge-1/labels?metric=node_load1`;
    const { labels } = (await (await fetch(url)).json()) as LabelsAnswer;
    expect(labels).toEqual([{ label: "host", series: 2, values_total: 2, values: ["a", "b"] }]);
    const before = await fetch(`${url}&from=${START_MS / 1000 - 600}&to=${START_MS / 1000 - 60}`);
    expect(((await before.json()) as LabelsAnswer).labels).toEqual([]);
  });

  it("refuses a bad time and answers 404 for an unknown cluster", async () => {
    const bad = await fetch(`${harness.url}/cluster-metrics/edge-1/metrics?from=noon`);
    expect((await errorOf(bad)).details?.["fields"]).toMatchObject([{ field: "from" }]);
    const unknown = await fetch(`${harness.url}/cluster-metrics/edge-9/metrics`);
    expect(unknown.status).toBe(404);
  });
});

it("the OpenAPI document describes the routes with examples", async () => {
  const document = (await (await fetch(`${harness.url}/docs/json`)).json()) as {
    paths: Record<string, unknown>;
    components: { schemas: Record<string, { examples?: unknown[]; properties?: Record<string, unknown> }> };
  };
  expect(Object.keys(document.paths)).toEqual(
    expect.arrayContaining([
      "/cluster-metrics/query",
      "/cluster-metrics/{cluster_id}/metrics",
      "/cluster-metrics/{cluster_id}/labels",
    ]),
  );
  const { schemas } = document.components;
  for (const name of ["ClusterMetricsAnswer", "StoredMetrics", "StoredLabels"]) {
    expect(schemas[name]?.examples).toHaveLength(1);
  }
  const body = schemas["ClusterMetricsQueryInput"];
  expect(body?.examples).toHaveLength(1);
  expect(body?.properties?.["start_time"]).toMatchObject({
    description: expect.stringContaining("RFC 3339"),
  });
});
