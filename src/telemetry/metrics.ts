import type { Meter } from "@opentelemetry/api";
import { OTLPMetricExporter } from "@opentelemetry/exporter-metrics-otlp-http";
import { PrometheusSerializer } from "@opentelemetry/exporter-prometheus";
import { resourceFromAttributes } from "@opentelemetry/resources";
import {
  AggregationTemporality,
  InstrumentType,
  MeterProvider,
  MetricReader,
  type PushMetricExporter,
  type ResourceMetrics,
} from "@opentelemetry/sdk-metrics";
import { deadline, abortable, type Clock } from "#lib/clock.ts";
import { createRecorders, type Recorders } from "./instruments.ts";
import { type Logger, toLogError } from "./logger.ts";
import {
  observeProcess,
  observeReplicas,
  observeStateRequests,
  observeWorkers,
  type ReplicaCounts,
  type StateRequests,
  type WorkerFacts,
} from "./process-metrics.ts";

/** The program's own metrics: recorded here, pushed as OTLP when a URL is given, read as Prometheus text at GET /metrics. */
export interface OwnMetrics extends Recorders {
  /** The cluster's watermark, ms since the epoch, from which its lag is measured whenever it is read; null forgets the cluster. */
  clusterWatermark(clusterId: string, watermarkMs: number | null): void;
  /** The clusters whose lag is shown, asked whenever the metrics are read; until this is called, all. */
  showLagOf(isShown: (clusterId: string) => boolean): void;
  /** The collection workers, read whenever the metrics are. */
  observeWorkers(read: () => WorkerFacts): void;
  /** Requests to the state store, read whenever the metrics are. */
  observeStateRequests(read: () => readonly StateRequests[]): void;
  /** The replicas, read whenever the metrics are. */
  observeReplicas(read: () => ReplicaCounts): void;
  /** Prometheus text format 0.0.4 of everything recorded so far. */
  prometheusText(): Promise<string>;
  start(): void;
  /** Pushes a last time if there is a URL. Takes at most two seconds, never throws. */
  stop(): Promise<void>;
}

export interface OwnMetricsSettings {
  serviceName: string;
  serviceVersion: string;
  /** Tells replicas apart. */
  instanceId: string;
  /** The OTLP endpoint; left out: nothing is pushed. */
  push?: {
    /** The whole URL, with /v1/metrics. */
    url: string;
    intervalMs: number;
    timeoutMs: number;
    headers?: Record<string, string>;
  };
  /** Clusters whose lag has a series of its own; the largest lag of all others is one series with otel.metric.overflow. */
  lagClustersMax: number;
}

/** Limit on the clusters whose lag is kept: ids that never come back must not grow memory. */
const LAGS_KEPT_MAX = 10_000;
/** How long stopping waits for a Collector that hangs. */
const LAST_PUSH_MS = 2000;
/** Of repeated failures to push, the first and then every 60th is logged. */
const LOG_EVERY_FAILURES = 60;

/** One cumulative reader for push and scrape. The SDK's periodic reader has timers of its own and floods its error handler. */
class OnDemandReader extends MetricReader {
  protected override onForceFlush(): Promise<void> {
    return Promise.resolve();
  }
  protected override onShutdown(): Promise<void> {
    return Promise.resolve();
  }
}

/** Declares every own metric once. Nothing runs before `start`, recording works from the beginning. */
export function createOwnMetrics(
  deps: { clock: Clock; logger: Logger },
  settings: OwnMetricsSettings,
): OwnMetrics {
  const reader = new OnDemandReader({
    // A gauge has no temporality on the wire; "delta" keeps the SDK from repeating attribute sets that are no longer observed.
    aggregationTemporalitySelector: (type) =>
      type === InstrumentType.OBSERVABLE_GAUGE
        ? AggregationTemporality.DELTA
        : AggregationTemporality.CUMULATIVE,
  });
  const provider = new MeterProvider({
    resource: resourceFromAttributes({
      "service.name": settings.serviceName,
      "service.version": settings.serviceVersion,
      "service.instance.id": settings.instanceId,
    }),
    readers: [reader],
  });
  const meter = provider.getMeter(settings.serviceName, settings.serviceVersion);
  const recorders = createRecorders(meter);
  const lag = observeLag(meter, deps.clock, settings.lagClustersMax);
  const observed = observeProcess(meter);
  const serializer: { serialize(metrics: ResourceMetrics): string } = new PrometheusSerializer(
    "",
    false,
    undefined,
    false,
    true,
  );
  const pusher = settings.push && createPusher(deps, settings.push, reader);
  let ended = false;
  return {
    ...recorders,
    ...lag,
    observeWorkers: (read) => observeWorkers(meter, read),
    observeStateRequests: (read) => observeStateRequests(meter, read),
    observeReplicas: (read) => observeReplicas(meter, read),
    prometheusText: async () => {
      const { resourceMetrics } = await reader.collect();
      if (!pusher) observed.resetDelay();
      return serializer.serialize(resourceMetrics);
    },
    start: () => {
      observed.start();
      pusher?.start(() => observed.resetDelay());
    },
    stop: async () => {
      if (ended) return;
      ended = true;
      observed.stop();
      await pusher?.stop();
      await provider.shutdown().catch(() => {});
    },
  };
}

function observeLag(
  meter: Meter,
  clock: Clock,
  clustersMax: number,
): Pick<OwnMetrics, "clusterWatermark" | "showLagOf"> {
  const watermarks = new Map<string, number>();
  let isShown = (_clusterId: string): boolean => true;
  meter
    .createObservableGauge("budcluster.cluster.lag", {
      description: "Time between now and the cluster's watermark",
      unit: "s",
    })
    .addCallback((result) => {
      let rest: number | undefined;
      let named = 0;
      for (const [clusterId, watermarkMs] of watermarks) {
        if (!isShown(clusterId)) continue;
        const seconds = (clock.now() - watermarkMs) / 1000;
        if (named++ < clustersMax) result.observe(seconds, { "budcluster.cluster.id": clusterId });
        else rest = Math.max(rest ?? seconds, seconds);
      }
      if (rest !== undefined) result.observe(rest, { "otel.metric.overflow": true });
    });
  return {
    clusterWatermark: (clusterId, watermarkMs) => {
      if (watermarkMs === null) watermarks.delete(clusterId);
      else if (watermarks.has(clusterId) || watermarks.size < LAGS_KEPT_MAX)
        watermarks.set(clusterId, watermarkMs);
    },
    showLagOf: (shown) => (isShown = shown),
  };
}

interface Pusher {
  start(afterPush: () => void): void;
  stop(): Promise<void>;
}

function createPusher(
  { clock, logger }: { clock: Clock; logger: Logger },
  push: NonNullable<OwnMetricsSettings["push"]>,
  reader: MetricReader,
): Pusher {
  const exporter: PushMetricExporter = new OTLPMetricExporter({
    url: push.url,
    timeoutMillis: push.timeoutMs,
    concurrencyLimit: 1,
    ...(push.headers ? { headers: push.headers } : {}),
  });
  const stopping = new AbortController();
  let running: Promise<void> = Promise.resolve();
  let failures = 0;

  const pushOnce = async (): Promise<void> => {
    try {
      const { resourceMetrics } = await reader.collect();
      await new Promise<void>((resolve, reject) => {
        exporter.export(resourceMetrics, ({ error }) => {
          if (error) reject(error);
          else resolve();
        });
      });
      if (failures > 0) logger.info({ failures }, "own metrics are pushed again");
      failures = 0;
    } catch (error) {
      // Only code and message: the exporter's error also contains the whole response.
      const { code, message } = toLogError(error instanceof Error ? error : new Error(String(error)));
      if (failures++ % LOG_EVERY_FAILURES === 0) {
        logger.warn({ failures, reason: message, code }, "own metrics can't be pushed; collecting goes on");
      }
    }
  };

  return {
    start: (afterPush) => {
      const { signal } = stopping;
      running = (async () => {
        while (!signal.aborted) {
          await clock.sleep(push.intervalMs, signal).catch(() => {});
          if (signal.aborted) return;
          await pushOnce();
          afterPush();
        }
      })();
    },
    stop: async () => {
      stopping.abort(new Error("stopping"));
      const limit = deadline(clock, LAST_PUSH_MS, () => new Error("the last push took too long"));
      const lastly = running.then(pushOnce).then(() => exporter.shutdown());
      await abortable(lastly, limit.signal).catch(() => {});
      limit.dispose();
    },
  };
}
