import { BridgeError } from "#errors/error.ts";
import { createSecret, type Secret } from "#lib/secret.ts";
import type { CredentialFacts, PrometheusCredentials } from "./cluster.ts";
import type { TargetRecord } from "./cluster-record.ts";
import { readCertificates } from "./pem.ts";
import { contradictionOf, toCredentialFields, toPrometheusCredentials } from "./prometheus-credentials.ts";
import { headersProblem, mergedHeaders } from "./prometheus-headers.ts";
import type { TargetFields } from "./prometheus-target.ts";

/** A kubeconfig as text (YAML or JSON) or as the object itself. */
type KubeconfigInput = string | Record<string, unknown>;

interface TargetInput extends Partial<TargetFields> {
  /** PEM. */
  ca?: string;
  /** At most one of the two. */
  bearer_token?: string;
  basic_auth?: { username: string; password: string };
  headers?: Record<string, string>;
}

/** null removes a header, or all of them. */
type TargetPatch = Nullable<Omit<TargetInput, "headers">> & {
  headers?: Record<string, string | null> | null;
};

/** A cluster as it is registered over the API; the fields are checked, what is in them is not. */
export interface ClusterInput {
  id?: string;
  name: string;
  platform: string;
  kubeconfig: KubeconfigInput;
  context?: string;
  prometheus?: TargetInput;
  labels?: Record<string, string>;
  enabled?: boolean;
  validate_certs?: boolean;
}

type Nullable<T> = { [Field in keyof T]?: T[Field] | null };

/** A JSON merge patch (RFC 7396) of a cluster: null resets a field. */
export interface ClusterPatch {
  name?: string;
  platform?: string;
  kubeconfig?: KubeconfigInput;
  context?: string;
  prometheus?: TargetPatch | null;
  labels?: Record<string, string | null> | null;
  enabled?: boolean | null;
  validate_certs?: boolean | null;
}

const LABELS_MAX = 32;

/** The kubeconfig's text. Throws kubeconfig_invalid. */
export function toText(kubeconfig: KubeconfigInput): Secret {
  if (typeof kubeconfig === "string") return createSecret(kubeconfig);
  try {
    return createSecret(JSON.stringify(kubeconfig));
  } catch {
    // Deeper than the stack.
    throw new BridgeError("kubeconfig_invalid", "the kubeconfig is nested too deeply");
  }
}

/** The target with the patch's fields, without those that it resets. Throws request_invalid. */
export function patchTarget(target: TargetRecord, patch: TargetPatch | null): TargetRecord {
  if (patch === null) return {};
  const { bearer_token: _token, basic_auth: _basic, headers: _headers, ...fields } = patch;
  const merged = { ...target, ...fields };
  const kept = Object.fromEntries(Object.entries(merged).filter(([, value]) => value !== null));
  const { ca, ...rest } = kept as TargetRecord;
  return { ...rest, ...(ca === undefined ? {} : { ca: certificatesOf(ca) }) };
}

/** Nothing but the certificates: a private key that was pasted along must not be kept in clear text. */
function certificatesOf(pem: string): string {
  const read = readCertificates(pem);
  if (!read.ok) throw invalid(`prometheus.ca ${read.reason}`);
  return read.certificates.map((certificate) => certificate.toString()).join("");
}

/** Does a patch change the credentials of Prometheus? */
export function changesCredentials(patch: TargetPatch | null | undefined): boolean {
  if (patch === undefined) return false;
  return (
    patch === null ||
    [patch.bearer_token, patch.basic_auth, patch.headers].some((field) => field !== undefined)
  );
}

/** Does a part of the stored credentials of Prometheus stay after a patch? */
export function keepsCredentials(patch: TargetPatch | null | undefined, facts: CredentialFacts): boolean {
  if (patch === null) return false;
  const changesAuth = patch?.bearer_token !== undefined || patch?.basic_auth !== undefined;
  const hasHeaders = (facts.prometheus_headers ?? []).length > 0;
  return (facts.prometheus_auth !== null && !changesAuth) || (hasHeaders && patch?.headers !== null);
}

/** The credentials of Prometheus after a patch. `stored`: undefined when there are none, or none stay. Throws request_invalid. */
export function patchedCredentials(
  patch: TargetPatch | null | undefined,
  stored: PrometheusCredentials | undefined,
): PrometheusCredentials | undefined {
  if (patch === undefined) return stored;
  if (patch === null) return undefined;
  const { headers: before = {}, ...storedAuth } = stored ? toCredentialFields(stored) : {};
  const { bearer_token: token, basic_auth: basic } = patch;
  const givenAuth = {
    ...(token ? { bearer_token: token } : {}),
    ...(basic ? { basic_auth: basic } : {}),
  };
  const auth = token === undefined && basic === undefined ? storedAuth : givenAuth;
  const headers = patch.headers === null ? {} : mergedHeaders(before, patch.headers ?? {});
  const problem = headersProblem(headers);
  if (problem !== undefined) throw invalid(`prometheus.headers ${problem}`);
  const fields = { ...auth, headers };
  const contradiction = contradictionOf(fields);
  if (contradiction !== undefined) throw invalid(`prometheus ${contradiction}`);
  return toPrometheusCredentials(fields);
}

/** The labels with the patch's, without those that it removes. Throws request_invalid when they become too many. */
export function patchLabels(
  labels: Readonly<Record<string, string>>,
  patch: Record<string, string | null> | null,
): Record<string, string> {
  if (patch === null) return {};
  const kept = Object.entries({ ...labels, ...patch }).filter(
    (entry): entry is [string, string] => entry[1] !== null,
  );
  if (kept.length > LABELS_MAX) throw invalid(`labels has more than ${LABELS_MAX} entries`);
  return Object.fromEntries(kept);
}

export function invalid(problem: string): BridgeError {
  return new BridgeError("request_invalid", `body: ${problem}`);
}
