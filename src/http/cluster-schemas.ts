import { z } from "zod";
import { contextField, flagField, idField, lineField } from "#clusters/cluster-fields.ts";
import type { ClusterInput, ClusterPatch } from "#clusters/cluster-input.ts";
import type { Cluster } from "#clusters/cluster.ts";
import type { ErrorCode } from "#errors/error.ts";
import { expiryWarnings, fingerprintsOf } from "#clusters/credential-facts.ts";
import { prometheusCredentialFields } from "#clusters/prometheus-credentials.ts";
import { headerName, headerValue } from "#clusters/prometheus-headers.ts";
import { givenTarget, patchedTarget, shownTarget, toTargetFields } from "#clusters/prometheus-target.ts";
import { clusterId, fields, timestamp } from "./schemas.ts";

const viewExample = {
  id: "edge-1",
  name: "Edge 1",
  platform: "eks",
  enabled: true,
  validate_certs: true,
  source: "api",
  labels: { team: "edge" },
  prometheus: {
    url: null,
    namespace: "bud-system",
    service: "bud-metrics-kube-prometheu-prometheus",
    port: 9090,
    pod_port: null,
    scheme: "http",
    path_prefix: "",
    accept_partial: false,
    shards: "auto",
    auth: null,
    headers: [],
    client_certificate: false,
  },
  credentials: {
    sealed: true,
    server: "https://edge-1.example.com:6443",
    user: "client-certificate",
    certificate_expires_at: "2026-06-01T12:00:00.000Z",
    token_expires_at: null,
    ca_sha256: ["b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c"],
  },
  warnings: [],
  created_at: "2025-06-01T12:00:00.000Z",
  updated_at: "2025-06-01T12:00:00.000Z",
};

/** A cluster as the API shows it: nothing secret. */
export const clusterView = z
  .object({
    id: clusterId,
    name: z.string(),
    platform: z.string(),
    enabled: z.boolean(),
    validate_certs: z.boolean().meta({
      description:
        "Whether the certificate of the API server (or of the server of prometheus.url) is verified",
    }),
    source: z.enum(["file", "api", "command-line"]).meta({
      description: "Where the cluster is defined; the API can change only clusters that it registered",
    }),
    labels: z.record(z.string(), z.string()),
    prometheus: z.object({
      ...shownTarget,
      auth: z.enum(["bearer", "basic", "sigv4"]).nullable(),
      headers: z.array(z.string()).meta({ description: "Names of the headers sent with each request to it" }),
      client_certificate: z.boolean().meta({ description: "Whether it is sent a client certificate" }),
    }),
    credentials: z.object({
      sealed: z.boolean().meta({ description: "Whether they are stored encrypted" }),
      server: z.string().nullable().meta({
        description: "Scheme, host and port of the API server; null: read without a tunnel",
      }),
      user: z.enum(["token", "client-certificate", "other"]).nullable(),
      certificate_expires_at: timestamp.nullable(),
      token_expires_at: timestamp
        .nullable()
        .meta({ description: "Set for a token that is a JWT with `exp`" }),
      ca_sha256: z.array(z.string()).meta({
        description: "Fingerprints of the CA certificates; empty: the system's CAs are used",
      }),
    }),
    warnings: z.array(z.string()).meta({ description: "Credentials that expire within 14 days" }),
    created_at: timestamp
      .nullable()
      .meta({ description: "null for a cluster that was not registered over the API" }),
    updated_at: timestamp.nullable(),
  })
  .meta({ id: "Cluster", examples: [viewExample] });

/** Only fields named here leave the program: credentials and certificates stay inside. */
export function toClusterView(cluster: Cluster, nowMs: number): z.infer<typeof clusterView> {
  const { facts, registered } = cluster;
  const isDirect = cluster.prometheus.url !== undefined;
  return {
    id: cluster.id,
    name: cluster.name,
    platform: cluster.platform,
    enabled: cluster.enabled,
    validate_certs: cluster.validateCerts,
    source: cluster.source,
    labels: { ...cluster.labels },
    prometheus: {
      ...toTargetFields(cluster.prometheus),
      auth: facts?.prometheus_auth ?? null,
      headers: facts?.prometheus_headers ?? [],
      client_certificate: facts?.prometheus_client_certificate ?? false,
    },
    credentials: {
      sealed: cluster.credentials.kind === "sealed",
      server: facts?.server ?? null,
      user: facts?.user ?? null,
      certificate_expires_at: facts?.certificate_expires_at ?? null,
      token_expires_at: facts?.token_expires_at ?? null,
      ca_sha256: isDirect ? fingerprintsOf(cluster.prometheus.ca ?? "") : (facts?.ca_sha256 ?? []),
    },
    warnings: expiryWarnings(cluster, nowMs),
    created_at: registered?.createdAt ?? null,
    updated_at: registered?.updatedAt ?? null,
  };
}

/** Of each route that takes a cluster's input. */
export const INPUT_ERRORS = [
  "request_invalid",
  "kubeconfig_invalid",
  "kubeconfig_refused",
  "api_server_refused",
  "prometheus_plain_http",
  "credentials_keys_missing",
  "body_too_large",
  "unsupported_media_type",
] as const satisfies ErrorCode[];

const CA_CHARS_MAX = 100_000;
const LABELS_DESCRIPTION = "Up to 32 labels of your own; never sent with samples";

export const kubeconfigField = z
  .union(
    [z.string().min(1), z.record(z.string(), z.unknown())],
    "must be a kubeconfig as a text or an object",
  )
  .meta({
    description:
      "YAML or JSON text, or the object; docs/clusters.md lists the allowed fields. Required unless prometheus.url is given",
  });
const labelName = z
  .string()
  .regex(/^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$/, "a name has 1 to 63 of A-Z a-z 0-9 . _ / -");
const labelValue = z
  .string("must be a text")
  .max(256, "must have at most 256 characters")
  .regex(/^\P{Cc}*$/u, "must not have control characters");
const ca = z
  .string("must be a text")
  .max(CA_CHARS_MAX, `must have at most ${CA_CHARS_MAX} characters`)
  .meta({ description: "PEM; used to verify an https Prometheus instead of the system's CAs" });
const bearerToken = prometheusCredentialFields.bearer_token.unwrap();
const basicAuth = prometheusCredentialFields.basic_auth.unwrap();
const clientCertificate = prometheusCredentialFields.client_certificate.unwrap().meta({
  description: "PEM; only with url. The key is never shown",
});
const sigv4 = prometheusCredentialFields.sigv4.unwrap().meta({
  description: "Signs each request for Amazon Managed Service for Prometheus; only with url. Never shown",
});
const headers = prometheusCredentialFields.headers.unwrap().meta({
  description:
    "Sent with each request to Prometheus, for example X-Scope-OrgID; at most 20, 8 KiB; never shown",
});
const headersPatch = z
  .record(
    headerName,
    headerValue.nullable(),
    "must be an object of header names and texts, such as X-Scope-OrgID: my-tenant",
  )
  .meta({ description: "null removes a header" });

const kubeconfigExample = {
  clusters: [{ name: "edge-1", cluster: { server: "https://edge-1.example.com:6443" } }],
  users: [{ name: "budcluster", user: { token: "..." } }],
  contexts: [{ name: "edge-1", context: { cluster: "edge-1", user: "budcluster" } }],
};

/** The body of POST /clusters. */
export const clusterInput = fields({
  id: idField
    .exactOptional()
    .meta({ description: "Default: a UUID. Every sample carries it; never reuse an id" }),
  name: lineField(256),
  platform: lineField(64).meta({ description: "Free text, for example eks" }),
  kubeconfig: kubeconfigField.exactOptional(),
  context: contextField
    .exactOptional()
    .meta({ description: "Required when the kubeconfig has several contexts" }),
  prometheus: fields({
    ...givenTarget,
    ca: ca.exactOptional(),
    bearer_token: bearerToken.exactOptional(),
    basic_auth: basicAuth.exactOptional(),
    headers: headers.exactOptional(),
    client_certificate: clientCertificate.exactOptional(),
    sigv4: sigv4.exactOptional(),
  })
    .exactOptional()
    .meta({ description: "Defaults: PROMETHEUS_NAMESPACE, _SERVICE_NAME and _PORT" }),
  labels: z.record(labelName, labelValue).exactOptional().meta({ description: LABELS_DESCRIPTION }),
  enabled: flagField.exactOptional(),
  validate_certs: flagField.exactOptional().meta({ description: "Default: VALIDATE_CERTS" }),
}).meta({
  id: "ClusterRegistration",
  examples: [
    {
      id: "edge-1",
      name: "Edge 1",
      platform: "eks",
      kubeconfig: kubeconfigExample,
      prometheus: { namespace: "monitoring", service: "prometheus-operated" },
      labels: { team: "edge" },
    },
    {
      id: "edge-2",
      name: "Edge 2",
      platform: "openshift",
      prometheus: { url: "https://prometheus.edge-2.example.com", bearer_token: "..." },
    },
  ],
}) satisfies z.ZodType<ClusterInput>;

/** The body of PATCH /clusters/{id}. */
export const clusterPatch = fields({
  name: lineField(256).exactOptional(),
  platform: lineField(64).exactOptional(),
  kubeconfig: kubeconfigField.exactOptional(),
  context: contextField.exactOptional(),
  prometheus: fields({
    ...patchedTarget,
    ca: ca.nullable().exactOptional(),
    bearer_token: bearerToken.nullable().exactOptional(),
    basic_auth: basicAuth.nullable().exactOptional(),
    headers: headersPatch.nullable().exactOptional(),
    client_certificate: clientCertificate.nullable().exactOptional(),
    sigv4: sigv4.nullable().exactOptional(),
  })
    .nullable()
    .exactOptional(),
  labels: z.record(labelName, labelValue.nullable()).nullable().exactOptional(),
  enabled: flagField.nullable().exactOptional(),
  validate_certs: flagField.nullable().exactOptional(),
}).meta({
  id: "ClusterPatch",
  examples: [{ kubeconfig: kubeconfigExample }, { enabled: false, labels: { team: null } }],
}) satisfies z.ZodType<ClusterPatch>;
