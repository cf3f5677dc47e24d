import type { Cluster } from "#clusters/cluster.ts";
import type { CredentialOpener } from "#clusters/envelope.ts";
import type { CollectCluster } from "#collect/collect-cluster.ts";
import type { DiagnoseCluster } from "#diagnose/cluster.ts";
import type { FoundServices } from "#onboard/find-services.ts";
import type { StateRecords } from "#state/store.ts";
import type { OwnMetrics } from "#telemetry/metrics.ts";

/**
 * Everything that talks to a cluster. It runs in this process, as in tests with a virtual clock, or in worker processes, so that a defect in it
 * (an endless loop, memory that grows) ends a worker and never the program.
 */
export interface ClusterWork {
  collect: CollectCluster;
  /** Can its Prometheus be reached? Throws BridgeError. */
  check(cluster: Cluster, signal: AbortSignal): Promise<void>;
  diagnose: DiagnoseCluster;
  /** Which of its Services look like a Prometheus? Throws BridgeError. */
  findServices(cluster: Cluster, signal: AbortSignal): Promise<FoundServices>;
  close(): Promise<void>;
}

/** The work on clusters as the program uses it, wherever it runs. */
export interface Work extends ClusterWork {
  /** Ends the quarantine of a cluster that was deleted. */
  forget(clusterId: string): void;
  /** Why nothing can be collected, if that is so. */
  problems(): string[];
}

/** The metrics that the work on clusters records. */
export type WorkerMetrics = Pick<
  OwnMetrics,
  | "batchStarted"
  | "batchFinished"
  | "errorOccurred"
  | "timeLost"
  | "samplesRead"
  | "exportFinished"
  | "tunnelOpened"
  | "tunnelClosed"
  | "tunnelFailed"
>;
export type WorkerMetricName = keyof WorkerMetrics;

/** What the work on clusters needs of the main process. */
export interface WorkPorts {
  /** Records of the clusters under way. */
  store: StateRecords;
  /** Opens sealed credentials of the clusters under way. Absent: there are no keys. */
  keyring?: CredentialOpener | undefined;
  metrics: WorkerMetrics;
}
