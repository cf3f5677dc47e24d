import type { Attributes, Meter } from "@opentelemetry/api";
import type { ErrorCode } from "#errors/error.ts";

/** How a round ended: successful when every cluster was, failed when none was, partial in between. */
type RoundOutcome = "successful" | "partial" | "failed";
type CollectionOutcome = "successful" | "partial" | "failed" | "skipped";
/** The ExportResult of one request to the Collector. */
type ExportOutcome = "accepted" | "partial" | "retryable" | "rejected";

/** Records the program's own metrics. Every function is cheap, synchronous and never throws. */
export interface Recorders {
  roundFinished(round: { outcome: RoundOutcome; durationSeconds: number }): void;
  collectionFinished(collection: {
    outcome: CollectionOutcome;
    durationSeconds: number;
    points: number;
    series: number;
    error?: ErrorCode;
  }): void;
  exportFinished(request: {
    outcome: ExportOutcome;
    durationSeconds: number;
    /** Bytes of the request body as sent. */
    bytes: number;
    error?: ErrorCode;
  }): void;
  /** Samples of one collection, by what they were read with, and stale markers that were acknowledged. */
  samplesRead(samples: { remote_read: number; query_api: number }, markers: number): void;
  /** Time range of a query that can no longer be collected, in seconds. */
  timeLost(reason: string, seconds: number): void;
  batchStarted(): void;
  batchFinished(): void;
  tunnelOpened(): void;
  tunnelFailed(error: ErrorCode): void;
  tunnelClosed(): void;
  errorOccurred(error: ErrorCode): void;
  /** This replica took a cluster over, gave it back, or lost it. */
  leaseChanged(kind: "taken" | "returned" | "lost"): void;
  /** A collection worker ended although it should not: frozen, memory, stuck or crashed. */
  workerEnded(reason: string): void;
  requestAnswered(request: { method: string; route: string; status: number; durationSeconds: number }): void;
}

/** Boundaries of the histograms' buckets, in seconds. */
const SECONDS = {
  short: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
  long: [0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600],
};

function withError(attributes: Attributes, error: ErrorCode | undefined): Attributes {
  return error === undefined ? attributes : { ...attributes, "error.type": error };
}

/** Declares the synchronous instruments: names, units and attributes after the OpenTelemetry semantic conventions. */
export function createRecorders(meter: Meter): Recorders {
  const counter = (name: string, unit: string, description: string) =>
    meter.createCounter(name, { description, unit });
  const upDownCounter = (name: string, unit: string, description: string) =>
    meter.createUpDownCounter(name, { description, unit });
  const duration = (name: string, explicitBucketBoundaries: number[], description: string) =>
    meter.createHistogram(name, { description, unit: "s", advice: { explicitBucketBoundaries } });

  const rounds = counter("budcluster.rounds", "{round}", "Finished rounds");
  const roundDuration = duration("budcluster.round.duration", SECONDS.long, "Duration of rounds");
  const collections = counter(
    "budcluster.collections",
    "{collection}",
    "Finished collections of one cluster",
  );
  const collectionDuration = duration(
    "budcluster.collection.duration",
    SECONDS.long,
    "Duration of one cluster's collection",
  );
  const points = counter(
    "budcluster.collection.points",
    "{point}",
    "Samples acknowledged by the Collector, by collections",
  );
  const series = counter("budcluster.collection.series", "{series}", "Series read from Prometheus");
  const samples = counter(
    "budcluster.collection.samples",
    "{sample}",
    "Samples read from Prometheus, by what they were read with",
  );
  const markers = counter(
    "budcluster.collection.stale_markers",
    "{marker}",
    "Stale markers acknowledged by the Collector",
  );
  const lost = counter(
    "budcluster.collection.lost",
    "s",
    "Time that can no longer be collected, summed over queries",
  );
  const requests = counter("budcluster.export.requests", "{request}", "OTLP requests");
  const exportDuration = duration("budcluster.export.duration", SECONDS.short, "Duration of OTLP requests");
  const exportBytes = counter("budcluster.export.io", "By", "Bytes of OTLP request bodies, as sent");
  const batches = upDownCounter(
    "budcluster.export.active_batches",
    "{batch}",
    "Batches on their way to the Collector",
  );
  const tunnels = upDownCounter("budcluster.tunnel.active", "{tunnel}", "Open port-forwards");
  const tunnelOpens = counter(
    "budcluster.tunnel.opens",
    "{open}",
    "Attempts to open a port-forward; failed ones have error.type",
  );
  const errors = counter("budcluster.errors", "{error}", "Errors by their code");
  const workersEnded = counter(
    "budcluster.worker.ends",
    "{worker}",
    "Collection workers that were replaced, by the reason",
  );
  const leaseChanges = counter(
    "budcluster.lease.changes",
    "{lease}",
    "Clusters that this replica took over, gave back, or lost",
  );
  const answers = duration("http.server.request.duration", SECONDS.short, "Duration of HTTP server requests");
  return {
    roundFinished: ({ outcome, durationSeconds }) => {
      rounds.add(1, { "budcluster.outcome": outcome });
      roundDuration.record(durationSeconds, { "budcluster.outcome": outcome });
    },
    collectionFinished: (collection) => {
      const attributes = withError({ "budcluster.outcome": collection.outcome }, collection.error);
      collections.add(1, attributes);
      collectionDuration.record(collection.durationSeconds, { "budcluster.outcome": collection.outcome });
      points.add(collection.points);
      series.add(collection.series);
    },
    exportFinished: (request) => {
      const attributes = { "budcluster.outcome": request.outcome };
      requests.add(1, withError(attributes, request.error));
      exportDuration.record(request.durationSeconds, attributes);
      exportBytes.add(request.bytes, attributes);
    },
    samplesRead: (read, stale) => {
      for (const [transport, count] of Object.entries(read))
        samples.add(count, { "budcluster.transport": transport });
      markers.add(stale);
    },
    timeLost: (reason, seconds) => lost.add(seconds, { "budcluster.reason": reason }),
    batchStarted: () => batches.add(1),
    batchFinished: () => batches.add(-1),
    tunnelOpened: () => {
      tunnels.add(1);
      tunnelOpens.add(1);
    },
    tunnelFailed: (error) => tunnelOpens.add(1, { "error.type": error }),
    tunnelClosed: () => tunnels.add(-1),
    errorOccurred: (error) => errors.add(1, { "error.type": error }),
    workerEnded: (reason) => workersEnded.add(1, { "budcluster.reason": reason }),
    leaseChanged: (kind) => leaseChanges.add(1, { kind }),
    requestAnswered: ({ method, route, status, durationSeconds }) =>
      answers.record(durationSeconds, {
        "http.request.method": method,
        "http.route": route,
        "http.response.status_code": status,
      }),
  };
}
