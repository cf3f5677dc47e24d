import { expect, it } from "vitest";
import { ACCEPT, refusal } from "../helpers/otlp-collector.ts";
import { setScene } from "../helpers/scene.ts";
import { exact } from "../helpers/truth.ts";

// One request for everything passed the Collector's size limit; its 400 counted as success.

const LIMIT = 128 << 10;

it("requests stay below the limits of points and of bytes, whatever the cluster's size", async () => {
  const metrics = ["node_cpu_seconds_total", "kube_pod_info", "container_memory_usage_bytes"];
  const { bridge, collector, compareAll } = await setScene({
    metrics,
    shape: { nodes: 4, pods: 60, cpus: 8 },
    environment: { METRICS_BATCH_BYTES: String(LIMIT), METRICS_BATCH_SIZE: "300", INITIAL_LOOKBACK: "5m" },
  });
  collector.onRequest = ({ bytes }) => (bytes > LIMIT ? refusal(400, "request body too large") : ACCEPT);
  expect(await bridge.collect()).toMatchObject({ successful: 1, partial: 0 });
  expect(collector.requests.length).toBeGreaterThan(20);
  expect(Math.max(...collector.requests.map(({ points }) => points.length))).toBeLessThanOrEqual(300);
  expect(Math.max(...collector.requests.map(({ bytes }) => bytes))).toBeLessThanOrEqual(LIMIT);
  const compared = await compareAll();
  expect(compared).toEqual(exact(compared.samples));
  expect(compared.samples).toBeGreaterThan(5000);
});
