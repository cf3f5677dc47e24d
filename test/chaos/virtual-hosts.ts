import type { Clock } from "#lib/clock.ts";

/**
 * Virtual time for several processes in one: one queue of events, of which each belongs to a host or to nobody (the network, the world). A host
 * that is paused gets its events when it goes on, all at once; one that was killed gets none.
 */
export interface VirtualHosts {
  /** True time, ms since the epoch. */
  now(): number;
  /** Runs `run` at a time, now at the earliest. The returned function cancels it. */
  at(ms: number, run: () => void, host?: VirtualHost): () => void;
  /** As `at`, for what only adds other events: nobody waits for it. */
  pass(ms: number, run: () => void): void;
  createHost(name: string): VirtualHost;
  /** Runs everything that is due until then. */
  runUntil(ms: number): Promise<void>;
  /** Runs until the work ends. Throws when it has not by `ms`. */
  runFor<T>(work: Promise<T>, ms: number): Promise<T>;
  /** Events that ran so far. */
  events(): number;
}

/** One process: its clocks, and whether it runs. */
export interface VirtualHost {
  readonly name: string;
  readonly clock: Clock;
  /** The host's wall clock minus true time, ms. */
  skewMs: number;
  isAlive(): boolean;
  isPaused(): boolean;
  /** Was its machine ever suspended? Then it can't know how much time has passed. */
  wasSuspended(): boolean;
  /** As SIGSTOP: nothing of it runs; its clocks go on. */
  pause(): void;
  /** As SIGCONT: first its overdue timers run, then what came from the network. */
  resume(): void;
  /** As of a virtual machine: the monotonic clock and the timers stand still until `resume`, too. */
  suspend(): void;
  /** As SIGKILL. */
  kill(): void;
}

interface Event {
  atMs: number;
  order: number;
  run: () => void;
  host: HostState | undefined;
  kind: "timer" | "passing" | "other";
  isCancelled: boolean;
}

interface HostState {
  state: "running" | "paused" | "dead";
  held: Event[];
  suspendedAtMs: number | undefined;
  /** Time that its monotonic clock stood still. */
  stoodStillMs: number;
}

/** Everything that needs no event: promises, and what waits for its turn of the event loop. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export function createVirtualHosts(startMs: number): VirtualHosts {
  const queue = createEventQueue();
  const states = new WeakMap<VirtualHost, HostState>();
  let nowMs = startMs;
  let order = 0;
  let count = 0;

  const add = (
    ms: number,
    run: () => void,
    host: HostState | undefined,
    kind: Event["kind"],
  ): (() => void) => {
    const event: Event = {
      atMs: Math.max(ms, nowMs),
      order: order++,
      run,
      host,
      kind,
      isCancelled: false,
    };
    queue.push(event);
    return () => void (event.isCancelled = true);
  };

  const step = async (event: Event): Promise<void> => {
    nowMs = Math.max(nowMs, event.atMs);
    if (event.isCancelled || event.host?.state === "dead") return;
    if (event.host?.state === "paused") {
      event.host.held.push(event);
      return;
    }
    count++;
    event.run();
    if (event.kind !== "passing") await settle();
  };

  const runUntil = async (ms: number): Promise<void> => {
    await settle();
    for (let event = queue.next(ms); event; event = queue.next(ms)) await step(event);
    nowMs = ms;
  };

  const createHost = (name: string): VirtualHost => {
    const own: HostState = { state: "running", held: [], suspendedAtMs: undefined, stoodStillMs: 0 };
    let wasSuspended = false;
    /** Timers go on with the clock that stood still. */
    const goOn = (): void => {
      if (own.suspendedAtMs === undefined) return;
      const passedMs = nowMs - own.suspendedAtMs;
      own.suspendedAtMs = undefined;
      own.stoodStillMs += passedMs;
      const timers = [...queue.take(own), ...own.held.filter(({ kind }) => kind === "timer")];
      own.held = own.held.filter(({ kind }) => kind !== "timer");
      for (const timer of timers) {
        timer.atMs += passedMs;
        queue.push(timer);
      }
    };
    const host: VirtualHost = {
      name,
      skewMs: 0,
      clock: createHostClock(
        () => nowMs,
        () => host.skewMs,
        () => (own.suspendedAtMs ?? nowMs) - own.stoodStillMs,
        (ms, run) => add(nowMs + ms, run, own, "timer"),
      ),
      isAlive: () => own.state !== "dead",
      isPaused: () => own.state === "paused",
      wasSuspended: () => wasSuspended,
      pause: () => {
        if (own.state === "running") own.state = "paused";
      },
      suspend: () => {
        if (own.state !== "running") return;
        own.state = "paused";
        own.suspendedAtMs = nowMs;
        wasSuspended = true;
      },
      resume: () => {
        if (own.state !== "paused") return;
        own.state = "running";
        goOn();
        const held = own.held.splice(0);
        for (const event of [
          ...held.filter(({ kind }) => kind === "timer"),
          ...held.filter(({ kind }) => kind !== "timer"),
        ]) {
          event.atMs = nowMs;
          event.order = order++;
          queue.push(event);
        }
      },
      kill: () => {
        own.state = "dead";
        own.held = [];
      },
    };
    states.set(host, own);
    return host;
  };

  return {
    now: () => nowMs,
    pass: (ms, run) => void add(ms, run, undefined, "passing"),
    at: (ms, run, host) => add(ms, run, host && states.get(host), "other"),
    createHost,
    runUntil,
    runFor: async (work, ms) => {
      let isDone = false;
      const ended = work.finally(() => (isDone = true));
      ended.catch(() => {});
      await settle();
      while (!isDone) {
        const event = queue.next(ms);
        if (!event) throw new Error(`the work did not end by ${new Date(ms).toISOString()}`);
        await step(event);
      }
      return await ended;
    },
    events: () => count,
  };
}

function createHostClock(
  nowMs: () => number,
  skewMs: () => number,
  monotonicMs: () => number,
  after: (ms: number, run: () => void) => () => void,
): Clock {
  const startMs = monotonicMs();
  return {
    now: () => nowMs() + skewMs(),
    monotonic: () => monotonicMs() - startMs,
    after,
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        if (signal?.aborted) return reject(signal.reason as Error);
        const abort = (): void => {
          cancel();
          reject(signal?.reason as Error);
        };
        const cancel = after(ms, () => {
          signal?.removeEventListener("abort", abort);
          resolve();
        });
        signal?.addEventListener("abort", abort, { once: true });
      }),
  };
}

interface EventQueue {
  push(event: Event): void;
  next(untilMs: number): Event | undefined;
  /** Takes out the timers of a host. */
  take(host: HostState): Event[];
}

/** A binary heap: the earliest event first, of those at one time the first one that was added. */
function createEventQueue(): EventQueue {
  let heap: Event[] = [];
  const isBefore = (a: Event, b: Event): boolean =>
    a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
  const swap = (i: number, j: number): void => {
    const kept = heap[i]!;
    heap[i] = heap[j]!;
    heap[j] = kept;
  };
  const sink = (): void => {
    for (let i = 0; ;) {
      let least = i;
      for (const child of [2 * i + 1, 2 * i + 2])
        if (child < heap.length && isBefore(heap[child]!, heap[least]!)) least = child;
      if (least === i) return;
      swap(i, least);
      i = least;
    }
  };
  const queue: EventQueue = {
    push: (event) => {
      heap.push(event);
      for (let i = heap.length - 1; i > 0;) {
        const parent = (i - 1) >> 1;
        if (!isBefore(heap[i]!, heap[parent]!)) return;
        swap(i, parent);
        i = parent;
      }
    },
    next: (untilMs) => {
      const first = heap[0];
      if (!first || first.atMs > untilMs) return undefined;
      const last = heap.pop()!;
      if (heap.length > 0) {
        heap[0] = last;
        sink();
      }
      return first;
    },
    take: (host) => {
      const all = heap;
      heap = [];
      const isTaken = (event: Event): boolean => event.host === host && event.kind === "timer";
      for (const event of all) if (!isTaken(event)) queue.push(event);
      return all.filter(isTaken);
    },
  };
  return queue;
}
