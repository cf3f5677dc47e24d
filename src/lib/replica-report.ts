/** One of the replicas that share the clusters, as the one that answers sees it. */
export interface ReplicaReport {
  name: string;
  /** Of the program. */
  version: string;
  /** false: it ended, or its record in the state store was not renewed. Such a replica is shown for an hour. */
  alive: boolean;
  /** It collects (METRICS_COLLECTION_ENABLED). */
  collects: boolean;
  /** RFC 3339. */
  started_at: string;
  age_seconds: number;
  /** Clusters that it owns. */
  clusters: number;
}
