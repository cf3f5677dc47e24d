import type { Cluster } from "#clusters/cluster.ts";
import type { ClusterDiagnosis } from "#diagnose/cluster.ts";
import { recordFailure } from "#collect/failed-collection.ts";
import type { ClusterResult } from "#collect/status.ts";
import { BridgeError, toBridgeError } from "#errors/error.ts";
import type { FoundServices } from "#onboard/find-services.ts";
import { assert } from "#lib/assert.ts";
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { Operation } from "./messages.ts";
import type { ClusterWork, Work, WorkPorts } from "./ports.ts";
import { Quarantine, type QuarantineSettings } from "./quarantine.ts";
import { Worker, WorkerEnded, type CallSignals, type SpawnWorker, type WorkerLimits } from "./worker.ts";

export interface PoolDeps {
  clock: Clock;
  logger: Logger;
  ports: WorkPorts;
  spawn: SpawnWorker;
  metrics: { workerEnded(reason: string): void };
}

export interface PoolSettings {
  workers: number;
  limits: WorkerLimits;
  quarantine: QuarantineSettings;
  /** For `createWork` of the worker; JSON and secrets. */
  work: unknown;
}

/** How a call needs its worker. */
type Company = "any" | "trial" | "alone";

/** A call that waits for a worker. */
interface Waiting {
  company: Company;
  take: (slot: Slot) => void;
}

/** A place for one worker, and the calls that work in it now. */
interface Slot {
  worker: Worker | undefined;
  /** Ordinary calls. */
  shared: number;
  /** Calls that were tried alone and did no harm in that time. */
  tried: number;
  /** A call is tried alone. */
  isTrial: boolean;
  /** Workers that ended before they were ready, one after another. */
  failedStarts: number;
}

/** What a suspect does, it does in this time; after it others may join. */
const TRIAL_MS = 15_000;

/** A call's place, while it has one. */
interface Place {
  worker: Worker;
  /** Is the call alone there? */
  isTrial(): boolean;
  leave(): void;
}

/** A worker that is only being replaced is no problem; one that failed to start so often is. */
const STARTS_MANY = 3;
const RESTART_MS_MIN = 500;
const RESTART_MS_MAX = 30_000;

/**
 * Runs the work on clusters in worker processes. A worker that ends is replaced, and its clusters are tried again at once, each with a worker
 * for itself; the one that ends that as well is put aside (`Quarantine`). The others wait for their turn meanwhile.
 */
export class Pool implements Work {
  readonly #deps: PoolDeps;
  readonly #settings: PoolSettings;
  readonly #quarantine: Quarantine;
  readonly #slots: Slot[];
  readonly #waiting: Waiting[] = [];
  #isClosed = false;

  constructor(deps: PoolDeps, settings: PoolSettings) {
    this.#deps = deps;
    this.#settings = settings;
    this.#quarantine = new Quarantine(deps.clock, settings.quarantine);
    this.#slots = Array.from({ length: settings.workers }, () => {
      return { worker: undefined, shared: 0, tried: 0, isTrial: false, failedStarts: 0 };
    });
    for (const slot of this.#slots) this.#start(slot);
  }

  collect: ClusterWork["collect"] = async (cluster, signals) => {
    const startedAt = this.#deps.clock.monotonic();
    try {
      return (await this.#run("collect", cluster, signals)) as ClusterResult;
    } catch (thrown) {
      const { store } = this.#deps.ports;
      const durationMs = this.#deps.clock.monotonic() - startedAt;
      const facts = { nowMs: this.#deps.clock.now(), durationMs, epoch: signals.epoch };
      return await recordFailure(store, cluster, toBridgeError(thrown), facts);
    }
  };

  check: ClusterWork["check"] = async (cluster, signal) =>
    void (await this.#run("check", cluster, { signal }));

  diagnose: ClusterWork["diagnose"] = async (cluster, signal, onStep) =>
    (await this.#run("diagnose", cluster, { signal, ...(onStep ? { onStep } : {}) })) as ClusterDiagnosis;

  findServices: ClusterWork["findServices"] = async (cluster, signal) =>
    (await this.#run("find_services", cluster, { signal })) as FoundServices;

  /** When every place has had a worker that is ready, or has failed to start one. */
  async started(): Promise<void> {
    const workers = this.#slots.flatMap(({ worker }) => worker ?? []);
    await Promise.all(workers.map((worker) => Promise.race([worker.ready, worker.ended])));
  }

  forget(clusterId: string): void {
    this.#quarantine.clear(clusterId);
  }

  problems(): string[] {
    const isHopeless = this.#slots.every(
      ({ worker, failedStarts }) => !worker?.isReady && failedStarts >= STARTS_MANY,
    );
    return isHopeless ? [noWorker().message] : [];
  }

  facts(): { workers: number; rssBytes: number; quarantined: number } {
    const workers = this.#slots.flatMap(({ worker }) => worker ?? []);
    return {
      workers: workers.length,
      rssBytes: workers.reduce((sum, { rssBytes }) => sum + rssBytes, 0),
      quarantined: this.#quarantine.count(),
    };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const workers = this.#slots.flatMap(({ worker }) => worker ?? []);
    for (const worker of workers) worker.kill(new WorkerEnded("crashed", "the process is ending"));
    await Promise.all(workers.map(({ ended }) => ended));
  }

  /** Tries the call again while its workers end, until the cluster is put aside or the signal is aborted. */
  async #run(operation: Operation, cluster: Cluster, signals: CallSignals): Promise<unknown> {
    for (;;) {
      this.#quarantine.check(cluster.id);
      const suspicion = this.#quarantine.suspicion(cluster.id);
      const place = await this.#take(suspicion === "no" ? "any" : suspicion, signals.signal);
      try {
        return await place.worker.call(operation, cluster, signals).finally(() => {
          if (!place.worker.isEnding) this.#quarantine.clear(cluster.id);
        });
      } catch (thrown) {
        if (!(thrown instanceof WorkerEnded)) throw thrown;
        if (this.#isClosed) throw new BridgeError("shutting_down", "the process is ending");
        this.#quarantine.ended(cluster.id, thrown.message, place.isTrial());
        signals.signal.throwIfAborted();
      } finally {
        place.leave();
      }
    }
  }

  /** A place in a worker that is ready. Rejects with the signal's reason. */
  async #take(company: Company, signal: AbortSignal): Promise<Place> {
    signal.throwIfAborted();
    if (this.#isClosed) throw new BridgeError("shutting_down", "the process is ending");
    const { promise, resolve, reject } = Promise.withResolvers<Slot>();
    const waiting: Waiting = { company, take: resolve };
    // Suspects first: they wait for the worker that took the place of the one that ended.
    if (company === "any") this.#waiting.push(waiting);
    else this.#waiting.splice(this.#waiting.findLastIndex((each) => each.company !== "any") + 1, 0, waiting);
    const onAbort = (): void => {
      const at = this.#waiting.indexOf(waiting);
      if (at < 0) return;
      this.#waiting.splice(at, 1);
      reject(this.#slots.some(({ worker }) => worker?.isReady) ? (signal.reason as Error) : noWorker());
      this.#dispatch();
    };
    signal.addEventListener("abort", onAbort, { once: true });
    this.#dispatch();
    try {
      return this.#occupy(await promise, company);
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  #occupy(slot: Slot, company: Company): Place {
    assert(slot.worker !== undefined, "a call is given a place with a worker");
    const { worker } = slot;
    let role: "shared" | "tried" | "trial" = company === "any" ? "shared" : "trial";
    const promote = (): void => {
      role = "tried";
      slot.isTrial = false;
      slot.tried++;
      this.#dispatch();
    };
    const cancel = company === "trial" ? this.#deps.clock.after(TRIAL_MS, promote) : (): void => {};
    return {
      worker,
      isTrial: () => role === "trial",
      leave: () => {
        cancel();
        if (role === "trial") slot.isTrial = false;
        else slot[role]--;
        assert(slot.shared >= 0 && slot.tried >= 0, "a place is left once");
        this.#dispatch();
      },
    };
  }

  /** Gives places to those that wait, in their order. Suspects are tried one at a time; one that finds no place keeps others out of the emptiest one. */
  #dispatch(): void {
    const reserved = new Set<Slot>();
    for (const waiting of this.#waiting.slice()) {
      if (waiting.company !== "any" && this.#slots.some(({ isTrial }) => isTrial)) continue;
      const usable = this.#slots
        .filter((each) => isUsable(each) && !reserved.has(each))
        .toSorted((a, b) => a.shared + a.tried - b.shared - b.tried);
      const slot = usable.find((each) => isFit(each, waiting.company));
      if (!slot) {
        if (usable[0]) reserved.add(usable[0]);
        continue;
      }
      if (waiting.company === "any") slot.shared++;
      else slot.isTrial = true;
      this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
      waiting.take(slot);
    }
  }

  #start(slot: Slot): void {
    const { clock, logger, metrics } = this.#deps;
    const worker = new Worker(this.#deps, this.#settings.work, this.#settings.limits);
    slot.worker = worker;
    void worker.ready.then(() => {
      slot.failedStarts = 0;
      logger.debug({ worker: worker.pid }, "a collection worker is ready");
      this.#dispatch();
    });
    void worker.ended.then((end) => {
      slot.worker = undefined;
      if (this.#isClosed) return;
      metrics.workerEnded(end.kind);
      logger.error(
        { worker: worker.pid, reason: end.kind },
        `a collection worker was replaced: ${end.message}`,
      );
      if (worker.isReady) this.#start(slot);
      else
        clock.after(Math.min(RESTART_MS_MAX, RESTART_MS_MIN * 2 ** slot.failedStarts++), () =>
          this.#restart(slot),
        );
    });
  }

  #restart(slot: Slot): void {
    if (!this.#isClosed) this.#start(slot);
  }
}

function isUsable({ worker, isTrial }: Slot): boolean {
  return worker?.isReady === true && !worker.isEnding && !isTrial;
}

function isFit({ shared, tried }: Slot, company: Company): boolean {
  return company === "any" || (shared === 0 && (company === "trial" || tried === 0));
}

function noWorker(): BridgeError {
  return new BridgeError("worker_unavailable", "no collection worker could be started");
}
