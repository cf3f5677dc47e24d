import { monitorEventLoopDelay, performance } from "node:perf_hooks";
import type { Meter } from "@opentelemetry/api";

const NANOSECONDS = 1e9;
const RESOLUTION_MS = 10;

/** What is known of the collection workers. */
export interface WorkerFacts {
  workers: number;
  /** Resident memory of all of them. */
  rssBytes: number;
  /** Clusters that are put aside. */
  quarantined: number;
}

/** The replicas, as this one sees them. */
export interface ReplicaCounts {
  alive: number;
  /** Clusters that this one owns. */
  owned: number;
  /** Clusters that no live replica owns. */
  unowned: number;
  /** Since the last renewal of its own record; Infinity before the first. */
  recordAgeMs: number;
}

/** Observes the replicas and the clusters that they own. */
export function observeReplicas(meter: Meter, read: () => ReplicaCounts): void {
  const gauge = gaugesOf(meter, read);
  gauge("budcluster.replicas", "Replicas that are alive", "{replica}", ({ alive }) => alive);
  gauge("budcluster.owned_clusters", "Clusters that this replica owns", "{cluster}", ({ owned }) => owned);
  gauge(
    "budcluster.unowned_clusters",
    "Clusters that no live replica owns",
    "{cluster}",
    ({ unowned }) => unowned,
  );
  gauge(
    "budcluster.member_record_age_seconds",
    "Time since this replica's record was last renewed in the state store",
    "s",
    ({ recordAgeMs }) => recordAgeMs / 1000,
  );
}

/** Requests to the state store since the start. */
export interface StateRequests {
  operation: string;
  outcome: string;
  count: number;
}

/** Observes the requests to the state store. */
export function observeStateRequests(meter: Meter, read: () => readonly StateRequests[]): void {
  meter
    .createObservableCounter("budcluster.state.requests", {
      description: "Requests to the state store, by what they did and how they ended",
      unit: "{request}",
    })
    .addCallback((result) => {
      for (const { operation, outcome, count } of read()) result.observe(count, { operation, outcome });
    });
}

/** Gauges of the same facts; what is not a number is left out. */
function gaugesOf<T>(
  meter: Meter,
  read: () => T,
): (name: string, description: string, unit: string, of: (facts: T) => number) => void {
  return (name, description, unit, of) =>
    meter.createObservableGauge(name, { description, unit }).addCallback((result) => {
      const value = of(read());
      if (Number.isFinite(value)) result.observe(value);
    });
}

/** Observes the collection workers. */
export function observeWorkers(meter: Meter, read: () => WorkerFacts): void {
  const gauge = gaugesOf(meter, read);
  gauge("budcluster.worker.active", "Collection workers", "{worker}", ({ workers }) => workers);
  gauge(
    "budcluster.worker.memory",
    "Resident memory of the collection workers",
    "By",
    ({ rssBytes }) => rssBytes,
  );
  gauge(
    "budcluster.cluster.quarantined",
    "Clusters that are put aside",
    "{cluster}",
    (facts) => facts.quarantined,
  );
}

/**
 * Observes the process: event loop delay and utilisation (`nodejs.eventloop.*`), memory (`process.memory.usage`, `v8js.memory.heap.used`),
 * CPU time and uptime. The delay's quantiles are of the time since the last `resetDelay`.
 */
export function observeProcess(meter: Meter): { start(): void; stop(): void; resetDelay(): void } {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  const gauge = (name: string, description: string, unit: string, read: () => number): void => {
    meter.createObservableGauge(name, { description, unit }).addCallback((result) => {
      const value = read();
      // The histogram answers NaN while it is empty.
      if (Number.isFinite(value)) result.observe(value);
    });
  };
  gauge("nodejs.eventloop.delay.mean", "Mean event loop delay", "s", () => delay.mean / NANOSECONDS);
  gauge("nodejs.eventloop.delay.p99", "99th percentile of the event loop delay", "s", () =>
    delay.count === 0 ? Number.NaN : delay.percentile(99) / NANOSECONDS,
  );
  gauge("nodejs.eventloop.delay.max", "Largest event loop delay", "s", () =>
    delay.count === 0 ? Number.NaN : delay.max / NANOSECONDS,
  );
  gauge(
    "nodejs.eventloop.utilization",
    "Share of time the event loop was busy since the start",
    "1",
    () => performance.eventLoopUtilization().utilization,
  );
  gauge("process.memory.usage", "Resident memory", "By", () => process.memoryUsage.rss());
  gauge("v8js.memory.heap.used", "Used JavaScript heap", "By", () => process.memoryUsage().heapUsed);
  gauge("process.uptime", "Time since the process started", "s", () => process.uptime());
  meter
    .createObservableCounter("process.cpu.time", { description: "CPU time", unit: "s" })
    .addCallback((result) => {
      const { user, system } = process.cpuUsage();
      result.observe(user / 1e6, { "cpu.mode": "user" });
      result.observe(system / 1e6, { "cpu.mode": "system" });
    });
  return {
    start: () => void delay.enable(),
    stop: () => void delay.disable(),
    resetDelay: () => delay.reset(),
  };
}
