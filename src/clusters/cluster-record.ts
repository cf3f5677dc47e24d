import { z } from "zod";
import { BridgeError } from "#errors/error.ts";
import type { StateStore } from "#state/store.ts";
import type { Cluster } from "./cluster.ts";
import type { ClusterDefaults } from "./clusters-file.ts";
import { givenTarget, toTarget } from "./prometheus-target.ts";

const text = z.string();

/** The fields that were given; the configuration has the others. */
const targetSchema = z.object({ ...givenTarget, ca: text.exactOptional() });

const recordSchema = z.object({
  id: text,
  name: text,
  platform: text,
  enabled: z.boolean(),
  labels: z.record(text, text),
  prometheus: targetSchema,
  /** null: as VALIDATE_CERTS says. */
  validate_certs: z.boolean().nullable(),
  /** Kubeconfig (none without a tunnel) and Prometheus credentials: everything secret. */
  jwe: text,
  facts: z.object({
    server: text.nullable(),
    user: z.enum(["token", "client-certificate", "other"]).nullable(),
    certificate_expires_at: text.nullable(),
    token_expires_at: text.nullable(),
    ca_sha256: z.array(text),
    prometheus_auth: z.enum(["bearer", "basic", "sigv4"]).nullable(),
    prometheus_headers: z.array(text).exactOptional(),
    prometheus_client_certificate: z.literal(true).exactOptional(),
  }),
  created_at: text,
  updated_at: text,
});

/** The state record `cluster:<id>` of a cluster that was registered over the API. */
export type ClusterRecord = z.infer<typeof recordSchema>;

/** The address of Prometheus, as far as a record has it. */
export type TargetRecord = z.infer<typeof targetSchema>;

export function recordKey(clusterId: string): string {
  return `cluster:${clusterId}`;
}

/** The record of a cluster with its ETag; undefined when there is none or it can't be read as one. Throws `state_unavailable`. */
export async function fetchRecord(
  store: StateStore,
  clusterId: string,
): Promise<{ record: ClusterRecord; etag: string } | undefined> {
  try {
    const stored = await store.get<unknown>(recordKey(clusterId));
    const record = recordSchema.safeParse(stored?.value).data;
    return stored && record?.id === clusterId ? { record, etag: stored.etag } : undefined;
  } catch (error) {
    if (error instanceof BridgeError && error.code === "state_record_damaged") return undefined;
    throw error;
  }
}

/** The cluster that a record describes. */
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
