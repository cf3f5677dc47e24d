import { createHash } from "node:crypto";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import type { Cluster } from "#clusters/cluster.ts";
import { createClusterCompleteness, type ClusterCompleteness } from "#collect/completeness.ts";
import type { Collection, CollectionStatus, RoundResult } from "#collect/status.ts";
import { BridgeError } from "#errors/error.ts";
import type { LatestSamples } from "#http/routes/cluster-metrics.ts";
import { createHttpServer, type HttpServerDeps, type HttpServerSettings } from "#http/server.ts";
import type { ApiToken } from "#http/tokens.ts";
import { systemClock } from "#lib/clock.ts";
import { createTally, lastHours } from "#lib/completeness.ts";
import { createSecret } from "#lib/secret.ts";
import { createTurns } from "#lib/turns.ts";
import { toQueries } from "#prometheus/catalogue.ts";
import { createQueryAdmission } from "#query/admission.ts";
import { createLogger } from "#telemetry/logger.ts";
import { createOwnMetrics } from "#telemetry/metrics.ts";
import { createMemoryStore } from "../helpers/memory-store.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";

/** Plain texts of the tokens; none of them may ever be in a log or an answer. */
export const TOKENS = {
  read: "read-token-0123456789",
  collect: "collect-token-0123456789",
  admin: "admin-token-0123456789",
  dapr: "dapr-token-0123456789",
} as const;

const KUBECONFIG_SECRET = "kubeconfig-bearer-0123456789";

export const SECRETS: readonly string[] = [...Object.values(TOKENS), KUBECONFIG_SECRET, "MIIBsecretpem"];

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

export const ACCESS: HttpServerSettings["access"] = {
  tokens: (["read", "collect", "admin"] as const).map((scope): ApiToken => ({
    name: `${scope}er`,
    sha256: sha256(TOKENS[scope]),
    scopes: [scope],
  })),
  daprToken: createSecret(TOKENS.dapr),
};

export const CLUSTER: Cluster = {
  id: "edge-1",
  name: "Edge 1",
  platform: "eks",
  enabled: true,
  credentials: { kind: "inline", kubeconfig: createSecret(`token: ${KUBECONFIG_SECRET}`) },
  prometheus: {
    namespace: "bud-system",
    service: "prometheus",
    port: 9090,
    scheme: "https",
    pathPrefix: "/prom",
    ca: "-----BEGIN CERTIFICATE-----\nMIIBsecretpem\n-----END CERTIFICATE-----",
  },
  validateCerts: true,
  source: "file",
  labels: {},
};

function roundResult(id: string, finished: boolean): RoundResult {
  return {
    id,
    trigger: "request",
    started_at: "2025-06-01T12:00:00.000Z",
    finished_at: finished ? "2025-06-01T12:00:02.000Z" : null,
    duration_seconds: finished ? 2 : null,
    total: 2,
    successful: finished ? 1 : 0,
    partial: 0,
    failed: finished ? 1 : 0,
    skipped: 0,
    points: 0,
    bytes: 0,
    clusters: finished
      ? [
          {
            cluster_id: "edge-1",
            cluster_name: "Edge 1",
            outcome: "failed",
            points: 0,
            series: 0,
            bytes: 0,
            duration_seconds: 1.5,
            error: { code: "cluster_timeout", message: "no answer", hint: "wait", details: { attempt: 1 } },
          },
        ]
      : [],
  };
}

export const STATUS: CollectionStatus = {
  enabled: true,
  scheduler: "dapr",
  interval_seconds: 300,
  current_round: null,
  last_round: roundResult("r0", true),
  replicas: [],
  clusters: [
    {
      cluster_id: "edge-1",
      cluster_name: "Edge 1",
      platform: "eks",
      state: "partial",
      owner: "bridge-1",
      collecting: false,
      watermark: null,
      lag_seconds: null,
      last_success: "2025-06-01T12:00:02.000Z",
      last_error: {
        code: "cluster_timeout",
        message: "no answer",
        hint: "wait",
        at: "2025-06-01T12:00:02.000Z",
      },
      points: 10,
      series: 1,
      groups: { node: "present", gpu: "absent" },
      gaps: [
        {
          query: "up",
          from: "2025-06-01T11:00:00.000Z",
          to: "2025-06-01T11:05:00.000Z",
          state: "refused",
          reason: "400",
          points: 3,
        },
        {
          query: "up",
          from: "2025-06-01T10:00:00.000Z",
          to: "2025-06-01T10:05:00.000Z",
          state: "lost",
          reason: "gone",
        },
      ],
      completeness: createTally(lastHours(Date.parse("2025-06-01T12:00:02Z"))).summary(),
      transport: "tunnel",
      prometheus_pod: "prometheus-0",
      prometheus_pods: null,
      samples_by: null,
      clock_skew_seconds: -0.2,
      warnings: ["certificates are not verified"],
    },
  ],
  warnings: [],
};

/** A collection whose rounds end when the test says so. */
function createFakeCollection() {
  const rounds: { finish: () => void; finished: boolean }[] = [];
  let disabled = false;
  let busy: string[] = [];
  let failure: Error | undefined;
  const waiting: (() => void)[] = [];
  const collection: Collection = {
    start: async () => {
      if (failure) throw failure;
      if (disabled) throw new BridgeError("collection_disabled", "METRICS_COLLECTION_ENABLED is false");
      const id = `r${rounds.length + 1}`;
      const { promise, resolve } = Promise.withResolvers<RoundResult>();
      const round = {
        finished: false,
        finish: () => {
          round.finished = true;
          resolve(roundResult(id, true));
        },
      };
      rounds.push(round);
      for (const wake of waiting.splice(0)) wake();
      return { round: roundResult(id, false), busy, done: promise };
    },
    status: async () => STATUS,
  };
  return {
    collection,
    rounds,
    started: () => new Promise<void>((resolve) => waiting.push(resolve)),
    disable: () => (disabled = true),
    setBusy: (ids: string[]) => (busy = ids),
    fail: (error: Error) => (failure = error),
  };
}

/** Of clusters that were never collected. */
export function completenessOf(clusters: readonly Cluster[]): ClusterCompleteness {
  return createClusterCompleteness(
    { registry: { list: async () => [...clusters] }, store: createMemoryStore(), turns: createTurns() },
    {
      queries: toQueries([{ name: "node_load1", promql: "node_load1", group: "node" }]),
      stretchMs: 3_600_000,
    },
  );
}

const fakeLatest: LatestSamples = async ({ clusterId, metric, limit }) => {
  if (clusterId !== CLUSTER.id)
    throw new BridgeError("cluster_not_found", `no cluster has the id "${clusterId}"`);
  if (metric === "absent") throw new BridgeError("metric_not_found", "nothing is stored of it");
  const timestamp = "2025-06-01T11:58:30.000Z";
  const values = [1.5, "NaN", "+Inf", "-Inf"] as const;
  return {
    cluster_id: clusterId,
    metric,
    as_of: timestamp,
    unit: "",
    type: "gauge",
    series_total: values.length,
    series: values
      .slice(0, limit)
      .map((value, index) => ({ labels: { index: String(index) }, timestamp, value })),
  };
};

export interface HarnessOptions {
  /** Without collection, clusters and latest: only the routes that every role has. */
  bare?: boolean;
  access?: HttpServerSettings["access"];
  deps?: Partial<HttpServerDeps>;
  settings?: Partial<HttpServerSettings>;
}

/** A server on a free loopback port with everything wired to fakes; `lines` are its log. */
export async function startHarness(options: HarnessOptions = {}) {
  const lines: string[] = [];
  const logged: ((line: string) => void)[] = [];
  const logger = createLogger({
    level: "trace",
    destination: {
      write: (line) => {
        lines.push(line);
        for (const listen of logged) listen(line);
      },
    },
  });
  const fake = createFakeCollection();
  const problems: string[] = [];
  const ownMetrics = createOwnMetrics(
    { clock: systemClock, logger },
    { serviceName: "budcluster", serviceVersion: "0.0.0", instanceId: "test", lagClustersMax: 10 },
  );
  const server = createHttpServer(
    {
      logger,
      clock: systemClock,
      ownMetrics,
      readiness: () => problems,
      admission: createQueryAdmission(
        { clock: options.deps?.clock ?? systemClock },
        QUERY_DEFAULTS.admission,
      ),
      ...(options.bare
        ? {}
        : {
            collection: fake.collection,
            completeness: completenessOf([CLUSTER]),
            clusters: { list: async () => [CLUSTER] },
            latest: fakeLatest,
          }),
      ...options.deps,
    },
    {
      host: "127.0.0.1",
      port: 0,
      service: { name: "budcluster", version: "0.0.0" },
      access: options.access ?? { tokens: [] },
      ...options.settings,
    },
  );
  const { url } = await server.start();
  /** Resolves with the next log line that `matches`. */
  const nextLine = (
    matches: (fields: Record<string, unknown>) => boolean,
  ): Promise<Record<string, unknown>> =>
    new Promise((resolve) => {
      logged.push((line) => {
        const fields = JSON.parse(line) as Record<string, unknown>;
        if (matches(fields)) resolve(fields);
      });
    });
  return { url, port: Number(new URL(url).port), server, lines, nextLine, problems, logger, ...fake };
}

export type Harness = Awaited<ReturnType<typeof startHarness>>;

export interface ErrorJson {
  error: { code: string; message: string; hint: string; details?: Record<string, unknown> };
}

export async function errorOf(answer: Response): Promise<ErrorJson["error"]> {
  return ((await answer.json()) as ErrorJson).error;
}

/** Everything that a server writes on a bare connection until it closes it. */
export async function talk(port: number, bytes: string): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  socket.write(bytes);
  return text(socket);
}

/** Every answer has these. An independent copy of what the program sets, on purpose. */
export const SECURITY_HEADERS: Readonly<Record<string, string>> = {
  "content-security-policy":
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "origin-agent-cluster": "?1",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "x-dns-prefetch-control": "off",
  "x-download-options": "noopen",
  "x-frame-options": "DENY",
  "x-permitted-cross-domain-policies": "none",
  "x-xss-protection": "0",
  "cache-control": "no-store",
};
