import { createHash } from "node:crypto";
import { basename, resolve } from "node:path";
import type { Cluster, ClusterRegistry } from "./cluster.ts";
import type { ClusterDefaults } from "./clusters-file.ts";
import { toKubeConfig } from "./kube-config.ts";

/** A registry of clusters that were loaded at start and stay as they are. */
export function createFileRegistry(clusters: readonly Cluster[]): ClusterRegistry {
  return { list: () => Promise.resolve([...clusters]) };
}

export interface CommandLineCluster {
  kubeconfigPath: string;
  /** Default: the file's current-context. */
  context?: string;
  defaults: ClusterDefaults;
}

/**
 * The one cluster of `--kubeconfig FILE --context NAME`. The operator named the file, so it is trusted as kubectl would: files
 * and exec plugins work. Throws BridgeError `kubeconfig_invalid` or `kubeconfig_refused`.
 */
export async function clusterFromCommandLine(options: CommandLineCluster): Promise<Cluster> {
  const { context, defaults } = options;
  const path = resolve(options.kubeconfigPath);
  const credentials = { kind: "trusted-file" as const, path, ...(context === undefined ? {} : { context }) };
  const kubeConfig = await toKubeConfig(credentials, defaults.validateCerts);
  const name = kubeConfig.getCurrentContext() || basename(path);
  return {
    id: toClusterId(name),
    name,
    platform: "kubernetes",
    enabled: true,
    credentials: { ...credentials, context: name },
    prometheus: defaults.prometheus,
    validateCerts: defaults.validateCerts,
    source: "command-line",
    labels: {},
  };
}

const ID_MAX = 64;
const HASH_LENGTH = 8;

/** A cluster id from any text, the same for the same text; a text that is too long keeps its end and gets a hash. */
export function toClusterId(text: string): string {
  const clean = text.replaceAll(/[^A-Za-z0-9._-]+/g, "-").replaceAll(/^-+|-+$/g, "");
  if (clean.length > 0 && clean.length <= ID_MAX) return clean;
  const hash = createHash("sha256").update(text).digest("hex").slice(0, HASH_LENGTH);
  return clean.length === 0 ? `cluster-${hash}` : `${hash}-${clean.slice(-(ID_MAX - HASH_LENGTH - 1))}`;
}
