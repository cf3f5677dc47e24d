import type { Attributes, Meter, MetricOptions } from "@opentelemetry/api";
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
  /** Time of a query that can't be collected any more. */
  timeLost(reason: string, seconds: number): void;
  batchStarted(): void;
  batchFinished(): void;
  tunnelOpened(): void;
  tunnelFailed(error: ErrorCode): void;
  tunnelClosed(): void;
  errorOccurred(error: ErrorCode): void;
  requestAnswered(request: { method: string; route: string; status: number; durationSeconds: number }): void;
}

const SECONDS = {
  short: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
  long: [0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600],
};

function seconds(description: string, boundaries: number[]): MetricOptions {
  return { description, unit: "s", advice: { explicitBucketBoundaries: boundaries } };
}

function withError(attributes: Attributes, error: ErrorCode | undefined): Attributes {
  return error === undefined ? attributes : { ...attributes, "error.type": error };
}

/** Declares the synchronous instruments: names, units and attributes after the OpenTelemetry semantic conventions. */
export function createRecorders(meter: Meter): Recorders {
  const rounds = meter.createCounter("budcluster.rounds", {
    description: "Finished rounds",
    unit: "{round}",
  });
  const roundDuration = meter.createHistogram(
    "budcluster.round.duration",
    seconds("Duration of rounds", SECONDS.long),
  );
  const collections = meter.createCounter("budcluster.collections", {
    description: "Finished collections of one cluster",
    unit: "{collection}",
  });
  const collectionDuration = meter.createHistogram(
    "budcluster.collection.duration",
    seconds("Duration of one cluster's collection", SECONDS.long),
  );
  const points = meter.createCounter("budcluster.collection.points", {
    description: "Samples acknowledged by the Collector, by collections",
    unit: "{point}",
  });
  const series = meter.createCounter("budcluster.collection.series", {
    description: "Series read from Prometheus",
    unit: "{series}",
  });
  const lost = meter.createCounter("budcluster.collection.lost", {
    description: "Time of queries that can't be collected any more, summed over queries",
    unit: "s",
  });
  const requests = meter.createCounter("budcluster.export.requests", {
    description: "OTLP requests",
    unit: "{request}",
  });
  const exportDuration = meter.createHistogram(
    "budcluster.export.duration",
    seconds("Duration of OTLP requests", SECONDS.short),
  );
  const exportBytes = meter.createCounter("budcluster.export.io", {
    description: "Bytes of OTLP request bodies, as sent",
    unit: "By",
  });
  const batches = meter.createUpDownCounter("budcluster.export.active_batches", {
    description: "Batches on their way to the Collector",
    unit: "{batch}",
  });
  const tunnels = meter.createUpDownCounter("budcluster.tunnel.active", {
    description: "Open port-forwards",
    unit: "{tunnel}",
  });
  const tunnelOpens = meter.createCounter("budcluster.tunnel.opens", {
    description: "Attempts to open a port-forward; failed ones have error.type",
    unit: "{open}",
  });
  const errors = meter.createCounter("budcluster.errors", {
    description: "Errors by their code",
    unit: "{error}",
  });
  const answers = meter.createHistogram(
    "http.server.request.duration",
    seconds("Duration of HTTP server requests", SECONDS.short),
  );
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
    requestAnswered: ({ method, route, status, durationSeconds }) =>
      answers.record(durationSeconds, {
        "http.request.method": method,
        "http.route": route,
        "http.response.status_code": status,
      }),
  };
}
