import type { Cluster } from "#clusters/cluster.ts";
import { expiryWarnings } from "#clusters/credential-facts.ts";
import { type BridgeError, toErrorBody } from "#errors/error.ts";
import { boundList, boundObject, boundText } from "#lib/bounds.ts";
import type { CompletenessSummary } from "#lib/completeness.ts";
import { TRANSPORT_REASONS } from "#lib/transport-reasons.ts";
import { missingIn } from "./intervals.ts";
import { worstWatermark } from "./merged-progress.ts";
import { emptyProgress, settledIntervals, type ClusterProgress, type QueryProgress } from "./progress.ts";
import type { ShardMembers } from "./sharding.ts";
import type { ClusterCondition, ClusterStatus, GapReport, PodsReport, SamplesReport } from "./status.ts";

const GAPS_REPORTED_MAX = 100;
/** 64 KiB for the whole record of a cluster, of which its last error has 8. */
const GAPS_BYTES_MAX = 22 << 10;
const WARNINGS_BYTES_MAX = 12 << 10;
const WARNING_BYTES_MAX = 1 << 10;
const GROUPS_BYTES_MAX = 8 << 10;
const ERROR_BYTES_MAX = 8 << 10;
/** Of all shards; without an operator a shard has the names of all of its replicas. */
const SHARDS_BYTES_MAX = 8 << 10;
const SHARD_NAME_BYTES_MAX = 256;
const EXCEPTIONS_BYTES_MAX = 2 << 10;
/** A watermark this many intervals behind its best possible value is stale. */
const STALE_INTERVALS = 3;

/** The inputs of a cluster's status beside its progress. */
export interface StatusFacts {
  nowMs: number;
  collecting: boolean;
  intervalMs: number;
  lagMs: number;
  queries: readonly string[];
  completeness: CompletenessSummary;
}

/** The status of a cluster whose progress record can't be read: nothing is known of it but this. */
export function toDamagedStatus(cluster: Cluster, error: BridgeError, facts: StatusFacts): ClusterStatus {
  return {
    ...toClusterStatus(cluster, emptyProgress(), facts),
    state: cluster.enabled ? "failing" : "disabled",
    last_error: { ...toErrorBody(error), at: new Date(facts.nowMs).toISOString() },
  };
}

/**
 * The status of a cluster from its progress records alone, so that it is the same after a restart. `progress` is the cluster's own record;
 * `shards` has the records of all shards in the order of `sharding.shards`, or that one alone.
 */
export function toClusterStatus(
  cluster: Cluster,
  progress: ClusterProgress,
  facts: StatusFacts,
  shards: readonly ClusterProgress[] = [progress],
): ClusterStatus {
  const states = shards.flatMap((shard, i) => {
    const label = shards.length > 1 ? progress.sharding?.shards[i] : undefined;
    return statesOf(shard, facts.queries).map((each) => ({ ...each, label }));
  });
  const watermarkMs = watermarkOfShards(shards, facts.queries);
  const { last } = progress;
  const allGaps = states.flatMap(({ name, state, label }) => gapsOf(name, state, label));
  const gaps = boundList(allGaps.slice(0, GAPS_REPORTED_MAX), GAPS_BYTES_MAX).kept;
  const lagMs = watermarkMs === null ? null : facts.nowMs - watermarkMs;
  const lastFailed = last?.error != null && Date.parse(last.error.at) >= last.at;
  return {
    cluster_id: cluster.id,
    cluster_name: cluster.name,
    platform: cluster.platform,
    state: conditionOf(cluster, last !== null, lastFailed, lagMs, facts),
    owner: null,
    collecting: facts.collecting,
    watermark: isoOf(watermarkMs),
    lag_seconds: lagMs === null ? null : lagMs / 1000,
    last_success: isoOf(last?.success_at ?? null),
    last_error: lastFailed && last.error ? boundError(last.error) : null,
    points: last?.points ?? 0,
    series: last?.series ?? 0,
    groups: Object.fromEntries(boundList(Object.entries(last?.groups ?? {}), GROUPS_BYTES_MAX).kept),
    gaps,
    completeness: facts.completeness,
    transport: cluster.prometheus.url === undefined ? "tunnel" : "direct",
    prometheus_pod: progress.pod?.name ?? null,
    prometheus_pods: podsOf(progress, shards, facts.queries),
    samples_by: samplesOf(shards, last),
    clock_skew_seconds: last?.clock_skew_ms == null ? null : last.clock_skew_ms / 1000,
    warnings: boundWarnings([
      ...(cluster.validateCerts ? [] : [uncheckedWarning]),
      ...(holdsPlaintext(cluster) ? [plaintextWarning] : []),
      ...expiryWarnings(cluster, facts.nowMs),
      ...(gaps.length === allGaps.length ? [] : [`${allGaps.length - gaps.length} more gaps are not shown`]),
      ...(last?.warnings ?? []),
    ]),
  };
}

function statesOf(
  { queries }: ClusterProgress,
  names: readonly string[],
): { name: string; state: QueryProgress }[] {
  return names.flatMap((name) => (queries[name] ? [{ name, state: queries[name] }] : []));
}

/** The watermark of the worst shard, ms; null when nothing was committed yet, or a shard's record has no query. */
export function watermarkOfShards(
  shards: readonly ClusterProgress[],
  names: readonly string[],
): number | null {
  const states = shards.map((shard) => statesOf(shard, names).map(({ state }) => state));
  const hasCommitted = states.flat().some(({ committed }) => committed.length > 0);
  if (!hasCommitted || states.some((own) => own.length === 0)) return null;
  return worstWatermark(states.flat());
}

function podsOf(
  { sharding }: ClusterProgress,
  records: readonly ClusterProgress[],
  names: readonly string[],
): PodsReport | null {
  if (!sharding) return null;
  const { decision, reason, decided_at } = sharding;
  const shards = sharding.shards.map(({ number, name, failed, gone_since }, i) => ({
    shard: number,
    name: boundText(name, SHARD_NAME_BYTES_MAX),
    pod: records[i]?.pod?.name ?? null,
    watermark: records[i] ? isoOf(watermarkOfShards([records[i]], names)) : null,
    failing: failed === true,
    gone_since: isoOf(gone_since ?? null),
  }));
  const { kept } = boundList(shards, SHARDS_BYTES_MAX);
  return { decision, reason, decided_at: isoOf(decided_at)!, shards: kept };
}

function samplesOf(records: readonly ClusterProgress[], last: ClusterProgress["last"]): SamplesReport | null {
  const known = records.flatMap(({ pod }) => pod?.samples_by ?? []);
  const least = known.find(({ transport }) => transport === "query_api") ?? known[0];
  if (!least) return null;
  const { transport, reason, since } = least;
  const { text, remedy } = TRANSPORT_REASONS[reason];
  const exceptions = known.flatMap(({ external_labels = [] }) =>
    external_labels.flatMap(({ mixed = [] }) => mixed),
  );
  const isExact = transport === "remote_read" && exceptions.length === 0;
  return {
    transport,
    code: reason,
    reason: text,
    remedy: remedy ?? null,
    since: isoOf(since)!,
    staleness: isExact ? "exact" : "inferred",
    exceptions: boundList([...new Set(exceptions)], EXCEPTIONS_BYTES_MAX).kept,
    samples: last?.samples_by ?? { remote_read: 0, query_api: 0 },
    markers: last?.markers ?? 0,
  };
}

/** New errors are bounded already; those in records of older versions are not. */
function boundError(
  error: NonNullable<ClusterStatus["last_error"]>,
): NonNullable<ClusterStatus["last_error"]> {
  return boundObject({ ...error }, ERROR_BYTES_MAX) as unknown as NonNullable<ClusterStatus["last_error"]>;
}

function boundWarnings(warnings: readonly string[]): string[] {
  const short = warnings.map((warning) => boundText(warning, WARNING_BYTES_MAX));
  const { kept, omitted } = boundList(short, WARNINGS_BYTES_MAX);
  return omitted === 0 ? kept : [...kept, `${omitted} more warnings are not shown`];
}

export const uncheckedWarning =
  "the server's certificate is not verified (VALIDATE_CERTS=false or validate_certs: false): anybody on the way can read the cluster's credentials";

export const plaintextWarning =
  "its credentials lie in clear text in CLUSTERS_FILE or a file beside it: seal them (npm run keys -- seal) and give kubeconfig_jwe (with prometheus.url: credentials_jwe) instead";

/** Does the configuration hold secrets of the cluster in clear text? A trusted kubeconfig file does not count: the operator vouches for it. */
export function holdsPlaintext({ source, credentials }: Cluster): boolean {
  if (source !== "file" || credentials.kind === "sealed") return false;
  const hasOthers = credentials.kind === "inline" || credentials.kind === "trusted-inline";
  return hasOthers || credentials.prometheus !== undefined;
}

function conditionOf(
  cluster: Cluster,
  wasCollected: boolean,
  lastFailed: boolean,
  lagMs: number | null,
  facts: { intervalMs: number; lagMs: number },
): ClusterCondition {
  if (!cluster.enabled) return "disabled";
  if (!wasCollected) return "pending";
  const isLate = lagMs !== null && lagMs > facts.lagMs + STALE_INTERVALS * facts.intervalMs;
  if (lagMs === null) return lastFailed ? "failing" : "pending";
  if (isLate) return lastFailed ? "failing" : "stale";
  return lastFailed ? "partial" : "healthy";
}

/** The recorded gaps, and open ones: unsettled time before the newest time that was tried. */
function gapsOf(name: string, state: QueryProgress, shard: ShardMembers | undefined): GapReport[] {
  const inShard = (text: string): string => (shard ? `shard ${shard.number}: ${text}` : text);
  const kept = state.gaps.map(({ from, to, state: kind, reason, points }): GapReport => {
    const gap = { query: name, from: isoOf(from)!, to: isoOf(to)!, state: kind, reason: inShard(reason) };
    return kind === "refused" ? { ...gap, points } : gap;
  });
  const open = missingIn([state.from, state.attempted], settledIntervals(state)).map(
    ([from, to]): GapReport => ({
      query: name,
      from: isoOf(from)!,
      to: isoOf(to)!,
      state: "open",
      reason: inShard(
        state.absent?.some((absent) => absent.from < to && from < absent.to)
          ? "no ready Prometheus Pod has samples of that time; it is lost if that is still so in an interval's time"
          : "not stored yet; the next round reads it",
      ),
    }),
  );
  return [...kept, ...open];
}

function isoOf(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString();
}
