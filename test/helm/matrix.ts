import { GIVEN_KEYS, MONITORING, overlay, type RenderOptions, type Values } from "./helm.ts";

/** A way to install the chart. */
export interface Setup {
  name: string;
  values: Values;
  options?: RenderOptions;
  /** Secrets and ConfigMaps that the values name and the user has made, with their keys. */
  given?: Record<string, readonly string[]>;
}

const tokens = [{ name: "grafana", sha256: "a".repeat(64), scopes: ["read"] }];
const everything: Values = {
  ...GIVEN_KEYS,
  commonLabels: { team: "platform" },
  imagePullSecrets: [{ name: "registry" }],
  scheduler: "dapr",
  dapr: { stateStore: { enabled: true }, annotations: { "dapr.io/sidecar-cpu-limit": "500m" } },
  auth: { tokens },
  clusters: { list: [{ id: "edge-1", kubeconfig: { kind: "Config" } }] },
  queries: { file: { disable: ["node_load15"] } },
  bridge: {
    env: {
      MAX_BACKFILL: "48h",
      OTLP_HEADERS: { valueFrom: { secretKeyRef: { name: "otlp", key: "headers" } } },
    },
    extraEnv: [{ name: "NODE_EXTRA_CA_CERTS", value: "/ca/ca.crt" }],
    extraVolumes: [{ name: "ca", configMap: { name: "ca" } }],
    extraVolumeMounts: [{ name: "ca", mountPath: "/ca" }],
    tolerations: [{ operator: "Exists" }],
    nodeSelector: { disk: "ssd" },
    priorityClassName: "high",
    affinity: { nodeAffinity: {} },
  },
  query: {
    autoscaling: { enabled: true },
    env: { HEALTH_CPU_PERCENT: "60/90", STALE_AFTER: 900, EMBEDDED_MEMORY_MAX: 1073741824 },
    service: { type: "LoadBalancer", annotations: { internal: "true" } },
  },
  otelCollector: {
    debug: true,
    replicas: 3,
    resourceAttributes: { "deployment.environment": "prod $1", zone: 7 },
    extraConfig: { exporters: { clickhouse: { timeout: "4s" } } },
  },
  clickhouse: { enabled: true, config: { max_concurrent_queries: 50 } },
  networkPolicy: {
    bridge: {
      from: [{ namespaceSelector: {} }],
      extraEgress: [{ ports: [{ protocol: "TCP", port: 6379 }] }],
    },
  },
  serviceMonitor: { labels: { release: "prometheus" } },
  prometheusRule: { alertLabels: { team: "platform" } },
  grafana: { dashboards: { enabled: true, annotations: { grafana_folder: "budcluster" } } },
  ingress: { enabled: true, className: "nginx", tlsSecret: "tls", bridge: true },
  httpRoute: { enabled: true, parentRefs: [{ name: "gateway", namespace: "infra" }], bridge: true },
};

/** Sets of values for the checks of the objects. */
export const SETUPS: readonly Setup[] = [
  { name: "no values at all", values: {} },
  {
    name: "the documented installation",
    values: { otelCollector: { enabled: true }, clickhouse: { enabled: true } },
  },
  {
    name: "another release's name",
    values: { ...GIVEN_KEYS, clickhouse: { enabled: true } },
    options: { release: "metrics-2", namespace: "other" },
    given: { "given-keys": ["k.pem"] },
  },
  {
    name: "everything",
    values: everything,
    options: { apiVersions: [MONITORING] },
    given: { "given-keys": ["k.pem"], otlp: ["headers"], ca: ["ca.crt"], tls: [] },
  },
  {
    name: "a cron of Dapr with SQLite",
    values: { ...GIVEN_KEYS, scheduler: "dapr" },
    given: { "given-keys": ["k.pem"] },
  },
  {
    name: "three bridges that share a PostgreSQL",
    values: {
      ...GIVEN_KEYS,
      scheduler: "dapr",
      dapr: {
        stateStore: {
          enabled: true,
          type: "state.postgresql",
          version: "v2",
          metadata: [{ name: "connectionString", secretKeyRef: { name: "postgres", key: "dsn" } }],
        },
      },
      bridge: { replicas: 3 },
    },
    options: { apiVersions: [MONITORING] },
    given: { "given-keys": ["k.pem"], postgres: ["dsn"] },
  },
  {
    name: "bridges that scale",
    values: {
      ...GIVEN_KEYS,
      dapr: { stateStore: { enabled: true } },
      bridge: { autoscaling: { enabled: true } },
    },
    given: { "given-keys": ["k.pem"] },
  },
  {
    name: "a ClickHouse of the user's, over HTTPS, each role with its own user",
    values: {
      ...GIVEN_KEYS,
      otelCollector: {
        clickhouse: {
          host: "ch.example.com",
          protocol: "http",
          secure: true,
          httpPort: 8443,
          user: "bud_collector",
          existingSecret: "ch-collector",
        },
      },
      query: { clickhouse: { user: "bud_query", existingSecret: "ch-query" } },
      migration: {
        clickhouse: { user: "bud_migrate", existingSecret: "ch-migrate", existingSecretKey: "pw" },
      },
    },
    given: {
      "given-keys": ["k.pem"],
      "ch-collector": ["password"],
      "ch-query": ["password"],
      "ch-migrate": ["pw"],
    },
  },
  {
    name: "every Secret of the user's",
    values: overlay(everything, {
      auth: { tokens: [], existingSecret: "given-tokens", existingSecretKey: "t.yaml" },
      serviceMonitor: { existingTokenSecret: "given-read" },
      dapr: { appToken: { existingSecret: "given-app" }, apiToken: { existingSecret: "given-api" } },
      clusters: { list: [], existingSecret: "given-clusters", existingSecretKey: "c.yaml" },
      queries: { file: null, existingConfigMap: "given-queries", existingConfigMapKey: "q.yaml" },
      otelCollector: { clickhouse: { existingSecret: "given-clickhouse" } },
    }),
    options: { apiVersions: [MONITORING] },
    given: {
      "given-keys": ["k.pem"],
      "given-tokens": ["t.yaml"],
      "given-read": ["token"],
      "given-app": ["token"],
      "given-api": ["token"],
      "given-clusters": ["c.yaml"],
      "given-queries": ["q.yaml"],
      "given-clickhouse": ["password"],
      otlp: ["headers"],
      ca: ["ca.crt"],
      tls: [],
    },
  },
  {
    name: "only the bridge, with a Collector of the user's",
    values: {
      ...GIVEN_KEYS,
      otelCollector: { enabled: false },
      bridge: { collectorEndpoint: "https://otel.{{ .Release.Namespace }}.example.com" },
      query: { enabled: false },
      migration: { enabled: false },
      auth: { enabled: false },
      tests: { enabled: false },
      networkPolicy: { enabled: true },
    },
    given: { "given-keys": ["k.pem"] },
  },
  {
    name: "volumes of the user's, accounts of the user's",
    values: {
      ...GIVEN_KEYS,
      bridge: {
        persistence: { existingClaim: "given-state" },
        serviceAccount: { create: false, name: "given-account" },
      },
      clickhouse: { enabled: true, persistence: { enabled: false } },
      networkPolicy: { enabled: false },
    },
    given: { "given-keys": ["k.pem"], "given-state": [], "given-account": [] },
  },
];
