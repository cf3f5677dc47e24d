import { z } from "zod";
import { ERRORS, type ErrorCode } from "#errors/error.ts";
import { CLUSTER_ID, CLUSTER_ID_RULE } from "#lib/cluster-id.ts";
import { didYouMean, UNKNOWN_NAMES_MAX } from "#lib/near-miss.ts";
import type { ErrorAnswer } from "./errors.ts";

const codes = Object.keys(ERRORS) as [ErrorCode, ...ErrorCode[]];

/** Times are RFC 3339 in UTC. */
export const timestamp = z.string().meta({ format: "date-time", examples: ["2025-06-01T12:00:00.000Z"] });

export const clusterId = z
  .string()
  .regex(CLUSTER_ID, CLUSTER_ID_RULE)
  // A cluster of the demo: /docs fills it in.
  .meta({ description: "The cluster's id, as in CLUSTERS_FILE", examples: ["sim-1"] });

export const errorBody = z
  .object({
    code: z.enum(codes).meta({ description: "Never renamed: safe to depend on" }),
    message: z.string().meta({ description: "What happened" }),
    hint: z.string().meta({ description: "What to do about it" }),
    details: z.record(z.string(), z.unknown()).exactOptional(),
  })
  .meta({ id: "Error" });

const errorAnswer = z.object({ error: errorBody }).meta({
  id: "ErrorAnswer",
  examples: [
    {
      error: {
        code: "cluster_not_found",
        message: 'no cluster has the id "edge-9"',
        hint: ERRORS.cluster_not_found.remedy,
      },
    },
  ],
}) satisfies z.ZodType<ErrorAnswer>;

/** A JSON answer with its description. */
export function json<T extends z.ZodType>(description: string, schema: T) {
  return { description, content: { "application/json": { schema } } };
}

type ErrorAnswers = Record<number, ReturnType<typeof json<typeof errorAnswer>>>;

/**
 * The schema of an answer's object whose keys are outside names. `z.record` would drop the key `__proto__`, so only the OpenAPI document
 * describes the values; nothing checks them.
 */
export function recordOf<T extends z.ZodType>(value: T): z.ZodType<Record<string, z.output<T>>> {
  const { $schema: _schema, ...additionalProperties } = z.toJSONSchema(value);
  return z.unknown().meta({ type: "object", additionalProperties }) as unknown as z.ZodType<
    Record<string, z.output<T>>
  >;
}

/** The error answers of a route, by status; each description names the codes. */
export function errors(...possible: ErrorCode[]): ErrorAnswers {
  const byStatus = new Map<number, ErrorCode[]>();
  for (const code of possible) {
    const { httpStatus } = ERRORS[code];
    byStatus.set(httpStatus, [...(byStatus.get(httpStatus) ?? []), code]);
  }
  return Object.fromEntries(
    [...byStatus].map(([status, names]) => [
      status,
      json(names.map((name) => `\`${name}\``).join(", "), errorAnswer),
    ]),
  );
}

/** The errors of every route with a scope. */
export const ACCESS_ERRORS = [
  "unauthenticated",
  "forbidden",
  "too_many_failed_logins",
  "cross_origin_refused",
  "host_refused",
  "too_many_connections",
  "shutting_down",
  "internal",
] as const satisfies ErrorCode[];

/** The errors of every open route. */
export const OPEN_ERRORS = ["host_refused", "internal"] as const satisfies ErrorCode[];

/**
 * The schema of a query string, a path or a part of a body with exactly these fields. The error of an unknown field lists the known ones,
 * the most similar first.
 */
export function fields<T extends z.ZodRawShape>(shape: T) {
  const known = Object.keys(shape);
  return z.strictObject(shape, {
    error: (issue) =>
      issue.code === "unrecognized_keys"
        ? `unknown ${unknownNames(issue.keys, known)}; allowed: ${known.join(", ") || "none"}`
        : undefined,
  });
}

function unknownNames(keys: readonly string[], known: readonly string[]): string {
  const names = keys.slice(0, UNKNOWN_NAMES_MAX).map((key) => unknownName(key, known));
  const more = keys.length - names.length;
  return `${names.join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

function unknownName(key: string, known: readonly string[]): string {
  const question = didYouMean(key, known);
  return `${JSON.stringify(key.slice(0, 64))}${question === "" ? "" : ` (${question})`}`;
}
