import type { Cluster } from "#clusters/cluster.ts";
import { BridgeError } from "#errors/error.ts";
import type { OpenPrometheus, PodRef, PrometheusConnection } from "./ports.ts";

/** The connections of one collection to Pods of a cluster's Prometheus, each opened once. */
export interface PodConnections {
  /** Throws BridgeError, also when the Pod is not ready any more. */
  to(pod: PodRef): Promise<PrometheusConnection>;
  close(): Promise<void>;
}

export function createPodConnections(
  openPrometheus: OpenPrometheus,
  cluster: Cluster,
  first: PrometheusConnection,
  signal: AbortSignal,
): PodConnections {
  const opened = new Map<string, Promise<PrometheusConnection>>([[first.pod.uid, Promise.resolve(first)]]);
  const open = async (pod: PodRef): Promise<PrometheusConnection> => {
    const connection = await openPrometheus(cluster, pod.uid, signal);
    if (connection.pod.uid === pod.uid) return connection;
    // Another one answered in its place.
    await connection.close();
    throw new BridgeError("prometheus_pod_not_ready", `Pod ${pod.name} is not ready any more`);
  };
  return {
    to: async (pod) => {
      const known = opened.get(pod.uid);
      if (known) return await known;
      const opening = open(pod);
      opened.set(pod.uid, opening);
      opening.catch(() => opened.delete(pod.uid));
      return await opening;
    },
    close: async () => {
      const ended = await Promise.allSettled(opened.values());
      await Promise.all(ended.map(async (each) => each.status === "fulfilled" && (await each.value.close())));
    },
  };
}
