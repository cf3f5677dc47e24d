import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Harness, startHarness } from "./http-harness.ts";

type Json = Record<string, unknown>;
interface Operation {
  summary?: string;
  tags?: string[];
  security?: Json[];
  parameters?: { name: string; in: string; required?: boolean; schema: Json }[];
  responses: Record<string, { description: string; content?: Record<string, { schema: Json }> }>;
}
interface Document {
  openapi: string;
  info: { title: string; version: string };
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Json>; securitySchemes: Record<string, Json> };
}

let harness: Harness;
let document: Document;
beforeAll(async () => {
  const never = (): Promise<never> => Promise.reject(new Error("not called"));
  harness = await startHarness({
    deps: { clusterAdmin: { create: never, draft: never, update: never, remove: never } },
  });
  document = (await (await fetch(`${harness.url}/docs/json`)).json()) as Document;
});
afterAll(() => harness.server.stop());

function operations(): { name: string; path: string; operation: Operation }[] {
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      name: `${method.toUpperCase()} ${path}`,
      path,
      operation,
    })),
  );
}

/** Every value under a key anywhere in the document. */
function valuesOf(key: string, node: unknown = document): unknown[] {
  if (typeof node !== "object" || node === null) return [];
  return Object.entries(node).flatMap(([name, value]) => [
    ...(name === key ? [value] : []),
    ...valuesOf(key, value),
  ]);
}

describe("the OpenAPI document", () => {
  it("lists every route, and no other", () => {
    expect(
      operations()
        .map(({ name }) => name)
        .sort(),
    ).toEqual([
      "DELETE /clusters/{id}",
      "GET /",
      "GET /cluster-metrics/{cluster_id}/latest",
      "GET /clusters",
      "GET /clusters/{id}",
      "GET /healthz",
      "GET /metrics",
      "GET /metrics/completeness",
      "GET /metrics/status",
      "GET /readyz",
      "GET /whoami",
      "OPTIONS /metrics/collect-all",
      "PATCH /clusters/{id}",
      "POST /clusters",
      "POST /metrics/collect-all",
    ]);
  });

  it("has the structure of OpenAPI 3.1", () => {
    expect(document.openapi).toBe("3.1.0");
    expect(document.info).toMatchObject({ title: "budcluster", version: "0.0.0" });
    for (const { path, operation } of operations()) {
      expect(operation.summary).toBeTruthy();
      expect(operation.tags).toHaveLength(1);
      const inPath = (operation.parameters ?? []).filter((parameter) => parameter.in === "path");
      const expected = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
      expect(inPath.map((parameter) => parameter.name)).toEqual(expected);
      expect(inPath.every((parameter) => parameter.required)).toBe(true);
      expect((operation.parameters ?? []).every((parameter) => typeof parameter.schema === "object")).toBe(
        true,
      );
      for (const answer of Object.values(operation.responses)) expect(answer.description).toBeTruthy();
    }
  });

  it("resolves every reference, and says nothing of $schema or $id", () => {
    const references = valuesOf("$ref") as string[];
    expect(references.length).toBeGreaterThan(20);
    for (const reference of references) {
      const [, name] = /^#\/components\/schemas\/(\w+)$/.exec(reference) ?? [];
      expect(Object.keys(document.components.schemas)).toContain(name);
    }
    const used = references.map((reference) => reference.replace(/^.*\//, ""));
    expect(new Set(Object.keys(document.components.schemas))).toEqual(new Set(used));
    expect([...valuesOf("$id"), ...valuesOf("$schema")]).toEqual([]);
  });

  it("gives every error answer one form, and every route with a scope 401 and 403", () => {
    for (const { name, operation } of operations()) {
      const errors = Object.entries(operation.responses).filter(([status]) => status >= "400");
      expect(errors.length).toBeGreaterThan(0);
      for (const [status, answer] of errors) {
        const schema = answer.content?.["application/json"]?.schema;
        const form = name === "GET /readyz" && status === "503" ? "NotReady" : "ErrorAnswer";
        expect(schema).toEqual({ $ref: `#/components/schemas/${form}` });
      }
      const statuses = errors.map(([status]) => status);
      const open = operation.security?.length === 0;
      expect(statuses.includes("401") && statuses.includes("403")).toBe(!open);
    }
  });

  it("names the credentials of each scope", () => {
    expect(Object.keys(document.components.securitySchemes)).toEqual(["bearer", "dapr"]);
    const securityOf = (path: string, method: string): unknown => document.paths[path]?.[method]?.security;
    expect(securityOf("/metrics/collect-all", "post")).toEqual([{ bearer: [] }, { dapr: [] }]);
    expect(securityOf("/clusters", "get")).toEqual([{ bearer: [] }]);
    expect(securityOf("/healthz", "get")).toEqual([]);
  });

  it("has an example of every main answer", () => {
    for (const name of [
      "CollectionStatus",
      "RoundResult",
      "CollectAnswer",
      "Cluster",
      "LatestSamples",
      "ErrorAnswer",
      "NotReady",
    ]) {
      expect(document.components.schemas[name]?.["examples"]).toHaveLength(1);
    }
  });

  it("leaves out what is not wired", async () => {
    const bare = await startHarness({ bare: true });
    const answer = await fetch(`${bare.url}/docs/yaml`);
    const paths = [...(await answer.text()).matchAll(/^ {2}(\/[^:]*):/gm)].map((match) => match[1]);
    await bare.server.stop();
    expect(paths).toHaveLength(5);
    expect(new Set(paths)).toEqual(new Set(["/", "/healthz", "/metrics", "/readyz", "/whoami"]));
  });
});
