import { BridgeError } from "#errors/error.ts";
import { createSecret, type Secret } from "#lib/secret.ts";
import type { CredentialFacts, PrometheusCredentials } from "./cluster.ts";
import type { TargetRecord } from "./cluster-record.ts";
import { readCertificates } from "./pem.ts";
import {
  contradictionOf,
  prometheusCredentialFields,
  toCredentialFields,
  toPrometheusCredentials,
} from "./prometheus-credentials.ts";
import { headersProblem, mergedHeaders } from "./prometheus-headers.ts";
import type { Sigv4Fields } from "./sigv4.ts";
import { targetContradiction, TUNNEL_FIELDS, type TargetFields } from "./prometheus-target.ts";
import { originOf, toPrometheusUrl } from "./prometheus-url.ts";

/** A kubeconfig as text (YAML or JSON) or as the object itself. */
type KubeconfigInput = string | Record<string, unknown>;

interface TargetInput extends Partial<TargetFields> {
  /** PEM. */
  ca?: string;
  /** At most one of the two. */
  bearer_token?: string;
  basic_auth?: { username: string; password: string };
  headers?: Record<string, string>;
  /** Both PEM; only with `url`. */
  client_certificate?: { cert: string; key: string };
  /** At most one of this and the two above; only with `url`. */
  sigv4?: Sigv4Fields;
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
  /** Absent: prometheus.url says where Prometheus is. */
  kubeconfig?: KubeconfigInput;
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

/**
 * The target with the patch's fields, without those that it resets. A URL takes the place of a Service, and the other way round a Service
 * only takes the place of a URL that is reset. Throws request_invalid.
 */
export function patchTarget(target: TargetRecord, patch: TargetPatch | null): TargetRecord {
  if (patch === null) return {};
  const fields = Object.fromEntries(Object.entries(patch).filter(([name]) => !SECRET_FIELDS.has(name)));
  const merged = { ...(typeof patch.url === "string" ? withoutService(target) : target), ...fields };
  const kept = Object.fromEntries(Object.entries(merged).filter(([, value]) => value !== null));
  const contradiction = targetContradiction(kept);
  if (contradiction !== undefined) throw invalid(`prometheus ${contradiction}`);
  const { ca, url, ...rest } = kept as TargetRecord;
  return {
    ...rest,
    ...(url === undefined ? {} : { url: toPrometheusUrl(url).url }),
    ...(ca === undefined ? {} : { ca: certificatesOf(ca) }),
  };
}

/** Sealed, and not a part of the target. */
const SECRET_FIELDS: ReadonlySet<string> = new Set(Object.keys(prometheusCredentialFields));

function withoutService(target: TargetRecord): TargetRecord {
  const ofService: readonly string[] = TUNNEL_FIELDS;
  return Object.fromEntries(Object.entries(target).filter(([name]) => !ofService.includes(name)));
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
    Object.entries(patch).some(([name, value]) => SECRET_FIELDS.has(name) && value !== undefined)
  );
}

/** Does a part of the stored credentials of Prometheus stay after a patch? */
export function keepsCredentials(patch: TargetPatch | null | undefined, facts: CredentialFacts): boolean {
  if (patch === null) return false;
  const hasHeaders = (facts.prometheus_headers ?? []).length > 0;
  return untouched(patch, facts).length > 0 || (hasHeaders && patch?.headers !== null);
}

/** The fields of stored credentials of which a patch says nothing. */
function untouched(patch: TargetPatch | null | undefined, facts: CredentialFacts): string[] {
  if (patch === null) return [];
  const { prometheus_auth: auth, prometheus_headers: headers = [] } = facts;
  const changesAuth = [patch?.bearer_token, patch?.basic_auth, patch?.sigv4].some(
    (each) => each !== undefined,
  );
  const hasCertificate = facts.prometheus_client_certificate === true;
  return [
    ...(auth !== null && !changesAuth ? [AUTH_FIELDS[auth]] : []),
    ...(headers.length > 0 && patch?.headers === undefined ? ["headers"] : []),
    ...(hasCertificate && patch?.client_certificate === undefined ? ["client_certificate"] : []),
  ];
}

const AUTH_FIELDS = { bearer: "bearer_token", basic: "basic_auth", sigv4: "sigv4" } as const;

/**
 * Does a patch lead to another server than the one that stored credentials were given for: another scheme, host or port, or a URL in place of a
 * tunnel? Then none of them goes along: throws request_invalid when the patch says nothing of some.
 */
export function movesCredentials(
  before: TargetRecord,
  after: TargetRecord,
  patch: TargetPatch | null | undefined,
  facts: CredentialFacts,
): boolean {
  const [from, to] = [before, after].map(({ url }) => (url === undefined ? undefined : originOf(url)));
  if (from === to) return false;
  const names = untouched(patch, facts);
  if (names.length === 0) return true;
  throw invalid(
    `prometheus.url changes, and the stored ${names.join(" and ")} would go to another server: give ${names.join(" and ")} again in the same request, or null for none`,
  );
}

/** The credentials of Prometheus after a patch. `stored`: undefined when there are none, or none stay. Throws request_invalid. */
export function patchedCredentials(
  patch: TargetPatch | null | undefined,
  stored: PrometheusCredentials | undefined,
): PrometheusCredentials | undefined {
  if (patch === undefined) return stored;
  if (patch === null) return undefined;
  const {
    headers: before = {},
    client_certificate: storedCertificate,
    ...storedAuth
  } = stored ? toCredentialFields(stored) : {};
  const { bearer_token: token, basic_auth: basic, sigv4 } = patch;
  const givenAuth = {
    ...(token ? { bearer_token: token } : {}),
    ...(basic ? { basic_auth: basic } : {}),
    ...(sigv4 ? { sigv4 } : {}),
  };
  const isSame = [token, basic, sigv4].every((each) => each === undefined);
  const auth = isSame ? storedAuth : givenAuth;
  const headers = patch.headers === null ? {} : mergedHeaders(before, patch.headers ?? {});
  const certificate =
    patch.client_certificate === undefined ? storedCertificate : (patch.client_certificate ?? undefined);
  const problem = headersProblem(headers);
  if (problem !== undefined) throw invalid(`prometheus.headers ${problem}`);
  const fields = { ...auth, headers, ...(certificate ? { client_certificate: certificate } : {}) };
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
