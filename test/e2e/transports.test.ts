import { Agent } from "undici";
import { describe, expect, test } from "vitest";
import { systemClock } from "#lib/clock.ts";
import { createTurns } from "#lib/turns.ts";
import { toQueries, type Query } from "#prometheus/catalogue.ts";
import { createPrometheusClient, type PrometheusClient } from "#prometheus/client.ts";
import { createSampleTransport } from "#prometheus/sample-transport.ts";
import type { ScannedSeries } from "#prometheus/series-sink.ts";
import type { Sample } from "../helpers/stored-series.ts";
import { startPrometheus } from "./prometheus.ts";

// A real Prometheus with external labels: both transports give the same series with the same samples, and remote read the stale marker besides.

const MINUTE_MS = 60_000;
const NOW_MS = Math.floor(Date.now() / MINUTE_MS) * MINUTE_MS;
/** One that nobody has, one that all series of a query have, one that some have, and the values that they have themselves. */
const EXTERNAL = { replica: "0", job: "outside", slice: "mine", cluster: "a b" };
const END_MS = NOW_MS - 1000;
const VALUES = [1, -1.5, Infinity, -Infinity, Number.NaN, 5e-324, 0, 1e308];
const { signal } = new AbortController();

const samples = (minutes: number, seed: number): Sample[] =>
  Array.from({ length: minutes * 4 }, (_, i) => [
    NOW_MS - (minutes * 4 - i) * 15_000,
    VALUES[(i + seed) % VALUES.length]!,
  ]);

const SERIES = [
  { labels: { __name__: "plain", instance: "a" }, samples: samples(90, 0) },
  { labels: { __name__: "plain", instance: "b", cluster: "" }, samples: samples(50, 1) },
  { labels: { __name__: "with_job", job: "own", instance: "a" }, samples: samples(90, 2) },
  { labels: { __name__: "with_job", job: "other", instance: "b" }, samples: samples(90, 3) },
  { labels: { __name__: "unclear", job: "outside" }, samples: samples(90, 7) },
  { labels: { __name__: "mixed", slice: "mine", instance: "a" }, samples: samples(90, 4) },
  { labels: { __name__: "mixed", instance: "a" }, samples: samples(90, 5) },
  { labels: { __name__: "gone" }, samples: samples(90, 6), endMs: END_MS },
];
const QUERIES = toQueries(
  [
    "plain",
    "with_job",
    'with_job{job="other"}',
    'unclear{job="outside"}',
    'plain{cluster=""}',
    "mixed",
    "gone",
    '{__name__=~"plain|gone"}',
  ].map((promql, i) => ({ name: `query_${i}`, promql, group: "test" })),
);

async function read(client: PrometheusClient, query: Query, minutes: number) {
  const answer = { samples: [] as string[], markers: [] as number[], transport: "" };
  const sink = {
    series: (series: ScannedSeries): void => {
      const text = (at: number): string =>
        Buffer.from(series.bytes).toString("utf8", series.labels[at], series.labels[at + 1]);
      const names = Array.from({ length: series.labelCount }, (_, i) => `${text(4 * i)}=${text(4 * i + 2)}`);
      for (let i = 0; i < series.sampleCount; i++)
        answer.samples.push(`${names.toSorted().join()} ${series.timestamps[i]} ${series.values[i]}`);
    },
    markers: ({ timestamps, sampleCount }: ScannedSeries) =>
      void answer.markers.push(...timestamps.subarray(0, sampleCount)),
  };
  const restart = async (): Promise<void> => void Object.assign(answer, { samples: [], markers: [] });
  const hooks = { sink, pause: () => undefined, restart };
  const window = { fromMs: NOW_MS - minutes * MINUTE_MS, toMs: NOW_MS };
  const result = await client.read(query, window, hooks, signal);
  answer.transport = result.transport ?? "query_api";
  expect(result.samples).toBe(answer.samples.length);
  answer.samples.sort();
  return answer;
}

describe.each(["3.15.0", "2.42.0"])("Prometheus %s", (version) => {
  test("both transports give the same samples of the same series", async () => {
    const prometheus = await startPrometheus({ version, externalLabels: EXTERNAL });
    const agent = new Agent();
    try {
      await prometheus.write(SERIES);
      const parts = { dispatcher: agent, clock: systemClock, turns: createTurns() };
      const { host, port } = prometheus.address;
      const settings = { origin: `http://${host}:${port}`, pathPrefix: "", timeoutMs: 30_000 };
      const transport = createSampleTransport(systemClock, "auto");
      const client = createPrometheusClient(parts, { ...settings, samples: { transport, queries: QUERIES } });
      const other = createPrometheusClient(parts, settings);
      expect(await client.prepareReads(signal)).toMatchObject({ transport: "remote_read" });
      for (const minutes of [10, 80]) {
        for (const query of QUERIES) {
          const byRemoteRead = await read(client, query, minutes);
          const byQueryApi = await read(other, query, minutes);
          expect(byRemoteRead.samples).toEqual(byQueryApi.samples);
          expect(byRemoteRead.samples.length).toBeGreaterThan(0);
          // An own label with the external one's value can't be told from an added one.
          const isUnclear = query.promql === "mixed" || query.promql === 'unclear{job="outside"}';
          expect([query.promql, byRemoteRead.transport]).toEqual([
            query.promql,
            isUnclear ? "query_api" : "remote_read",
          ]);
          expect(byRemoteRead.markers).toEqual(query.promql.includes("gone") ? [END_MS] : []);
        }
      }
    } finally {
      await agent.close();
      await prometheus.stop();
    }
  });
});
