import type { Secret } from "#lib/secret.ts";

/** Shards of one cluster's Prometheus that are read. */
export const SHARDS_MAX = 32;

/** Where a cluster's Prometheus is: behind a Service inside of the cluster, or at a URL. */
export interface PrometheusTarget {
  /**
   * Read without a tunnel: scheme, host, port and path, without a slash at its end. The scheme and the path prefix are the URL's, and
   * namespace, service and port mean nothing then.
   */
  url?: string;
  namespace: string;
  service: string;
  /** The Service's port (not the Pod's). */
  port: number;
  /** The port inside of the Pod, in place of the Service's: a Pod may listen on one that no Service has. */
  podPort?: number;
  scheme: "http" | "https";
  /** Begins with "/" and does not end with one, or empty. */
  pathPrefix: string;
  /** PEM of the CA that an https Prometheus is verified with, instead of the system's. */
  ca?: string;
  /** Answers count even when they say that a part of the data may be missing. */
  acceptPartial?: true;
  /** How several Pods behind the Service are read: one of them, or so many shards. Absent: the bridge tells shards from replicas. */
  shards?: "none" | number;
}

/** How the API server is reached: the outcome of the allow-list parser, or, for a trusted cluster, the file as kubectl would read it. */
export type KubeconfigCredentials = (
  | { kind: "inline"; kubeconfig: Secret }
  | { kind: "trusted-file"; path: string }
  | { kind: "trusted-inline"; kubeconfig: Secret }
) & {
  context?: string;
  /** Of the cluster's Prometheus. */
  prometheus?: PrometheusCredentials;
};

/** Of a cluster without a tunnel: only Prometheus' own. They are sent to this origin (scheme, host and port) and to no other. */
export interface DirectCredentials {
  kind: "direct" | "trusted-direct";
  origin: string;
  prometheus?: PrometheusCredentials;
}

export type ClearCredentials = KubeconfigCredentials | DirectCredentials;

/** A compact JWE whose clear text is an Envelope (envelope.ts); opened for one collection only. */
interface SealedCredentials {
  kind: "sealed";
  jwe: string;
  context?: string;
}

export type ClusterCredentials = ClearCredentials | SealedCredentials;

/** The authentication of each request to a cluster's Prometheus, and further headers such as X-Scope-OrgID. */
export type PrometheusCredentials = (
  | { kind: "none" }
  | { kind: "bearer"; token: Secret }
  | { kind: "basic"; username: string; password: Secret }
  | ({ kind: "sigv4" } & AwsAuthentication)
) & {
  headers?: readonly PrometheusHeader[];
  /** For the TLS handshake with a Prometheus at a URL; both PEM. */
  clientCertificate?: { cert: string; key: Secret };
};

/** AWS Signature Version 4. */
export interface AwsAuthentication {
  region: string;
  service: string;
  /** Absent: the identity of this program, only for a cluster that the operator vouches for. */
  keys?: { accessKeyId: string; secretAccessKey: Secret; sessionToken?: Secret };
  /** ARN of a role to assume. */
  role?: string;
}

export interface PrometheusHeader {
  name: string;
  value: Secret;
}

/** Facts about a cluster's credentials that are no secrets. The names are those of the state record and of the API. */
export interface CredentialFacts {
  /** https://host:port of the API server; null for a cluster without a tunnel. */
  server: string | null;
  /** other: a plugin or a file of a trusted kubeconfig, or nobody. null for a cluster without a tunnel. */
  user: "token" | "client-certificate" | "other" | null;
  /** RFC 3339; of the client certificate, and of a token that is a JWT with `exp`. Without a tunnel: of those for Prometheus. */
  certificate_expires_at: string | null;
  token_expires_at: string | null;
  /** SHA-256 of each CA certificate, lower-case hex; empty: the system's CAs decide. */
  ca_sha256: string[];
  /** How the bridge authenticates to Prometheus itself. */
  prometheus_auth: "bearer" | "basic" | "sigv4" | null;
  /** Names of the headers that each request to Prometheus has besides; absent: none. */
  prometheus_headers?: string[];
  /** There is a client certificate for Prometheus. */
  prometheus_client_certificate?: true;
}

/** The source of a cluster: only clusters from the API can be changed there. */
type ClusterSource = "file" | "api" | "command-line";

/** A managed cluster as the registry knows it. */
export interface Cluster {
  /** `[A-Za-z0-9._-]{1,64}`; part of every sample's identity. */
  id: string;
  name: string;
  /** Free text for `cluster_platform`, for example "eks". */
  platform: string;
  enabled: boolean;
  credentials: ClusterCredentials;
  prometheus: PrometheusTarget;
  /** Verify the API server's certificate. */
  validateCerts: boolean;
  source: ClusterSource;
  /** The operator's own notes; answered by the API, never sent with samples. */
  labels: Readonly<Record<string, string>>;
  /** Absent when they could not be read. */
  facts?: CredentialFacts;
  /** For a cluster from the API; RFC 3339. */
  registered?: { createdAt: string; updatedAt: string };
}

/** The clusters to collect from, as of now. */
export interface ClusterRegistry {
  list(): Promise<Cluster[]>;
  /** As it is now, without what `list` may still remember while the store does not answer. Throws state_*. Absent: `list` is never old. */
  isRegistered?(id: string): Promise<boolean>;
  /** Problems of the list as a whole, for the status. */
  warnings?(): readonly string[];
}
