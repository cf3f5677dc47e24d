import { z } from "zod";
import { CLUSTER_ID, CLUSTER_ID_RULE } from "#lib/cluster-id.ts";
import { UNKNOWN_NAMES_MAX } from "#lib/near-miss.ts";

export const idField = z.string("must be a text").regex(CLUSTER_ID, CLUSTER_ID_RULE);

/** A text of one line, not empty. */
export const lineField = (max: number) =>
  z
    .string("must be a text")
    .min(1, "must not be empty")
    .max(max, `must have at most ${max} characters`)
    .regex(/^\P{Cc}*$/u, "must not have control characters");

/** A mapping with exactly these fields, which `wanted` names. The error names the unknown ones that look like fields: any other may be a secret. */
export function mappingField<T extends z.ZodRawShape>(shape: T, wanted: string) {
  const problem = `must be a mapping with ${wanted}`;
  return z.strictObject(shape, {
    error: (issue) => {
      if (issue.code !== "unrecognized_keys") return problem;
      const names = issue.keys.filter((key) => FIELD_NAME.test(key)).slice(0, UNKNOWN_NAMES_MAX);
      return names.length === 0 ? problem : `${problem}; unknown: ${names.join(", ")}`;
    },
  });
}

const FIELD_NAME = /^[A-Za-z][A-Za-z_-]{0,31}$/;

export const flagField = z.boolean("must be true or false");

/** The name of a kubeconfig's context. */
export const contextField = lineField(1024);
