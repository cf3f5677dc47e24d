import type { Cluster } from "#clusters/cluster.ts";
import { BridgeError } from "#errors/error.ts";
import type { OnStep, StepEvent } from "#diagnose/step-runner.ts";
import type { CollectionProgress, ReadProgress } from "#collect/collection-progress.ts";
import { progressKeys } from "#collect/progress-store.ts";
import { assert } from "#lib/assert.ts";
import type { Clock } from "#lib/clock.ts";
import {
  fromWireError,
  pack,
  packCluster,
  toWireError,
  type FromWorker,
  type Operation,
  type SignalName,
  type ToWorker,
} from "./messages.ts";
import type { WorkPorts } from "./ports.ts";

/** A started process, or a stand-in of a test. */
export interface WorkerProcess {
  /** Undefined: it could not be started. */
  pid: number | undefined;
  send(message: ToWorker): void;
  /** Ends it at once (SIGKILL). */
  kill(): void;
  /** Resident memory; undefined where only the worker itself can tell. */
  rssBytes(): number | undefined;
}

export type SpawnWorker = (on: {
  message: (message: FromWorker) => void;
  /** `how`: "exit code 134", "signal SIGKILL", "EAGAIN". */
  exit: (how: string) => void;
}) => WorkerProcess;

/** Why a worker ended. frozen: no sign of life. memory: more than WORKER_MEMORY_MAX. stuck: a call that did not end when it was told to. crashed: it ended by itself, or somebody else ended it. */
export type WorkerEndKind = "frozen" | "memory" | "stuck" | "crashed";

/** What a call throws when its worker ends. */
export class WorkerEnded extends Error {
  readonly kind: WorkerEndKind;
  constructor(kind: WorkerEndKind, message: string) {
    super(message);
    this.kind = kind;
  }
}

export interface WorkerLimits {
  /** Resident memory, bytes. */
  memoryMax: number;
  /** Without a sign of life for so long a worker counts as frozen. */
  silentMsMax: number;
  /** What a call gets to end after its signal was aborted. */
  abortMsMax: number;
  /** What a worker gets to start. */
  startMsMax: number;
}

export const WORKER_LIMITS: Omit<WorkerLimits, "memoryMax"> = {
  silentMsMax: 5000,
  abortMsMax: 10_000,
  startMsMax: 30_000,
};

/** Ends of a call, as the caller knows them. */
export interface CallSignals {
  signal: AbortSignal;
  readSignal?: AbortSignal;
  /** Of a collection. */
  epoch?: number;
  isStopping?: () => boolean;
  /** See CollectSignals. The function that is offered tells what the worker told last, and asks it again. */
  offerProgress?: (read: ReadProgress) => void;
  /** Of a diagnosis. */
  onStep?: OnStep;
}

interface Call {
  clusterId: string;
  settle: { resolve: (value: unknown) => void; reject: (error: Error) => void };
  /** Removes its listeners and timers. */
  release: () => void;
  /** What the worker tells while it works on it. */
  told: (value: unknown) => void;
}

/** Memory is looked at this often while the worker works: at 3 GB/s it grows by 150 MB in this time. */
const WATCH_MS = 50;
/** And this often while it has no calls. */
const WATCH_IDLE_MS = 1000;
const MIB = 2 ** 20;

/** One worker process: its calls, its sign of life, its memory. It is used until it ends; then another one takes its place. */
export class Worker {
  readonly ready: Promise<void>;
  /** Fulfilled when the process has ended and nothing that it asked for is under way any more. */
  readonly ended: Promise<WorkerEnded>;
  readonly #deps: { clock: Clock; ports: WorkPorts };
  readonly #limits: WorkerLimits;
  readonly #child: WorkerProcess;
  readonly #calls = new Map<number, Call>();
  readonly #requests = new Set<Promise<void>>();
  readonly #onTick = new Set<() => void>();
  readonly #setReady: () => void;
  readonly #setEnded: (end: WorkerEnded) => void;
  /** Gauges that the worker moved and would leave behind. */
  #batches = 0;
  #tunnels = 0;
  #lastId = 0;
  #silentMs = 0;
  #toldRss: number | undefined;
  #isReady = false;
  #hasEnded = false;
  #why: WorkerEnded | undefined;
  #cancelWatch: () => void = () => {};

  constructor(
    deps: { clock: Clock; ports: WorkPorts; spawn: SpawnWorker },
    settings: unknown,
    limits: WorkerLimits,
  ) {
    this.#deps = deps;
    this.#limits = limits;
    const ready = Promise.withResolvers<void>();
    const ended = Promise.withResolvers<WorkerEnded>();
    this.ready = ready.promise;
    this.ended = ended.promise;
    this.#setReady = ready.resolve;
    this.#setEnded = ended.resolve;
    this.#child = deps.spawn({
      message: (message) => this.#receive(message),
      exit: (how) => void this.#end(how),
    });
    this.#child.send({ type: "start", settings: pack(settings) });
    this.#watch();
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  get isReady(): boolean {
    return this.#isReady;
  }

  get isEnding(): boolean {
    return this.#why !== undefined;
  }

  get rssBytes(): number {
    return this.#child.rssBytes() ?? this.#toldRss ?? 0;
  }

  /** Runs an operation on a cluster. Throws what the operation throws, and WorkerEnded. */
  async call(operation: Operation, cluster: Cluster, signals: CallSignals): Promise<unknown> {
    if (this.#why) throw this.#why;
    const id = ++this.#lastId;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#calls.set(id, {
      clusterId: cluster.id,
      settle: { resolve, reject },
      release: this.#follow(id, signals),
      told: this.#listen(id, signals),
    });
    this.#child.send({
      type: "call",
      id,
      operation,
      cluster: packCluster(cluster),
      epoch: signals.epoch ?? 0,
    });
    if (this.#calls.size === 1) this.#watch();
    return await promise;
  }

  /** Ends the process; its calls throw `why`. */
  kill(why: WorkerEnded): void {
    if (this.#why) return;
    this.#why = why;
    this.#child.kill();
  }

  /** Passes the caller's signals on. */
  #follow(id: number, { signal, readSignal, isStopping }: CallSignals): () => void {
    const { clock } = this.#deps;
    let cancel = (): void => {};
    const tell = (name: SignalName, reason: unknown): void =>
      this.#child.send({ type: "signal", id, name, reason: toWireError(reason) });
    const onAbort = (): void => {
      tell("abort", signal.reason);
      cancel = clock.after(this.#limits.abortMsMax, () => {
        const seconds = this.#limits.abortMsMax / 1000;
        this.kill(new WorkerEnded("stuck", `did not end within ${seconds} s after it was told to`));
      });
    };
    const onEndReading = (): void => tell("end_reading", readSignal?.reason);
    let isTold = false;
    const tellStopping = (): void => {
      if (isTold || isStopping?.() !== true) return;
      isTold = true;
      tell("stop_soon", new Error("stopping"));
    };
    this.#onTick.add(tellStopping);
    signal.addEventListener("abort", onAbort, { once: true });
    readSignal?.addEventListener("abort", onEndReading, { once: true });
    // After the call itself is sent.
    queueMicrotask(() => {
      if (signal.aborted) onAbort();
      else if (readSignal?.aborted) onEndReading();
    });
    return () => {
      cancel();
      this.#onTick.delete(tellStopping);
      signal.removeEventListener("abort", onAbort);
      readSignal?.removeEventListener("abort", onEndReading);
    };
  }

  /** Passes on what the worker tells of the call. */
  #listen(id: number, { offerProgress, onStep }: CallSignals): (value: unknown) => void {
    let last: CollectionProgress | null = null;
    offerProgress?.(() => {
      if (this.#calls.has(id)) this.#child.send({ type: "ask_progress", id });
      return last;
    });
    return (value) => {
      if (onStep) onStep(value as StepEvent);
      else last = value as CollectionProgress | null;
    };
  }

  #watch(): void {
    this.#cancelWatch();
    const intervalMs = this.#calls.size > 0 ? WATCH_MS : WATCH_IDLE_MS;
    this.#cancelWatch = this.#deps.clock.after(intervalMs, () => {
      this.#silentMs += intervalMs;
      this.#checkLimits();
      for (const tick of this.#onTick) tick();
      this.#watch();
    });
  }

  /** Silence is counted in ticks of this process: a machine that was suspended stops both. */
  #checkLimits(): void {
    const { memoryMax, silentMsMax, startMsMax } = this.#limits;
    const silentMax = this.#isReady ? silentMsMax : startMsMax;
    if (this.#silentMs >= silentMax) {
      const what = this.#isReady ? "its event loop gave no sign of life" : "it did not start";
      this.kill(new WorkerEnded("frozen", `${what} for ${silentMax / 1000} s`));
    }
    const rss = this.rssBytes;
    if (rss > memoryMax) {
      const facts = `${Math.round(rss / MIB)} MiB of memory, more than its ${Math.floor(memoryMax / MIB)} MiB`;
      this.kill(new WorkerEnded("memory", `it used ${facts}`));
    }
  }

  #receive(message: FromWorker): void {
    if (this.#hasEnded) return;
    this.#silentMs = 0;
    switch (message.type) {
      case "ready":
        this.#isReady = true;
        this.#setReady();
        break;
      case "alive":
        this.#toldRss = message.rssBytes;
        break;
      case "told":
        this.#calls.get(message.id)?.told(message.value);
        break;
      case "done":
        this.#done(message);
        break;
      case "request": {
        const request = this.#answer(message).finally(() => this.#requests.delete(request));
        this.#requests.add(request);
        break;
      }
      case "metric":
        this.#record(message);
        break;
    }
  }

  #done({ id, value, error }: Extract<FromWorker, { type: "done" }>): void {
    const call = this.#calls.get(id);
    assert(call !== undefined, "a call that is done was under way");
    this.#calls.delete(id);
    call.release();
    if (error) call.settle.reject(fromWireError(error));
    else call.settle.resolve(value);
  }

  async #answer({ id, name, args }: Extract<FromWorker, { type: "request" }>): Promise<void> {
    try {
      this.#child.send({ type: "answer", id, value: await this.#perform(name, args) });
    } catch (thrown) {
      this.#child.send({ type: "answer", id, error: toWireError(thrown) });
    }
  }

  /** A worker reaches nothing but what belongs to the clusters that it works on. */
  async #perform(name: Extract<FromWorker, { type: "request" }>["name"], args: unknown[]): Promise<unknown> {
    const { store, keyring } = this.#deps.ports;
    const [first, second, etag] = args as [string, unknown, string | null | undefined];
    const belongsTo = ({ clusterId }: Call): boolean =>
      name === "open_credentials" ? first === clusterId : progressKeys(clusterId).includes(first);
    if (![...this.#calls.values()].some(belongsTo)) {
      throw new BridgeError("internal", "a worker asked for a cluster that it does not work on");
    }
    if (name === "get") return await store.get(first);
    if (name === "put") return await store.put(first, second, etag ?? undefined);
    if (name === "delete") {
      await store.delete(first);
      return null;
    }
    if (!keyring) throw new BridgeError("credentials_key_unknown", "there is no key to open its credentials");
    return pack(await keyring.open(first, second as string));
  }

  #record({ name, args }: Extract<FromWorker, { type: "metric" }>): void {
    if (name === "batchStarted") this.#batches++;
    if (name === "batchFinished") this.#batches--;
    if (name === "tunnelOpened") this.#tunnels++;
    if (name === "tunnelClosed") this.#tunnels--;
    (this.#deps.ports.metrics[name] as (...args: unknown[]) => void)(...args);
  }

  async #end(how: string): Promise<void> {
    this.#hasEnded = true;
    this.#cancelWatch();
    this.#why ??= new WorkerEnded("crashed", `it ended by itself (${how})`);
    const { metrics } = this.#deps.ports;
    for (; this.#batches > 0; this.#batches--) metrics.batchFinished();
    for (; this.#tunnels > 0; this.#tunnels--) metrics.tunnelClosed();
    // A record that is being written must not be read before.
    while (this.#requests.size > 0) await Promise.allSettled(this.#requests);
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    for (const call of calls) {
      call.release();
      call.settle.reject(this.#why);
    }
    this.#setEnded(this.#why);
  }
}
