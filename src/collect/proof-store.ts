import { BridgeError } from "#errors/error.ts";
import { createRecord } from "#lib/records.ts";
import type { StateRecords } from "#state/store.ts";
import type { Interval } from "./intervals.ts";
import { emptyProof, type ClusterProof, type SampleCounts, type StretchProof } from "./proof.ts";

/** One cluster's record of counts while it is being collected. */
export interface ProofFile {
  proof: ClusterProof;
  /** Why the counts begin anew, if they do. */
  restart: string | undefined;
  /** Throws BridgeError `state_*`. */
  save(): Promise<void>;
}

/** The state record `proof:<cluster id>`. Members that have their usual value are left out: there are thousands of stretches. */
interface StoredProof {
  version: 1;
  stretch_ms: number;
  /** The Pods that stretches were read from: a stretch has the index of its own. */
  pods: string[];
  queries: Record<
    string,
    { promql_hash: string; from: number; late_total?: number; stretches: StoredStretch[] }
  >;
}

interface StoredStretch {
  /** Its start, in lengths of a stretch since the epoch. */
  n: number;
  acknowledged: number;
  refused?: number;
  histograms?: number;
  /** Absent: all of the stretch is counted. */
  counted_ms?: number;
  /** Absent: the first one. -1: several. */
  pod?: number;
  source?: number;
  compared_at?: number;
  comparisons?: number;
  late?: number;
  rereads?: number;
  failures?: number;
  reread?: { settled: Interval[]; counts: SampleCounts };
  unproved?: Exclude<StretchProof["unproved"], null>;
}

const DAMAGED = "the record of its counts is damaged";

export function proofKey(clusterId: string): string {
  return `proof:${clusterId}`;
}

/** The counts of a cluster; empty when there are none or when they can't be read. Throws BridgeError `state_unavailable`. */
export async function readProof(
  store: StateRecords,
  clusterId: string,
  stretchMs: number,
): Promise<ClusterProof> {
  return (await load(store, clusterId, stretchMs)).proof;
}

/**
 * Loads the record for writing. A record that is damaged or about stretches of another length is replaced: time that was read before has no
 * proof then. Throws BridgeError `state_unavailable`.
 */
export async function openProof(
  store: StateRecords,
  clusterId: string,
  stretchMs: number,
): Promise<ProofFile> {
  const { proof, restart, etag: stored, isDamaged } = await load(store, clusterId, stretchMs);
  let etag = stored;
  if (isDamaged) await store.delete(proofKey(clusterId));
  return {
    proof,
    restart,
    save: async () => {
      etag = await store.put(proofKey(clusterId), toStored(proof), etag);
    },
  };
}

interface LoadedProof {
  proof: ClusterProof;
  restart: string | undefined;
  etag: string | undefined;
  isDamaged?: true;
}

async function load(store: StateRecords, clusterId: string, stretchMs: number): Promise<LoadedProof> {
  const proof = emptyProof(stretchMs);
  try {
    const record = await store.get<unknown>(proofKey(clusterId));
    if (!record) return { proof, restart: undefined, etag: undefined };
    const { etag } = record;
    const stored = record.value;
    if (!isStored(stored)) return { proof, restart: DAMAGED, etag };
    if (stored.stretch_ms !== stretchMs) return { proof, restart: "PROOF_STRETCH was changed", etag };
    return { proof: fromStored(stored), restart: undefined, etag };
  } catch (error) {
    if (!(error instanceof BridgeError) || error.code !== "state_record_damaged") throw error;
    return { proof, restart: DAMAGED, etag: undefined, isDamaged: true };
  }
}

/** Checks the frame only: the program itself wrote the record. */
function isStored(value: unknown): value is StoredProof {
  const { version, pods, queries } = (value ?? {}) as Partial<StoredProof>;
  if (version !== 1 || !Array.isArray(pods) || typeof queries !== "object" || queries === null) return false;
  return Object.values(queries).every((query: StoredProof["queries"][string] | null) =>
    Array.isArray(query?.stretches),
  );
}

function toStored({ stretchMs, queries }: ClusterProof): StoredProof {
  const pods = new Map<string, number>();
  const stored: StoredProof = { version: 1, stretch_ms: stretchMs, pods: [], queries: createRecord() };
  for (const [name, { promqlHash, from, lateTotal, stretches }] of Object.entries(queries)) {
    stored.queries[name] = {
      promql_hash: promqlHash,
      from,
      ...(lateTotal > 0 ? { late_total: lateTotal } : {}),
      stretches: stretches.map((stretch) => {
        if (stretch.pod !== "" && !pods.has(stretch.pod)) pods.set(stretch.pod, pods.size);
        return toStoredStretch(stretch, stretchMs, pods.get(stretch.pod) ?? -1);
      }),
    };
  }
  stored.pods = [...pods.keys()];
  return stored;
}

function toStoredStretch(stretch: StretchProof, stretchMs: number, pod: number): StoredStretch {
  const { counts, countedMs, source, comparedAt, comparisons, late, rereads, failures, reread, unproved } =
    stretch;
  return {
    n: stretch.from / stretchMs,
    acknowledged: counts.acknowledged,
    ...(counts.refused > 0 ? { refused: counts.refused } : {}),
    ...(counts.histograms > 0 ? { histograms: counts.histograms } : {}),
    ...(countedMs === stretchMs ? {} : { counted_ms: countedMs }),
    ...(pod === 0 ? {} : { pod }),
    ...(source === null ? {} : { source }),
    ...(comparedAt === null ? {} : { compared_at: comparedAt }),
    ...(comparisons > 0 ? { comparisons } : {}),
    ...(late > 0 ? { late } : {}),
    ...(rereads > 0 ? { rereads } : {}),
    ...(failures > 0 ? { failures } : {}),
    ...(reread ? { reread } : {}),
    ...(unproved ? { unproved } : {}),
  };
}

function fromStored({ stretch_ms: stretchMs, pods, queries }: StoredProof): ClusterProof {
  const proof = emptyProof(stretchMs);
  for (const [name, { promql_hash, from, late_total = 0, stretches }] of Object.entries(queries)) {
    proof.queries[name] = {
      promqlHash: promql_hash,
      from,
      lateTotal: late_total,
      stretches: stretches.map((stored) => ({
        from: stored.n * stretchMs,
        counts: {
          acknowledged: stored.acknowledged,
          refused: stored.refused ?? 0,
          histograms: stored.histograms ?? 0,
        },
        countedMs: stored.counted_ms ?? stretchMs,
        pod: pods[stored.pod ?? 0] ?? "",
        source: stored.source ?? null,
        comparedAt: stored.compared_at ?? null,
        comparisons: stored.comparisons ?? 0,
        late: stored.late ?? 0,
        rereads: stored.rereads ?? 0,
        failures: stored.failures ?? 0,
        reread: stored.reread ?? null,
        unproved: stored.unproved ?? null,
      })),
    };
  }
  return proof;
}
