import type { ErrorCode } from "#errors/error.ts";
import type { ClusterResult } from "#collect/status.ts";
import type { Fault } from "#simulator/fault-kinds.ts";
import type { KubeService } from "#simulator/kube-state.ts";
import { bridgeRights, type Right } from "#simulator/kube-rights.ts";
import type { SimulatedCluster, Simulator } from "#simulator/simulator.ts";

/** A fault of one cluster, and the error that its user must see. */
export interface FaultCase {
  name: string;
  set: (simulator: Simulator, cluster: SimulatedCluster) => Promise<void> | void;
  /** After the faults of the simulator's board are cleared. */
  repair?: (cluster: SimulatedCluster) => void;
  outcome: ClusterResult["outcome"];
  /** Code in the result and in the status. */
  code?: ErrorCode;
  message?: RegExp;
  hint?: RegExp;
  /** A warning of the status. */
  warning?: RegExp;
  /** The metric whose window stays open; others may fail with it when they shared its connection. */
  open?: string;
  mayFailOthers?: boolean;
}

const NAMESPACE = "bud-system";
const SERVICE = "bud-metrics-kube-prometheu-prometheus";
const POD = `prometheus-${SERVICE}-0`;

const board =
  (...faults: Fault[]): FaultCase["set"] =>
  async (simulator, cluster) => {
    await simulator.faults.set(cluster.id, ...faults);
  };

const failed = (
  name: string,
  fault: Fault,
  code: ErrorCode,
  expected: Pick<FaultCase, "message" | "hint"> = {},
): FaultCase => ({ name, set: board(fault), outcome: "failed", code, ...expected });

/** The Service with another one in its place. */
function withService(change: (service: KubeService) => KubeService[]): Pick<FaultCase, "set" | "repair"> {
  let original: KubeService | undefined;
  return {
    set: (_simulator, { kube }) => {
      original = kube.services[0]!;
      kube.services.splice(0, 1, ...change(original));
    },
    repair: ({ kube }) => void kube.services.splice(0, kube.services.length, original!),
  };
}

function withRights(change: (rights: Right[]) => Right[]): Pick<FaultCase, "set" | "repair"> {
  return {
    set: (_simulator, { kube }) => kube.setRights("bridge", change(bridgeRights(NAMESPACE))),
    repair: ({ kube }) => kube.setRights("bridge", bridgeRights(NAMESPACE)),
  };
}

const lacks = (resource: string, verb?: string) =>
  withRights((rights) =>
    rights.flatMap((right) => {
      if (!right.resources.includes(resource)) return [right];
      return verb === undefined ? [] : [{ ...right, verbs: right.verbs.filter((each) => each !== verb) }];
    }),
  );

const elsewhere = (service: KubeService): KubeService[] => [
  { ...service, namespace: "monitoring", name: "kube-prometheus-stack-prometheus" },
  { ...service, name: "grafana" },
];

const API_SERVER: FaultCase[] = [
  failed("nobody listens there", { layer: "api", kind: "refuse" }, "cluster_unreachable", {
    message: /connection was refused/,
    hint: /kubeconfig.*firewall/,
  }),
  failed("the API server says nothing", { layer: "api", kind: "mute" }, "cluster_timeout", {
    hint: /METRICS_COLLECTION_TIMEOUT/,
  }),
  failed(
    "the API server hangs",
    { layer: "api", kind: "hang", resource: "endpointslices" },
    "cluster_timeout",
    {
      message: /list endpointslices/,
    },
  ),
  failed(
    "the API server resets",
    { layer: "api", kind: "reset", resource: "services" },
    "cluster_unreachable",
  ),
  failed("the API server fails", { layer: "api", kind: "status", status: 500 }, "cluster_api_error", {
    message: /500/,
  }),
  failed(
    "a login page instead of the API",
    { layer: "api", kind: "answer", body: "<html>Sign in</html>" },
    "cluster_api_error",
    { message: /not JSON/ },
  ),
  ...(["untrusted", "expired", "wrong-name"] as const).map((problem) =>
    failed(`TLS: ${problem}`, { layer: "api", kind: "tls", problem }, "cluster_tls_untrusted", {
      hint: /VALIDATE_CERTS/,
    }),
  ),
  failed("401", { layer: "api", kind: "status", status: 401 }, "cluster_unauthorized", {
    hint: /token may have expired/,
  }),
  {
    name: "the token was revoked",
    set: (_simulator, { kube, token }) =>
      kube.setUser({ name: "bridge", token: `${token}-new`, rights: bridgeRights(NAMESPACE) }),
    repair: ({ kube, token }) => kube.setUser({ name: "bridge", token, rights: bridgeRights(NAMESPACE) }),
    outcome: "failed",
    code: "cluster_unauthorized",
    hint: /new kubeconfig/,
  },
];

const RIGHTS: FaultCase[] = [
  {
    name: "403: services",
    ...lacks("services"),
    outcome: "failed",
    code: "cluster_forbidden",
    message: new RegExp(`get services "${SERVICE}" in namespace "${NAMESPACE}"`),
    hint: /get services, list endpointslices, get and create pods\/portforward/,
  },
  {
    name: "403: endpointslices",
    ...lacks("endpointslices"),
    outcome: "failed",
    code: "cluster_forbidden",
    message: /list endpointslices in namespace "bud-system"/,
  },
  {
    name: "403: portforward",
    ...lacks("pods/portforward"),
    outcome: "failed",
    code: "cluster_forbidden",
    message: /get and create pods\/portforward in namespace "bud-system"/,
  },
  {
    name: "403: portforward without create",
    ...lacks("pods/portforward", "create"),
    outcome: "failed",
    code: "cluster_forbidden",
    message: /get and create pods\/portforward/,
  },
  {
    name: "403: nodes are only a help",
    ...lacks("nodes"),
    outcome: "successful",
    warning: /node names.*list nodes.*cluster_forbidden/s,
  },
];

const TARGET: FaultCase[] = [
  {
    name: "no such Service, and none may be listed",
    ...withService(elsewhere),
    outcome: "failed",
    code: "prometheus_service_not_found",
    message: new RegExp(`${NAMESPACE}/${SERVICE}`),
    hint: /PROMETHEUS_NAMESPACE and PROMETHEUS_SERVICE_NAME(?!.*kube-prometheus-stack)/s,
  },
  (() => {
    const service = withService(elsewhere);
    const rights = withRights((known) => [...known, { verbs: ["list"], resources: ["services"] }]);
    return {
      name: "no such namespace or Service, others are listed",
      set: async (simulator, cluster) => {
        await service.set(simulator, cluster);
        await rights.set(simulator, cluster);
      },
      repair: (cluster) => {
        service.repair?.(cluster);
        rights.repair?.(cluster);
      },
      outcome: "failed",
      code: "prometheus_service_not_found",
      hint: /monitoring\/kube-prometheus-stack-prometheus(?!.*grafana)/s,
    } satisfies FaultCase;
  })(),
  {
    name: "an ExternalName Service",
    ...withService((service) => [{ ...service, type: "ExternalName", selector: null }]),
    outcome: "failed",
    code: "prometheus_service_unsupported",
  },
  {
    name: "no ready Pod",
    set: (_simulator, { kube }) => kube.updatePod(POD, { ready: false }),
    repair: ({ kube }) => kube.updatePod(POD, { ready: true }),
    outcome: "failed",
    code: "prometheus_pod_not_ready",
    message: /1 not ready/,
  },
  {
    name: "a terminating Pod",
    set: (_simulator, { kube }) => kube.updatePod(POD, { terminating: true }),
    repair: ({ kube }) => kube.updatePod(POD, { terminating: false }),
    outcome: "failed",
    code: "prometheus_pod_not_ready",
    message: /1 terminating/,
  },
  {
    name: "PROMETHEUS_PORT is no port of the Service",
    ...withService((service) => [{ ...service, ports: [{ name: "web", port: 80, targetPort: 9090 }] }]),
    outcome: "failed",
    code: "prometheus_port_not_found",
    message: /no TCP port 9090/,
    hint: /PROMETHEUS_PORT/,
  },
  {
    name: "nobody listens on the targetPort",
    ...withService((service) => [
      { ...service, ports: [{ name: "http-web", port: 9090, targetPort: 9999 }] },
    ]),
    outcome: "failed",
    code: "tunnel_refused",
    message: /9999/,
    hint: /targetPort/,
  },
];

const TUNNEL: FaultCase[] = [
  failed("the upgrade hangs", { layer: "tunnel", kind: "hang-upgrade" }, "tunnel_timeout"),
  failed("the tunnel hangs", { layer: "tunnel", kind: "hang" }, "tunnel_timeout", { hint: /kubelet/ }),
  failed(
    "the tunnel stalls in the middle",
    // The first answer, the time, has about 280 bytes.
    { layer: "tunnel", kind: "stall", afterBytes: 250 },
    "prometheus_timeout",
  ),
  failed("the kubelet refuses", { layer: "tunnel", kind: "refuse", status: 500 }, "cluster_api_error"),
  failed("the tunnel closes", { layer: "tunnel", kind: "close", afterBytes: 50 }, "tunnel_closed"),
  failed("the tunnel is cut", { layer: "tunnel", kind: "cut", afterBytes: 50 }, "tunnel_closed"),
  failed("the tunnel is reset", { layer: "tunnel", kind: "reset", afterBytes: 50 }, "tunnel_closed"),
  failed("the wrong port", { layer: "tunnel", kind: "wrong-port" }, "tunnel_protocol"),
];

type Place = { layer: "prometheus"; path: string; query: string };
const one = (metric: string): Place => ({ layer: "prometheus", path: "/api/v1/query", query: metric });
const read = (metric: string): Place => ({ layer: "prometheus", path: "/api/v1/read", query: metric });
/** Three failures in a row give way to the query API: only what hits both stays open in windows that are tried so often. */
const both = (metric: string): Omit<Place, "path"> => ({ layer: "prometheus", query: metric });

/** Samples come by the query API from a source that does not serve remote read. */
const NO_REMOTE_READ: Fault = { layer: "prometheus", path: "/api/v1/read", kind: "status", status: 404 };
/** The samples of windows so short come as chunks where a block of them was too large. */
const asChunks = (metric: string, fault: Fault): Fault[] => [
  { ...read(metric), kind: "remote-read", problem: "bomb", times: 1 },
  fault,
];

/** Only this metric's query is hit. */
const partial = (
  name: string,
  metric: string,
  faults: Fault | Fault[],
  code: ErrorCode,
  expected: Pick<FaultCase, "message" | "hint" | "mayFailOthers"> = {},
): FaultCase => ({
  name,
  set: board(...[faults].flat()),
  outcome: "partial",
  code,
  open: metric,
  ...expected,
});

const PROMETHEUS: FaultCase[] = [
  failed("Prometheus is not ready", { layer: "prometheus", kind: "not-ready" }, "prometheus_not_ready", {
    hint: /until it is ready/,
  }),
  failed(
    "Prometheus is overloaded",
    {
      layer: "prometheus",
      kind: "error",
      status: 503,
      errorType: "timeout",
      message: "query timed out in query execution",
    },
    "prometheus_overloaded",
    { message: /query timed out in query execution/, hint: /query\.max-concurrency/ },
  ),
  failed(
    "a login page instead of Prometheus",
    { layer: "prometheus", kind: "html" },
    "prometheus_login_required",
    {
      message: /200 with an HTML page, which is a login page/,
      hint: /prometheus\.service and prometheus\.port/,
    },
  ),
  failed("a proxy's page", { layer: "prometheus", kind: "html", status: 502 }, "prometheus_overloaded", {
    message: /502 with an HTML page/,
  }),
  failed("Prometheus: 401", { layer: "prometheus", kind: "status", status: 401 }, "prometheus_unauthorized"),
  failed(
    "Prometheus: 404",
    { layer: "prometheus", kind: "status", status: 404 },
    "prometheus_unexpected_answer",
  ),
  failed("Prometheus hangs", { layer: "prometheus", kind: "hang" }, "prometheus_timeout", {
    hint: /METRICS_COLLECTION_TIMEOUT/,
  }),
  failed(
    "Prometheus drips",
    { layer: "prometheus", kind: "drip", bytes: 1, delayMs: 50 },
    "prometheus_timeout",
  ),
  failed(
    "JSON of something else",
    { layer: "prometheus", kind: "wrong-shape" },
    "prometheus_unexpected_answer",
  ),
  ...(["extra-members", "reordered", "spaced"] as const).map((layout): FaultCase => ({
    name: `another backend's layout: ${layout}`,
    set: board({ layer: "prometheus", kind: "layout", layout }),
    outcome: "successful",
  })),
];

/** Of one metric's samples, by the query API. */
const QUERY_API: FaultCase[] = [
  partial(
    "one query hangs",
    "node_load15",
    [NO_REMOTE_READ, { ...one("node_load15"), kind: "hang" }],
    "prometheus_timeout",
  ),
  partial(
    "one query drips",
    "kube_pod_info",
    [NO_REMOTE_READ, { ...one("kube_pod_info"), kind: "drip", bytes: 64, delayMs: 50 }],
    "prometheus_timeout",
  ),
  partial(
    "one query fails",
    "node_load15",
    [
      NO_REMOTE_READ,
      { ...one("node_load15"), kind: "error", status: 422, errorType: "execution", message: "a bad block" },
    ],
    "prometheus_query_failed",
    { message: /422 execution: a bad block/ },
  ),
  partial(
    "one query gets other JSON",
    "node_load15",
    [
      NO_REMOTE_READ,
      {
        ...one("node_load15"),
        kind: "wrong-shape",
        body: '{"status":"success","data":{"resultType":"matrix"}}',
      },
    ],
    "prometheus_answer_invalid",
  ),
  partial(
    "too many samples even in the smallest window",
    "node_load15",
    [NO_REMOTE_READ, { ...one("node_load15"), kind: "max-samples", samples: 0 }],
    "prometheus_too_many_samples",
    { hint: /query\.max-samples/ },
  ),
  {
    name: "too many samples: the window is halved",
    set: board(NO_REMOTE_READ, { ...one("kube_pod_info"), kind: "max-samples", samples: 60 }),
    outcome: "successful",
  },
  {
    name: "native histograms are stored",
    set: board(NO_REMOTE_READ, { ...one("node_load15"), kind: "histograms" }),
    outcome: "successful",
  },
  partial(
    "the Pod restarts in the middle of an answer",
    "kube_pod_info",
    [NO_REMOTE_READ, { ...one("kube_pod_info"), kind: "pod-restart", afterBytes: 900, times: 1 }],
    "tunnel_closed",
    { hint: /next round/, mayFailOthers: true },
  ),
];

/** The same by remote read, and what only remote read can answer. */
const REMOTE_READ: FaultCase[] = [
  partial("both ways hang", "node_load15", { ...both("node_load15"), kind: "hang" }, "prometheus_timeout"),
  partial(
    "both ways drip",
    "kube_pod_info",
    { ...both("kube_pod_info"), kind: "drip", bytes: 4, delayMs: 50 },
    "prometheus_timeout",
  ),
  partial(
    "remote read fails",
    "node_load15",
    { ...read("node_load15"), kind: "status", status: 500, body: "a bad block\n" },
    "prometheus_unexpected_answer",
    { message: /500 with "a bad block"/ },
  ),
  ...(["status", "html", "wrong-shape"] as const).map((kind): FaultCase => ({
    name: `remote read is refused in the middle of a round: ${kind}`,
    set: board({ ...read("node_load15"), kind, status: kind === "status" ? 403 : 200 }),
    outcome: "successful",
  })),
  partial(
    "too many samples for remote read even in the smallest window",
    "node_load15",
    { ...read("node_load15"), kind: "status", status: 400, body: "exceeded sample limit (1)\n" },
    "prometheus_too_many_samples",
  ),
  {
    name: "too many samples for remote read: the window is halved",
    set: board({ ...read("kube_pod_info"), kind: "max-samples", samples: 60 }),
    outcome: "successful",
  },
  ...(["samples", "content-type", "bomb"] as const).map((problem): FaultCase => ({
    name: `remote read answers in another way: ${problem}`,
    set: board({ ...read("kube_pod_info"), kind: "remote-read", problem }),
    outcome: "successful",
  })),
  {
    name: "chunks of an encoding that nobody knows",
    set: board(
      ...asChunks("kube_pod_info", { ...read("kube_pod_info"), kind: "remote-read", problem: "encoding" }),
    ),
    outcome: "successful",
  },
  ...(
    [
      ["checksum", "prometheus_answer_invalid", /CRC-32C/],
      ["chunk-count", "prometheus_answer_truncated", /./],
      ["query-index", "prometheus_answer_invalid", /query that was not asked/],
    ] as const
  ).map(([problem, code, message]) =>
    partial(
      `chunks of remote read are damaged: ${problem}`,
      "kube_pod_info",
      asChunks("kube_pod_info", { ...read("kube_pod_info"), kind: "remote-read", problem }),
      code,
      { message },
    ),
  ),
  partial(
    "the Pod restarts in the middle of an answer of remote read",
    "kube_pod_info",
    { ...read("kube_pod_info"), kind: "pod-restart", afterBytes: 100, times: 1 },
    "tunnel_closed",
    { hint: /next round/, mayFailOthers: true },
  ),
];

export const FAULT_CASES: readonly FaultCase[] = [
  ...API_SERVER,
  ...RIGHTS,
  ...TARGET,
  ...TUNNEL,
  ...PROMETHEUS,
  ...QUERY_API,
  ...REMOTE_READ,
];
