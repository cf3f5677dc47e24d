import { BridgeError } from "#errors/error.ts";
import { assert } from "#lib/assert.ts";
import { createSecret, type Secret } from "#lib/secret.ts";
import {
  changesCredentials,
  invalid,
  keepsCredentials,
  movesCredentials,
  patchedCredentials,
  toText,
  type ClusterInput,
  type ClusterPatch,
} from "./cluster-input.ts";
import type { ClearCredentials, Cluster, CredentialFacts, PrometheusCredentials } from "./cluster.ts";
import type { ClusterRecord } from "./cluster-record.ts";
import { hasPrometheusCredentials } from "./credential-facts.ts";
import type { Envelope, Keyring } from "./envelope.ts";
import { readCredentialFacts, refusePlainHttp } from "./open-credentials.ts";
import { parseKubeconfig, toKubeconfigText } from "./parse-kubeconfig.ts";
import { originOf } from "./prometheus-url.ts";

export interface SealingDeps {
  /** Without it no credentials are taken. */
  keyring: Keyring | undefined;
  /** Throws `api_server_refused` when the server of a kubeconfig or of prometheus.url is not allowed. */
  checkServer: (server: string, signal: AbortSignal, of: ServerSource) => Promise<void>;
}

/** Who names a server. */
export type ServerSource = "kubeconfig" | "url";

/** What the credentials are for, as the record will have it. */
export type SealingTarget = Pick<Cluster, "prometheus" | "validateCerts">;

type SealedCredentials = Pick<ClusterRecord, "jwe" | "facts">;

/** Credentials that were admitted, in clear text. */
interface AdmittedCredentials {
  envelope: Envelope;
  facts: CredentialFacts;
}

/**
 * The credentials of a new cluster at `target`, in clear text. Throws `kubeconfig_*`, `api_server_refused`, `prometheus_plain_http`,
 * `credentials_keys_missing`, `request_invalid`.
 */
export async function admitNew(
  deps: SealingDeps,
  id: string,
  input: Pick<ClusterInput, "kubeconfig" | "context" | "prometheus">,
  target: SealingTarget,
  signal: AbortSignal,
): Promise<AdmittedCredentials> {
  const prometheus = patchedCredentials(input.prometheus, undefined);
  const path = await admitPath(deps, input, target, signal);
  const envelope = { ...path, ...(prometheus ? { prometheus } : {}) };
  return { envelope, facts: await factsOf(id, envelope, target) };
}

/** As `admitNew`, sealed. */
export async function sealNew(
  deps: SealingDeps,
  id: string,
  input: Pick<ClusterInput, "kubeconfig" | "context" | "prometheus">,
  target: SealingTarget,
  signal: AbortSignal,
): Promise<SealedCredentials> {
  const { envelope, facts } = await admitNew(deps, id, input, target, signal);
  return { jwe: await requireKeyring(deps).seal(id, envelope), facts };
}

/**
 * The credentials after a patch, or undefined when they stay as they are. Throws what `sealNew` throws, and `credentials_*` when the stored
 * ones are needed and can't be opened.
 */
export async function sealPatched(
  deps: SealingDeps,
  record: ClusterRecord,
  patch: ClusterPatch,
  target: SealingTarget,
  signal: AbortSignal,
): Promise<SealedCredentials | undefined> {
  const { kubeconfig, context } = patch;
  if (context !== undefined && kubeconfig === undefined) {
    throw invalid("context chooses from a kubeconfig, of which only the chosen context was kept: give both");
  }
  const isMoved = movesCredentials(record.prometheus, target.prometheus, patch.prometheus, record.facts);
  const isDirect = target.prometheus.url !== undefined;
  const isNewPath = isMoved || kubeconfig !== undefined;
  const staysAsItIs = !isNewPath && !changesCredentials(patch.prometheus);
  if (staysAsItIs && isDirect) refusePlainHttp(target, hasPrometheusCredentials(record.facts));
  if (staysAsItIs) return undefined;
  const needsStored = !isMoved && (!isNewPath || keepsCredentials(patch.prometheus, record.facts));
  const stored = needsStored ? await openStored(deps, record, isNewPath) : undefined;
  const prometheus = patchedCredentials(patch.prometheus, stored?.prometheus);
  const path = isNewPath ? await admitPath(deps, patch, target, signal) : stored;
  assert(path !== undefined, "the way to the cluster is that of the patch or the stored one");
  const { prometheus: _old, ...rest } = path as Envelope;
  return await seal(deps, record.id, { ...rest, ...(prometheus ? { prometheus } : {}) }, target);
}

/** The way to the cluster that a request gives: a kubeconfig that passed the allow-list, or the origin of a URL. Its server's address is allowed. */
async function admitPath(
  deps: SealingDeps,
  { kubeconfig, context }: Pick<ClusterInput, "kubeconfig" | "context">,
  { prometheus, validateCerts }: SealingTarget,
  signal: AbortSignal,
): Promise<{ kubeconfig: Secret } | { origin: string }> {
  const { url } = prometheus;
  if (url === undefined && kubeconfig === undefined)
    throw invalid("kubeconfig is missing: give it, or prometheus.url for a Prometheus that needs no tunnel");
  if (url !== undefined && (kubeconfig ?? context) !== undefined)
    throw invalid(
      "kubeconfig can't be together with prometheus.url, which needs no tunnel: leave one out (url: null resets it)",
    );
  requireKeyring(deps);
  if (url !== undefined) {
    await deps.checkServer(url, signal, "url");
    return { origin: originOf(url) };
  }
  const parsed = parseKubeconfig(toText(kubeconfig!).expose(), {
    validateCerts,
    explicitContext: true,
    ...(context === undefined ? {} : { context }),
  });
  await deps.checkServer(parsed.server, signal, "kubeconfig");
  return { kubeconfig: createSecret(toKubeconfigText(parsed)) };
}

async function seal(
  deps: SealingDeps,
  id: string,
  envelope: Envelope,
  target: SealingTarget,
): Promise<SealedCredentials> {
  const facts = await factsOf(id, envelope, target);
  return { jwe: await requireKeyring(deps).seal(id, envelope), facts };
}

async function factsOf(
  id: string,
  envelope: Envelope,
  { prometheus: target, validateCerts }: SealingTarget,
): Promise<CredentialFacts> {
  const { kind, clientCertificate } = envelope.prometheus ?? {};
  if (target.url === undefined && clientCertificate)
    throw invalid("prometheus.client_certificate is only for prometheus.url");
  if (target.url === undefined && kind === "sigv4")
    throw invalid("prometheus.sigv4 is only for prometheus.url");
  refuseOwnIdentity(envelope.prometheus);
  const credentials = toClearCredentials(envelope);
  return await readCredentialFacts({ id, credentials, validateCerts, prometheus: target }, undefined);
}

/** As a cluster has them that is not sealed. */
export function toClearCredentials(envelope: Envelope): ClearCredentials {
  return "origin" in envelope ? { kind: "direct", ...envelope } : { kind: "inline", ...envelope };
}

/** Whoever may register clusters must not act as this program in AWS. */
function refuseOwnIdentity(prometheus: PrometheusCredentials | undefined): void {
  if (prometheus?.kind !== "sigv4" || prometheus.keys) return;
  throw invalid(
    "prometheus.sigv4 has no keys (access_key_id and secret_access_key). Only a cluster of CLUSTERS_FILE with trusted: true may use the identity of this program",
  );
}

/** `isNewPath`: the patch has the way to the cluster, so only the stored credentials of Prometheus are needed. */
async function openStored(deps: SealingDeps, record: ClusterRecord, isNewPath: boolean): Promise<Envelope> {
  try {
    return await requireKeyring(deps).open(record.id, record.jwe);
  } catch (error) {
    if (!isNewPath || !(error instanceof BridgeError)) throw error;
    throw new BridgeError(error.code, error.message, {
      cause: error,
      hint: "Give `prometheus` with its bearer_token or basic_auth as well (null for none), and with its headers: the stored ones can't be opened.",
      ...(error.details ? { details: error.details } : {}),
    });
  }
}

function requireKeyring({ keyring }: SealingDeps): Keyring {
  if (keyring) return keyring;
  throw new BridgeError("credentials_keys_missing", "there is no key to seal credentials with");
}
