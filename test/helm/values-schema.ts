import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { CHART, isMap, type Values } from "./helm.ts";

/** A JSON schema, as far as the chart's uses it. */
export interface Schema {
  description?: string;
  type?: string | string[];
  enum?: unknown[];
  properties?: Record<string, Schema>;
  additionalProperties?: boolean | Schema;
}

export interface Leaf {
  path: string;
  value: unknown;
  schema: Schema;
}

export const SCHEMA = JSON.parse(readFileSync(join(CHART, "values.schema.json"), "utf8")) as Schema;
export const DEFAULTS = parse(readFileSync(join(CHART, "values.yaml"), "utf8")) as Values;

/** Every value of values.yaml that is set as a whole: what the schema does not divide further. */
export const LEAVES: readonly Leaf[] = leavesOf(DEFAULTS, SCHEMA, []);

function leavesOf(values: Values, schema: Schema, above: readonly string[]): Leaf[] {
  return Object.entries(values).flatMap(([key, value]) => {
    const path = [...above, key];
    const own = schema.properties?.[key];
    if (own === undefined) throw new Error(`values.schema.json does not know ${path.join(".")}`);
    if (own.properties && isMap(value)) return leavesOf(value, own, path);
    return [{ path: path.join("."), value, schema: own }];
  });
}

/** Every schema with properties, and each of their properties. */
export function schemasOf(schema: Schema, path = "values"): { path: string; schema: Schema }[] {
  const below = Object.entries(schema.properties ?? {});
  return [{ path, schema }, ...below.flatMap(([key, own]) => schemasOf(own, `${path}.${key}`))];
}

/** `{a: {b: value}}` of "a.b". */
export function at(path: string, value: unknown): Values {
  return path.split(".").reduceRight<unknown>((below, key) => ({ [key]: below }), value) as Values;
}
