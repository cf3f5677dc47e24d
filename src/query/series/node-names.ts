import type { Clock } from "#lib/clock.ts";
import { toGpuNodeQuestion } from "#query/gpu-usage/devices.ts";
import { gpuExporterOf } from "#query/gpu-metrics.ts";
import type { LimitedDatabase, QueryLimits } from "#query/limits.ts";
import { toLongList } from "#query/long-list.ts";
import { createReadNodeAddresses, NODE_NAME } from "#query/node-addresses.ts";
import { createNodeResolver, toNodeQuestion, type NodeQuestion } from "#query/node-resolver.ts";
import { hasOwnNode, isKubeStateMetric, ownLabelOf } from "#query/state/identity.ts";
import type { Scope, Statement } from "./series-sql.ts";

// The label `k8s.node.name` of series. It is found by the resolver of all answers, which no SQL could be: so the series are listed first, and the statement that needs
// their nodes gets them by series.

type Labels = Readonly<Record<string, string>>;

/** The nodes of the series of a metric. */
export interface SeriesNodes {
  /** By series_id: the series whose node is known, without those that have the label `k8s.node.name`. */
  found: ReadonlyMap<string, string>;
  /** The label `k8s.node.name` of each series that has it. */
  own: readonly string[];
}

/**
 * `labels`: a SELECT of (series_id, labels, newest), one row a series of the scope. Resolves with undefined for more series than a query may read. Throws what a
 * LimitedDatabase throws.
 */
export type ReadSeriesNodes = (
  scope: Scope,
  labels: Statement,
  signal: AbortSignal | undefined,
) => Promise<SeriesNodes | undefined>;

interface ListRow {
  id: string;
  labels: Labels;
  newest_ms: string;
}

/** So many ids fit into the URL of a statement (http_max_uri_size, 1 MiB). */
const SERIES_MAX = 10_000;
const TARGET_LABELS = ["node", "instance", "namespace", "pod"];

export function createReadSeriesNodes(
  deps: { database: LimitedDatabase; clock: Clock },
  { databaseName, limits }: { databaseName: string; limits: QueryLimits },
): ReadSeriesNodes {
  const { database } = deps;
  const readAddresses = createReadNodeAddresses(database, { databaseName });
  const resolve = createNodeResolver(deps, { databaseName });
  const most = Math.min(SERIES_MAX, limits.seriesMax);
  return async (scope, { sql, parameters }, signal) => {
    const { clusterId, metric, fromMs, toMs } = scope;
    const list = `SELECT toString(series_id) AS id, mapFilter((name, text) -> has({node_labels:Array(String)}, name), labels) AS labels,
        toUnixTimestamp64Milli(newest) AS newest_ms FROM (${sql}) LIMIT ${most + 1}`;
    const [rows, addresses] = await Promise.all([
      database.query<ListRow>(list, { ...parameters, node_labels: labelsOfNodes(metric) }, signal),
      readAddresses(clusterId, { fromMs, toMs }, signal),
    ]);
    if (rows.length > most) return undefined;
    const own = rows.map(({ labels }) => labels[NODE_NAME] ?? "").filter((name) => name !== "");
    const questions = rows
      .filter(({ labels }) => (labels[NODE_NAME] ?? "") === "")
      .map(({ id, labels, newest_ms }) => ({ id, question: toQuestion(metric, labels, Number(newest_ms)) }));
    const names = await resolve(
      { addresses, listed: [], hosts: [] },
      questions.map(({ question }) => question),
      { clusterId, fromMs, toMs },
      signal,
    );
    const found = questions.flatMap(({ id, question }) => {
      const { node, known } = names(question);
      return known && node !== "" ? [[id, node] as const] : [];
    });
    return { found: new Map(found), own };
  };
}

function labelsOfNodes(metric: string): string[] {
  const own = gpuExporterOf(metric)?.labels.nodes ?? [];
  return [NODE_NAME, ...own, ...TARGET_LABELS.flatMap((name) => [name, `exported_${name}`])];
}

/**
 * kube-state-metrics is about other nodes than its own: only the label `node` that its metrics have themselves counts, never what a scrape added about its Pod. Any
 * other series with a label `node` is about that node, whatever node its exporter is on; node_exporter is always about its own.
 */
function toQuestion(metric: string, labels: Labels, newestMs: number): NodeQuestion {
  if (isKubeStateMetric(metric)) {
    const node = hasOwnNode(metric) ? ownLabelOf(labels, "node", metric) : "";
    return { names: node === "" ? [] : [node], instance: "", pods: [], newestMs };
  }
  if (gpuExporterOf(metric)) return toGpuNodeQuestion(metric, labels, newestMs);
  const question = toNodeQuestion(labels, newestMs);
  const isTarget = metric.startsWith("node_") || !(labels["exported_node"] || labels["node"]);
  return isTarget ? question : { ...question, instance: "" };
}

/** A SELECT of (series_id, labels) from one of the same columns: with the label `k8s.node.name` of the series whose node is known. */
export function toNodeNamed({ sql, parameters }: Statement, { found }: SeriesNodes): Statement {
  if (found.size === 0) return { sql, parameters };
  const names = [...new Set(found.values())];
  const places = new Map(names.map((name, i) => [name, String(i + 1)]));
  const ids = toLongList("node_series", [...found.keys()]);
  const ofIds = toLongList(
    "node_places",
    [...found.values()].map((name) => places.get(name)!),
  );
  const nodes = toLongList("node_names", names);
  const integers = (list: string, type: string): string => `arrayMap(text -> to${type}(text), ${list})`;
  const place = `transform(series_id, ${integers(ids.sql, "UInt64")}, ${integers(ofIds.sql, "UInt32")}, toUInt32(0))`;
  return {
    sql: `SELECT series_id, CAST(if(place = 0, (mapKeys(own), mapValues(own)),
          (arrayPushBack(mapKeys(own), '${NODE_NAME}'), arrayPushBack(mapValues(own), ${nodes.sql}[place]))), 'Map(LowCardinality(String), String)') AS labels
      FROM (SELECT series_id, labels AS own, ${place} AS place FROM (${sql}))`,
    parameters: { ...parameters, ...ids.parameters, ...ofIds.parameters, ...nodes.parameters },
  };
}
