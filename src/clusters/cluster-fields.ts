import { z } from "zod";
import { CLUSTER_ID, CLUSTER_ID_RULE } from "#lib/cluster-id.ts";

const DNS_LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

export const idField = z.string("must be a text").regex(CLUSTER_ID, CLUSTER_ID_RULE);

/** A text of one line, not empty. */
export const lineField = (max: number) =>
  z
    .string("must be a text")
    .min(1, "must not be empty")
    .max(max, `must have at most ${max} characters`)
    .regex(/^\P{Cc}*$/u, "must not have control characters");

export const flagField = z.boolean("must be true or false");

const dnsLabel = z
  .string("must be a text")
  .regex(DNS_LABEL, "must be a Kubernetes name: a-z, 0-9 and -, at most 63 characters");

/** Where a cluster's Prometheus is, as files and requests name it. */
export const targetFields = {
  namespace: dnsLabel,
  service: dnsLabel,
  port: z
    .int("must be a whole number")
    .min(1, "must be from 1 to 65535")
    .max(65_535, "must be from 1 to 65535"),
  scheme: z.enum(["http", "https"], "must be http or https"),
  path_prefix: z
    .string("must be a text")
    .max(256, "must have at most 256 characters")
    .regex(/^\/?$|^(\/[A-Za-z0-9._~-]+)+\/?$/, "must be a path such as /prometheus"),
  accept_partial: flagField,
};
