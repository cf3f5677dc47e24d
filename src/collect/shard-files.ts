import { toBridgeError, type BridgeError } from "#errors/error.ts";
import { createRecord } from "#lib/records.ts";
import type { StateRecords } from "#state/store.ts";
import type { ShardDecision, ShardPods } from "./shard-decision.ts";
import type { ClusterProgress } from "./progress.ts";
import { deleteShard, openProgress, type CommitTarget, type ProgressFile } from "./progress-store.ts";
import { proofKey } from "./proof-store.ts";

/** A shard with its progress; the only one where the Pods are replicas. */
export interface Shard extends ShardPods {
  file: ProgressFile;
}

export interface ShardFiles {
  shards: Shard[];
  /** Shards whose progress record is damaged. */
  damaged: { shard: ShardPods; error: BridgeError }[];
}

/** Opens the progress of each shard; `first` is the cluster's own record. Throws BridgeError `state_*`. */
export async function openShardFiles(
  store: StateRecords,
  clusterId: string,
  first: ProgressFile,
  decision: ShardDecision,
  database: CommitTarget | undefined,
): Promise<ShardFiles> {
  const open = async (number: number): Promise<ProgressFile> =>
    number === 0 ? first : await openProgress(store, clusterId, database, number);
  const { move } = decision;
  if (move?.from === 0) await giveAway(store, first, await open(move.to));
  else if (move) {
    await takeOver(store, first, await open(move.from));
    await deleteShard(store, clusterId, move.from);
  }
  for (const number of decision.dropped) await deleteShard(store, clusterId, number);
  const files: ShardFiles = { shards: [], damaged: [] };
  for (const shard of decision.shards) {
    try {
      const file = await open(shard.members?.number ?? 0);
      if (file !== first) beginLike(file.progress, first.progress);
      if (file !== first && file.restart !== undefined)
        decision.warnings.push(
          `shard ${shard.members!.number}: ${file.restart}: everything back to MAX_BACKFILL is read again`,
        );
      files.shards.push({ ...shard, file });
    } catch (thrown) {
      const error = toBridgeError(thrown, "state_unavailable");
      if (error.code !== "state_record_damaged") throw error;
      files.damaged.push({ shard, error });
    }
  }
  return files;
}

/** The first record was about another shard: its progress moves there, and the first shard begins where that one did. */
async function giveAway(store: StateRecords, first: ProgressFile, other: ProgressFile): Promise<void> {
  copyProgress(first.progress, other.progress);
  await other.save();
  await store.delete(proofKey(first.recordId));
  const begin = beginOf(first.progress);
  Object.assign(first.progress, { queries: createRecord(), pod: null, begin_from: begin });
  delete first.progress.up_seen;
}

/** The first shard is gone: another one takes its number, with its progress. */
async function takeOver(store: StateRecords, first: ProgressFile, other: ProgressFile): Promise<void> {
  copyProgress(other.progress, first.progress);
  await store.delete(proofKey(first.recordId));
  await first.save();
}

function copyProgress(from: ClusterProgress, to: ClusterProgress): void {
  to.queries = from.queries;
  to.pod = from.pod;
  if (from.up_seen === undefined) delete to.up_seen;
  else to.up_seen = from.up_seen;
}

/**
 * A shard that is found later begins where the cluster's collection began: its samples since then were missed. What is older than the oldest
 * sample that it has was never promised.
 */
function beginLike(shard: ClusterProgress, first: ClusterProgress): void {
  if (Object.keys(shard.queries).length > 0 || shard.restart_from !== undefined) return;
  const begin = beginOf(first);
  if (begin !== undefined) shard.begin_from = begin;
}

function beginOf({ queries, begin_from }: ClusterProgress): number | undefined {
  const froms = Object.values(queries).map(({ from }) => from);
  if (begin_from !== undefined) froms.push(begin_from);
  return froms.length === 0 ? undefined : Math.min(...froms);
}
