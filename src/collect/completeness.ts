import type { ClusterRegistry } from "#clusters/cluster.ts";
import { BridgeError } from "#errors/error.ts";
import {
  createTally,
  lastHours,
  SAMPLE_COUNTS,
  type CompletenessSummary,
  type SampleCount,
  type StretchReport,
} from "#lib/completeness.ts";
import { worseState } from "#lib/stretch-states.ts";
import type { Turns } from "#lib/turns.ts";
import type { Query } from "#prometheus/catalogue.ts";
import type { StateRecords } from "#state/store.ts";
import type { ClusterProgress } from "./progress.ts";
import { readShards } from "./progress-store.ts";
import { emptyProof, type ClusterProof } from "./proof.ts";
import { readProof } from "./proof-store.ts";
import { stretchesOf, type Stretch } from "./stretches.ts";

const HOUR_MS = 3_600_000;

/** What is known of the samples of one Prometheus of a cluster. */
export interface CollectionRecords {
  progress: ClusterProgress;
  proof: ClusterProof;
}

/** (from, to] in ms. */
interface Range {
  from: number;
  to: number;
}

/** A stretch as the bridge knows it. */
export interface KnownStretch extends StretchReport {
  /** What the Collector said about refused samples, at most 1 KiB. */
  detail: string | null;
}

interface CompletenessRequest extends Range {
  clusterId: string;
  /** Only this query. */
  query?: string | undefined;
}

export interface ClusterCompleteness {
  /** The length of a stretch, ms. */
  stretchMs: number;
  /** The most stretches that a range has: of all queries, or of one. */
  countMax(request: Omit<CompletenessRequest, "clusterId">): number;
  /**
   * The stretches that reach into the range, the oldest first. Throws BridgeError `cluster_not_found`, `request_invalid` (an unknown query)
   * and `state_*`.
   */
  read(request: CompletenessRequest): Promise<KnownStretch[]>;
}

export function createClusterCompleteness(
  deps: { registry: ClusterRegistry; store: StateRecords; turns: Turns },
  settings: { queries: readonly Query[]; stretchMs: number },
): ClusterCompleteness {
  const { queries } = settings;
  const stretchMs = settings.stretchMs === 0 ? HOUR_MS : settings.stretchMs;
  const wanted = (name: string | undefined): readonly Query[] =>
    name === undefined ? queries : queries.filter((query) => query.name === name);
  return {
    stretchMs,
    countMax: ({ query, from, to }) =>
      wanted(query).length * (Math.ceil(to / stretchMs) - Math.floor(from / stretchMs)),
    read: async ({ clusterId, query, from, to }) => {
      const clusters = await deps.registry.list();
      if (!clusters.some(({ id }) => id === clusterId))
        throw new BridgeError("cluster_not_found", `no cluster has the id "${clusterId}"`);
      const asked = wanted(query);
      if (query !== undefined && asked.length === 0) throw unknownQuery(query);
      const records = await readCollectionRecords(deps.store, clusterId, settings.stretchMs);
      const stretches: KnownStretch[] = [];
      for (const each of asked) {
        stretches.push(...stretchesOfQuery(each, records, { from, to }));
        await deps.turns.pause();
      }
      return stretches.sort((a, b) => a.from - b.from);
    },
  };
}

function unknownQuery(query: string): BridgeError {
  const problem = `no query of the catalogue has the name ${JSON.stringify(query)}`;
  return new BridgeError("request_invalid", `query: ${problem}`, {
    hint: "Send the name of a query of the catalogue (docs/queries.md and QUERIES_FILE list them), or leave it out.",
    details: { fields: [{ field: "query", problem }] },
  });
}

/**
 * The records of each shard of a cluster's Prometheus. `stretchMs`: 0 when samples are not counted; then stretches are hours. Throws BridgeError
 * `state_*`.
 */
export async function readCollectionRecords(
  store: StateRecords,
  clusterId: string,
  stretchMs: number,
): Promise<[CollectionRecords, ...CollectionRecords[]]> {
  const [first, ...others] = await readShards(store, clusterId);
  const withProof = async ({ recordId, progress }: typeof first): Promise<CollectionRecords> => ({
    progress,
    proof: stretchMs === 0 ? emptyProof(HOUR_MS) : await readProof(store, recordId, stretchMs),
  });
  return await Promise.all([withProof(first), ...others.map(withProof)]);
}

/** The last 24 hours of a cluster. `records`: one for each shard of its Prometheus. */
export async function summarize(
  queries: readonly Query[],
  records: readonly CollectionRecords[],
  nowMs: number,
  turns: Turns,
): Promise<CompletenessSummary> {
  const range = lastHours(nowMs);
  const tally = createTally(range);
  for (const query of queries) {
    tally.add(stretchesOfQuery(query, records, range));
    // There may be a thousand queries.
    await turns.pause();
  }
  return tally.summary();
}

/** The stretches of a query that reach into the range, the oldest first; the shards are one. */
export function stretchesOfQuery(
  query: Query,
  records: readonly CollectionRecords[],
  range: Range,
): KnownStretch[] {
  const [first = [], ...others] = records.map(({ progress, proof }) => {
    const state = progress.queries[query.name];
    return state ? stretchesOf(query, state, proof, range).map((part) => toKnown(query.name, part)) : [];
  });
  return others.reduce(mergeShards, first);
}

function toKnown(query: string, stretch: Stretch): KnownStretch {
  const { from, to, state, source, read, acknowledged, refused, late } = stretch;
  return {
    query,
    from,
    to,
    state,
    reason: stretch.reason ?? null,
    detail: stretch.detail ?? null,
    source,
    read,
    acknowledged,
    refused,
    late,
    comparedAt: stretch.comparedAt ?? null,
  };
}

/** Stretches of one query from two shards: the worst state counts, samples add up. Both lists are sorted. */
function mergeShards(one: readonly KnownStretch[], other: readonly KnownStretch[]): KnownStretch[] {
  const merged = new Map(one.map((stretch) => [stretch.from, stretch]));
  for (const stretch of other) {
    const known = merged.get(stretch.from);
    merged.set(stretch.from, known ? mergeStretch(known, stretch) : stretch);
  }
  return [...merged.values()].sort((a, b) => a.from - b.from);
}

function mergeStretch(a: KnownStretch, b: KnownStretch): KnownStretch {
  const worse = worseState(a.state!, b.state!) === a.state ? a : b;
  const counts = Object.fromEntries(
    SAMPLE_COUNTS.map((name) => [name, bothKnown(a[name], b[name], (x, y) => x + y)]),
  ) as Record<SampleCount, number | null>;
  return { ...worse, ...counts, comparedAt: bothKnown(a.comparedAt, b.comparedAt, Math.min) };
}

function bothKnown(
  a: number | null,
  b: number | null,
  join: (a: number, b: number) => number,
): number | null {
  return a === null || b === null ? null : join(a, b);
}
