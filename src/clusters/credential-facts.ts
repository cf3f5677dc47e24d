import type { X509Certificate } from "node:crypto";
import type { KubeConfig } from "@kubernetes/client-node";
import type { Cluster, CredentialFacts, PrometheusCredentials } from "./cluster.ts";
import { readCertificates } from "./pem.ts";

/** The facts about opened credentials that are no secrets. Reads no file and runs no plugin. Never throws. */
export function toCredentialFacts(
  kubeConfig: Pick<KubeConfig, "getCurrentCluster" | "getCurrentUser">,
  prometheus: PrometheusCredentials | undefined,
): CredentialFacts {
  const cluster = kubeConfig.getCurrentCluster();
  const user = kubeConfig.getCurrentUser();
  const certificate = readCertificate(user?.certData);
  const token = user?.token ?? "";
  return {
    server: shownServer(cluster?.server ?? ""),
    user: token !== "" ? "token" : certificate ? "client-certificate" : "other",
    certificate_expires_at: certificate ? certificate.validToDate.toISOString() : null,
    token_expires_at: jwtExpiry(token),
    ca_sha256: caFingerprints(cluster?.caData),
    ...prometheusFacts(prometheus),
  };
}

/** Those of a cluster without a tunnel. */
export function toDirectFacts(prometheus: PrometheusCredentials | undefined): CredentialFacts {
  const read = readCertificates(prometheus?.clientCertificate?.cert ?? "");
  const certificate = read.ok ? read.certificates[0] : undefined;
  return {
    server: null,
    user: null,
    certificate_expires_at: certificate ? certificate.validToDate.toISOString() : null,
    token_expires_at: prometheus?.kind === "bearer" ? jwtExpiry(prometheus.token.expose()) : null,
    ca_sha256: [],
    ...prometheusFacts(prometheus),
  };
}

function prometheusFacts(
  prometheus: PrometheusCredentials | undefined,
): Pick<CredentialFacts, "prometheus_auth" | "prometheus_headers" | "prometheus_client_certificate"> {
  const kind = prometheus?.kind ?? "none";
  const names = prometheus?.headers?.map(({ name }) => name) ?? [];
  return {
    prometheus_auth: kind === "none" ? null : kind,
    ...(names.length > 0 ? { prometheus_headers: names } : {}),
    ...(prometheus?.clientCertificate ? { prometheus_client_certificate: true } : {}),
  };
}

/** Is anything secret sent to Prometheus? */
export function hasPrometheusCredentials(facts: CredentialFacts): boolean {
  const { prometheus_auth: auth, prometheus_headers: headers = [] } = facts;
  return auth !== null || headers.length > 0 || facts.prometheus_client_certificate === true;
}

/** Scheme, host and port: a path may say more than who may see the cluster needs to know. Empty: no URL with a host. */
export function shownServer(server: string): string {
  const url = URL.parse(server);
  if (!url || url.hostname === "") return "";
  const port = url.port === "" ? (url.protocol === "http:" ? "80" : "443") : url.port;
  return `${url.protocol}//${url.hostname}:${port}`;
}

function decoded(base64: string | undefined): string {
  return base64 === undefined ? "" : Buffer.from(base64, "base64").toString("latin1");
}

function readCertificate(certData: string | undefined): X509Certificate | undefined {
  const read = readCertificates(decoded(certData));
  return read.ok ? read.certificates[0] : undefined;
}

function caFingerprints(caData: string | undefined): string[] {
  return fingerprintsOf(decoded(caData));
}

/** SHA-256 of each certificate of a PEM text, lower-case hex. */
export function fingerprintsOf(pem: string): string[] {
  const read = readCertificates(pem);
  if (!read.ok) return [];
  return read.certificates.map(({ fingerprint256 }) => fingerprint256.replaceAll(":", "").toLowerCase());
}

/** The `exp` of a JWT (RFC 7519); null for anything else, as a token may be any text. */
function jwtExpiry(token: string): string | null {
  const [, payload, signature, ...rest] = token.split(".");
  if (payload === undefined || signature === undefined || rest.length > 0) return null;
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload, "base64url").toString("utf8"));
    if (typeof claims !== "object" || claims === null || !("exp" in claims)) return null;
    return typeof claims.exp === "number" ? new Date(claims.exp * 1000).toISOString() : null;
  } catch {
    return null;
  }
}

/** When the first of the cluster's credentials ends; undefined when none is known to end. Unix time in ms. */
export function credentialsEnd({ facts }: Pick<Cluster, "facts">): number | undefined {
  const ends = [facts?.certificate_expires_at, facts?.token_expires_at].flatMap((end) =>
    typeof end === "string" ? [Date.parse(end)] : [],
  );
  return ends.length === 0 ? undefined : Math.min(...ends);
}

const DAY_MS = 86_400_000;
const EXPIRY_WARNING_DAYS = 14;

/** Credentials that ended or will soon, each in one sentence. */
export function expiryWarnings({ facts }: Pick<Cluster, "facts">, nowMs: number): string[] {
  const kinds = [
    ["client certificate", facts?.certificate_expires_at],
    ["token", facts?.token_expires_at],
  ] as const;
  return kinds.flatMap(([kind, expiresAt]) => {
    if (expiresAt === null || expiresAt === undefined) return [];
    const leftMs = Date.parse(expiresAt) - nowMs;
    if (leftMs > EXPIRY_WARNING_DAYS * DAY_MS) return [];
    const remedy = facts?.server === null ? "give prometheus a new one" : "give the cluster a new kubeconfig";
    return leftMs <= 0
      ? [`the ${kind} has expired at ${expiresAt}: ${remedy}`]
      : [`the ${kind} expires at ${expiresAt}, in ${Math.floor(leftMs / DAY_MS)} days: ${remedy}`];
  });
}
