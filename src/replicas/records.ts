/** What a replica says of itself, in `member:<name>`. Only the replica itself writes it. */
export interface MemberRecord {
  /** Of the process: another one may take the same name after it. */
  incarnation: string;
  /** Counts the renewals of one process. */
  beat: number;
  /** The replica counts as alive until then, by its own clock, ms. */
  until: number;
  started_at: number;
  /** Of the program. */
  version: string;
  /** Clusters that it owns. */
  clusters: number;
  /** false: it owns none and takes none (METRICS_COLLECTION_ENABLED=false). */
  collects: boolean;
  /** It ended and gave everything back. */
  gone?: true;
}

/** The record `members`: stores can't list their keys. */
export interface MembersRecord {
  names: string[];
  /** No cluster that was deleted had a higher epoch: a cluster that takes its id later begins above it. */
  epoch_floor: number;
}

/** Who collects a cluster, in `lease:<cluster id>`. Written only when the owner changes. */
export interface LeaseRecord {
  /** A replica's name; null: nobody. */
  owner: string | null;
  /** Of the owner's process. */
  incarnation: string | null;
  /** Grows with each owner. */
  epoch: number;
  /** The cluster is being deleted: nobody may take it. */
  deleting?: true;
}

export const MEMBERS_KEY = "members";
export const memberKey = (name: string): string => `member:${name}`;
export const leaseKey = (clusterId: string): string => `lease:${clusterId}`;

/** Undefined for what is no such record. */
export function toMember(value: unknown): MemberRecord | undefined {
  const record = (value ?? {}) as Partial<MemberRecord>;
  const { incarnation, beat, until, started_at, version, clusters, collects } = record;
  const isOne =
    typeof incarnation === "string" &&
    typeof version === "string" &&
    typeof collects === "boolean" &&
    [beat, until, started_at, clusters].every((number) => Number.isFinite(number));
  return isOne ? (record as MemberRecord) : undefined;
}

export function toMembers(value: unknown): MembersRecord {
  const { names, epoch_floor } = (value ?? {}) as Partial<MembersRecord>;
  return {
    names: Array.isArray(names) ? names.filter((name) => typeof name === "string") : [],
    epoch_floor: Number.isSafeInteger(epoch_floor) ? epoch_floor! : 0,
  };
}

/** Undefined for what is no such record. */
export function toLease(value: unknown): LeaseRecord | undefined {
  const { owner, incarnation, epoch, deleting } = (value ?? {}) as Partial<LeaseRecord>;
  const isText = (text: unknown): boolean => text === null || typeof text === "string";
  if (!isText(owner) || !isText(incarnation) || !Number.isSafeInteger(epoch)) return undefined;
  const lease = { owner: owner!, incarnation: incarnation!, epoch: epoch! };
  return deleting === true ? { ...lease, deleting } : lease;
}
