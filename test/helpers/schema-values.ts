import * as fc from "fast-check";

/** The part of JSON Schema that the OpenAPI document uses. */
export interface Schema {
  $ref?: string;
  type?: string | string[];
  enum?: unknown[];
  anyOf?: Schema[];
  allOf?: Schema[];
  pattern?: string;
  minLength?: number;
  maxLength?: number;
  minimum?: number;
  maximum?: number;
  maxItems?: number;
  items?: Schema;
  properties?: Record<string, Schema>;
  required?: string[];
  propertyNames?: Schema;
  additionalProperties?: Schema | boolean;
}

export interface ValueSource {
  schemas: Readonly<Record<string, Schema>>;
  /** Values for fields of these names: some that the system knows, so that requests get beyond validation. */
  pools: Readonly<Record<string, fc.Arbitrary<unknown>>>;
}

const STRING_CHARS_MAX = 40;
const ITEMS_MAX = 4;

/** Values that the schema allows, mostly from the pool of the field's name. Patterns that can't be generated are filtered for. */
export function allowedValues(source: ValueSource, schema: Schema, name = ""): fc.Arbitrary<unknown> {
  const pool = Object.hasOwn(source.pools, name) ? source.pools[name] : undefined;
  const generated = valuesOf(source, schema);
  return pool ? fc.oneof({ weight: 9, arbitrary: pool }, { weight: 1, arbitrary: generated }) : generated;
}

function valuesOf(source: ValueSource, schema: Schema): fc.Arbitrary<unknown> {
  if (schema.$ref !== undefined) {
    return valuesOf(source, source.schemas[schema.$ref.replace(/^.*\//, "")] ?? {});
  }
  if (schema.enum) return fc.constantFrom(...schema.enum);
  if (schema.anyOf) return fc.oneof(...schema.anyOf.map((each) => valuesOf(source, each)));
  if (Array.isArray(schema.type)) {
    return fc.oneof(...schema.type.map((type) => valuesOf(source, { ...schema, type })));
  }
  const { minimum = -1e9, maximum = 1e9 } = schema;
  switch (schema.type) {
    case "string":
      return strings(schema);
    case "integer":
      return fc.integer({ min: minimum, max: maximum });
    case "number":
      return fc.double({ min: minimum, max: maximum, noNaN: true });
    case "boolean":
      return fc.boolean();
    case "null":
      return fc.constant(null);
    case "array":
      return fc.array(allowedValues(source, schema.items ?? {}), {
        maxLength: Math.min(schema.maxItems ?? ITEMS_MAX, ITEMS_MAX),
      });
    case "object":
      return objects(source, schema);
    case undefined:
    default:
      return fc.jsonValue({ maxDepth: 2 });
  }
}

function strings(schema: Schema): fc.Arbitrary<string> {
  const patterns = [schema, ...(schema.allOf ?? [])].flatMap(({ pattern }) =>
    pattern === undefined ? [] : [new RegExp(pattern, "u")],
  );
  const { minLength = 0, maxLength = STRING_CHARS_MAX } = schema;
  const isAllowed = (text: string): boolean =>
    text.length >= minLength && text.length <= maxLength && patterns.every((pattern) => pattern.test(text));
  const any = fc.string({ unit: "grapheme", minLength, maxLength: Math.min(maxLength, STRING_CHARS_MAX) });
  const [first] = patterns;
  // fast-check knows neither classes of Unicode nor lookaheads.
  const isSimple = first !== undefined && !/\\p|\(\?/i.test(first.source);
  return (isSimple ? fc.stringMatching(first) : any).filter(isAllowed);
}

function objects(source: ValueSource, schema: Schema): fc.Arbitrary<unknown> {
  const { properties = {}, required = [], additionalProperties, propertyNames } = schema;
  const known = Object.entries(properties);
  if (known.length === 0 && typeof additionalProperties === "object") {
    const keys = valuesOf(source, { type: "string", ...propertyNames }) as fc.Arbitrary<string>;
    return fc.dictionary(keys, valuesOf(source, additionalProperties), { maxKeys: ITEMS_MAX });
  }
  const values = Object.fromEntries(known.map(([name, each]) => [name, allowedValues(source, each, name)]));
  return fc.record(values, { requiredKeys: required.filter((name) => Object.hasOwn(properties, name)) });
}

/** Values that programs trip over. */
export const hostileValues: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    true,
    "",
    " ",
    0,
    -1,
    0.1,
    1e308,
    Number.MAX_SAFE_INTEGER + 2,
    "NaN",
    "__proto__",
    "constructor",
    "..",
    "../../etc/passwd",
    "'; DROP TABLE metrics.otel_metrics_gauge; --",
    "{x:String}",
    "\u0000",
    "\ud800",
    "a\u202Eb",
    "\u001b[31m",
    "x".repeat(5000),
    "(a+)+$",
    "[",
    [],
    {},
    [[]],
    Array.from({ length: 100 }, () => null),
    JSON.parse('{"__proto__": {"polluted": true}}'),
    { constructor: { prototype: {} } },
    { toString: 1 },
  ),
  fc.jsonValue({ maxDepth: 3 }),
  fc.string({ unit: "binary", maxLength: 64 }),
);

type Place = { object: Record<string, unknown>; key: string };

/** Objects of the schema with one field replaced by a hostile value, removed, renamed or added, on any level. */
export function changedValues(source: ValueSource, schema: Schema): fc.Arbitrary<unknown> {
  const change = fc.constantFrom("replace", "replace", "remove", "rename", "add");
  return fc
    .tuple(allowedValues(source, schema), fc.nat(), hostileValues, change)
    .map(([allowed, at, hostile, kind]) => {
      const value = structuredClone(allowed);
      const places = placesOf(value);
      const place = places[at % Math.max(1, places.length)];
      if (!place) return hostile;
      const { object, key } = place;
      if (kind === "add") object["unknown_field"] = hostile;
      if (kind === "rename") object[`${key}x`] = object[key];
      if (kind === "replace") object[key] = hostile;
      if (kind === "remove" || kind === "rename") delete object[key];
      return value;
    });
}

function placesOf(value: unknown): Place[] {
  if (typeof value !== "object" || value === null) return [];
  const object = value as Record<string, unknown>;
  const own = Array.isArray(value) ? [] : Object.keys(object).map((key) => ({ object, key }));
  return [...own, ...Object.values(object).flatMap(placesOf)];
}
