import { Agent } from "undici";
import type { CredentialOpener } from "#clusters/envelope.ts";
import { openCredentials, openDirectCredentials } from "#clusters/open-credentials.ts";
import { createDiagnoseCluster, requestMs, type DiagnoseCluster } from "#diagnose/cluster.ts";
import type { Clock } from "#lib/clock.ts";
import { createTurns } from "#lib/turns.ts";
import { createTransport } from "#otlp/transport.ts";
import type { Query } from "#prometheus/catalogue.ts";
import { createSampleTransport } from "#prometheus/sample-transport.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { GuardOf } from "./guard.ts";
import { clientOf, toDirectTarget, type SignerOf } from "./open-prometheus.ts";
import type { WorkConfig } from "./work-settings.ts";
import type { CollectorPlace } from "./storage.ts";

export interface ClusterDiagnosisParts {
  clock: Clock;
  logger: Logger;
  keyring: CredentialOpener | undefined;
  guardOf: GuardOf;
  queries: readonly Query[];
  signerOf: SignerOf;
  /** Absent: the Collector is no part of the diagnosis. */
  collector?: CollectorPlace;
}

/** The diagnosis of a cluster, on the same ways as its collection but with connections of its own. */
export function createClusterDiagnosis(
  config: WorkConfig,
  parts: ClusterDiagnosisParts,
): { diagnose: DiagnoseCluster; close(): Promise<void> } {
  const { clock, logger, keyring, guardOf, collector } = parts;
  const turns = createTurns();
  const agent = new Agent({ connections: 4, pipelining: 1 });
  const timeoutMs = Math.min(config.EXPORT_TIMEOUT, requestMs(config.METRICS_COLLECTION_TIMEOUT));
  const transport =
    collector &&
    createTransport(
      { clock, dispatcher: agent },
      { ...collector, compression: config.OTLP_COMPRESSION, timeoutMs },
    );
  const diagnose = createDiagnoseCluster(
    {
      clock,
      logger,
      ...(transport ? { transport } : {}),
      open: async (cluster) => {
        const guard = guardOf(cluster);
        return { ...(await openCredentials(cluster, keyring)), ...(guard ? { guard } : {}) };
      },
      openDirect: async (cluster) => {
        const guard = guardOf(cluster);
        const prometheus = await openDirectCredentials(cluster, keyring);
        const target = toDirectTarget(cluster, prometheus);
        return { target, ...(prometheus ? { prometheus } : {}), ...(guard ? { guard } : {}) };
      },
      clientOf: ({ dispatcher, origin }, cluster, prometheus, timeoutMs) =>
        clientOf(cluster, { dispatcher, clock, turns, signerOf: parts.signerOf }, prometheus, {
          origin,
          timeoutMs,
          samples: { transport: createSampleTransport(clock, config.REMOTE_READ), queries: parts.queries },
        }),
    },
    { stepMs: config.METRICS_COLLECTION_TIMEOUT, lagMs: config.COLLECTION_LAG, queries: parts.queries },
  );
  return { diagnose, close: () => agent.destroy() };
}
