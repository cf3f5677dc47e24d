import { rename, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { delimiter, join, resolve } from "node:path";
import { openCredentials } from "#clusters/open-credentials.ts";
import { clusterFromCommandLine } from "#clusters/registry.ts";
import { BridgeError } from "#errors/error.ts";
import { systemClock } from "#lib/clock.ts";
import { parseDuration } from "#lib/duration.ts";
import { toKubeconfigText } from "#onboard/kubeconfig-text.ts";
import { DEFAULT_SERVICE_ACCOUNT, managedClusterManifest, toManifestText } from "#onboard/manifest.ts";
import { onboard, type OnboardSettings } from "#onboard/onboard.ts";
import { createKubeClient } from "#tunnel/kube-client.ts";
import { readCommandLine } from "./arguments.ts";
import { clusterDefaults } from "#app/app.ts";
import { invalid, loadConfig, type Environment } from "#config.ts";

const USAGE = `Usage: npm run -s kubeconfig -- --context ADMIN [--out FILE]

Makes a ServiceAccount with the least rights in a cluster (docs/rbac/managed-cluster.yaml) and prints the kubeconfig to register,
with a token that expires. A repeat changes nothing in the cluster and makes a new token.

  --context NAME               an administrator's context of the cluster
  --kubeconfig FILE            where the context is (default: KUBECONFIG, else ~/.kube/config)
  --prometheus-namespace NAME  where Prometheus runs (default: PROMETHEUS_NAMESPACE)
  --namespace NAME             of the ServiceAccount (default: Prometheus')
  --service-account NAME       default: budcluster-metrics-reader
  --duration TIME              of the token, as 24h or 365d (default: 8760h); the API server may give less
  --print-manifest             print the manifest with these names, and do nothing
  --out FILE                   write it there, readable for you only, instead of standard output
`;

export interface KubeconfigCommandContext {
  environment: Environment;
  /** Standard output: the kubeconfig and nothing else. */
  out: (text: string) => void;
  /** Standard error. */
  tell: (text: string) => void;
}

const DAY_MS = 86_400_000;
/** The API server's own least (TokenRequest). */
const DURATION_MS_MIN = 600_000;
/** expirationSeconds may not be more than 2^32. */
const DURATION_MS_MAX = 2 ** 32 * 1000;
const NAME = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;

/** `npm run kubeconfig`. Gives the exit code; throws config_invalid for wrong arguments, and what `onboard` throws. */
export async function runKubeconfigCommand(
  argv: string[],
  context: KubeconfigCommandContext,
): Promise<number> {
  const { values } = readArguments(argv);
  const { out, tell, environment } = context;
  if (values.help) {
    out(USAGE);
    return 0;
  }
  const config = loadConfig({ ...environment, CLUSTERS_FILE: undefined }, { hasKubeconfig: true });
  const settings = toSettings(values, config.PROMETHEUS_NAMESPACE);
  if (values["print-manifest"]) {
    out(toManifestText(managedClusterManifest(settings)));
    return 0;
  }
  if (values.context === undefined && values.kubeconfig === undefined) {
    throw invalid(["--context: name the administrator's context, so that no other cluster is changed"]);
  }
  const cluster = await clusterFromCommandLine({
    kubeconfigPath: values.kubeconfig ?? defaultKubeconfig(environment),
    defaults: clusterDefaults(config),
    ...(values.context === undefined ? {} : { context: values.context }),
  });
  const { kubeConfig } = await openCredentials(cluster, undefined);
  const timeoutMs = config.METRICS_COLLECTION_TIMEOUT;
  const kube = createKubeClient({ kubeConfig, clock: systemClock }, { timeoutMs });
  const { token, expiresAt } = await onboard(kube, settings, new AbortController().signal);
  const text = await toKubeconfigText(kubeConfig, { name: settings.serviceAccount, token });
  if (values.out === undefined) out(text);
  else await writePrivately(resolve(values.out), text);
  tell(toReport(settings, expiresAt, values.out));
  return 0;
}

function readArguments(argv: string[]) {
  return readCommandLine({
    args: argv,
    options: {
      context: { type: "string" },
      kubeconfig: { type: "string" },
      namespace: { type: "string" },
      "prometheus-namespace": { type: "string" },
      "service-account": { type: "string" },
      duration: { type: "string" },
      "print-manifest": { type: "boolean" },
      out: { type: "string" },
      help: { type: "boolean", short: "h" },
    },
  });
}

type Values = ReturnType<typeof readArguments>["values"];

function toSettings(values: Values, defaultNamespace: string): OnboardSettings {
  const prometheusNamespace = values["prometheus-namespace"] ?? defaultNamespace;
  const settings = {
    prometheusNamespace,
    namespace: values.namespace ?? prometheusNamespace,
    serviceAccount: values["service-account"] ?? DEFAULT_SERVICE_ACCOUNT,
    durationMs: parseDuration(values.duration ?? "8760h"),
  };
  const names = {
    "--prometheus-namespace": prometheusNamespace,
    "--namespace": settings.namespace,
    "--service-account": settings.serviceAccount,
  };
  const problems = Object.entries(names)
    .filter(([, name]) => !NAME.test(name))
    .map(([option]) => `${option}: must be a Kubernetes name (a-z, 0-9 and -)`);
  if (!(settings.durationMs >= DURATION_MS_MIN && settings.durationMs <= DURATION_MS_MAX)) {
    problems.push("--duration: must be a time like 24h or 365d, at least 10m");
  }
  if (problems.length > 0) throw invalid(problems);
  return settings;
}

function defaultKubeconfig(environment: Environment): string {
  const paths = (environment["KUBECONFIG"] ?? "").split(delimiter).filter((path) => path !== "");
  if (paths.length > 1) throw invalid(["KUBECONFIG: names several files: name one with --kubeconfig"]);
  return paths[0] ?? join(homedir(), ".kube", "config");
}

/** A file that is there already gets the new content, and never another reader. */
async function writePrivately(path: string, text: string): Promise<void> {
  const next = `${path}.new`;
  try {
    await writeFile(next, text, { mode: 0o600, flag: "wx" });
    await rename(next, path);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? ` (${String(error.code)})` : "";
    throw new BridgeError("config_invalid", `--out: ${path} can't be written${code}`, { cause: error });
  }
}

function toReport(settings: OnboardSettings, expiresAt: number, file: string | undefined): string {
  const { namespace, serviceAccount, prometheusNamespace, durationMs } = settings;
  const now = systemClock.now();
  const days = (expiresAt - now) / DAY_MS;
  const left = days >= 2 ? `${Math.round(days)} days` : `${Math.round(days * 24)} hours`;
  const isCut = expiresAt - now < durationMs * 0.99;
  return `ServiceAccount ${namespace}/${serviceAccount} may forward to Pods in ${prometheusNamespace} and list nodes.
The token expires ${new Date(expiresAt).toISOString()} (in ${left})${isCut ? ", earlier than asked for: the API server limits it" : ""}; it ends at once when the ServiceAccount is deleted.
Register the kubeconfig${file === undefined ? "" : ` ${file}`}: POST /clusters, or name it in CLUSTERS_FILE (docs/clusters.md).
`;
}
