import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { startBridgeChild } from "../helpers/bridge-child.ts";
import { startOtlpCollector } from "../helpers/otlp-collector.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";

// Any real source without a tunnel: Thanos, Mimir, VictoriaMetrics, a cloud's. E2E_SOURCE_URL is its prometheus.url; E2E_SOURCE_FIELDS the other
// fields of `prometheus` as JSON ({"bearer_token": "..."}); E2E_SOURCE_METRIC a metric that it has (default: up).

const url = process.env["E2E_SOURCE_URL"];

test.runIf(url !== undefined)(
  "the source at E2E_SOURCE_URL is collected, twice, without a gap",
  async () => {
    const folder = createTemporaryFolder();
    const collector = await startOtlpCollector();
    const fields = JSON.parse(process.env["E2E_SOURCE_FIELDS"] ?? "{}") as object;
    const clusters = [{ id: "source", trusted: true, prometheus: { url, ...fields } }];
    const metric = process.env["E2E_SOURCE_METRIC"] ?? "up";
    writeFileSync(join(folder, "clusters.yaml"), JSON.stringify({ clusters }));
    writeFileSync(
      join(folder, "queries.yaml"),
      JSON.stringify({ extends: "none", queries: [{ name: metric, group: "test" }] }),
    );
    const child = startBridgeChild({
      ROLE: "bridge",
      PORT: "0",
      SCHEDULER: "dapr",
      DATA_DIR: join(folder, "data"),
      CLUSTERS_FILE: join(folder, "clusters.yaml"),
      QUERIES_FILE: join(folder, "queries.yaml"),
      OTEL_COLLECTOR_ENDPOINT: collector.url,
      OWN_METRICS_INTERVAL: "0",
    });
    for (const _round of [1, 2])
      expect((await child.collect()).clusters).toEqual([
        expect.objectContaining({ outcome: "successful", error: null }),
      ]);
    const [status] = (await child.status()).clusters;
    expect(status).toMatchObject({ transport: "direct", gaps: [], last_error: null });
    expect(collector.requests.flatMap(({ points }) => points).some((point) => point.metric === metric)).toBe(
      true,
    );
    await collector.stop();
  },
  300_000,
);
