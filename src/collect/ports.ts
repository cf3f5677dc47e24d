import type { Cluster } from "#clusters/cluster.ts";
import type { PrometheusClient } from "#prometheus/client.ts";
import type { LinkSpeed } from "#prometheus/compression.ts";
import type { SampleTransport } from "#prometheus/sample-transport.ts";

export interface PodRef {
  uid: string;
  name: string;
}

/** A connection to one Pod of a cluster's Prometheus, for one collection. */
export interface PrometheusConnection {
  client: PrometheusClient;
  pod: PodRef;
  /** The other ready Pods of the Service, by name. */
  otherPods: readonly PodRef[];
  /** Names of the Service's Pods that are not ready. */
  unreadyPods: readonly string[];
  /** Node address -> node name. */
  nodeNames: ReadonlyMap<string, string>;
  warnings: string[];
  /** The speed of the link, as far as it is known. */
  link?(): LinkSpeed | undefined;
  /** How its samples are read. Absent: by the query API. */
  samples?: SampleTransport;
  close(): Promise<void>;
}

/** Connects to a cluster's Prometheus, to the pinned Pod while it is ready. `link`: its speed in an earlier collection. Throws BridgeError. */
export type OpenPrometheus = (
  cluster: Cluster,
  pinnedPodUid: string | undefined,
  signal: AbortSignal,
  link?: LinkSpeed,
) => Promise<PrometheusConnection>;
