import { BridgeError } from "#errors/error.ts";
import { readFile } from "node:fs/promises";
import { parse } from "yaml";
import { z } from "zod";
import { classifyPromql, type PromqlClass } from "./promql.ts";
import { GPU_QUERIES } from "./queries-gpu.ts";
import { NODE_QUERIES } from "./queries-node.ts";
import { POD_QUERIES } from "./queries-pod.ts";
import type { QuerySpec } from "./query-spec.ts";

/** A query that is ready to run. selector: raw samples of `promql[window]`; expression: query_range on a grid of `stepMs`. */
export type Query = QuerySpec &
  ({ kind: "selector"; selector: string } | { kind: "expression"; stepMs: number });

export const DEFAULT_QUERIES: readonly QuerySpec[] = [...NODE_QUERIES, ...POD_QUERIES, ...GPU_QUERIES];

const QUERIES_MAX = 1000;
const DEFAULT_STEP_SECONDS = 60;
const METRIC_NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;

const fileSchema = z.strictObject({
  /** Start from the built-in catalogue (default) or from nothing. */
  extends: z.enum(["default", "none"]).default("default"),
  /** Names of built-in queries or groups to leave out. */
  remove: z.array(z.string()).max(QUERIES_MAX).default([]),
  queries: z
    .array(
      z.strictObject({
        name: z.string().max(200).regex(METRIC_NAME, "must be a metric name ([a-zA-Z_:][a-zA-Z0-9_:]*)"),
        promql: z.string().min(1).max(10_000).optional(),
        group: z
          .string()
          .min(1)
          .max(50)
          .regex(/^[a-z0-9_-]+$/, "must match [a-z0-9_-]+")
          .default("custom"),
        unit: z.string().max(60).optional(),
        type: z.enum(["counter", "gauge"]).optional(),
        step: z.int().min(1).max(3600).optional(),
      }),
    )
    .max(QUERIES_MAX)
    .default([]),
});

/** Makes queries of specs. Throws BridgeError `queries_file_invalid` that names every bad entry, after the problems known before. */
export function toQueries(specs: readonly QuerySpec[], before: readonly string[] = []): Query[] {
  const problems = [...before];
  const names = new Set<string>();
  const queries: Query[] = [];
  for (const spec of specs) {
    if (names.has(spec.name)) problems.push(`${spec.name}: the name is used twice`);
    names.add(spec.name);
    const parsed: PromqlClass = classifyPromql(spec.promql);
    if (parsed.kind === "invalid") problems.push(`${spec.name}: promql: ${parsed.problem}`);
    else if (parsed.kind === "selector" && spec.stepSeconds !== undefined) {
      problems.push(`${spec.name}: step: a plain selector is read raw and has no step`);
    } else if (parsed.kind === "selector")
      queries.push({ ...spec, kind: "selector", selector: parsed.selector });
    else
      queries.push({
        ...spec,
        kind: "expression",
        stepMs: (spec.stepSeconds ?? DEFAULT_STEP_SECONDS) * 1000,
      });
  }
  if (queries.length === 0 && problems.length === 0) problems.push("no query is left");
  if (problems.length > 0) throw invalid(problems);
  return queries;
}

/** The catalogue as QUERIES_FILE (YAML: extends, remove, queries) changes it. Throws BridgeError `queries_file_invalid`. */
export async function loadQueries(path: string | undefined): Promise<Query[]> {
  if (path === undefined) return toQueries(DEFAULT_QUERIES);
  let document: unknown;
  try {
    document = parse(await readFile(path, "utf8"), { maxAliasCount: 100 });
  } catch (error) {
    throw invalid(
      [`${path}: ${error instanceof Error ? error.message.split("\n")[0] : "can't be read"}`],
      error,
    );
  }
  const parsed = fileSchema.safeParse(document ?? {});
  if (!parsed.success) {
    throw invalid(parsed.error.issues.map((issue) => `${issue.path.join(".") || path}: ${issue.message}`));
  }
  const { remove, queries } = parsed.data;
  const base = parsed.data.extends === "default" ? DEFAULT_QUERIES : [];
  const unknown = remove.filter((name) => !base.some((spec) => spec.name === name || spec.group === name));
  const replaced = new Set([...remove, ...queries.map((query) => query.name)]);
  const kept = base.filter((spec) => !replaced.has(spec.name) && !remove.includes(spec.group));
  return toQueries(
    [...kept, ...queries.map(toSpec)],
    unknown.map((name) => `remove: no built-in query or group is named ${name}`),
  );
}

function toSpec(entry: z.infer<typeof fileSchema>["queries"][number]): QuerySpec {
  return {
    name: entry.name,
    promql: entry.promql ?? entry.name,
    group: entry.group,
    ...(entry.unit === undefined ? {} : { unit: entry.unit }),
    ...(entry.type === undefined ? {} : { type: entry.type }),
    ...(entry.step === undefined ? {} : { stepSeconds: entry.step }),
  };
}

function invalid(problems: string[], cause?: unknown): BridgeError {
  return new BridgeError("queries_file_invalid", `QUERIES_FILE: ${problems.slice(0, 20).join("; ")}`, {
    details: { problems: problems.slice(0, 50) },
    cause,
  });
}
