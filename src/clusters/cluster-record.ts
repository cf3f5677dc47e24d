import { z } from "zod";
import type { Cluster, PrometheusTarget } from "./cluster.ts";
import type { ClusterDefaults } from "./clusters-file.ts";

const text = z.string();

/** Only what was given; the rest is the configuration's. */
const targetSchema = z.object({
  namespace: text.exactOptional(),
  service: text.exactOptional(),
  port: z.number().exactOptional(),
  scheme: z.enum(["http", "https"]).exactOptional(),
  path_prefix: text.exactOptional(),
  ca: text.exactOptional(),
});

const recordSchema = z.object({
  id: text,
  name: text,
  platform: text,
  enabled: z.boolean(),
  labels: z.record(text, text),
  prometheus: targetSchema,
  /** null: the configuration's. */
  validate_certs: z.boolean().nullable(),
  /** Kubeconfig and Prometheus credentials: everything secret. */
  jwe: text,
  facts: z.object({
    server: text,
    user: z.enum(["token", "client-certificate", "other"]),
    certificate_expires_at: text.nullable(),
    token_expires_at: text.nullable(),
    ca_sha256: z.array(text),
    prometheus_auth: z.enum(["bearer", "basic"]).nullable(),
  }),
  created_at: text,
  updated_at: text,
});

/** The state record `cluster:<id>` of a cluster that was registered over the API. */
export type ClusterRecord = z.infer<typeof recordSchema>;

/** Where Prometheus is, as far as a record says so. */
export type TargetRecord = z.infer<typeof targetSchema>;

/** What is stored under a cluster's key, or undefined when it is no such record. */
export function readRecord(value: unknown): ClusterRecord | undefined {
  return recordSchema.safeParse(value).data;
}

/** The cluster that a record stands for. */
export function toCluster(record: ClusterRecord, defaults: ClusterDefaults): Cluster {
  return {
    id: record.id,
    name: record.name,
    platform: record.platform,
    enabled: record.enabled,
    credentials: { kind: "sealed", jwe: record.jwe },
    prometheus: toTarget(record.prometheus, defaults.prometheus),
    validateCerts: record.validate_certs ?? defaults.validateCerts,
    source: "api",
    labels: record.labels,
    facts: record.facts,
    registered: { createdAt: record.created_at, updatedAt: record.updated_at },
  };
}

function toTarget({ path_prefix: pathPrefix, ...given }: TargetRecord, defaults: PrometheusTarget) {
  return { ...defaults, ...given, ...(pathPrefix === undefined ? {} : { pathPrefix }) };
}
