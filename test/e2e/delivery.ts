import { Agent } from "undici";
import { systemClock } from "#lib/clock.ts";
import { createBufferPool } from "#otlp/buffer-pool.ts";
import { createTransport } from "#otlp/transport.ts";
import { createOtlpWriter, type Batch } from "#otlp/writer.ts";
import { toScanned } from "../helpers/scanned-series.ts";
import type { Sample, StoredMetric } from "../helpers/stored-series.ts";

/** A metric of a cluster: of one kind, samples ascending by time. */
export interface ClusterMetric extends Pick<StoredMetric, "metric" | "kind"> {
  series: { labels: Record<string, string>; samples: Sample[] }[];
}

const BATCHES_IN_FLIGHT = 4;

/** Sends metrics to the Collector as the bridge does: OTLP in gzip, 20,000 points a request. Throws when one is not accepted as a whole. */
export async function deliver(
  collectorUrl: string,
  cluster: { id: string },
  metrics: readonly ClusterMetric[],
): Promise<void> {
  const dispatcher = new Agent();
  const transport = createTransport(
    { clock: systemClock, dispatcher },
    { url: `${collectorUrl}/v1/metrics`, headers: {}, compression: "gzip", timeoutMs: 60_000 },
  );
  const { signal } = new AbortController();
  const refusals: string[] = [];
  const sending = new Set<Promise<void>>();
  const send = async (batch: Batch<undefined>): Promise<void> => {
    const payload = await transport.encode(batch.body);
    batch.release();
    const result = await transport.send(payload, signal);
    if (result.kind !== "accepted") refusals.push(JSON.stringify(result));
  };
  const writer = createOtlpWriter<undefined>({
    resource: { "service.name": "budcluster", cluster_id: cluster.id },
    scope: { name: "budcluster", version: "e2e" },
    pointsMax: 20_000,
    bytesMax: 8 << 20,
    pool: createBufferPool(BATCHES_IN_FLIGHT),
    onBatch: (batch) => {
      const sent = send(batch).finally(() => sending.delete(sent));
      sending.add(sent);
    },
  });
  try {
    for (const { metric, kind, series } of metrics) {
      const description = { name: metric, kind, unit: "", description: "" };
      for (const { labels, samples } of series) {
        const plain = {
          name: metric,
          labels: Object.entries(labels),
          samples: samples as [number, number][],
        };
        writer.series(toScanned(plain), description, undefined);
        while (sending.size >= BATCHES_IN_FLIGHT) await Promise.race(sending);
      }
    }
    writer.flush();
    await Promise.all(sending);
  } finally {
    await dispatcher.close();
  }
  if (refusals.length > 0) throw new Error(`the Collector did not accept: ${refusals[0]}`);
}

/** Lines of the Collector's log above the level info. */
export function complaintsIn(log: string): string[] {
  return log.split("\n").filter((line) => /\t(warn|error|dpanic|panic|fatal)\t/.test(line));
}
