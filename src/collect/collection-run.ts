import { BridgeError, toBridgeError } from "#errors/error.ts";
import { createLimiter } from "#lib/limit.ts";
import type { Query } from "#prometheus/catalogue.ts";
import type { Metadata } from "#prometheus/metadata.ts";
import { isPerSeries } from "#prometheus/promql.ts";
import type { CollectionRun } from "./collect-windows.ts";
import { decideShards } from "./decide-shards.ts";
import { reportLosses } from "./outcome.ts";
import type { OpenPrometheus, PrometheusConnection } from "./ports.ts";
import { createPodConnections, type PodConnections } from "./pod-connections.ts";
import type { CommitTarget } from "./progress-store.ts";
import type { ShardPods } from "./shard-decision.ts";
import { openShardFiles, type Shard, type ShardFiles } from "./shard-files.ts";
import {
  beginShard,
  collectShard,
  planUnread,
  type ShardRunDeps,
  type ShardRunSettings,
  type ShardSession,
} from "./shard-run.ts";
import type { ShardMembers } from "./sharding.ts";
import { addTotals, emptyTotals, type ReadTotals } from "./window-ledger.ts";

export type CollectionRunDeps = ShardRunDeps;

export interface CollectionRunSettings extends ShardRunSettings {
  /** Where committed windows are stored; undefined where only the Collector knows. */
  database?: CommitTarget;
}

/** The end of a collection of all shards. `skewMs`: the largest difference of a Prometheus' clock. */
export interface CollectionTotals {
  totals: ReadTotals;
  skewMs: number;
}

/**
 * Connects to the cluster's Prometheus and collects the open windows: of one Pod, or of each shard in turn. A shard that failed the last time
 * comes after the others, so that it can't use up their time. Throws BridgeError when it fails before the first window.
 */
export async function runCollection(
  deps: CollectionRunDeps,
  settings: CollectionRunSettings,
  run: CollectionRun,
): Promise<CollectionTotals> {
  const { cluster, file, signals } = run;
  const { link } = file.progress;
  const open: OpenPrometheus = (of, uid, signal) => deps.openPrometheus(of, uid, signal, link);
  const first = await open(cluster, file.progress.pod?.uid, signals.signal);
  const connections = createPodConnections(open, cluster, first, signals.signal);
  try {
    const ready = [first.pod, ...first.otherPods].sort((a, b) => (a.name < b.name ? -1 : 1));
    const pods = { ready, unready: first.unreadyPods };
    const decision = await decideShards(
      { clock: deps.clock, connections, logger: run.logger },
      settings,
      { cluster, progress: file.progress, pods },
      signals.signal,
    );
    const files = await openShardFiles(deps.store, cluster.id, file, decision, settings.database);
    const collection = new ShardCollection(deps, settings, run, connections, files);
    const { totals, skewMs } = await collection.collect(first, decision.warnings);
    const measured = first.link?.();
    if (measured) file.progress.link = measured;
    for (const error of decision.errors) totals.failures.push({ query: "prometheus.shards", error });
    return { totals, skewMs };
  } finally {
    await connections.close();
  }
}

/** One collection of the shards of a cluster. */
class ShardCollection {
  readonly #deps: CollectionRunDeps;
  readonly #settings: CollectionRunSettings;
  readonly #run: CollectionRun;
  readonly #connections: PodConnections;
  readonly #files: ShardFiles;
  /** The only one, without a number. */
  readonly #isOne: boolean;
  /** Queries that can't be collected from shards. */
  readonly #spanning: readonly Query[];
  readonly #totals = emptyTotals();
  /** Ends of the newest windows of the shards that were read. */
  readonly #ends = new Map<Shard, number>();
  #skewMs = 0;
  #sendingUp: Promise<void> | undefined;
  #isNodesSent = false;

  constructor(
    deps: CollectionRunDeps,
    settings: CollectionRunSettings,
    run: CollectionRun,
    connections: PodConnections,
    files: ShardFiles,
  ) {
    this.#deps = deps;
    this.#run = run;
    this.#connections = connections;
    this.#files = files;
    this.#isOne = files.shards.length + files.damaged.length === 1;
    const queries = settings.queries.filter((query) => this.#isOne || isReadByShard(query));
    this.#settings = { ...settings, queries };
    this.#spanning = settings.queries.filter((query) => !queries.includes(query));
    run.meter.expect(queries.length, files.shards.length);
  }

  async collect(
    { nodeNames, warnings }: Pick<PrometheusConnection, "nodeNames" | "warnings">,
    moreWarnings: readonly string[],
  ): Promise<CollectionTotals> {
    const { shards, damaged } = this.#files;
    for (const warning of [...warnings, ...moreWarnings]) this.#totals.warnings.add(warning);
    for (const { shard, error } of damaged) this.#fail(shard, error);
    const hasFailed = ({ members }: Shard): boolean => members?.failed === true;
    for (const group of [shards.filter((shard) => !hasFailed(shard)), shards.filter(hasFailed)]) {
      const sessions = await this.#begin(group);
      if (sessions.length > 0) await this.#sendNodes(nodeNames);
      const metadata = joinMetadata(sessions);
      for (const session of sessions) await this.#collectOne({ ...session, metadata });
    }
    if (this.#ends.size === 0) throw this.#totals.failures[0]!.error;
    await this.#planUnread();
    for (const { name } of this.#spanning)
      this.#totals.failures.push({ query: name, error: spansShards(name) });
    await this.#sendQueries();
    return { totals: this.#totals, skewMs: this.#skewMs };
  }

  /** Connects to shards, several at once. */
  async #begin(shards: readonly Shard[]): Promise<ShardSession[]> {
    const { lanes } = this.#settings;
    const limit = createLimiter(lanes);
    const { signal } = this.#run.signals;
    const onAnswer = (): Promise<void> => (this.#sendingUp ??= this.#run.report.sendUp(signal));
    const begin = (shard: Shard): Promise<ShardSession> =>
      beginShard(this.#deps, this.#settings, this.#connections, shard, onAnswer, signal);
    const begun = await Promise.all(
      shards.map((shard) => limit(() => this.#guarded(shard, () => begin(shard)))),
    );
    return begun.filter((session) => session !== undefined);
  }

  async #sendNodes(nodeNames: ReadonlyMap<string, string>): Promise<void> {
    if (this.#isNodesSent) return;
    this.#isNodesSent = true;
    // Before the samples: a reader of those finds the names of their nodes.
    const warnings = await this.#run.report.sendNodes(nodeNames, this.#run.signals.signal);
    for (const warning of warnings) this.#totals.warnings.add(warning);
  }

  async #collectOne(session: ShardSession): Promise<void> {
    const { shard, times } = session;
    const { members, file } = shard;
    const logger = members ? this.#run.logger.child({ shard: members.number }) : this.#run.logger;
    const peers = this.#files.shards.filter((other) => other !== shard).map((other) => other.file.progress);
    const run = { ...this.#run, file, logger, peers };
    const totals = await this.#guarded(shard, () => collectShard(this.#deps, this.#settings, run, session));
    if (!totals) return;
    this.#ends.set(shard, times.endMs);
    if (Math.abs(times.skewMs) >= Math.abs(this.#skewMs)) this.#skewMs = times.skewMs;
    if (members) setFailed(members, totals.failures.length > 0);
    addTotals(this.#totals, {
      ...totals,
      failures: totals.failures.map(({ query, error }) => ({ query, error: inShard(shard, error) })),
    });
  }

  /** A failure of one shard leaves the others; one of the Collector or the state store, or of the only Prometheus, ends the collection. */
  async #guarded<T>(shard: Shard, work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (thrown) {
      const error = toBridgeError(thrown);
      if (this.#isOne || /^(collector|state|lease)_/.test(error.code)) throw error;
      this.#fail(shard, error);
      return undefined;
    }
  }

  #fail(shard: ShardPods, error: BridgeError): void {
    if (shard.members) setFailed(shard.members, true);
    this.#totals.failures.push({ query: "*", error: inShard(shard, error) });
  }

  /** The open time of a shard that could not be read must be known, or the others' would look like the whole. */
  async #planUnread(): Promise<void> {
    const { metrics } = this.#deps;
    const endMs = Math.max(...this.#ends.values());
    for (const shard of this.#files.shards) {
      if (this.#ends.has(shard)) continue;
      const losses = planUnread(this.#deps, this.#settings, shard.file.progress, endMs);
      await shard.file.save();
      reportLosses(losses, metrics, this.#run.logger);
      this.#totals.losses.push(...losses);
      this.#ends.set(shard, endMs);
    }
  }

  async #sendQueries(): Promise<void> {
    const { report, signals } = this.#run;
    const { failures } = this.#totals;
    const isPointless = failures.some(({ error }) => error.code.startsWith("collector_"));
    // Without one of the records, the watermarks of the others would claim too much.
    if (signals.signal.aborted || isPointless || this.#files.damaged.length > 0) return;
    const ends = [...this.#ends].map(([{ file }, endMs]) => ({ progress: file.progress, endMs }));
    try {
      await report.sendQueries(ends, signals.signal);
    } catch (thrown) {
      failures.push({ query: "budcluster_query_*", error: toBridgeError(thrown) });
    }
  }
}

function setFailed(members: ShardMembers, isFailed: boolean): void {
  if (isFailed) members.failed = true;
  else delete members.failed;
}

/** Only in shards: what combines series can't be computed from a part of them. */
function isReadByShard(query: Query): boolean {
  return query.kind === "selector" || isPerSeries(query.promql);
}

function spansShards(name: string): BridgeError {
  const text = `the query ${name} combines series, and each shard has only a part of them`;
  return new BridgeError("prometheus_query_spans_shards", text, { details: { query: name } });
}

function inShard({ members }: ShardPods, error: BridgeError): BridgeError {
  if (!members) return error;
  const { number, name } = members;
  return new BridgeError(error.code, `shard ${number} (${name}): ${error.message}`, {
    cause: error,
    hint: error.hint,
    details: { ...error.details, shard: number, shard_name: name },
  });
}

/** A metric must be of the same kind in all shards: each decides by what all of them say, the first one first. */
function joinMetadata(sessions: readonly ShardSession[]): Metadata {
  const [first, ...others] = sessions;
  if (!first || others.length === 0) return first?.metadata ?? new Map();
  return new Map(sessions.toReversed().flatMap(({ metadata }) => [...metadata]));
}
