import { CLUSTER_ERRORS } from "./codes-cluster.ts";
import { COLLECTION_ERRORS } from "./codes-collection.ts";
import { HTTP_ERRORS } from "./codes-http.ts";
import { START_ERRORS } from "./codes-start.ts";
import type { ErrorKind } from "./error-kind.ts";

/**
 * Every error code of the program. The code is the log field `code`, the own metrics' `error.type` and the HTTP body's `error.code`.
 * Codes are never renamed: alerts and clients depend on them.
 */
export const ERRORS = {
  ...START_ERRORS,
  ...CLUSTER_ERRORS,
  ...COLLECTION_ERRORS,
  ...HTTP_ERRORS,
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof ERRORS;
