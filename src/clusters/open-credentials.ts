import type { KubeConfig } from "@kubernetes/client-node";
import { BridgeError } from "#errors/error.ts";
import type {
  ClearCredentials,
  Cluster,
  CredentialFacts,
  DirectCredentials,
  PrometheusCredentials,
} from "./cluster.ts";
import { toCredentialFacts, toDirectFacts } from "./credential-facts.ts";
import type { CredentialOpener } from "./envelope.ts";
import { toEntries, toKubeConfig } from "./kubernetes-client-config.ts";
import { originOf } from "./prometheus-url.ts";

/** What a collection needs to connect to a cluster. Drop it when the collection ends. */
export interface OpenedCredentials {
  kubeConfig: KubeConfig;
  prometheus?: PrometheusCredentials;
}

type Holder = Pick<Cluster, "id" | "credentials" | "validateCerts" | "prometheus">;

/**
 * The credentials of a cluster in clear text, opened again for each use. Throws the errors of `Keyring.open` and of `toKubeConfig`, and
 * credentials_key_unknown for a sealed cluster when there is no keyring at all.
 */
export async function openCredentials(
  cluster: Cluster,
  keyring: CredentialOpener | undefined,
): Promise<OpenedCredentials> {
  const clear = await unseal(cluster, keyring);
  if ("origin" in clear) throw wrongKind("prometheus.url, and there is none");
  const kubeConfig = await toKubeConfig(clear, cluster.validateCerts);
  return { kubeConfig, ...(clear.prometheus ? { prometheus: clear.prometheus } : {}) };
}

/**
 * Those of a cluster that is read without a tunnel; undefined when its Prometheus wants none. Throws as `openCredentials` does, and
 * credentials_invalid and prometheus_plain_http when they must not be sent to the cluster's URL.
 */
export async function openDirectCredentials(
  cluster: Holder,
  keyring: CredentialOpener | undefined,
): Promise<PrometheusCredentials | undefined> {
  const { prometheus } = requireOrigin(cluster, await unseal(cluster, keyring));
  refusePlainHttp(cluster, prometheus !== undefined);
  return prometheus;
}

/** The facts about a cluster's credentials, which are opened to see that they can be, and dropped. Throws what opening them does. */
export async function readCredentialFacts(
  cluster: Holder,
  keyring: CredentialOpener | undefined,
): Promise<CredentialFacts> {
  const clear = await unseal(cluster, keyring);
  if (cluster.prometheus.url !== undefined) {
    const { prometheus } = requireOrigin(cluster, clear);
    refusePlainHttp(cluster, prometheus !== undefined);
    return toDirectFacts(prometheus);
  }
  if ("origin" in clear) throw wrongKind("prometheus.url, and there is none");
  if (clear.kind !== "inline") {
    return toCredentialFacts(await toKubeConfig(clear, cluster.validateCerts), clear.prometheus);
  }
  const entries = toEntries(clear, cluster.validateCerts);
  const current = { getCurrentCluster: () => entries.cluster, getCurrentUser: () => entries.user };
  return toCredentialFacts(current, clear.prometheus);
}

async function unseal(
  { id, credentials }: Pick<Cluster, "id" | "credentials">,
  keyring: CredentialOpener | undefined,
): Promise<ClearCredentials> {
  if (credentials.kind !== "sealed") return credentials;
  if (!keyring) throw new BridgeError("credentials_key_unknown", "there is no key to open its credentials");
  const envelope = await keyring.open(id, credentials.jwe);
  const rest = {
    ...(credentials.context === undefined ? {} : { context: credentials.context }),
    ...(envelope.prometheus ? { prometheus: envelope.prometheus } : {}),
  };
  return "origin" in envelope
    ? { kind: "direct", origin: envelope.origin, ...rest }
    : { kind: "inline", kubeconfig: envelope.kubeconfig, ...rest };
}

function requireOrigin({ prometheus }: Holder, clear: ClearCredentials): DirectCredentials {
  const { url = "" } = prometheus;
  if (!("origin" in clear)) throw wrongKind("a kubeconfig, and prometheus.url needs none");
  if (clear.origin === originOf(url)) return clear;
  throw new BridgeError(
    "credentials_invalid",
    "the credentials are for another scheme, host or port than those of prometheus.url",
    { hint: "Give the credentials of the Prometheus at prometheus.url again, together with the URL." },
  );
}

function wrongKind(what: string): BridgeError {
  return new BridgeError("credentials_invalid", `the sealed credentials belong to ${what}`);
}

/** Credentials over http are readable on the way; who turned the verification of certificates off has accepted as much. */
export function refusePlainHttp(
  { prometheus, validateCerts }: Pick<Cluster, "prometheus" | "validateCerts">,
  hasCredentials: boolean,
): void {
  if (!hasCredentials || !validateCerts || prometheus.scheme === "https") return;
  throw new BridgeError(
    "prometheus_plain_http",
    "prometheus.url begins with http://, and the cluster has credentials for it",
  );
}
