import { BridgeError, toBridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import type { ReplicaReport } from "#lib/replica-report.ts";
import type { StateStore } from "#state/store.ts";
import type { Logger } from "#telemetry/logger.ts";
import { Leases, type LeaseChange } from "./leases.ts";
import { Membership, type Self } from "./membership.ts";
import { Others, type Watched } from "./others.ts";
import { ageOf, toReplicaReport } from "./replica-report.ts";
import { toLease } from "./records.ts";
import { PreferredOwners } from "./rendezvous.ts";
import { LOOK_MS, OWN_MS, RENEW_AGAIN_MS, RENEW_MS, SCAN_MS } from "./times.ts";

export interface ReplicasDeps {
  store: StateStore;
  clock: Clock;
  logger: Logger;
  /** The clusters that are collected, by id. Throws state_*. */
  listClusters: () => Promise<readonly string[]>;
  /** Is it one of them now? `listClusters` may give what was known before the store stopped answering. Throws state_*. */
  isRegistered: (clusterId: string) => Promise<boolean>;
  metrics: { leaseChanged(kind: LeaseChange): void };
}

/** A cluster that this replica may collect and commit now. */
export interface Lease {
  /** Each record that is committed has it: a former owner's is lower. */
  epoch: number;
  /** Aborted with lease_lost. */
  signal: AbortSignal;
}

/** The work on the clusters of this replica. */
export interface ClusterWork {
  /** The owner of these clusters died or ended: they wait no longer. */
  collectNow(clusterIds: readonly string[]): void;
  /** Is it being collected, or waits for its turn? */
  isBusy(clusterId: string): boolean;
}

/** A cluster is given back when another replica should have it in this many scans. */
const SCANS = 2;
/** Longer than a scan and the end of the work that it ends; also longer than a replica that hangs has its leases. */
const CLOSE_MS = OWN_MS + SCAN_MS;
const CLOSE_LOOK_MS = 500;

/**
 * The replicas of the program over one state store, and which of them owns which cluster. Every replica renews a record of its own; a cluster has a
 * lease that names its owner and changes only with it. No error of the store ends anything here.
 */
export class Replicas {
  readonly #deps: ReplicasDeps;
  readonly #self: Self;
  readonly #membership: Membership;
  readonly #others: Others;
  readonly #leases: Leases;
  readonly #preferred = new PreferredOwners();
  readonly #stops: (() => void)[] = [];
  /** Those that are collected, as the last scan found them. */
  #clusters: readonly string[] = [];
  #scanning: Promise<void> | undefined;
  /** Counts the times that this replica's record was good without a break. */
  #generation = 0;
  #cancelLapse: () => void = () => {};
  #cancelRenew: () => void = () => {};
  #isStopping = false;
  #work: ClusterWork = { collectNow: () => {}, isBusy: () => false };

  constructor(deps: ReplicasDeps, self: Self) {
    const { store, logger } = deps;
    this.#deps = deps;
    this.#self = self;
    this.#others = new Others(deps);
    this.#membership = new Membership(deps, self, () => this.#leases.held.size);
    this.#leases = new Leases({
      store,
      logger,
      self,
      isAlive: (name, incarnation) => this.#isAlive(name, incarnation),
      look: () => this.#others.look(),
      isRegistered: (clusterId) => deps.isRegistered(clusterId),
      changed: (kind) => deps.metrics.leaseChanged(kind),
    });
  }

  /** Joins the others; goes on trying in the background while the store does not answer. Never throws. */
  async start(): Promise<void> {
    await this.#renew();
    await this.#look();
    this.#renewLater();
    this.#repeat(LOOK_MS, () => this.#look());
    this.#repeat(SCAN_MS, () => this.#scan());
  }

  /** Before anything is collected. */
  follow(work: ClusterWork, watched?: Watched): void {
    this.#work = work;
    this.#others.follow(watched);
  }

  get name(): string {
    return this.#self.name;
  }

  /** Gives everything back at once: nothing may be under way any more. Never throws. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    for (const stop of [...this.#stops, this.#cancelLapse, this.#cancelRenew]) stop();
    await this.#scanning;
    try {
      await this.#membership.leave();
    } catch (error) {
      this.#deps.logger.warn({ err: error }, "this replica could not say that it ends");
    }
  }

  /** The leases of those of the clusters that this replica owns now; it takes what is free and its own by the hash. Throws state_*. */
  async claim(clusterIds: readonly string[]): Promise<ReadonlyMap<string, Lease>> {
    if (!this.#membership.isValid) await this.#renew();
    if (!this.#membership.isValid) throw this.#lapsed();
    const known = [...this.#leases.held.keys()];
    try {
      await this.#takeFree(clusterIds, "also its own by their records");
      await this.#leases.verify(known);
    } catch (error) {
      // What was known is good as long as this replica's own record is.
      if (known.length === 0) throw error;
      this.#deps.logger.warn({ err: error }, "the leases can't be read; those that are known are used");
    }
    return this.leases();
  }

  /** The leases that are good now. */
  leases(): ReadonlyMap<string, Lease> {
    if (!this.#membership.isValid) return new Map();
    const { held } = this.#leases;
    const good = [...held].filter(([, { ended }]) => !ended.signal.aborted);
    return new Map(good.map(([id, { epoch, ended }]) => [id, { epoch, signal: ended.signal }]));
  }

  /** Is this the epoch of a lease that is good now? */
  holds(clusterId: string): boolean {
    return this.#membership.isValid && this.#leases.held.has(clusterId);
  }

  /** Does this replica know how the cluster fares? Also while it can't know who owns it: then perhaps nobody knows better. */
  knows(clusterId: string): boolean {
    return !this.#membership.isValid || this.#leases.held.has(clusterId);
  }

  /** The collection of the cluster has ended, and writes nothing any more. `epochSeen`: of a record that ended it. Never throws. */
  async ended(clusterId: string, epochSeen?: number): Promise<void> {
    try {
      if (epochSeen !== undefined) await this.#leases.raise(clusterId, epochSeen, this.#mayTake());
      const other = this.#leases.held.get(clusterId)?.other;
      if (!other || other.scans < SCANS || !this.#owners().includes(other.name)) return;
      await this.#leases.giveBack(clusterId);
    } catch (error) {
      this.#deps.logger.warn({ err: error, cluster_id: clusterId }, "a lease could not be given back");
    }
  }

  /**
   * Of a cluster that is being deleted: resolves when no replica works on it any more, and none can begin. A replica that does not give it back is waited
   * for until its own record may have run out. Throws state_*.
   */
  async close(clusterId: string): Promise<void> {
    const { clock } = this.#deps;
    const end = clock.monotonic() + CLOSE_MS;
    while (!(await this.#leases.close(clusterId, clock.monotonic() < end))) {
      await new Promise<void>((resolve) => void clock.after(CLOSE_LOOK_MS, resolve));
    }
  }

  /** Of a cluster that is deleted. Throws state_*. */
  async remove(clusterId: string): Promise<void> {
    await this.#leases.remove(clusterId);
  }

  /** Why nothing is collected here, if that is so. */
  problems(): string[] {
    return this.#membership.isValid ? [] : [this.#lapsed().message];
  }

  /** The owners of clusters, null for none that is alive. Throws state_unavailable. */
  async owners(clusterIds: readonly string[]): Promise<ReadonlyMap<string, string | null>> {
    const found = await this.#leases.read(clusterIds);
    return new Map(
      clusterIds.map((id) => {
        const lease = toLease(found.get(id)?.value);
        const isOwned = lease?.owner != null && this.#isAlive(lease.owner, lease.incarnation);
        return [id, isOwned ? lease.owner : null];
      }),
    );
  }

  /** This replica first, then the others by name. */
  replicas(): ReplicaReport[] {
    const nowMs = this.#deps.clock.now();
    const { name, version, collects } = this.#self;
    const self: ReplicaReport = {
      name,
      version,
      alive: this.#membership.isValid,
      collects,
      ...ageOf(this.#membership.startedAtMs, nowMs),
      clusters: this.leases().size,
    };
    const others = this.#others.watch.all().filter((other) => other.name !== name);
    return [
      self,
      ...others.map((other) => toReplicaReport(other, nowMs)).sort((a, b) => (a.name < b.name ? -1 : 1)),
    ];
  }

  facts(): { alive: number; owned: number; unowned: number; recordAgeMs: number } {
    const alive = this.replicas().filter((replica) => replica.alive);
    const owned = alive.reduce((sum, { clusters }) => sum + clusters, 0);
    return {
      alive: alive.length,
      owned: this.leases().size,
      unowned: Math.max(0, this.#clusters.length - owned),
      recordAgeMs: this.#membership.ageMs,
    };
  }

  async #renew(): Promise<void> {
    const wasValid = this.#membership.isValid;
    if (!(await this.#membership.renew())) return;
    if (!wasValid) {
      // What was taken while it was not good may have another owner since.
      this.#lapse();
      await this.#enlist();
    }
    this.#lapseLater();
  }

  /** The lease of each cluster ends with this replica's own record, to the moment. */
  #lapseLater(): void {
    this.#cancelLapse();
    if (this.#isStopping) return;
    this.#cancelLapse = this.#deps.clock.after(this.#membership.leftMs, () => {
      if (!this.#membership.isValid) this.#lapse();
    });
  }

  #renewLater(): void {
    if (this.#isStopping) return;
    const waitMs = this.#membership.problem ? RENEW_AGAIN_MS : RENEW_MS;
    this.#cancelRenew = this.#deps.clock.after(
      waitMs,
      () => void this.#renew().then(() => this.#renewLater()),
    );
  }

  #repeat(ms: number, run: () => Promise<void>): void {
    let cancel = (): void => {};
    const next = (): void => {
      cancel = this.#deps.clock.after(ms, () => {
        void run().then(() => {
          if (!this.#isStopping) next();
        });
      });
    };
    next();
    this.#stops.push(() => cancel());
  }

  #lapse(): void {
    this.#generation++;
    const why = "its own record could not be renewed in the state store";
    for (const id of this.#leases.held.keys()) this.#leases.lose(id, why);
  }

  async #enlist(): Promise<void> {
    try {
      await this.#membership.enlist();
    } catch (error) {
      this.#deps.logger.warn({ err: error }, "this replica is not on the list of all replicas yet");
    }
  }

  async #look(): Promise<void> {
    try {
      await this.#others.look();
      if (!this.#others.isListed(this.#self.name) && this.#membership.isValid) await this.#enlist();
    } catch (error) {
      this.#deps.logger.debug({ err: error }, "the other replicas can't be seen");
    }
  }

  /** Joins the scan under way, or begins one. Never throws. */
  async #scan(): Promise<void> {
    this.#scanning ??= this.#scanClusters().finally(() => (this.#scanning = undefined));
    await this.#scanning;
  }

  async #scanClusters(): Promise<void> {
    const { listClusters, logger } = this.#deps;
    if (!this.#membership.isValid || !this.#self.collects || this.#isStopping) return;
    try {
      const clusters = await listClusters();
      this.#clusters = clusters;
      this.#noteOthers();
      const orphans = await this.#takeFree(clusters, "by the hash");
      if (orphans.length > 0 && !this.#isStopping) this.#work.collectNow(orphans);
      await this.#giveBackUnlisted(new Set(clusters));
      await this.#others.forgetDead();
    } catch (error) {
      logger.debug({ err: toBridgeError(error) }, "the clusters can't be scanned");
    }
  }

  /** Clusters that were deleted or disabled, on whichever replica: the work on them ends, and then the lease. */
  async #giveBackUnlisted(clusters: ReadonlySet<string>): Promise<void> {
    for (const [id, { ended }] of this.#leases.held) {
      if (!clusters.has(id)) this.#leases.end(id, "it was deleted or disabled");
      if (ended.signal.aborted && !this.#work.isBusy(id)) await this.#leases.giveBack(id);
    }
  }

  /**
   * Takes what is free and this replica's by the hash. A record may name it although it holds no lease, when a write's answer was lost or its own record
   * ran out: only it can take such a cluster, and only a look at all leases finds it.
   */
  async #takeFree(
    clusters: readonly string[],
    which: "by the hash" | "also its own by their records",
  ): Promise<string[]> {
    if (!this.#self.collects) return [];
    const owners = this.#owners();
    const isPreferred = (id: string): boolean => this.#preferred.of(owners, id) === this.#self.name;
    const asked = which === "by the hash" ? clusters.filter(isPreferred) : clusters;
    return await this.#leases.take(asked, isPreferred, this.#mayTake());
  }

  /** Is this replica's record good, and has it been since now? */
  #mayTake(): () => boolean {
    const generation = this.#generation;
    return () => this.#membership.isValid && !this.#isStopping && this.#generation === generation;
  }

  /** Which clusters should another replica have? */
  #noteOthers(): void {
    const owners = this.#owners();
    for (const [id, held] of this.#leases.held) {
      const name = this.#preferred.of(owners, id);
      if (name === undefined || name === this.#self.name) delete held.other;
      else held.other = { name, scans: held.other?.name === name ? held.other.scans + 1 : 1 };
    }
  }

  /** Replicas that may own clusters, with this one. */
  #owners(): string[] {
    const others = this.#others.watch.owners().filter((name) => name !== this.#self.name);
    return this.#self.collects ? [...others, this.#self.name] : others;
  }

  #isAlive(name: string, incarnation: string | null): boolean {
    if (name !== this.#self.name) return this.#others.watch.isAlive(name, incarnation);
    return incarnation === this.#self.incarnation && this.#membership.isValid;
  }

  #lapsed(): BridgeError {
    const { problem } = this.#membership;
    const why = problem?.message ?? "its record was not renewed in time";
    return new BridgeError(problem?.code ?? "state_unavailable", `nothing is collected here: ${why}`);
  }
}
