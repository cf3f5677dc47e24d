import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import * as fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { createApp, type App } from "#app/app.ts";
import { startSimulator, type Simulator } from "#simulator/simulator.ts";
import { createLogger } from "#telemetry/logger.ts";
import { loadConfig } from "../../src/config.ts";
import { textOf } from "../helpers/event-reader.ts";
import {
  generatedRequests,
  type GeneratedRequest,
  type OpenApiDocument,
} from "../helpers/generated-requests.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { METRICS, SMALL } from "../helpers/test-bridge.ts";
import type { ErrorJson } from "./http-harness.ts";

// The whole program as all-in-one, with two clusters of a file, and requests that are made from its own OpenAPI document.

const BATCHES = 125;
const BATCH = 8;
const TIMEOUT_MS = 300_000;

const SCOPES = {
  admin: ["read", "collect", "admin"],
  collect: ["read", "collect"],
  read: ["read"],
  few: ["read"],
} as const;
const tokenOf = (name: string): string => `${name}-token-0123456789`;
const bearer = (name: string): string => `Bearer ${tokenOf(name)}`;

let simulator: Simulator;
let app: App;
let url: string;
let document: OpenApiDocument;
let ajv: Ajv2020;
const log: Record<string, unknown>[] = [];

/** The program's variables; the third simulated cluster is left for requests to register. */
function configure(folder: string): Record<string, string> {
  const write = (name: string, content: unknown): string => {
    const path = join(folder, `${name}.yaml`);
    writeFileSync(path, stringify(content), { mode: 0o600 });
    return path;
  };
  const { clusters, ...rest } = parse(simulator.clustersFile()) as { clusters: { id: string }[] };
  const tokens = Object.entries(SCOPES).map(([name, scopes]) => ({
    name,
    sha256: createHash("sha256").update(tokenOf(name)).digest("hex"),
    scopes,
    ...(name === "few" ? { clusters: ["sim-1"] } : {}),
  }));
  return {
    ROLE: "all-in-one",
    PORT: "0",
    SCHEDULER: "dapr",
    DATA_DIR: join(folder, "data"),
    CLUSTERS_FILE: write("clusters", { ...rest, clusters: clusters.filter(({ id }) => id !== "sim-3") }),
    QUERIES_FILE: write("queries", {
      extends: "none",
      queries: METRICS.map((name) => ({ name, group: "test" })),
    }),
    API_TOKENS_FILE: write("tokens", tokens),
    API_SERVER_CIDRS: "127.0.0.1",
    OWN_METRICS_INTERVAL: "0",
    INITIAL_LOOKBACK: "2m",
  };
}

beforeAll(async () => {
  simulator = await startSimulator({ clusters: 3, shape: SMALL });
  const config = loadConfig(configure(createTemporaryFolder()));
  const destination = { write: (line: string) => void log.push(JSON.parse(line) as Record<string, unknown>) };
  app = createApp(config, createLogger({ level: "info", destination }), {
    work: "local",
    // Names that a request makes up lead nowhere.
    resolve: async (name) => {
      throw Object.assign(new Error(`getaddrinfo ENOTFOUND ${name}`), { code: "ENOTFOUND" });
    },
  });
  ({ url } = await app.start());
  const headers = { authorization: bearer("admin") };
  const round = await fetch(`${url}/metrics/collect-all?wait=true`, { method: "POST", headers });
  await round.text();
  document = (await (await fetch(`${url}/docs/json`)).json()) as OpenApiDocument;
  ajv = new Ajv2020({ strict: false });
  addFormats.default(ajv);
  ajv.addSchema({ $id: "openapi", ...document });
});
afterAll(async () => {
  await app.stop();
  await simulator.stop();
});

/** Most often one of the first, so that a request with many fields gets beyond validation. */
function mostlyOf<T>(usual: readonly T[], odd: readonly T[]): fc.Arbitrary<T> {
  return fc.oneof(
    { weight: 20, arbitrary: fc.constantFrom(...usual) },
    { weight: 1, arbitrary: fc.constantFrom(...odd) },
  );
}

/** Values for fields of these names. */
function pools(): Record<string, fc.Arbitrary<unknown>> {
  const id = fc.constantFrom("sim-1", "sim-1", "sim-2", "edge-1", "edge-2", "edge-3");
  const now = Math.floor(Date.now() / 1000);
  const iso = (seconds: number): string => new Date(seconds * 1000).toISOString();
  const oddTimes = [
    "now",
    -1,
    0,
    1e15,
    "2025-02-30T00:00:00Z",
    "+275760-09-13T00:00:01Z",
    "2025-06-01T12:00:00",
  ];
  const start = mostlyOf<unknown>(
    [now - 120, now - 900, now - 3600, String(now - 600), iso(now - 300)],
    oddTimes,
  );
  const end = mostlyOf<unknown>([now, now - 60, iso(now - 30)], [...oddTimes, now + 3600, now - 86_400]);
  const metric = mostlyOf(METRICS, ["absent", "x".repeat(512), "up{}", "__proto__", "\u0000"]);
  const label = mostlyOf(
    ["instance", "cpu", "mode", "k8s.node.name"],
    ["*", "__name__", "absent", "__proto__", "\u0000", "'"],
  );
  const { kubeconfig } = simulator.cluster("sim-3");
  const value = ["", "idle", ".*", "i.*|user"];
  return {
    id,
    cluster_id: id,
    metric,
    metric_name: metric,
    start_time: start,
    from: start,
    end_time: end,
    to: end,
    step: mostlyOf<unknown>([60, 15, "30s", "5m"], [0, -1, 1e-9, "0s", "1ns", "99999999d", "5x"]),
    group_by: fc.uniqueArray(label, { maxLength: 3 }),
    label,
    value: mostlyOf(value, [
      "(a+)+$",
      "[",
      "(?P<x>a)",
      "\\p{L}",
      "a{1000}{1000}",
      "\\C",
      "(?=a)",
      "'",
      "\u0000",
    ]),
    limit: mostlyOf<unknown>([1, 10, 100], [0, 1000, 1e9, 1.5]),
    kubeconfig: mostlyOf<unknown>(
      [kubeconfig, parse(kubeconfig)],
      [kubeconfig.replace("https:", "http:"), "{", "a: &a [*a]"],
    ),
    context: mostlyOf(["sim-3"], ["absent"]),
    prometheus: mostlyOf<unknown>(
      [{}, { port: 9090 }],
      [{ service: "absent" }, { scheme: "https" }, { ca: "no PEM" }, null],
    ),
  };
}

function requests(): fc.Arbitrary<GeneratedRequest> {
  return generatedRequests({
    document,
    pools: pools(),
    authorizations: fc.oneof(
      { weight: 12, arbitrary: fc.constant(bearer("admin")) },
      { weight: 3, arbitrary: fc.constantFrom(bearer("collect"), bearer("read"), bearer("few")) },
      {
        weight: 1,
        arbitrary: fc.constantFrom(
          undefined,
          bearer("wrong"),
          "Bearer",
          "Bearer a b",
          "Basic YTpi",
          `bearer ${tokenOf("admin")}`,
          "x".repeat(4000),
        ),
      },
    ),
    weights: {
      "POST /clusters": 14,
      "PATCH /clusters/{id}": 14,
      "POST /cluster-metrics/query": 16,
      "POST /clusters/{id}/diagnose": 2,
      "POST /metrics/collect-all": 2,
      "GET /cluster-metrics/{cluster_id}/pods": 3,
      "GET /cluster-metrics/{cluster_id}/latest": 3,
      "GET /cluster-metrics/{cluster_id}/labels": 3,
      "GET /cluster-metrics/{cluster_id}/metrics": 2,
    },
  });
}

interface Answer {
  status: number;
  type: string | null;
  text: string;
}

async function send({ method, path, headers, body }: GeneratedRequest): Promise<Answer> {
  const answer = await fetch(`${url}${path}`, {
    method: method.toUpperCase(),
    headers,
    ...(body ? { body: new Uint8Array(body) } : {}),
  });
  return { status: answer.status, type: answer.headers.get("content-type"), text: await textOf(answer) };
}

/** Checks against the schema at this place of the operation. */
function validatorOf(template: string, method: string, ...place: string[]): ValidateFunction {
  const pointer = ["paths", template, method, ...place]
    .map((part) => encodeURIComponent(part.replaceAll("~", "~0").replaceAll("/", "~1")))
    .join("/");
  const validate = ajv.getSchema(`openapi#/${pointer}`);
  if (!validate) throw new Error(`the document has nothing at ${pointer}`);
  return validate as ValidateFunction;
}

interface Checked extends GeneratedRequest {
  bodyErrors: string[];
}

/** What the answer has that the document does not allow. */
function problemsOf(request: GeneratedRequest, { status, type, text }: Answer): string[] {
  const { template, method } = request;
  const described = document.paths[template]?.[method]?.responses[status];
  if (!described) return [`status ${status} is not documented`];
  const problems: string[] = [];
  const bodyErrors = bodyErrorsOf(request);
  if (status >= 500) problems.push(`status ${status}`);
  if (status < 300 && bodyErrors.length > 0) problems.push(`accepted in spite of ${bodyErrors.join()}`);
  if (Object.keys(SCOPES).some((name) => text.includes(tokenOf(name)))) problems.push("a token is answered");
  if (simulator.clusters.some(({ token }) => text.includes(token))) problems.push("credentials are answered");
  const [mediaType] = Object.keys(described.content ?? {});
  if (mediaType === undefined) return text === "" ? problems : [...problems, "a body is not documented"];
  if (!type?.startsWith(mediaType)) return [...problems, `content type ${type}`];
  if (mediaType !== "application/json") return problems;
  const validate = validatorOf(template, method, "responses", String(status), "content", mediaType, "schema");
  const json: unknown = JSON.parse(text);
  if (!validate(json)) problems.push(`schema: ${ajv.errorsText(validate.errors)}`);
  if (status < 400) return problems;
  if (template.startsWith("/api/v1/")) {
    const { errorType } = json as { errorType: string };
    const isDescribed = described.description.includes(`\`${errorType}\``);
    return isDescribed ? problems : [...problems, `errorType ${errorType} is not documented`];
  }
  return [
    ...problems,
    ...errorProblems({ ...request, bodyErrors }, described.description, json as ErrorJson),
  ];
}

function errorProblems({ bodyErrors }: Checked, description: string, { error }: ErrorJson): string[] {
  const problems: string[] = [];
  // Admission answers 422 with the code of any failure on the path to the cluster.
  const isCheck = /^(cluster|tunnel|prometheus)_/.test(error.code);
  if (!isCheck && !description.includes(`\`${error.code}\``)) {
    problems.push(`code ${error.code} is not documented`);
  }
  if (error.code !== "request_invalid") return problems;
  const fields = (error.details?.["fields"] ?? []) as { in: string; field: string }[];
  // What follows the name of a secret is hidden, and so may be the names of later fields.
  const isHidden = error.message.includes("[redacted]");
  if (!isHidden && !fields.every((each) => error.message.includes(each.field)))
    problems.push("a field is not in the message");
  if (fields[0]?.in === "body" && bodyErrors.length > 0) {
    if (!isHidden && !bodyErrors.some((name) => isNamed(error.message, name)))
      problems.push(`none of ${bodyErrors.join()} is named`);
  }
  return problems;
}

/** Unknown fields are quoted as JSON, and cut. */
function isNamed(message: string, name: string): boolean {
  return message.includes(name) || message.includes(JSON.stringify(name.slice(0, 64)));
}

/** The fields of the body that the document does not allow; "" for the body as a whole. */
function bodyErrorsOf({ template, method, body, headers }: GeneratedRequest): string[] {
  const content = document.paths[template]?.[method]?.requestBody?.content ?? {};
  const isDescribed = "application/json" in content;
  if (!isDescribed || !headers["content-type"]?.startsWith("application/json")) return [];
  const validate = validatorOf(template, method, "requestBody", "content", "application/json", "schema");
  let json: unknown;
  try {
    json = JSON.parse(body?.toString() ?? "");
  } catch {
    return [""];
  }
  if (validate(json)) return [];
  return (validate.errors ?? []).map(({ instancePath, params }) => {
    const { missingProperty, additionalProperty } = params as Record<string, string>;
    // A slash in a name is ~1 in Ajv's path, and a dot in the error, as between the names of a path.
    const last = instancePath.split("/").at(-1)?.replaceAll("~1", ".").replaceAll("~0", "~");
    return missingProperty ?? additionalProperty ?? last ?? "";
  });
}

const shown = ({ template: _template, body, ...request }: GeneratedRequest): string =>
  JSON.stringify({ ...request, body: body?.toString("utf8", 0, 600) });

/** Without these the requests did not get beyond validation. */
const REACHED = [
  "post /clusters 201",
  "patch /clusters/{id} 200",
  "post /cluster-metrics/query 200",
  "post /clusters/{id}/diagnose 200",
  "post /metrics/collect-all 200",
];

test(
  `${BATCHES * BATCH} requests made from the OpenAPI document get documented answers only`,
  async () => {
    const seen = new Set<string>();
    await fc.assert(
      fc.asyncProperty(fc.array(requests(), { minLength: BATCH, maxLength: BATCH }), async (batch) => {
        const answers = await Promise.all(batch.map(send));
        const failures = answers.flatMap((answer, i) => {
          const request = batch[i]!;
          seen.add(`${request.method} ${request.template} ${answer.status}`);
          return problemsOf(request, answer).map(
            (problem) => `${problem}: ${shown(request)} -> ${answer.status} ${answer.text.slice(0, 1000)}`,
          );
        });
        expect(failures).toEqual([]);
      }),
      { numRuns: BATCHES, endOnFailure: true },
    );
    expect(REACHED.filter((answer) => !seen.has(answer))).toEqual([]);
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
    expect(log.length).toBeGreaterThan(BATCHES);
    expect(log.filter(({ level }) => level !== "info" && level !== "warn")).toEqual([]);
  },
  TIMEOUT_MS,
);
