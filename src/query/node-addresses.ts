import type { QueryParameters } from "#storage/database.ts";
import type { LimitedDatabase } from "./limits.ts";

/** The attribute for a node's name in OpenTelemetry's semantic conventions. A series that has this label keeps it. */
export const NODE_NAME = "k8s.node.name";

/** From its first to its last list of nodes in which a node had an address. */
interface AddressSpan {
  address: string;
  node: string;
  since_ms: string;
  until_ms: string;
}

/** The nodes by their addresses and names over time. */
export interface NodeAddresses {
  /**
   * The node of an address at a time: the one of the first list of nodes at or after the time, for that is the list of the collection that read what has this
   * time; else the one of the last list before. Undefined: no list has the address.
   */
  nodeOf(address: string, timeMs: number): string | undefined;
  /** All nodes of the lists. */
  names: ReadonlySet<string>;
}

export type ReadNodeAddresses = (
  clusterId: string,
  range: { fromMs: number; toMs: number },
  signal: AbortSignal | undefined,
) => Promise<NodeAddresses>;

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** A range may begin between two collections, or Kubernetes may not have listed its nodes for some of them. */
const BEFORE_MS = 2 * HOUR_MS;
/** Samples that were back-filled came with the list of nodes of a later collection. */
const AFTER_MS = DAY_MS;
/** Of the newest: that is many addresses of 5,000 nodes for weeks. */
const SPANS_MAX = 200_000;

export function createReadNodeAddresses(
  database: LimitedDatabase,
  settings: { databaseName: string },
): ReadNodeAddresses {
  return async (clusterId, range, signal) => {
    const { sql, parameters } = toSpansSql(settings.databaseName, range);
    const spans = await database.query<AddressSpan>(
      `${sql} ORDER BY until_ms DESC LIMIT ${SPANS_MAX}`,
      { cluster: clusterId, ...parameters },
      signal,
    );
    return toNodeAddresses(spans);
  };
}

export function toNodeAddresses(spans: readonly AddressSpan[]): NodeAddresses {
  const byAddress = Map.groupBy(
    spans.map(({ address, node, since_ms, until_ms }) => ({
      address,
      node,
      sinceMs: Number(since_ms),
      untilMs: Number(until_ms),
    })),
    ({ address }) => address,
  );
  return {
    names: new Set(spans.map(({ node }) => node)),
    nodeOf: (address, timeMs) => {
      const own = byAddress.get(address) ?? [];
      const later = own.filter(({ untilMs }) => untilMs >= timeMs);
      const best = later.length > 0 ? least(later, ({ sinceMs }) => sinceMs) : least(own, (o) => -o.untilMs);
      return best?.node;
    },
  };
}

function least<Item>(items: readonly Item[], of: (item: Item) => number): Item | undefined {
  return items.reduce<Item | undefined>(
    (best, item) => (best === undefined || of(item) < of(best) ? item : best),
    undefined,
  );
}

/**
 * A SELECT of the spans of the addresses of a cluster (parameter `cluster`) that matter to a range. Older than a day before its end they come from the roll-ups,
 * whose hours need not be complete for this: a span has many. Only rows with just the labels of the bridge's own count, whatever a source calls by its name.
 */
function toSpansSql(
  databaseName: string,
  { fromMs, toMs }: { fromMs: number; toMs: number },
): { sql: string; parameters: QueryParameters } {
  const firstMs = fromMs - BEFORE_MS;
  const samplesMs = Math.max(firstMs, Math.floor((toMs - DAY_MS) / HOUR_MS) * HOUR_MS);
  const table = `${databaseName}.otel_metrics_gauge`;
  const of = (name: string): string => `cluster_id = {cluster:String} AND ${name} = 'budcluster_node_info'`;
  const inSamples = `${of("MetricName")} AND TimeUnix > fromUnixTimestamp64Milli({nodes_samples_from:Int64})
    AND TimeUnix <= fromUnixTimestamp64Milli({nodes_to:Int64})`;
  // No FINAL: duplicate rows do no harm here. To read the labels of one hour only would read less, but plan longer.
  const samples = `SELECT any(Attributes) AS info, min(TimeUnix) AS since, max(TimeUnix) AS until FROM ${table} WHERE ${inSamples} GROUP BY series_id`;
  const hours = `SELECT argMax(labels, hour_end) AS info, min(first_time) AS since, max(last_time) AS until FROM ${databaseName}.rollup_gauge
    WHERE ${of("metric_name")} AND hour_end > toDateTime(intDiv({nodes_from:Int64}, 1000), 'UTC')
      AND hour_end <= toDateTime(intDiv({nodes_samples_from:Int64}, 1000), 'UTC') GROUP BY series_id`;
  const all = samplesMs > firstMs ? `${samples} UNION ALL ${hours}` : samples;
  return {
    sql: `SELECT toString(info['address']) AS address, toString(info['node']) AS node,
        toUnixTimestamp64Milli(min(since)) AS since_ms, toUnixTimestamp64Milli(max(until)) AS until_ms
      FROM (${all}) WHERE length(info) = 2 AND info['address'] != '' AND info['node'] != '' GROUP BY address, node`,
    parameters: { nodes_from: firstMs, nodes_samples_from: samplesMs, nodes_to: toMs + AFTER_MS },
  };
}

/** The host of an `instance` label: "10.0.0.1:9100", "node-1", "[::1]:9100", "::1". */
export function hostOf(instance: string): string {
  const bracketed = /^\[([^\]]+)\]/.exec(instance);
  if (bracketed) return bracketed[1]!;
  const colon = instance.indexOf(":");
  return colon < 0 || instance.lastIndexOf(":") !== colon ? instance : instance.slice(0, colon);
}
