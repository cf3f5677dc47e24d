import type { ClusterStatus, CollectionStatus } from "#collect/status.ts";
import { systemClock } from "#lib/clock.ts";
import type { RunningApp } from "#app/app.ts";

const POLL_MS = 200;
/** How much of a metric the printed query asks for. */
const SHOWN_SECONDS = 15 * 60;

/**
 * Prints the first finished round as a table with what to do next, and a line for each further one, until the signal is aborted. What is
 * printed works as it stands: URLs, cluster, times.
 */
export async function showRounds(
  { url, collection }: RunningApp,
  { signal, footer, say }: { signal: AbortSignal; footer: string; say: (text: string) => void },
): Promise<void> {
  if (!collection) return;
  say("Collecting ...");
  let shown: string | undefined;
  while (!signal.aborted) {
    const status = await collection.status();
    const round = status.last_round;
    if (round && round.id !== shown) {
      if (shown === undefined) say(`\n${toTable(status)}\n${nextSteps(url, status)}\n${footer}\n`);
      else say(toLine(status));
      shown = round.id;
    }
    await systemClock.sleep(POLL_MS, signal).catch(() => {});
  }
}

function toTable(status: CollectionStatus): string {
  const results = new Map(status.last_round?.clusters.map((result) => [result.cluster_id, result]));
  const rows = status.clusters.map((cluster) => [
    cluster.cluster_id,
    cluster.cluster_name,
    cluster.state,
    String(cluster.series),
    String(cluster.points),
    cluster.lag_seconds === null ? "-" : `${Math.round(cluster.lag_seconds)} s`,
    groupsOf(cluster),
    `${(results.get(cluster.cluster_id)?.duration_seconds ?? 0).toFixed(1)} s`,
    cluster.last_error ? `${cluster.last_error.code}: ${cluster.last_error.message}` : "",
  ]);
  const heads = ["CLUSTER", "NAME", "STATE", "SERIES", "POINTS", "LAG", "GROUPS", "TOOK", ""];
  const widths = heads.map((head, i) => Math.max(head.length, ...rows.map((row) => row[i]!.length)));
  return [heads, ...rows]
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

function groupsOf(cluster: ClusterStatus): string {
  const present = Object.entries(cluster.groups).filter(([, state]) => state === "present");
  return present.map(([group]) => group).join(",") || "-";
}

function toLine(status: CollectionStatus): string {
  const round = status.last_round!;
  const seconds = (round.duration_seconds ?? 0).toFixed(1);
  return `round: ${round.successful} of ${round.total} clusters successful, ${round.points} points in ${seconds} s`;
}

function nextSteps(url: string, status: CollectionStatus): string {
  const cluster = status.clusters[0];
  const id = cluster?.cluster_id ?? "";
  const end = Math.floor((cluster?.watermark ? Date.parse(cluster.watermark) : systemClock.now()) / 1000);
  const body = JSON.stringify({
    cluster_id: id,
    metric_name: "node_load1",
    start_time: end - SHOWN_SECONDS,
    end_time: end,
    aggregation: "avg",
  });
  return `
Stored in ClickHouse's engine inside this process. Look at it in a browser:

  ${url}/

What to do next (in another terminal):

  curl -s -X POST '${url}/cluster-metrics/query' -H 'content-type: application/json' \\
    -d '${body}'
                                                                   15 minutes of a metric, and the PromQL that it equals
  curl -s '${url}/cluster-metrics/${id}/summary'                      the cluster in numbers
  curl -s '${url}/cluster-metrics/${id}/latest?metric=node_load1'     the newest sample of each series
  curl -s '${url}/api/v1/query' --data-urlencode \\
    'query=sum by (cluster) (rate(node_cpu_seconds_total{mode!="idle"}[5m]))'
                                                                   PromQL over all clusters, as Grafana's Prometheus data source asks it
  curl -s '${url}/metrics/status'                                    every cluster's state, watermark, lag and last error
  curl -s -X POST '${url}/metrics/collect-all?wait=true'             a round now, and its result
  ${url}/docs                                                        the whole API, in a browser
`;
}
