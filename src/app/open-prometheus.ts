import type { Dispatcher } from "undici";
import type { createAwsSigners } from "#aws/signer.ts";
import type { Cluster, PrometheusCredentials } from "#clusters/cluster.ts";
import type { CredentialOpener } from "#clusters/envelope.ts";
import { openCredentials, openDirectCredentials } from "#clusters/open-credentials.ts";
import { toAuthorization } from "#clusters/prometheus-credentials.ts";
import type { OpenPrometheus } from "#collect/ports.ts";
import { toBridgeError } from "#errors/error.ts";
import { assert } from "#lib/assert.ts";
import type { Clock } from "#lib/clock.ts";
import { createTurns, type Turns } from "#lib/turns.ts";
import type { Authorization } from "#prometheus/answer-errors.ts";
import type { Query } from "#prometheus/catalogue.ts";
import {
  createPrometheusClient,
  type PrometheusClient,
  type PrometheusSettings,
} from "#prometheus/client.ts";
import { createCompression } from "#prometheus/compression.ts";
import { withDirectRemedies, withDirectRemedy } from "#prometheus/direct-remedies.ts";
import { namesOfSelectors } from "#prometheus/selector-matchers.ts";
import { createSampleTransport } from "#prometheus/sample-transport.ts";
import type { Logger } from "#telemetry/logger.ts";
import { openDirect, type DirectTarget } from "#tunnel/direct.ts";
import { openTunnel, type Tunnel } from "#tunnel/dispatcher.ts";
import type { WorkerMetrics } from "#workers/ports.ts";
import type { GuardOf } from "./guard.ts";
import type { WorkConfig } from "./work-settings.ts";

export interface OpenPrometheusDeps {
  clock: Clock;
  logger: Logger;
  metrics: WorkerMetrics;
  /** Opens sealed credentials; without it they can't be. */
  keyring: CredentialOpener | undefined;
  guardOf: GuardOf;
  queries: readonly Query[];
  signerOf: SignerOf;
}

/** How the requests of a cluster with AWS keys are signed. */
export type SignerOf = ReturnType<typeof createAwsSigners>;

/** The only place where a cluster, the way to it and the Prometheus client meet. */
export function createOpenPrometheus(config: WorkConfig, deps: OpenPrometheusDeps): OpenPrometheus {
  const { clock, metrics } = deps;
  const timeoutMs = config.METRICS_COLLECTION_TIMEOUT;
  const turns = createTurns();
  const selectors = deps.queries.flatMap((query) => (query.kind === "selector" ? [query.selector] : []));
  const metricNames = namesOfSelectors(selectors);
  return async (cluster, pinnedPodUid, signal, link) => {
    try {
      const isDirect = cluster.prometheus.url !== undefined;
      const { tunnel, prometheus } = isDirect
        ? await openUrl(config, deps, cluster, signal)
        : await openPath(config, { ...deps, turns }, cluster, pinnedPodUid, signal);
      metrics.tunnelOpened();
      const { dispatcher, origin, pod, otherPods, unreadyPods, nodeNames, warnings } = tunnel;
      const compression = createCompression(clock, link);
      const samples = createSampleTransport(clock, config.REMOTE_READ);
      const parts = { dispatcher, clock, turns, signerOf: deps.signerOf };
      const client = clientOf(cluster, parts, prometheus, {
        origin,
        timeoutMs,
        compression,
        samples: { transport: samples, queries: deps.queries },
        ...(metricNames ? { metricNames } : {}),
      });
      const close = async (): Promise<void> => {
        metrics.tunnelClosed();
        await tunnel.close();
      };
      return {
        client,
        pod,
        otherPods,
        unreadyPods,
        nodeNames,
        warnings,
        samples,
        link: () => compression.link(),
        close,
      };
    } catch (thrown) {
      const error = toBridgeError(thrown, "cluster_api_error");
      metrics.tunnelFailed(error.code);
      throw error;
    }
  };
}

interface Opened {
  tunnel: Tunnel;
  prometheus?: PrometheusCredentials;
}

async function openPath(
  config: WorkConfig,
  deps: OpenPrometheusDeps & { turns: Turns },
  cluster: Cluster,
  pinnedPodUid: string | undefined,
  signal: AbortSignal,
): Promise<Opened> {
  const { clock, logger, turns } = deps;
  const { kubeConfig, ...rest } = await openCredentials(cluster, deps.keyring);
  const guard = deps.guardOf(cluster);
  const tunnel = await openTunnel(
    { kubeConfig, clock, logger, turns, ...(guard ? { guard } : {}) },
    {
      clusterId: cluster.id,
      target: cluster.prometheus,
      lanes: config.QUERY_CONCURRENCY,
      timeoutMs: config.METRICS_COLLECTION_TIMEOUT,
      ...(pinnedPodUid === undefined ? {} : { pinnedPodUid }),
    },
    signal,
  );
  return { tunnel, ...rest };
}

async function openUrl(
  config: WorkConfig,
  { clock, logger, keyring, guardOf }: OpenPrometheusDeps,
  cluster: Cluster,
  signal: AbortSignal,
): Promise<Opened> {
  const prometheus = await openDirectCredentials(cluster, keyring);
  const guard = guardOf(cluster);
  try {
    const tunnel = await openDirect(
      { clock, logger, ...(guard ? { guard } : {}) },
      {
        target: toDirectTarget(cluster, prometheus),
        lanes: config.QUERY_CONCURRENCY,
        timeoutMs: config.METRICS_COLLECTION_TIMEOUT,
      },
      signal,
    );
    return { tunnel, ...(prometheus ? { prometheus } : {}) };
  } catch (error) {
    throw withDirectRemedy(error);
  }
}

/** The server of a cluster without a tunnel, and how it is verified. */
export function toDirectTarget(
  { prometheus, validateCerts }: Cluster,
  credentials: PrometheusCredentials | undefined,
): DirectTarget {
  const { url, ca } = prometheus;
  assert(url !== undefined, "a cluster without a tunnel has a URL");
  const certificate = credentials?.clientCertificate;
  return {
    url,
    isVerified: validateCerts,
    ...(ca === undefined ? {} : { ca }),
    ...(certificate ? { clientCertificate: { cert: certificate.cert, key: certificate.key.expose() } } : {}),
  };
}

function authorizationOf(credentials: PrometheusCredentials, signerOf: SignerOf): Authorization {
  const authorization = toAuthorization(credentials);
  return credentials.kind === "sigv4" ? { ...authorization, sign: signerOf(credentials) } : authorization;
}

/** The client of a cluster's Prometheus, with the cluster's credentials for it. */
export function clientOf(
  cluster: Cluster,
  parts: { dispatcher: Dispatcher; clock: Clock; turns: Turns; signerOf: SignerOf },
  credentials: PrometheusCredentials | undefined,
  settings: Pick<PrometheusSettings, "origin" | "timeoutMs" | "metricNames" | "compression" | "samples">,
): PrometheusClient {
  const client = createPrometheusClient(parts, {
    ...cluster.prometheus,
    ...settings,
    ...(credentials ? { authorization: authorizationOf(credentials, parts.signerOf) } : {}),
  });
  return cluster.prometheus.url === undefined ? client : withDirectRemedies(client);
}
