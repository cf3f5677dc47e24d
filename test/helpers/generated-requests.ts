import * as fc from "fast-check";
import {
  allowedValues,
  changedValues,
  hostileValues,
  type Schema,
  type ValueSource,
} from "./schema-values.ts";

// Requests for the operations of an OpenAPI document: as it describes them, almost so, and hostile.

interface Parameter {
  name: string;
  in: string;
  required?: boolean;
  schema: Schema;
}

interface Operation {
  parameters?: Parameter[];
  requestBody?: { content: Record<string, { schema: Schema }> };
  responses: Record<string, { description: string; content?: Record<string, { schema: Schema }> }>;
}

export interface OpenApiDocument {
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Schema> };
}

export interface GeneratedRequest {
  /** Names of the operation in the document: `paths[template][method]`. */
  template: string;
  method: string;
  /** With path and query filled in. */
  path: string;
  headers: Record<string, string>;
  body?: Buffer;
}

export interface RequestSource extends Omit<ValueSource, "schemas"> {
  document: OpenApiDocument;
  /** Authorization headers, by what they are worth. */
  authorizations: fc.Arbitrary<string | undefined>;
  /** How often each operation is asked for, by `POST /clusters`; otherwise once. */
  weights: Readonly<Record<string, number>>;
}

interface Body {
  bytes?: Buffer;
  type?: string;
}

const JSON_TYPE = "application/json";

/** Requests for all operations. */
export function generatedRequests(source: RequestSource): fc.Arbitrary<GeneratedRequest> {
  const values = { schemas: source.document.components.schemas, pools: source.pools };
  const operations = Object.entries(source.document.paths).flatMap(([template, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      weight: source.weights[`${method.toUpperCase()} ${template}`] ?? 1,
      arbitrary: requestsOf(source, values, { template, method, operation }),
    })),
  );
  return fc.oneof(...operations);
}

function requestsOf(
  source: RequestSource,
  values: ValueSource,
  { template, method, operation }: { template: string; method: string; operation: Operation },
): fc.Arbitrary<GeneratedRequest> {
  const { parameters = [], requestBody } = operation;
  const schema = requestBody?.content[JSON_TYPE]?.schema;
  return fc
    .record({
      path: pathOf(values, template, parameters),
      query: queryOf(values, parameters),
      body: schema ? bodiesOf(values, schema) : bodiesToIgnore(method),
      authorization: source.authorizations,
    })
    .map(({ path, query, body: { bytes, type }, authorization }) => ({
      template,
      method,
      path: query === "" ? path : `${path}?${query}`,
      headers: {
        ...(authorization === undefined ? {} : { authorization }),
        ...(type === undefined ? {} : { "content-type": type }),
      },
      ...(bytes ? { body: bytes } : {}),
    }));
}

function pathOf(values: ValueSource, template: string, parameters: Parameter[]): fc.Arbitrary<string> {
  const inPath = parameters.filter((parameter) => parameter.in === "path");
  const filled = inPath.map(({ name, schema }) => [name, mostly(allowedValues(values, schema, name))]);
  return fc
    .record(Object.fromEntries(filled) as Record<string, fc.Arbitrary<unknown>>)
    .map((named) => template.replace(/\{(\w+)\}/g, (_all, name: string) => segment(named[name])));
}

function queryOf(values: ValueSource, parameters: Parameter[]): fc.Arbitrary<string> {
  const inQuery = parameters.filter((parameter) => parameter.in === "query");
  const named = inQuery.map(({ name, schema }) => [name, mostly(allowedValues(values, schema, name))]);
  const described = fc.record(Object.fromEntries(named) as Record<string, fc.Arbitrary<unknown>>, {
    requiredKeys: inQuery.filter(({ required }) => required).map(({ name }) => name),
  });
  const extra = fc.constantFrom(
    "",
    "",
    "",
    "",
    "",
    "",
    "limit=1&limit=2",
    "unknown=1",
    "__proto__=1",
    "%E0%A4%A",
    "&&=",
  );
  return fc
    .tuple(described, extra)
    .map(([fields, more]) =>
      [...Object.entries(fields).map(([name, value]) => `${name}=${encoded(value)}`), more]
        .filter((part) => part !== "")
        .join("&"),
    );
}

/** One in ten is a hostile value. */
function mostly(allowed: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> {
  return fc.oneof({ weight: 9, arbitrary: allowed }, { weight: 1, arbitrary: hostileValues });
}

/** As a part of a path. Clients resolve dots before they send anything. */
function segment(value: unknown): string {
  return encoded(value === "." || value === ".." ? "dots" : value);
}

/** As a part of a URL, which can't hold a half of a surrogate pair. */
function encoded(value: unknown): string {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return encodeURIComponent(text.toWellFormed());
}

function bodiesOf(values: ValueSource, schema: Schema): fc.Arbitrary<Body> {
  const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
  const [allowed, changed, hostile] = [
    allowedValues(values, schema),
    changedValues(values, schema),
    hostileValues,
  ].map((each) => each.map((value): Body => ({ bytes: json(value), type: JSON_TYPE })));
  const otherType = fc
    .tuple(
      allowedValues(values, schema),
      fc.constantFrom(
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-16",
        "nonsense",
        "a/b/c",
        undefined,
      ),
    )
    .map(([value, type]) => ({ bytes: json(value), ...(type === undefined ? {} : { type }) }));
  return fc.oneof(
    { weight: 10, arbitrary: allowed! },
    { weight: 6, arbitrary: changed! },
    { weight: 1, arbitrary: hostile! },
    { weight: 1, arbitrary: otherType },
    { weight: 1, arbitrary: brokenTexts.map((bytes) => ({ bytes, type: JSON_TYPE })) },
  );
}

/** Bytes that are no JSON, or more of it than anybody takes. */
const brokenTexts: fc.Arbitrary<Buffer> = fc.oneof(
  fc
    .constantFrom(
      "",
      "{",
      "[1,",
      '{"id":"a",}',
      "\ufeff{}",
      "nul",
      '{"a":1}{"b":2}',
      '{"id":"a","id":"b"}',
      '"\\ud800"',
      "1e999",
      "-",
    )
    .map((text) => Buffer.from(text)),
  fc.constantFrom(33, 100_000).map((depth) => Buffer.from("[".repeat(depth) + "]".repeat(depth))),
  fc.constantFrom(2001, 400_000).map((count) => Buffer.from(`[${"1,".repeat(count)}1]`)),
  fc.constant(0).map(() => Buffer.alloc(1024 * 1024 + 1, " ")),
  fc
    .constantFrom([0xff, 0xfe], [0x7b, 0x22, 0xc3, 0x28, 0x22, 0x3a, 0x31, 0x7d])
    .map((bytes) => Buffer.from(bytes)),
);

/** For routes that ignore a body. GET and OPTIONS can't have one. */
function bodiesToIgnore(method: string): fc.Arbitrary<Body> {
  if (method === "get" || method === "options") return fc.constant({});
  return fc.oneof(
    { weight: 4, arbitrary: fc.constant<Body>({}) },
    {
      weight: 1,
      arbitrary: fc.constantFrom<Body>(
        { bytes: Buffer.from("{"), type: JSON_TYPE },
        { bytes: Buffer.from("a=b"), type: "nonsense" },
      ),
    },
  );
}
