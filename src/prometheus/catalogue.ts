import { BridgeError } from "#errors/error.ts";
import { readFile } from "node:fs/promises";
import { RE2JS } from "re2js";
import { parse } from "yaml";
import { z } from "zod";
import { allQueries } from "./pack-all.ts";
import { DASHBOARD_QUERIES, selectorOf } from "./pack-dashboards.ts";
import { classifyPromql, type PromqlClass } from "./promql.ts";
import { GPU_QUERIES } from "./queries-gpu.ts";
import { NODE_QUERIES } from "./queries-node.ts";
import { POD_QUERIES } from "./queries-pod.ts";
import { CATALOGUES, type QuerySpec } from "./query-spec.ts";

/** A query that is ready to run. selector: raw samples of `promql[window]`; expression: query_range on a grid of `stepMs`. */
export type Query = QuerySpec &
  ({ kind: "selector"; selector: string } | { kind: "expression"; stepMs: number });

export const DEFAULT_QUERIES: readonly QuerySpec[] = [...NODE_QUERIES, ...POD_QUERIES, ...GPU_QUERIES];

type Catalogue = (typeof CATALOGUES)[number];

const QUERIES_MAX = 1000;
const DROPS_MAX = 50;
const DEFAULT_STEP_SECONDS = 60;
const METRIC_NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;

const fileSchema = z.strictObject({
  /** Start from this catalogue, or from nothing. `default` is `base`. Absent: from CATALOGUE. */
  extends: z.enum([...CATALOGUES, "default", "none"]).optional(),
  /** Names of built-in queries, of their metrics, or of groups to leave out. */
  remove: z.array(z.string()).max(QUERIES_MAX).default([]),
  /** Regular expressions (RE2) of whole names of metrics that the built-in catalogue leaves out. */
  drop: z
    .array(z.string().min(1).max(500).refine(isExpression, "is no regular expression (RE2)"))
    .max(DROPS_MAX)
    .default([]),
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

/** The catalogue as QUERIES_FILE (YAML: extends, remove, drop, queries) changes it. Throws BridgeError `queries_file_invalid`. */
export async function loadQueries(path: string | undefined, catalogue: Catalogue = "base"): Promise<Query[]> {
  if (path === undefined) return toQueries(builtIn(catalogue, { remove: [], drop: [], own: [] }));
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
  const { remove, drop, queries } = parsed.data;
  const start = parsed.data.extends ?? catalogue;
  const base = builtIn(start, { remove: [], drop: [], own: [] });
  const unknown = remove.filter((name) => !base.some((spec) => isNamed(spec, name)));
  const kept = builtIn(start, { remove, drop, own: queries.map(({ name }) => name) });
  return toQueries(
    [...kept, ...queries.map(toSpec)],
    unknown.map((name) => `remove: no built-in query, metric or group is named ${name}`),
  );
}

interface Changes {
  /** Names of queries, metrics and groups. */
  remove: readonly string[];
  /** Expressions of names of metrics. */
  drop: readonly string[];
  /** Names of the user's queries, which replace others. */
  own: readonly string[];
}

/** The built-in queries of the catalogue with these changes. */
function builtIn(name: Catalogue | "default" | "none", { remove, drop, own }: Changes): QuerySpec[] {
  if (name === "none") return [];
  const listed = name === "dashboards" ? [...DEFAULT_QUERIES, ...DASHBOARD_QUERIES] : DEFAULT_QUERIES;
  // A group that is removed from the base is not wanted from another query either.
  const names = new Set([...DEFAULT_QUERIES.map((spec) => spec.name), ...own]);
  const specs = [...listed, ...(name === "all" ? allQueries([...names], drop) : [])];
  const dropped = drop.map((expression) => RE2JS.compile(expression));
  const isLeftOut = (metric: string): boolean =>
    remove.includes(metric) || own.includes(metric) || dropped.some((each) => each.matches(metric));
  return specs
    .filter((spec) => !remove.some((group) => isInGroup(spec, group)))
    .flatMap((spec) => without(spec, isLeftOut));
}

function isExpression(text: string): boolean {
  try {
    RE2JS.compile(text);
    return true;
  } catch {
    return false;
  }
}

function isNamed(spec: QuerySpec, name: string): boolean {
  return spec.name === name || isInGroup(spec, name) || (spec.metrics?.includes(name) ?? false);
}

/** The query without some metrics; nothing when none of its metrics is left, or when its own name is left out. */
function without(spec: QuerySpec, isLeftOut: (name: string) => boolean): QuerySpec[] {
  if (isLeftOut(spec.name)) return [];
  const { metrics } = spec;
  if (!metrics?.some(isLeftOut)) return [spec];
  const left = metrics.filter((metric) => !isLeftOut(metric));
  return left.length === 0 ? [] : [{ ...spec, ...selectorOf(left) }];
}

/** `gpu` means `gpu_amd` and `gpu_hami` too, `dashboards` each of its groups. */
function isInGroup({ group }: QuerySpec, name: string): boolean {
  return group === name || group.startsWith(`${name}_`);
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
