import { createRecord } from "#lib/records.ts";
import { boundText } from "#lib/bounds.ts";
import type { Query } from "#prometheus/catalogue.ts";
import type { ClusterProgress, LastCollection } from "./progress.ts";
import type { ClusterResult } from "./status.ts";
import type { ReadTotals } from "./window-ledger.ts";

const WARNINGS_MAX = 20;
const WARNING_BYTES_MAX = 1 << 10;

const NONE: LastCollection = {
  at: 0,
  success_at: null,
  error: null,
  points: 0,
  series: 0,
  groups: createRecord(),
  clock_skew_ms: null,
  warnings: [],
};

/** Records in the progress how a collection went. `totals` and `skewMs` are undefined when it failed before they were known. */
export function recordLast(
  progress: ClusterProgress,
  result: ClusterResult,
  facts: {
    totals: ReadTotals | undefined;
    skewMs: number | undefined;
    queries: readonly Query[];
    nowMs: number;
  },
): void {
  const before = progress.last ?? NONE;
  const { totals, nowMs } = facts;
  progress.last = {
    at: nowMs,
    success_at: result.outcome === "successful" ? nowMs : before.success_at,
    error: result.error ? { ...result.error, at: new Date(nowMs).toISOString() } : before.error,
    points: result.points,
    series: result.series,
    ...samplesOf(totals, before),
    groups: totals ? groupsOf(totals, facts.queries, before.groups) : before.groups,
    clock_skew_ms: facts.skewMs ?? before.clock_skew_ms,
    warnings: [...(totals?.warnings ?? before.warnings)]
      .slice(0, WARNINGS_MAX)
      .map((warning) => boundText(warning, WARNING_BYTES_MAX)),
  };
}

function samplesOf(
  totals: ReadTotals | undefined,
  before: LastCollection,
): Pick<LastCollection, "samples_by" | "markers"> {
  if (totals) return { samples_by: totals.samplesBy, markers: totals.markers };
  const { samples_by, markers } = before;
  return { ...(samples_by ? { samples_by } : {}), ...(markers === undefined ? {} : { markers }) };
}

/** A group without any read window keeps its last state. */
function groupsOf(
  totals: ReadTotals,
  queries: readonly Query[],
  before: LastCollection["groups"],
): LastCollection["groups"] {
  const failed = new Set(totals.failures.map((failure) => failure.query));
  const groups: LastCollection["groups"] = createRecord();
  for (const { group, name } of queries) {
    if (totals.groupsSeen.has(group)) groups[group] = "present";
    else if (failed.has(name)) groups[group] = "unknown";
    else groups[group] ??= totals.groupsRead.has(group) ? "absent" : (before[group] ?? "unknown");
  }
  return groups;
}
