import type { EmbeddedDatabase } from "#allinone/chdb.ts";
import { createOtlpCodec } from "#allinone/otlp-proto.ts";
import { toRows } from "#allinone/otlp-rows.ts";
import { COLUMNS } from "#allinone/otlp-tables.ts";
import { SCHEMA_VERSION } from "#otlp/request-encoder.ts";
import type { ClusterWorld } from "#simulator/world.ts";
import { bitsOf, toOtlpRequest, type TestMetric } from "./otlp-request.ts";

const codec = createOtlpCodec();
const REQUEST_BYTES_MAX = 1e8;

/** The scope attributes of a bridge that adds nothing to a source's labels, and of older ones, which added `k8s.node.name`. */
const SCOPES = { now: { [SCHEMA_VERSION.name]: SCHEMA_VERSION.value }, before: {} };

/** Stores metrics as the OTLP receiver does. Sent twice they are the same rows. */
export async function storeMetrics(
  database: EmbeddedDatabase,
  clusterId: string,
  metrics: readonly TestMetric[],
  sentBy: keyof typeof SCOPES = "now",
): Promise<void> {
  await storeOfResource(database, { cluster_id: clusterId }, metrics, sentBy);
}

/** The same with more attributes of the resource, such as `cluster_name`. */
export async function storeOfResource(
  database: EmbeddedDatabase,
  resource: Readonly<Record<string, string>>,
  metrics: readonly TestMetric[],
  sentBy: keyof typeof SCOPES = "now",
  raw?: Parameters<typeof toOtlpRequest>[2],
): Promise<void> {
  const bytes = toOtlpRequest(resource, metrics, raw, SCOPES[sentBy]);
  const request = codec.decodeRequest(bytes);
  for (const { kind, bytes } of toRows(request, REQUEST_BYTES_MAX).tables) {
    await database.insertRowBinary(`metrics.otel_metrics_${kind}`, COLUMNS[kind], bytes);
  }
}

/** A sample in its test form; `timeMs` in ms since the epoch. */
export function point(
  labels: Record<string, string>,
  timeMs: number,
  value: number,
): TestMetric["points"][number] {
  return { labels, time: BigInt(Math.round(timeMs)) * 1_000_000n, bits: bitsOf(value) };
}

/** A stale marker as the bridge sends it: the flag NO_RECORDED_VALUE, and Prometheus' own NaN as the value. */
export function marker(labels: Record<string, string>, timeMs: number): TestMetric["points"][number] {
  return { ...point(labels, timeMs, 0), bits: 0x7ff0000000000002n, flags: 1 };
}

/**
 * Stores what the simulated cluster scraped in (fromMs, toMs] (and until nowMs), and the addresses of its nodes. What was scraped up to `upgradedMs` as an older
 * bridge sent it: with `k8s.node.name` where it knew the node. `markers`: with the stale markers, which only remote read tells.
 */
export async function storeWorld(
  database: EmbeddedDatabase,
  world: ClusterWorld,
  window: {
    fromMs: number;
    toMs: number;
    nowMs?: number;
    metrics: readonly string[];
    upgradedMs?: number;
    markers?: boolean;
  },
): Promise<void> {
  const { fromMs, toMs, upgradedMs = fromMs } = window;
  const nodeOf = new Map(world.layout.nodes.map((node) => [node.address, node.name]));
  await storeNodes(database, world.shape.id, nodeOf, {
    fromMs: upgradedMs + COLLECTION_MS,
    toMs: toMs + LAG_MS,
  });
  for (const metric of window.metrics) {
    const family = world.metrics.find(({ name }) => name === metric)?.family;
    const stored = world.stored({ ...window, metric }).map((series) => ({
      ...series,
      labels: Object.fromEntries(series.labels.filter(([name]) => name !== "__name__")),
    }));
    const points = stored.flatMap(({ labels, timestamps, values }) =>
      timestamps.map((timeMs, i) => ({ labels, timeMs, value: values[i]! })),
    );
    const kind = family?.type === "counter" ? "sum" : "gauge";
    const before = points
      .filter(({ timeMs }) => timeMs <= upgradedMs)
      .map(({ labels, timeMs, value }) => {
        const node = nodeOf.get((labels["instance"] ?? "").split(":")[0]!);
        const all = node === undefined || "node" in labels ? labels : { ...labels, "k8s.node.name": node };
        return point(all, timeMs, value);
      });
    const now = points
      .filter(({ timeMs }) => timeMs > upgradedMs)
      .map(({ labels, timeMs, value }) => point(labels, timeMs, value));
    const store = async (own: TestMetric["points"], sentBy: "now" | "before"): Promise<void> => {
      if (own.length > 0)
        await storeMetrics(database, world.shape.id, [{ name: metric, kind, points: own }], sentBy);
    };
    await store(before, "before");
    const ends = stored.flatMap(({ labels, markers }) => markers.map((timeMs) => marker(labels, timeMs)));
    await store(window.markers ? [...now, ...ends] : now, "now");
  }
}

const COLLECTION_MS = 300_000;
const LAG_MS = 90_000;

/** Stores `budcluster_node_info` of the nodes by their addresses, as collections from fromMs to toMs send it, the last one at toMs. */
export async function storeNodes(
  database: EmbeddedDatabase,
  clusterId: string,
  nodeOf: ReadonlyMap<string, string>,
  { fromMs, toMs }: { fromMs: number; toMs: number },
): Promise<void> {
  const addresses = [...nodeOf, ...[...new Set(nodeOf.values())].map((node) => [node, node] as const)];
  const points: TestMetric["points"] = [];
  for (let atMs = toMs; atMs >= Math.min(fromMs, toMs); atMs -= COLLECTION_MS) {
    points.push(...addresses.map(([address, node]) => point({ node, address }, atMs, 1)));
  }
  await storeMetrics(database, clusterId, [{ name: "budcluster_node_info", kind: "gauge", points }]);
}

/** A collection's own report (collect/cluster-report.ts), the same for each of its queries. */
export interface StoredRecord {
  atMs: number;
  up?: 0 | 1;
  credentialsEndMs?: number;
  queries?: readonly string[];
  watermarkMs?: number;
  read?: number;
  sent?: number;
  openGaps?: number;
  lostGaps?: number;
}

/** Stores the `budcluster_*` rows of one collection. */
export async function storeRecord(
  database: EmbeddedDatabase,
  clusterId: string,
  record: StoredRecord,
): Promise<void> {
  const { atMs, up = 1, queries = [], watermarkMs = atMs, read = 0, openGaps = 0, lostGaps = 0 } = record;
  const each = (value: number) => queries.map((query) => point({ query, group: "any" }, atMs, value));
  const gauge = (name: string, points: TestMetric["points"]): TestMetric => ({ name, kind: "gauge", points });
  const sum = (name: string, points: TestMetric["points"]): TestMetric => ({ name, kind: "sum", points });
  await storeMetrics(database, clusterId, [
    gauge("budcluster_cluster_up", [point({}, atMs, up)]),
    gauge(
      "budcluster_cluster_credentials_expiry_seconds",
      record.credentialsEndMs === undefined ? [] : [point({}, atMs, record.credentialsEndMs / 1000)],
    ),
    gauge("budcluster_query_watermark_seconds", each(watermarkMs / 1000)),
    gauge("budcluster_query_open_gaps", each(openGaps)),
    gauge("budcluster_query_lost_gaps", each(lostGaps)),
    sum("budcluster_query_samples_read_total", each(read)),
    sum("budcluster_query_samples_sent_total", each(record.sent ?? read)),
  ]);
}
