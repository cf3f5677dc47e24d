import { get } from "./api.ts";
import type {
  ClusterStatus,
  CollectionStatus,
  Hour,
  ListedCluster,
  ReportedCompleteness,
  Totals,
} from "./api-types.ts";
import { settings } from "./settings.ts";
import { troubleOfListed, troubleOfStatus, type Trouble } from "./trouble.ts";

/** A cluster as the role knows it: by its collection, or by what the bridge reported to ClickHouse. */
export interface FleetCluster {
  id: string;
  name: string;
  /** null: the role does not know it. */
  platform: string | null;
  isOff: boolean;
  /** It is being collected. */
  isBusy: boolean;
  /** Everything up to this time is stored, or recorded as a gap. */
  watermark: string | null;
  isLate: boolean;
  /** Of the collection alone. */
  trouble: Trouble;
  error: { code: string; message: string; hint: string; at: string } | null;
  /** Of the last 24 hours; null: not loaded yet. */
  completeness: { totals: Totals; hours: Hour[] } | null;
}

/** What a role answers about all clusters at once. */
export type FleetAnswer =
  | { kind: "collected"; status: CollectionStatus }
  | { kind: "reported"; clusters: ListedCluster[] };

/** GET /metrics/status, or in the role query GET /cluster-metrics. */
export async function readFleet(signal: AbortSignal): Promise<FleetAnswer> {
  if (settings.parts.collection) {
    return { kind: "collected", status: await get<CollectionStatus>("/metrics/status", signal) };
  }
  const { clusters } = await get<{ clusters: ListedCluster[] }>("/cluster-metrics", signal);
  return { kind: "reported", clusters };
}

export function idsOf(answer: FleetAnswer): string[] {
  if (answer.kind === "reported") return answer.clusters.map((each) => each.cluster_id);
  return answer.status.clusters.filter(({ state }) => state !== "disabled").map((each) => each.cluster_id);
}

/** `reportOf`: what the bridge reported of a cluster's completeness, as far as it is loaded. */
export function toClusters(
  answer: FleetAnswer,
  reportOf: (id: string) => ReportedCompleteness | null,
): FleetCluster[] {
  if (answer.kind === "collected") return answer.status.clusters.map(fromStatus);
  return answer.clusters.map((each) => fromListed(each, reportOf(each.cluster_id)));
}

function fromStatus(status: ClusterStatus): FleetCluster {
  return {
    id: status.cluster_id,
    name: status.cluster_name,
    platform: status.platform,
    isOff: status.state === "disabled",
    isBusy: status.collecting,
    watermark: status.watermark,
    isLate: status.state === "stale" || status.state === "failing",
    trouble: troubleOfStatus(status),
    error: status.last_error,
    completeness: status.completeness,
  };
}

function fromListed(listed: ListedCluster, report: ReportedCompleteness | null): FleetCluster {
  const error = report?.last_error ?? null;
  return {
    id: listed.cluster_id,
    name: listed.name ?? listed.cluster_id,
    platform: null,
    isOff: false,
    isBusy: false,
    watermark: listed.as_of,
    isLate: listed.as_of === null || listed.up === false,
    trouble: troubleOfListed(listed, error),
    error: error && { ...error, message: error.cause },
    completeness: report,
  };
}
