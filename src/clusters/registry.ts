import { createHash } from "node:crypto";
import { basename, resolve } from "node:path";
import type { Cluster, ClusterRegistry } from "./cluster.ts";
import type { ClusterDefaults } from "./clusters-file.ts";
import { toCredentialFacts } from "./credential-facts.ts";
import { toKubeConfig } from "./kubernetes-client-config.ts";
import type { Logger } from "#telemetry/logger.ts";

/**
 * The clusters that were loaded at start and those of the API. Of one id in both the former wins, because it says what the operator's
 * files say; the log and `warnings` name it.
 */
export function createMergedRegistry(
  fixed: readonly Cluster[],
  stored: Required<ClusterRegistry>,
  logger: Logger,
): Required<ClusterRegistry> {
  const fixedIds = new Set(fixed.map(({ id }) => id));
  let shadowed: string[] = [];
  return {
    list: async () => {
      const clusters = await stored.list();
      const twice = clusters.map(({ id }) => id).filter((id) => fixedIds.has(id));
      if (twice.join() !== shadowed.join() && twice.length > 0) {
        logger.warn({ clusters: twice.slice(0, NAMED_MAX), count: twice.length }, shadowedWarning);
      }
      shadowed = twice;
      return [...fixed, ...clusters.filter(({ id }) => !fixedIds.has(id))];
    },
    isRegistered: async (id) => fixedIds.has(id) || (await stored.isRegistered(id)),
    warnings: () => [
      ...stored.warnings(),
      ...(shadowed.length > 0 ? [`${shadowed.slice(0, NAMED_MAX).join(", ")}: ${shadowedWarning}`] : []),
    ],
  };
}

const NAMED_MAX = 10;
const shadowedWarning =
  "registered twice, by the API and by CLUSTERS_FILE (or on the command line): the latter is used; take it out there to use or delete the API's";

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
    facts: toCredentialFacts(kubeConfig, undefined),
  };
}

const ID_MAX = 64;
const HASH_LENGTH = 8;

/** A cluster id from any text, the same for the same text; a text that is too long keeps its end and gets a hash. */
export function toClusterId(text: string): string {
  const clean = text.replaceAll(/[^A-Za-z0-9._-]+/g, "-").replaceAll(/^-+|-+$/g, "");
  const isEmpty = /^\.{0,2}$/.test(clean);
  if (!isEmpty && clean.length <= ID_MAX) return clean;
  const hash = createHash("sha256").update(text).digest("hex").slice(0, HASH_LENGTH);
  return isEmpty ? `cluster-${hash}` : `${hash}-${clean.slice(-(ID_MAX - HASH_LENGTH - 1))}`;
}
