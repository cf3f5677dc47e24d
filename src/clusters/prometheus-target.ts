import { z } from "zod";
import { flagField } from "./cluster-fields.ts";
import { SHARDS_MAX, type PrometheusTarget } from "./cluster.ts";
import { toPrometheusUrl, urlField } from "./prometheus-url.ts";

const DNS_LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** The name of a namespace, a Service or a ServiceAccount. */
export const dnsLabel = z
  .string("must be a text")
  .regex(DNS_LABEL, "must be a Kubernetes name: a-z, 0-9 and -, at most 63 characters");

const portField = z
  .int("must be a whole number")
  .min(1, "must be from 1 to 65535")
  .max(65_535, "must be from 1 to 65535");

const SHARDS_PROBLEM = `must be auto, none or a whole number from 1 to ${SHARDS_MAX}`;
const shardsField = z
  .union(
    [z.enum(["auto", "none"]), z.int().min(1, SHARDS_PROBLEM).max(SHARDS_MAX, SHARDS_PROBLEM)],
    SHARDS_PROBLEM,
  )
  .meta({
    description:
      "Several Pods behind the Service: auto tells shards (each is read) from replicas (one is read); none reads one Pod; a number is the number of shards to expect",
  });

/** Where the Service is. A cluster that is read without a tunnel has none of them. */
const serviceFields = {
  namespace: dnsLabel,
  service: dnsLabel,
  port: portField.meta({ description: "The Service's port" }),
  pod_port: portField.meta({
    description:
      "The port inside of the Pod, instead of the Service's: for a Prometheus that listens behind a proxy on localhost of its Pod (OpenShift)",
  }),
};

/** The address of a cluster's Prometheus, as CLUSTERS_FILE, requests, records and answers name its fields. A new field begins here. */
const targetFields = {
  url: urlField.meta({
    description:
      "Read Prometheus at this URL, without a tunnel: https (or http without credentials), with the path in front of /api/v1. Instead of namespace, service, port, scheme, path_prefix and shards, and of a kubeconfig",
  }),
  ...serviceFields,
  scheme: z.enum(["http", "https"], "must be http or https"),
  path_prefix: z
    .string("must be a text")
    .max(256, "must have at most 256 characters")
    .regex(/^\/?$|^(\/[A-Za-z0-9._~-]+)+\/?$/, "must be a path such as /prometheus"),
  accept_partial: flagField.meta({
    description: "Store answers even if the backend says that a part of the data may be missing",
  }),
  shards: shardsField,
};

type Shape = typeof targetFields;
export type TargetFields = { [Name in keyof Shape]: z.infer<Shape[Name]> };

/** Each field may be left out: the configuration has a default. */
export const givenTarget = mapFields((field) => field.exactOptional()) as {
  [Name in keyof Shape]: z.ZodExactOptional<Shape[Name]>;
};
/** Of a merge patch: null resets a field. */
export const patchedTarget = mapFields((field) => field.nullable().exactOptional()) as {
  [Name in keyof Shape]: z.ZodExactOptional<z.ZodNullable<Shape[Name]>>;
};

const OF_A_TUNNEL = "null: read without a tunnel";

/** Of an answer: every field is there. */
export const shownTarget = {
  ...targetFields,
  url: z.string().nullable().meta({ description: "null: read through a tunnel" }),
  namespace: z.string().nullable().meta({ description: OF_A_TUNNEL }),
  service: z.string().nullable().meta({ description: OF_A_TUNNEL }),
  port: z
    .int()
    .nullable()
    .meta({ description: `The Service's port; ${OF_A_TUNNEL}` }),
  pod_port: z.int().nullable().meta({ description: "null: the one that the Service's port leads to" }),
  path_prefix: z.string(),
};
type ShownFields = { [Name in keyof typeof shownTarget]: z.infer<(typeof shownTarget)[Name]> };

function mapFields(map: (field: z.ZodType) => z.ZodType): Record<string, z.ZodType> {
  return Object.fromEntries(Object.entries(targetFields).map(([name, field]) => [name, map(field)]));
}

/** Fields that say where a tunnel leads. */
export const TUNNEL_FIELDS = [
  "namespace",
  "service",
  "port",
  "pod_port",
  "scheme",
  "path_prefix",
  "shards",
] as const satisfies (keyof TargetFields)[];

/** Fields that contradict each other, as the end of a sentence about `prometheus`; undefined when none do. */
export function targetContradiction(fields: Readonly<Record<string, unknown>>): string | undefined {
  if (fields["url"] === undefined) return undefined;
  const named = TUNNEL_FIELDS.filter((name) => fields[name] !== undefined);
  if (named.length === 0) return undefined;
  return `has ${named.join(", ")} besides url, which says where Prometheus is without a tunnel: give one of them`;
}

/** The target with these fields, and `defaults` for the others. `ca`: PEM. */
export function toTarget(
  fields: Partial<TargetFields> & { ca?: string },
  defaults: PrometheusTarget,
): PrometheusTarget {
  const {
    url,
    pod_port: podPort,
    path_prefix: prefix,
    accept_partial: acceptPartial,
    shards,
    ...given
  } = fields;
  return {
    ...defaults,
    ...given,
    ...(prefix === undefined ? {} : { pathPrefix: prefix.replace(/\/$/, "") }),
    ...(podPort === undefined ? {} : { podPort }),
    ...(url === undefined ? {} : toDirectTarget(url)),
    ...(acceptPartial ? { acceptPartial } : {}),
    ...(shards === undefined || shards === "auto" ? {} : { shards }),
  };
}

function toDirectTarget(text: string): Pick<PrometheusTarget, "url" | "scheme" | "pathPrefix"> {
  const { url, pathPrefix } = toPrometheusUrl(text);
  return { url, scheme: url.startsWith("https:") ? "https" : "http", pathPrefix };
}

/** The reverse, without the CA. */
export function toTargetFields(target: PrometheusTarget): ShownFields {
  const { ca: _ca, pathPrefix, podPort, acceptPartial, url, shards = "auto", ...rest } = target;
  const service = url === undefined ? {} : { namespace: null, service: null, port: null };
  const shown = { ...rest, pod_port: podPort ?? null, url: url ?? null, path_prefix: pathPrefix };
  return { ...shown, ...service, accept_partial: acceptPartial ?? false, shards };
}
