import { z } from "zod";
import { flagField } from "./cluster-fields.ts";
import type { PrometheusTarget } from "./cluster.ts";

const DNS_LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

const dnsLabel = z
  .string("must be a text")
  .regex(DNS_LABEL, "must be a Kubernetes name: a-z, 0-9 and -, at most 63 characters");

/** The address of a cluster's Prometheus, as CLUSTERS_FILE, requests, records and answers name its fields. A new field begins here. */
const targetFields = {
  namespace: dnsLabel,
  service: dnsLabel,
  port: z
    .int("must be a whole number")
    .min(1, "must be from 1 to 65535")
    .max(65_535, "must be from 1 to 65535")
    .meta({ description: "The Service's port" }),
  scheme: z.enum(["http", "https"], "must be http or https"),
  path_prefix: z
    .string("must be a text")
    .max(256, "must have at most 256 characters")
    .regex(/^\/?$|^(\/[A-Za-z0-9._~-]+)+\/?$/, "must be a path such as /prometheus"),
  accept_partial: flagField.meta({
    description: "Store answers even if the backend says that a part of the data may be missing",
  }),
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
/** Of an answer: every field is there. */
export const shownTarget: Shape = targetFields;

function mapFields(map: (field: z.ZodType) => z.ZodType): Record<string, z.ZodType> {
  return Object.fromEntries(Object.entries(targetFields).map(([name, field]) => [name, map(field)]));
}

/** The target with these fields, and `defaults` for the others. `ca`: PEM. */
export function toTarget(
  fields: Partial<TargetFields> & { ca?: string },
  defaults: PrometheusTarget,
): PrometheusTarget {
  const { path_prefix: prefix, accept_partial: acceptPartial, ...given } = fields;
  return {
    ...defaults,
    ...given,
    ...(prefix === undefined ? {} : { pathPrefix: prefix.replace(/\/$/, "") }),
    ...(acceptPartial ? { acceptPartial } : {}),
  };
}

/** The reverse, without the CA. */
export function toTargetFields(target: PrometheusTarget): TargetFields {
  const { ca: _ca, pathPrefix, acceptPartial, ...rest } = target;
  return { ...rest, path_prefix: pathPrefix, accept_partial: acceptPartial ?? false };
}
