import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import { afterAll, beforeAll, expect, it } from "vitest";
import { parse } from "yaml";
import { systemClock } from "#lib/clock.ts";
import { createPromql } from "#query/promql/promql.ts";
import { useEngine } from "../helpers/engine.ts";
import { point, storeMetrics } from "../helpers/stored-world.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";
import { type Harness, startHarness } from "../integration/http-harness.ts";

// Answers of /api/v1 against the description of Prometheus' own API (web/api/v1/testdata/openapi_3.2_golden.yaml of its repository).

const FOLDER = process.env["PROMQLTEST_DIR"];
if (FOLDER === undefined)
  throw new Error("PROMQLTEST_DIR is not set: the folder with openapi_3.2_golden.yaml");
const description = readFileSync(join(FOLDER, "openapi_3.2_golden.yaml"), "utf8");
const NOW_MS = Math.floor(Date.now() / 60_000) * 60_000;
const NOW = NOW_MS / 1000;

const engine = useEngine({ migrated: true });
const ajv = new Ajv2020({ strict: false, validateFormats: false });
let harness: Harness;

beforeAll(async () => {
  ajv.addSchema(parse(description) as object, "prometheus");
  const points = [1, 2, 3].map((value) => point({ job: "node" }, NOW_MS - value * 30_000, value));
  await storeMetrics(engine.database, "edge-1", [{ name: "load", kind: "gauge", points }]);
  const { databaseName, limits, promql } = QUERY_DEFAULTS;
  const deps = { database: engine.database, clock: systemClock };
  harness = await startHarness({
    deps: { promql: createPromql(deps, { ...promql, databaseName, queryLimits: limits }) },
  });
});
afterAll(() => harness.server.stop());

const RANGE = `start=${NOW - 120}&end=${NOW}&step=60`;
// Not a text: the description says that its time is a text, and Prometheus (promql/value.go) gives a number.
const ASKED: [path: string, parameters: string, described?: string][] = [
  ["/query", "query=load"],
  ["/query", "query=load[2m]"],
  ["/query", "query=1"],
  ["/query", "query=rate(load[2m])&stats=all"],
  ["/query", "query=load&limit=1"],
  ["/query_range", `query=load&${RANGE}`],
  ["/query_range", `query=absent(load)&${RANGE}&stats=all`],
  ["/query_exemplars", `query=load&${RANGE}`],
  ["/format_query", "query=load"],
  ["/parse_query", "query=load"],
  ["/labels", ""],
  ["/labels", "limit=1"],
  ["/label/job/values", "match[]=load", "/label/{name}/values"],
  ["/series", "match[]=load"],
  ["/metadata", ""],
  ["/rules", ""],
  ["/alerts", ""],
  ["/status/buildinfo", ""],
  ["/status/runtimeinfo", ""],
  ["/status/flags", ""],
];
const REFUSED: [path: string, parameters: string, described?: string][] = [
  ["/query", "query=("],
  ["/query", "query=load*on()load or 1"],
  ["/query_range", "query=load"],
  ["/series", ""],
];

async function problemsOf(
  method: string,
  path: string,
  parameters: string,
  described: string,
): Promise<unknown> {
  const url = `${harness.url}/api/v1${path}`;
  const form = new URLSearchParams(parameters);
  const answer = await (method === "post"
    ? fetch(url, { method: "POST", body: form })
    : fetch(`${url}?${form.toString()}`));
  const pointer = described.replaceAll("/", "~1").replaceAll("{", "%7B").replaceAll("}", "%7D");
  const status = answer.status === 200 ? "200" : "default";
  const validate = ajv.getSchema(
    `prometheus#/paths/${pointer}/${method}/responses/${status}/content/application~1json/schema`,
  );
  if (!validate) return `nothing describes ${method} ${described} ${status}`;
  const body: unknown = await answer.json();
  return validate(body) ? status : { problems: ajv.errorsText(validate.errors), body };
}

const methodsOf = (path: string): string[] =>
  /^\/(label\/|metadata|rules|alerts|status)/.test(path) ? ["get"] : ["get", "post"];

it.each(ASKED)("%s?%s", async (path, parameters, described = path) => {
  for (const method of methodsOf(path))
    expect(await problemsOf(method, path, parameters, described)).toBe("200");
});

it.each(REFUSED)("refuses %s?%s", async (path, parameters, described = path) => {
  for (const method of methodsOf(path))
    expect(await problemsOf(method, path, parameters, described)).toBe("default");
});
