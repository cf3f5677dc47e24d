import { BridgeError } from "#errors/error.ts";
import { createLimiter } from "#lib/limit.ts";
import { isConflict } from "#state/retry-on-conflict.ts";
import type { StateRecord, StateStore } from "#state/store.ts";
import type { Logger } from "#telemetry/logger.ts";
import { updateMembers } from "./members-index.ts";
import { leaseKey, MEMBERS_KEY, toLease, toMembers, type LeaseRecord } from "./records.ts";

/** A cluster that this replica owns. */
export interface Held {
  epoch: number;
  etag: string;
  ended: AbortController;
  /** The replica that should have it, and in how many scans that was so. */
  other?: { name: string; scans: number };
}

export type LeaseChange = "taken" | "returned" | "lost";

export interface LeasesDeps {
  store: StateStore;
  logger: Logger;
  self: { name: string; incarnation: string };
  /** Is the process alive that a lease names? */
  isAlive(name: string, incarnation: string | null): boolean;
  /** Throws state_*. */
  isRegistered(clusterId: string): Promise<boolean>;
  /** Looks at all replicas again. Throws state_unavailable. */
  look(): Promise<void>;
  changed(kind: LeaseChange): void;
}

/** Records of one bulk read. */
const READ_KEYS_MAX = 100;
const WRITES_AT_ONCE = 16;

/** The leases of this replica. A cluster is its own only if the stored record names it with its epoch. */
export class Leases {
  readonly #deps: LeasesDeps;
  readonly #held = new Map<string, Held>();
  readonly #write = createLimiter(WRITES_AT_ONCE);

  constructor(deps: LeasesDeps) {
    this.#deps = deps;
  }

  get held(): ReadonlyMap<string, Held> {
    return this.#held;
  }

  /** The stored leases, by cluster. Throws state_unavailable. */
  async read(clusterIds: readonly string[]): Promise<Map<string, StateRecord<unknown>>> {
    const found = new Map<string, StateRecord<unknown>>();
    for (let at = 0; at < clusterIds.length; at += READ_KEYS_MAX) {
      const ids = clusterIds.slice(at, at + READ_KEYS_MAX);
      const records = await this.#deps.store.getMany(ids.map(leaseKey));
      for (const id of ids) {
        const record = records.get(leaseKey(id));
        if (record) found.set(id, record);
      }
    }
    return found;
  }

  /**
   * Takes those of the clusters that have no live owner and are wanted, and again those that are this replica's by their records. `mayTake` is asked
   * right before and after each. Resolves to the clusters whose owner was another replica that died or ended. Throws state_unavailable.
   */
  async take(
    clusterIds: readonly string[],
    isWanted: (clusterId: string) => boolean,
    mayTake: () => boolean,
  ): Promise<string[]> {
    const others = clusterIds.filter((id) => !this.#held.has(id));
    const found = await this.read(others);
    const { self } = this.#deps;
    const orphans: string[] = [];
    const takeOne = async (id: string): Promise<void> => {
      if (!mayTake() || this.#held.has(id)) return;
      const before = toLease(found.get(id)?.value);
      if (!(await this.#takeOne(id, found.get(id), mayTake))) return;
      if (before && before.owner !== null && before.owner !== self.name) orphans.push(id);
    };
    const leaseOf = (id: string): LeaseRecord | undefined => toLease(found.get(id)?.value);
    const isOurs = (id: string): boolean => {
      const lease = leaseOf(id);
      return (lease !== undefined && this.#isOwn(lease)) || (isWanted(id) && this.#isFree(lease));
    };
    // The owner may have begun after the last look. It joined before it wrote the lease: a look from now on finds it.
    if (others.some((id) => isOurs(id) && isNamed(leaseOf(id), self))) await this.#deps.look();
    const free = others.filter(isOurs);
    await Promise.all(free.map((id) => this.#write(() => takeOne(id))));
    return orphans;
  }

  /** Reads the leases of these clusters again, and gives up those that are not this replica's any more. Throws state_unavailable. */
  async verify(clusterIds: readonly string[]): Promise<void> {
    const held = clusterIds.filter((id) => this.#held.has(id));
    const found = await this.read(held);
    for (const id of held) {
      if (this.#isHeldBy(id, toLease(found.get(id)?.value))) continue;
      // A bulk read may be old.
      await this.confirm(id);
    }
  }

  /** As `verify`, of one cluster. */
  async confirm(clusterId: string): Promise<boolean> {
    const held = this.#held.get(clusterId);
    const found = await this.#deps.store.get<unknown>(leaseKey(clusterId));
    if (this.#isHeldBy(clusterId, toLease(found?.value))) return true;
    if (held && this.#held.get(clusterId) === held) this.lose(clusterId, "another replica took it over");
    return false;
  }

  /** Ends the lease here; the record stays as it is. */
  lose(clusterId: string, why: string): void {
    const held = this.#held.get(clusterId);
    if (!held) return;
    this.#drop(clusterId, held, "lost", why);
  }

  #drop(clusterId: string, held: Held, kind: "returned" | "lost", why = "it gave it back"): void {
    this.#held.delete(clusterId);
    held.ended.abort(new BridgeError("lease_lost", `this replica does not own the cluster any more: ${why}`));
    this.#deps.changed(kind);
  }

  /** Ends the work under the lease, and keeps the lease until that has ended. */
  end(clusterId: string, why: string): void {
    this.#held
      .get(clusterId)
      ?.ended.abort(
        new BridgeError("lease_lost", `this replica does not collect the cluster any more: ${why}`),
      );
  }

  /**
   * Ends the lease of a cluster that is being deleted, so that nobody takes it. False: a live owner has not given it back yet, and `isPatient` says
   * to wait for that. Throws state_*.
   */
  async close(clusterId: string, isPatient: boolean): Promise<boolean> {
    const { store } = this.#deps;
    const found = await store.get<unknown>(leaseKey(clusterId));
    const lease = toLease(found?.value);
    if (lease?.deleting) return true;
    const isOthers = lease !== undefined && lease.owner !== null && !this.#isOwn(lease);
    if (isOthers && isPatient && this.#deps.isAlive(lease.owner!, lease.incarnation)) return false;
    const held = this.#held.get(clusterId);
    if (held) this.#drop(clusterId, held, "returned");
    const epoch = (lease?.epoch ?? (await this.#floor())) + 1;
    const closed: LeaseRecord = { owner: null, incarnation: null, epoch, deleting: true };
    try {
      await store.put(leaseKey(clusterId), closed, found?.etag);
    } catch (error) {
      if (!isConflict(error)) throw error;
      return false;
    }
    return true;
  }

  /** Removes the lease of a deleted cluster. One that takes its id begins with a higher epoch. Throws state_*. */
  async remove(clusterId: string): Promise<void> {
    const { store } = this.#deps;
    const lease = toLease((await store.get<unknown>(leaseKey(clusterId)))?.value);
    if (!lease) return;
    await updateMembers(store, (members) => {
      if (members.epoch_floor >= lease.epoch) return undefined;
      return { ...members, epoch_floor: lease.epoch };
    });
    await store.delete(leaseKey(clusterId));
  }

  /** Gives the cluster to whoever takes it: nothing of it may be under way. Throws state_*. */
  async giveBack(clusterId: string): Promise<void> {
    const held = this.#held.get(clusterId);
    if (!held) return;
    this.#drop(clusterId, held, "returned");
    const record: LeaseRecord = { owner: null, incarnation: null, epoch: held.epoch };
    await this.#write(() => this.#deps.store.put(leaseKey(clusterId), record, held.etag));
  }

  /** A record of the cluster has a higher epoch than its lease: the lease was lost, or the store forgot it. Throws state_*. */
  async raise(clusterId: string, epochSeen: number, mayTake: () => boolean): Promise<void> {
    const held = this.#held.get(clusterId);
    if (!held || !(await this.confirm(clusterId)) || held.epoch > epochSeen) return;
    this.lose(clusterId, `a record of it has the epoch ${epochSeen}, its lease had ${held.epoch}`);
    const found = await this.#deps.store.get<unknown>(leaseKey(clusterId));
    await this.#put(clusterId, epochSeen + 1, found?.etag, mayTake);
  }

  /**
   * Writes a new lease, also of a cluster whose lease names this replica already: another one may be about to take it, and only one of two writes
   * succeeds.
   */
  async #takeOne(
    clusterId: string,
    found: StateRecord<unknown> | undefined,
    mayTake: () => boolean,
  ): Promise<boolean> {
    const before = toLease(found?.value);
    const { self, logger, store } = this.#deps;
    try {
      // A cluster that was deleted has none; its records must not begin anew.
      if (!before && !(await this.#deps.isRegistered(clusterId))) return false;
      // What is no lease is replaced by one.
      if (found && !before) await store.delete(leaseKey(clusterId));
      const epoch = before ? before.epoch + 1 : (await this.#floor()) + 1;
      return await this.#put(clusterId, epoch, before && found ? found.etag : undefined, mayTake);
    } catch (error) {
      if (!isConflict(error)) {
        logger.warn({ err: error, cluster_id: clusterId, replica: self.name }, "a lease could not be taken");
      }
      return false;
    }
  }

  /** After any error of the save, the record says who has it, and whether it is this very lease. */
  async #put(
    clusterId: string,
    epoch: number,
    etag: string | undefined,
    mayTake: () => boolean,
  ): Promise<boolean> {
    const { store, self } = this.#deps;
    const record: LeaseRecord = { owner: self.name, incarnation: self.incarnation, epoch };
    let written: string;
    try {
      written = await store.put(leaseKey(clusterId), record, etag);
    } catch (error) {
      if (await this.#adopt(clusterId, epoch, mayTake)) return true;
      throw error;
    }
    return this.#hold(clusterId, epoch, written, mayTake);
  }

  /** The lease is this replica's if its record has this epoch. */
  async #adopt(clusterId: string, epoch: number, mayTake: () => boolean): Promise<boolean> {
    const found = await this.#deps.store.get<unknown>(leaseKey(clusterId));
    const stored = toLease(found?.value);
    if (!found || !stored || !this.#isOwn(stored) || stored.epoch !== epoch) return false;
    return this.#hold(clusterId, epoch, found.etag, mayTake);
  }

  #hold(clusterId: string, epoch: number, etag: string, mayTake: () => boolean): boolean {
    // The answer may have come so late that another replica has taken the cluster since.
    if (!mayTake() || this.#held.has(clusterId)) return false;
    this.#held.set(clusterId, { epoch, etag, ended: new AbortController() });
    this.#deps.changed("taken");
    return true;
  }

  /** Of a cluster without a lease: above the epochs of all deleted ones. */
  async #floor(): Promise<number> {
    return toMembers((await this.#deps.store.get<unknown>(MEMBERS_KEY))?.value).epoch_floor;
  }

  #isFree(lease: LeaseRecord | undefined): boolean {
    if (lease?.deleting) return false;
    return !lease || lease.owner === null || !this.#deps.isAlive(lease.owner, lease.incarnation);
  }

  #isOwn({ owner, incarnation }: LeaseRecord): boolean {
    const { self } = this.#deps;
    return owner === self.name && incarnation === self.incarnation;
  }

  #isHeldBy(clusterId: string, lease: LeaseRecord | undefined): boolean {
    return lease !== undefined && this.#isOwn(lease) && lease.epoch === this.#held.get(clusterId)?.epoch;
  }
}

/** Does the lease name another process? */
function isNamed(lease: LeaseRecord | undefined, self: { incarnation: string }): boolean {
  return lease !== undefined && lease.owner !== null && lease.incarnation !== self.incarnation;
}
