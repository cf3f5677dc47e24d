import { z } from "zod";
import { CLUSTER_ID, CLUSTER_ID_RULE } from "#lib/cluster-id.ts";

export const idField = z.string("must be a text").regex(CLUSTER_ID, CLUSTER_ID_RULE);

/** A text of one line, not empty. */
export const lineField = (max: number) =>
  z
    .string("must be a text")
    .min(1, "must not be empty")
    .max(max, `must have at most ${max} characters`)
    .regex(/^\P{Cc}*$/u, "must not have control characters");

export const flagField = z.boolean("must be true or false");
