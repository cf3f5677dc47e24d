import type { KubeConfig } from "@kubernetes/client-node";
import { BridgeError } from "#errors/error.ts";
import type { Cluster, PrometheusCredentials } from "./cluster.ts";
import type { Keyring } from "./envelope.ts";
import { toKubeConfig } from "./kubernetes-client-config.ts";

/** What a collection reaches a cluster with. Drop it when the collection ends. */
export interface OpenedCredentials {
  kubeConfig: KubeConfig;
  prometheus?: PrometheusCredentials;
}

/**
 * A cluster's credentials in the clear, made anew for each use. Throws the errors of `Keyring.open` and of `toKubeConfig`, and
 * credentials_key_unknown for a sealed cluster when there is no keyring at all.
 */
export async function openCredentials(
  cluster: Cluster,
  keyring: Keyring | undefined,
): Promise<OpenedCredentials> {
  const { credentials, validateCerts } = cluster;
  if (credentials.kind !== "sealed") {
    const kubeConfig = await toKubeConfig(credentials, validateCerts);
    return { kubeConfig, ...(credentials.prometheus ? { prometheus: credentials.prometheus } : {}) };
  }
  if (!keyring) throw new BridgeError("credentials_key_unknown", "there is no key to open its credentials");
  const { kubeconfig, prometheus } = await keyring.open(cluster.id, credentials.jwe);
  const context = credentials.context === undefined ? {} : { context: credentials.context };
  const kubeConfig = await toKubeConfig({ kind: "inline", kubeconfig, ...context }, validateCerts);
  return { kubeConfig, ...(prometheus ? { prometheus } : {}) };
}
