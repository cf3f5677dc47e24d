import { createClusterCompleteness } from "#collect/completeness.ts";
import { addInterval, missingIn, type Interval } from "#collect/intervals.ts";
import { progressKeys } from "#collect/progress-store.ts";
import {
  settledIntervals,
  watermarkOf,
  type ClusterProgress,
  type QueryProgress,
} from "#collect/progress.ts";
import type { LeaseRecord } from "#replicas/records.ts";
import type { StateRecords } from "#state/store.ts";
import type { Cast } from "./cast.ts";
import type { ChaosStore, StoreWrite } from "./dapr.ts";
import { PROOF, QUERIES } from "./replica.ts";
import { identityOf } from "./sink.ts";
import { SCRAPE_MS, samplesIn, type Source } from "./source.ts";
import { INTERVAL, LAG, MINUTE, type ChaosWorld } from "./world.ts";

/** Looks at each write of the store, and at everything when the faults are over. */
export interface Verdict {
  /** What must not be, as far as it was seen. */
  violations: string[];
  /** Each change of an owner. */
  trace: string[];
  /** Looks at what is stored, and at the owners, when the faults are long over. */
  look(): Promise<void>;
}

const VIOLATIONS_MAX = 20;

export function createVerdict(world: ChaosWorld, cast: Cast): Verdict {
  const violations: string[] = [];
  const trace: string[] = [];
  const note = (text: string): void => {
    const at = toTimeText(world.hosts.now());
    if (violations.length < VIOLATIONS_MAX) violations.push(`${at} ${text}`);
  };
  const commits = new Commits(note);
  const owners = new Owners(world, cast, note);
  world.store.onWrite = (write) => {
    if (/^(lease|member):/.test(write.key))
      trace.push(`${toTimeText(write.atMs)} ${write.key} ${JSON.stringify(write.value())}`);
    owners.see(write);
    commits.see(write);
  };
  return {
    violations,
    trace,
    look: async () => {
      owners.look();
      for (const identity of world.sink.conflicts) note(`stored with two values: ${identity}`);
      for (const id of cast.clusters.keys()) await lookAtCluster(world, id, note);
      for (const id of cast.deleted.keys()) lookAtDeleted(world.store, id, note);
    },
  };
}

export function toTimeText(ms: number): string {
  return new Date(ms).toISOString().slice(11, 23);
}

/** Which windows were committed, by the writes of the progress records. */
class Commits {
  readonly #note: (text: string) => void;
  /** By cluster and query. */
  readonly #committed = new Map<string, Interval[]>();
  /** As they are stored now. */
  readonly #stored = new Map<string, ClusterProgress>();

  constructor(note: (text: string) => void) {
    this.#note = note;
  }

  see({ key, by, value }: StoreWrite): void {
    if (!key.startsWith("progress:")) return;
    const now = value() as ClusterProgress | undefined;
    const then = this.#stored.get(key);
    if (now) this.#stored.set(key, now);
    else this.#stored.delete(key);
    if (!now) {
      for (const known of this.#committed.keys())
        if (known.startsWith(`${key}|`)) this.#committed.delete(known);
      return;
    }
    for (const [name, query] of Object.entries(now.queries)) {
      const old = then?.queries[name];
      this.#seeQuery(`${key}|${name}`, by, query, old);
    }
  }

  #seeQuery(key: string, by: string, query: QueryProgress, old: QueryProgress | undefined): void {
    const known = this.#committed.get(key) ?? [];
    const lost = (old?.committed ?? []).flatMap((window) => missingIn(window, settledIntervals(query)));
    if (lost.length > 0) this.#note(`${key}: ${by} took back ${textOf(lost)}`);
    const added = query.committed.flatMap((window) => missingIn(window, old?.committed ?? []));
    const twice = added.filter((window) => sumOf(missingIn(window, known)) < sumOf([window]));
    if (twice.length > 0) this.#note(`${key}: ${by} committed ${textOf(twice)} once more`);
    this.#committed.set(key, added.reduce(addInterval, known));
  }
}

/** Who owns a cluster, by the leases, and who writes its records. */
class Owners {
  readonly #world: ChaosWorld;
  readonly #cast: Cast;
  readonly #note: (text: string) => void;
  /** By cluster: the process that the newest lease names, and whether it has written the progress since. */
  readonly #owners = new Map<string, { process: string | null; epoch: number; hasBegun: boolean }>();

  constructor(world: ChaosWorld, cast: Cast, note: (text: string) => void) {
    this.#world = world;
    this.#cast = cast;
    this.#note = note;
  }

  see({ key, by, value }: StoreWrite): void {
    const [kind, id = ""] = key.split(":");
    if (kind === "lease") {
      const lease = value() as LeaseRecord | undefined;
      if (lease) this.#seeLease(id, lease);
      else this.#owners.delete(id);
    }
    if (kind === "progress" && value() !== undefined) this.#seeCommit(id, by);
    if (kind === "lease" || kind === "progress") this.#seeHolders(id);
  }

  #seeLease(id: string, { incarnation, epoch }: LeaseRecord): void {
    const known = this.#owners.get(id);
    if (known && (epoch < known.epoch || (epoch === known.epoch && incarnation !== null)))
      this.#note(`lease:${id} has the epoch ${epoch} after ${known.epoch}`);
    this.#owners.set(id, { process: incarnation, epoch, hasBegun: false });
  }

  /** A former owner may still commit until the new one has begun. */
  #seeCommit(id: string, by: string): void {
    const owner = this.#owners.get(id);
    if (owner?.process === by) owner.hasBegun = true;
    else if (!owner) this.#note(`progress:${id}: ${by} committed without a lease`);
    else if (owner.hasBegun) this.#note(`progress:${id}: ${by} committed after ${owner.process} had begun`);
  }

  /** A process whose machine was suspended can't know that its lease ran out: what it then writes is fenced. */
  #seeHolders(id: string): void {
    const holders = this.#cast.started.filter(
      ({ host, replicas }) => host.isAlive() && !host.wasSuspended() && replicas.holds(id),
    );
    if (holders.length > 1) this.#note(`${id} has the owners ${holders.map(({ host }) => host.name).join()}`);
  }

  look(): void {
    const running = this.#cast.started.filter(({ host }) => host.isAlive());
    for (const id of this.#cast.clusters.keys()) {
      const holders = running.filter(({ replicas }) => replicas.holds(id)).map(({ host }) => host.name);
      const lease = this.#world.store.valueOf(`lease:${id}`) as LeaseRecord | undefined;
      if (holders.length !== 1 || lease?.incarnation !== holders[0])
        this.#note(
          `${id} is owned by ${lease?.incarnation}, and held by ${holders.join(" and ") || "nobody"}`,
        );
    }
    for (const { host, replicas } of running)
      for (const id of replicas.leases().keys())
        if (!this.#cast.clusters.has(id)) this.#note(`${host.name} owns ${id}, which is deleted`);
  }
}

function sumOf(intervals: readonly Interval[]): number {
  return intervals.reduce((sum, [from, to]) => sum + to - from, 0);
}

function textOf(intervals: readonly Interval[]): string {
  return intervals
    .map(([from, to]) => `${new Date(from).toISOString()}/${new Date(to).toISOString()}`)
    .join();
}

function toRecords(store: ChaosStore): StateRecords {
  return {
    get: async (key) => {
      const value = store.valueOf(key);
      return await Promise.resolve(value === undefined ? undefined : { value: value as never, etag: "" });
    },
    put: () => Promise.reject(new Error("nothing is written here")),
    delete: () => Promise.reject(new Error("nothing is written here")),
  };
}

async function lookAtCluster(world: ChaosWorld, id: string, note: (text: string) => void): Promise<void> {
  const source = world.sources.get(id)!;
  const progress = world.store.valueOf(`progress:${id}`) as ClusterProgress | undefined;
  if (!progress) return note(`${id} was never collected`);
  for (const { name } of QUERIES) {
    const query = progress.queries[name];
    if (query) lookAtQuery(world, source, name, query, note);
    else note(`${id}: ${name} was never collected`);
  }
  await lookAtCompleteness(world, source, note);
}

/** Each sample of the source is stored, or lost with the Pod's volume and named so. */
function lookAtQuery(
  { hosts, sink }: ChaosWorld,
  source: Source,
  name: string,
  query: QueryProgress,
  note: (text: string) => void,
): void {
  const at = `${source.id}: ${name}`;
  const watermark = watermarkOf(query);
  const expected = hosts.now() - LAG - INTERVAL - INTERVAL / 2;
  if (watermark < expected) note(`${at}: the watermark is ${(expected - watermark) / 1000} s behind`);
  if (query.from > source.addedMs)
    note(`${at}: nothing was promised before ${textOf([[source.addedMs, query.from]])}`);
  const lost = query.gaps.filter(({ state }) => state === "lost");
  for (const { from, to } of lost)
    if (samplesIn(source, { fromMs: from, toMs: to }, name).length > 0)
      note(`${at}: ${textOf([[from, to]])} counts as lost, and the source has it`);
  for (const { series, timestampMs, value } of samplesIn(
    source,
    { fromMs: query.from, toMs: watermark },
    name,
  )) {
    const identity = identityOf(source.id, series.metric, series.labels, timestampMs);
    const stored = sink.points.get(identity);
    if (!stored) note(`${at}: ${new Date(timestampMs).toISOString()} is not stored`);
    else if (stored.value !== value) note(`${at}: ${identity} has another value`);
  }
}

/** What the API tells of the cluster's stretches is true. */
async function lookAtCompleteness(
  world: ChaosWorld,
  source: Source,
  note: (text: string) => void,
): Promise<void> {
  const completeness = createClusterCompleteness(
    {
      registry: { list: () => Promise.resolve([{ id: source.id } as never]) },
      store: toRecords(world.store),
      turns: { pause: () => undefined },
    },
    { queries: QUERIES, stretchMs: PROOF.stretchMs },
  );
  const nowMs = world.hosts.now();
  const progress = world.store.valueOf(`progress:${source.id}`) as ClusterProgress;
  const range = { from: nowMs - 60 * MINUTE, to: nowMs };
  for (const stretch of await completeness.read({ clusterId: source.id, ...range })) {
    const { query, from, to, state, reason } = stretch;
    const at = `${source.id}: ${query}: ${textOf([[from, to]])} is ${state} (${reason})`;
    const begin = Math.max(from, progress.queries[query]?.from ?? 0);
    const there = samplesIn(source, { fromMs: begin, toMs: to }, query);
    const isOld = to < nowMs - PROOF.delayMs - 2 * INTERVAL - LAG;
    if (isOld && state === "pending") note(`${at}, and ${to} is long ago`);
    if (state === "open" && isOld) note(at);
    // The time between the Pod's return and its first scrape counts as lost, too.
    if (state === "lost" && from >= source.oldestMs + SCRAPE_MS) note(at);
    if (state !== "proved") continue;
    const missing = there.filter(
      ({ series, timestampMs }) =>
        !world.sink.points.has(identityOf(source.id, series.metric, series.labels, timestampMs)),
    );
    if (missing.length > 0) note(`${at}, and ${missing.length} samples are not stored`);
    if (source.oldestMs === 0 && stretch.source !== null && stretch.source > there.length)
      note(`${at}: counted ${stretch.source} of ${there.length}`);
  }
}

function lookAtDeleted(store: ChaosStore, id: string, note: (text: string) => void): void {
  const left = [`cluster:${id}`, `lease:${id}`, ...progressKeys(id)].filter(
    (key) => store.valueOf(key) !== undefined,
  );
  if (left.length > 0) note(`${id} was deleted, and ${left.join()} is left`);
}
