/** A Service that looks like a Prometheus, as the API shows it: the fields of `prometheus` to register, and why. */
export interface PrometheusService {
  namespace: string;
  service: string;
  port: number;
  /** Set for a Prometheus that listens behind a proxy on localhost of its Pod (OpenShift). */
  pod_port: number | null;
  scheme: "http" | "https";
  /** "the label operated-prometheus=true", "the port 9090". */
  reasons: string[];
}

export interface ServiceFacts {
  name: string;
  namespace: string;
  labels: Readonly<Record<string, string>>;
  /** TCP ports. */
  ports: readonly { name: string; port: number }[];
}

const PROMETHEUS_PORT = 9090;
/** Kubernetes' own limit of a label's value. */
const LABEL_CHARS_MAX = 63;

/**
 * Names that Prometheus' Service has: by the operator (each Prometheus), kube-prometheus and OpenShift, the Helm charts kube-prometheus-stack (release
 * names kube-prometheus-stack and prometheus) and prometheus.
 */
export const WELL_KNOWN_NAMES = [
  "prometheus-operated",
  "prometheus-k8s",
  "prometheus-server",
  "kube-prometheus-stack-prometheus",
  "prometheus-kube-prometheus-prometheus",
  "prometheus",
] as const;

/** Endings of longer names: `RELEASE-kube-prometheus-prometheus`, `RELEASE-prometheus-server`, Thanos' querier. */
const NAME_ENDING = /(^|-)(prometheus(-server|-operated|-k8s)?|thanos-quer(y|ier))$/;

/** What runs beside a Prometheus and has its name or labels. */
const OTHERS =
  /exporter|kube-state-metrics|alertmanager|pushgateway|operator$|adapter|grafana|webhook|discovery|sidecar/;

/** Labels by which others find it: Prometheus operator, kube-prometheus and the Helm charts (new and old). */
const LABELS: readonly (readonly [label: string, value: RegExp, weight: number])[] = [
  ["operated-prometheus", /^true$/, 4],
  ["app.kubernetes.io/name", /^prometheus$/, 3],
  ["app", /^prometheus$|-prometheus$/, 3],
];

/** Names of ports of the web server, the likeliest first. */
const PORT_NAMES = ["http-web", "web", "http", "prometheus", "https"];

const WEIGHTS = { configured: 5, name: 2, port: 1 };

/**
 * Does a Service look like a Prometheus, and by how much? undefined: by nothing. A port alone is a weak sign, which other programs have, too.
 */
export function judgeService(
  facts: ServiceFacts,
  configuredService: string,
): { service: PrometheusService; weight: number } | undefined {
  const { name, namespace, labels, ports } = facts;
  const port = choosePort(ports);
  if (!port || OTHERS.test(name) || OTHERS.test(labels["app.kubernetes.io/component"] ?? ""))
    return undefined;
  const signs: [reason: string, weight: number][] = [
    ...(name === configuredService
      ? [["the name that PROMETHEUS_SERVICE_NAME has", WEIGHTS.configured] as [string, number]]
      : []),
    ...LABELS.flatMap(([label, value, weight]): [string, number][] => {
      const found = labels[label];
      return found !== undefined && found.length <= LABEL_CHARS_MAX && value.test(found)
        ? [[`the label ${label}=${found}`, weight]]
        : [];
    }),
    ...(NAME_ENDING.test(name) ? [[`the name ${name}`, WEIGHTS.name] as [string, number]] : []),
    ...(port.port === PROMETHEUS_PORT ? [["the port 9090", WEIGHTS.port] as [string, number]] : []),
  ];
  if (signs.length === 0) return undefined;
  return {
    service: {
      namespace,
      service: name,
      port: port.port,
      pod_port: isOpenShift(facts) ? PROMETHEUS_PORT : null,
      scheme: port.name === "https" ? "https" : "http",
      reasons: signs.map(([reason]) => reason),
    },
    weight: signs.reduce((sum, [, weight]) => sum + weight, 0),
  };
}

function choosePort(ports: ServiceFacts["ports"]): ServiceFacts["ports"][number] | undefined {
  const named = PORT_NAMES.flatMap((name) => ports.find((port) => port.name === name) ?? []);
  return ports.find(({ port }) => port === PROMETHEUS_PORT) ?? named[0] ?? ports[0];
}

/** docs/sources.md: its Service leads to a proxy only. */
function isOpenShift({ name, namespace }: ServiceFacts): boolean {
  return namespace === "openshift-monitoring" && name === "prometheus-k8s";
}
