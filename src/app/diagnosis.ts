import { Agent } from "undici";
import type { Keyring } from "#clusters/envelope.ts";
import { openCredentials } from "#clusters/kubernetes-client-config.ts";
import { toAuthorization } from "#clusters/prometheus-credentials.ts";
import { createDiagnoseCluster, requestMs, type DiagnoseCluster } from "#diagnose/cluster.ts";
import { createDiagnoseStorage, type DiagnoseStorage } from "#diagnose/storage.ts";
import type { Clock } from "#lib/clock.ts";
import type { Lifecycle } from "#lib/lifecycle.ts";
import { createTurns } from "#lib/turns.ts";
import { createTransport, type Transport } from "#otlp/transport.ts";
import type { Query } from "#prometheus/catalogue.ts";
import { createPrometheusClient } from "#prometheus/client.ts";
import type { Database } from "#storage/database.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { GuardOf } from "./clusters.ts";
import { toParameters, type CollectorPlace } from "./storage.ts";
import type { Config } from "#config.ts";

export interface ClusterDiagnosisParts {
  clock: Clock;
  logger: Logger;
  lifecycle: Lifecycle;
  keyring: Keyring | undefined;
  guardOf: GuardOf;
  queries: readonly Query[];
  /** Absent: the Collector is no part of the diagnosis. */
  collector?: CollectorPlace;
}

/** The diagnosis of a cluster, on the same ways as its collection but with connections of its own. */
export function createClusterDiagnosis(config: Config, parts: ClusterDiagnosisParts): DiagnoseCluster {
  const { clock, logger, keyring, guardOf, collector } = parts;
  const turns = createTurns();
  const transport = collector === undefined ? {} : { transport: connectCollector(config, parts, collector) };
  return createDiagnoseCluster(
    {
      clock,
      logger,
      ...transport,
      open: async (cluster) => {
        const guard = guardOf(cluster);
        return { ...(await openCredentials(cluster, keyring)), ...(guard ? { guard } : {}) };
      },
      clientOf: ({ dispatcher, origin }, cluster, { prometheus }, timeoutMs) =>
        createPrometheusClient(
          { dispatcher, clock, turns },
          {
            origin,
            pathPrefix: cluster.prometheus.pathPrefix,
            timeoutMs,
            ...(prometheus ? { authorization: toAuthorization(prometheus) } : {}),
          },
        ),
    },
    { stepMs: config.METRICS_COLLECTION_TIMEOUT, lagMs: config.COLLECTION_LAG, queries: parts.queries },
  );
}

function connectCollector(
  config: Config,
  { clock, lifecycle }: ClusterDiagnosisParts,
  collector: CollectorPlace,
): Transport {
  const dispatcher = new Agent({ connections: 4, pipelining: 1 });
  lifecycle.onStop("the diagnosis' connections to the Collector", () => dispatcher.destroy());
  return createTransport(
    { clock, dispatcher },
    {
      ...collector,
      compression: config.OTLP_COMPRESSION,
      timeoutMs: Math.min(config.EXPORT_TIMEOUT, requestMs(config.METRICS_COLLECTION_TIMEOUT)),
    },
  );
}

export function createStorageDiagnosis(config: Config, database: Database, clock: Clock): DiagnoseStorage {
  return createDiagnoseStorage(
    { database, clock },
    {
      parameters: toParameters(config),
      stepMs: config.CLICKHOUSE_TIMEOUT,
      staleAfterMs: config.STALE_AFTER,
      rollupIntervalMs: config.ROLLUP_INTERVAL,
    },
  );
}
