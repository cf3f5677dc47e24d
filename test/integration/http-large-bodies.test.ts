import { afterAll, beforeAll, expect, it } from "vitest";
import type { BridgeError } from "#errors/error.ts";
import { errorOf, type Harness, startHarness } from "./http-harness.ts";

// Bodies that are within the limit of bytes, but would take seconds to parse, compare or describe.

let harness: Harness;
beforeAll(async () => {
  const refuse = async (): Promise<never> => {
    throw new Error("not reached");
  };
  harness = await startHarness({
    deps: {
      clusterAdmin: { create: refuse, draft: refuse, update: refuse, remove: refuse },
      metricQueries: { series: refuse, metrics: refuse, labels: refuse },
    },
  });
});
afterAll(() => harness.server.stop());

interface Refusal extends Pick<BridgeError, "code" | "message" | "hint"> {
  status: number;
  chars: number;
}

async function send(method: string, path: string, body: string): Promise<Refusal> {
  const headers = { "content-type": "application/json" };
  const answer = await fetch(harness.url + path, { method, headers, body });
  const chars = Number(answer.headers.get("content-length"));
  const { code, message, hint } = await errorOf(answer);
  return { status: answer.status, chars, code: code as BridgeError["code"], message, hint };
}

const ROUTES = [
  ["POST", "/clusters"],
  ["PATCH", "/clusters/edge-1"],
  ["POST", "/cluster-metrics/query"],
] as const;
const fieldsOf = (count: number, name: (index: number) => string = (index) => `field_${index}`) =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [name(index), 1]));

it.each(ROUTES)("%s %s names the first five of a thousand unknown fields", async (method, path) => {
  const { status, message, chars } = await send(method, path, JSON.stringify(fieldsOf(1000)));
  expect(status).toBe(400);
  expect(message).toContain(
    'unknown "field_0", "field_1", "field_2", "field_3", "field_4" and 995 more; allowed: ',
  );
  expect(message).not.toContain("field_5");
  expect(chars).toBeLessThan(8192);
});

it("names the first five unknown query parameters", async () => {
  const query = Object.keys(fieldsOf(500)).join("=1&");
  const answer = await fetch(`${harness.url}/cluster-metrics/edge-1/metrics?${query}`);
  const { message } = await errorOf(answer);
  expect(message).toContain('"field_4" and 495 more; allowed: from, to');
  expect(message).not.toContain("field_5");
});

it("still says which field was probably meant", async () => {
  const { message } = await send("POST", "/cluster-metrics/query", JSON.stringify({ metric_nmae: "up" }));
  expect(message).toContain('unknown "metric_nmae" (did you mean metric_name?)');
});

const MIB = 1024 * 1024 - 1000;
const SHAPES: [string, string, RegExp][] = [
  ["800 KB of unknown fields", JSON.stringify(fieldsOf(50_000)), /more than 2000 values/],
  ["brackets", "[".repeat(MIB), /nests deeper than 32 levels/],
  ["braces", '{"a":'.repeat(MIB / 5), /nests deeper than 32 levels/],
  ["brackets that close", `${"[".repeat(MIB / 2)}${"]".repeat(MIB / 2)}`, /nests deeper than 32 levels/],
  ["numbers", `{"group_by":[${"1,".repeat(MIB / 2 - 20)}1]}`, /more than 2000 values/],
  ["empty lists", `{"filters":[${"[],".repeat(MIB / 3 - 20)}[]]}`, /more than 2000 values/],
  ["labels", JSON.stringify({ labels: fieldsOf(40_000) }), /more than 2000 values/],
];

it.each(SHAPES)("%s are refused before they are parsed, by every route", async (_name, body, message) => {
  for (const [method, path] of ROUTES) {
    const refusal = await send(method, path, body);
    expect(refusal).toMatchObject({ status: 400, code: "request_invalid" });
    expect(refusal.message).toMatch(message);
    expect(refusal.hint).toMatch(/docs/);
  }
});

it.each<[string, object]>([
  ["a field", { ["x".repeat(900_000)]: 1 }],
  ["a label", { labels: { ["x".repeat(900_000)]: 1 } }],
  ["a field of Prometheus", { prometheus: { ["x".repeat(900_000)]: 1 } }],
  ["a thousand labels", { labels: fieldsOf(1000, (index) => `${"x".repeat(500)}${index}`) }],
])("the name of %s that is as long as the body is not repeated", async (_name, body) => {
  for (const method of ["POST", "PATCH"]) {
    const path = method === "POST" ? "/clusters" : "/clusters/edge-1";
    const { status, chars } = await send(method, path, JSON.stringify(body));
    expect(status).toBe(400);
    expect(chars).toBeLessThan(8192);
  }
});

it.each([
  ["brackets in a text", { kubeconfig: "[{".repeat(10_000) }],
  ["commas in a text", { kubeconfig: ",".repeat(10_000) }],
  ["quotes and backslashes in a text", { kubeconfig: '\\"[,'.repeat(5000) }],
])("%s do not count", async (_name, fields) => {
  const body = { name: "a", platform: "b", unknown: 1, ...fields };
  const { message } = await send("POST", "/clusters", JSON.stringify(body));
  expect(message).toContain('unknown "unknown"');
});
