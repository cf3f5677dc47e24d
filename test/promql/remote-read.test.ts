import { afterAll, beforeAll, expect, it } from "vitest";
import { startPrometheus, type WrittenPrometheus } from "../e2e/prometheus.ts";
import { useEngine } from "../helpers/engine.ts";
import { oddSeries } from "./odd-series.ts";
import { differenceBetween } from "./outcome.ts";
import type { QueryCase } from "./query-case.ts";
import { askOrigin } from "./real-prometheus.ts";
import { type Served, startServed } from "./served.ts";

// The real Prometheus, which stores nothing itself, reads the tables by remote read: as chunks, which it prefers.

const MINUTE = 60_000;
const NOW_MS = Math.floor(Date.now() / MINUTE) * MINUTE;
const endMs = NOW_MS - 5 * MINUTE;
const startMs = endMs - 90 * MINUTE;

const database = useEngine({ migrated: true });
let served: Served;
let prometheus: WrittenPrometheus;
let origin: string;
beforeAll(async () => {
  served = await startServed(database.database, NOW_MS, 2, "0.0.0.0");
  await served.store(0, oddSeries(startMs, endMs));
  await served.store(1, oddSeries(startMs, endMs).slice(0, 3));
  prometheus = await startPrometheus({ remoteRead: { port: served.port, token: served.tokenOf(0) } });
  origin = `http://${prometheus.address.host}:${prometheus.address.port}`;
});
afterAll(async () => {
  await prometheus?.stop();
  await served?.stop();
});

const instant = { startMs: endMs, endMs };
const range = { startMs: startMs + 10 * MINUTE, endMs, stepMs: 15_000 };
const QUERIES: QueryCase[] = [
  { query: '{__name__=~".+"}[90m]', times: instant },
  { query: "count_over_time(cpu_seconds_total[5m])", times: range },
  // A series ends at its stale marker.
  { query: '{__name__=~".+"}', times: range },
  { query: 'rate(cpu_seconds_total{mode!="idle"}[5m] offset 1m)', times: range },
  { query: 'cpu_seconds_total{job="api"} - on (job, instance, mode) cpu_seconds_total', times: range },
];

it.each(QUERIES)("Prometheus reads the same: $query", async (query) => {
  const [wanted, ours] = [await askOrigin(origin, query), await served.ask(0, query)];
  expect(wanted).toHaveProperty(
    "series.length",
    expect.toSatisfy((series: number) => series > 5),
  );
  expect(differenceBetween(wanted, ours, { tolerance: 1e-12 })).toBeUndefined();
});

it("asks for chunks, and gets them", async () => {
  const text = await (await fetch(`${origin}/metrics`)).text();
  const counts = text
    .split("\n")
    .filter((line) => line.startsWith("prometheus_remote_read_client_queries_total{"));
  expect(counts).toEqual([expect.stringMatching(/code="200".*response_type="chunked".* [1-9]/)]);
});
