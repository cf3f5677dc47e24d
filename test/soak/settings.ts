import { basename } from "node:path";

export interface SoakSettings {
  minutes: number;
  /** Of the faults' order, times and lengths. */
  seed: number;
  kubeconfig: string;
  /** Direct URL of the cluster's Prometheus; without it a port-forward leads to it. */
  prometheusUrl: string | undefined;
  /** Names of the cluster's containers. */
  containers: { apiServer: string; kubelet: string; prometheus: string };
}

const MINUTES = 10;
/** Each kind of fault takes ten seconds. */
const MINUTES_MIN = 3;
/** Longer ago, the bridge forgets the stretches of a minute. */
const MINUTES_MAX = 300;
const SEED_MAX = 2 ** 31;

/** `argument`: the minutes, before SOAK_MINUTES. Throws an error that names what is missing or wrong. */
export function readSettings(
  environment: Readonly<Record<string, string | undefined>>,
  argument: string | undefined,
  randomSeed: number,
): SoakSettings {
  const given = (name: string): string | undefined => environment[name] || undefined;
  const number = (name: string, text: string, min: number, max: number): number => {
    const value = Number(text);
    if (text.trim() !== "" && value >= min && value <= max) return value;
    throw new Error(`${name}: must be a number from ${min} to ${max}, is ${JSON.stringify(text)}`);
  };
  const kubeconfig = given("E2E_KUBECONFIG");
  if (kubeconfig === undefined)
    throw new Error(
      "E2E_KUBECONFIG must name the kubeconfig of a cluster with a Prometheus: see README.md, Tests",
    );
  const directory = given("E2E_CLUSTER_DIR");
  const container = (part: string, name: string): string => {
    const value = given(name) ?? (directory && `${basename(directory)}-${part}`);
    if (value) return value;
    throw new Error(`${name} must name the Docker container that the faults strike: see README.md, Tests`);
  };
  return {
    minutes: number(
      "SOAK_MINUTES",
      argument ?? given("SOAK_MINUTES") ?? String(MINUTES),
      MINUTES_MIN,
      MINUTES_MAX,
    ),
    seed: Math.floor(number("SOAK_SEED", given("SOAK_SEED") ?? String(randomSeed % SEED_MAX), 0, SEED_MAX)),
    kubeconfig,
    prometheusUrl: given("E2E_PROMETHEUS_URL"),
    containers: {
      apiServer: container("api", "E2E_API_SERVER_CONTAINER"),
      kubelet: container("kubelet", "E2E_KUBELET_CONTAINER"),
      prometheus: container("prometheus", "E2E_PROMETHEUS_CONTAINER"),
    },
  };
}
