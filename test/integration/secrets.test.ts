import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { startSimulator, type Simulator } from "#simulator/simulator.ts";
import { startBridgeChild, type BridgeChild } from "../helpers/bridge-child.ts";
import { ACCEPT, isOwn, refusal, startOtlpCollector, type OtlpCollector } from "../helpers/otlp-collector.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { bridgeEnvironment, SMALL } from "../helpers/test-bridge.ts";

// The whole program at LOG_LEVEL=trace with every secret in play, through good rounds and bad ones, where each party that is given a secret says
// it back in its error texts.

const API_TOKEN = "reader-7f3b1c9d2e5a4806";
const WRONG_TOKEN = "mistyped-90ab12cd34ef56";
const DAPR_TOKEN = "dapr-app-4d1f0c8b7a6e5932";
const COLLECTOR_TOKEN = "collector-5e2c8a1b9f7d3046";
const COLLECTOR_KEY = "key-c0ffee15600d5eed";
const DATABASE_PASSWORD = "clickhouse-2b7e151628aed2a6";

const directory = createTemporaryFolder();
let simulator: Simulator;
let collector: OtlpCollector;
let environment: Record<string, string>;
let child: BridgeChild;
/** Every answer: "METHOD path", status and body. */
const answers: { request: string; status: number; body: string; headers: string }[] = [];

async function call(path: string, method = "GET", headers: Record<string, string> = {}): Promise<number> {
  const given = { authorization: `Bearer ${API_TOKEN}`, ...headers };
  const answer = await fetch(`${await child.url}${path}`, { method, headers: given });
  const body = await answer.text();
  const answered = JSON.stringify([...answer.headers]);
  answers.push({ request: `${method} ${path}`, status: answer.status, body, headers: answered });
  return answer.status;
}

const collect = (): Promise<number> => call("/metrics/collect-all?wait=true", "POST");

/** Everything that shows the state of things, after each round. */
async function look(): Promise<void> {
  for (const path of ["/", "/metrics", "/metrics/status", "/clusters", "/clusters/sim-1", "/readyz"]) {
    await call(path);
  }
}

/** Forms in which a secret would be found again; base64 at each of its three alignments. */
function formsOf(secret: string): string[] {
  const shifted = [0, 1, 2].map((shift) => {
    const text = Buffer.from(" ".repeat(shift) + secret).toString("base64");
    return text.slice(shift === 0 ? 0 : shift + 1, -4);
  });
  return [secret, encodeURIComponent(secret), Buffer.from(secret).toString("hex"), ...shifted];
}

function filesUnder(path: string): string[] {
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

let secrets: Record<string, string>;

beforeAll(async () => {
  simulator = await startSimulator({ clusters: 3, shape: SMALL });
  collector = await startOtlpCollector();
  const tokensFile = join(directory, "tokens.yaml");
  const sha256 = createHash("sha256").update(API_TOKEN).digest("hex");
  writeFileSync(tokensFile, JSON.stringify([{ name: "tester", sha256, scopes: ["admin"] }]));
  secrets = {
    API_TOKEN,
    WRONG_TOKEN,
    DAPR_TOKEN,
    COLLECTOR_TOKEN,
    COLLECTOR_KEY,
    DATABASE_PASSWORD,
    ...Object.fromEntries(simulator.clusters.map(({ id, token }) => [`token of ${id}`, token])),
  };
  environment = {
    ...bridgeEnvironment(directory, { simulator, collector }),
    LOG_LEVEL: "trace",
    API_TOKENS_FILE: tokensFile,
    APP_API_TOKEN: DAPR_TOKEN,
    OTLP_HEADERS: `authorization=Bearer%20${COLLECTOR_TOKEN},x-api-key=${COLLECTOR_KEY}`,
    CLICKHOUSE_PASSWORD: DATABASE_PASSWORD,
  };
});

afterAll(async () => {
  await collector?.stop();
  await simulator?.stop();
});

it("no secret gets into a log line, an answer or a file", async () => {
  child = startBridgeChild(environment);
  expect(await collect()).toBe(200);
  expect(collector.requests[0]!.headers).toMatchObject({
    authorization: `Bearer ${COLLECTOR_TOKEN}`,
    "x-api-key": COLLECTOR_KEY,
  });
  await look();

  // The API servers say the tokens back: in a Status, on a page, and when the token is not known any more.
  const [first, second, third] = simulator.clusters;
  const says = (token: string): string =>
    `the request with Authorization: Bearer ${token} (token ${token}) failed`;
  await simulator.faults.set(first!.id, {
    layer: "api",
    kind: "status",
    status: 500,
    message: says(first!.token),
  });
  await simulator.faults.set(second!.id, {
    layer: "api",
    kind: "answer",
    status: 403,
    body: says(second!.token),
  });
  third!.kube.setUser({ name: "bridge", token: "another", rights: [] });
  expect(await collect()).toBe(200);
  await look();
  await simulator.faults.set(first!.id, {
    layer: "api",
    kind: "status",
    status: 403,
    resource: "pods/portforward",
    message: first!.token,
  });
  await simulator.faults.set(second!.id, { layer: "api", kind: "tls", problem: "untrusted" });
  expect(await collect()).toBe(200);
  await look();

  // The Collector says its own back, to some data and then to all.
  await simulator.faults.clear();
  const echo = refusal(400, `Bearer ${COLLECTOR_TOKEN} with ${COLLECTOR_KEY} may not send this`);
  collector.onRequest = ({ points }) => (points.every(isOwn) ? ACCEPT : echo);
  expect(await collect()).toBe(200);
  await look();
  collector.onRequest = () => refusal(401, COLLECTOR_KEY);
  expect(await collect()).toBe(200);
  await look();

  // Callers with wrong tokens, or with right ones in the wrong place.
  const wrong = { authorization: `Bearer ${WRONG_TOKEN}` };
  expect(await call("/metrics/status", "GET", wrong)).toBe(401);
  expect(await call("/metrics/status", "GET", { authorization: "", "dapr-api-token": DAPR_TOKEN })).toBe(403);
  expect(await call(`/metrics/status?token=${WRONG_TOKEN}`, "GET", { authorization: "" })).toBe(401);
  expect(
    await call("/metrics/collect-all", "POST", { authorization: "", "dapr-api-token": DAPR_TOKEN }),
  ).toBe(200);
  expect(await call("/docs/json", "GET")).toBe(200);
  child.signal("SIGTERM");
  expect(await child.ended).toBe(0);

  const said: [where: string, text: string][] = [
    ["standard output", child.stdout()],
    ["standard error", child.stderr()],
    ...answers.map(({ request, body, headers }): [string, string] => [request, `${headers}\n${body}`]),
    ...filesUnder(join(directory, "data")).map((path): [string, string] => [
      path,
      readFileSync(path, "latin1"),
    ]),
    ...collector.requests.map(({ points }): [string, string] => ["OTLP request", JSON.stringify(points)]),
  ];
  // It did say something about each of these failures.
  expect(child.stdout()).toMatch(
    /cluster_api_error[\s\S]*cluster_tls_untrusted[\s\S]*collector_misconfigured/,
  );
  expect(child.stdout()).toContain("cluster_unauthorized");
  expect(
    said.map(([where]) => where).filter((where) => where.includes("state.sqlite")).length,
  ).toBeGreaterThan(0);
  const found = Object.entries(secrets).flatMap(([name, secret]) =>
    said
      .filter(([, text]) => formsOf(secret).some((form) => text.includes(form)))
      .map(([where, text]) => `${name} in ${where}: ${around(text, secret)}`),
  );
  expect(found).toEqual([]);
});

function around(text: string, secret: string): string {
  const at = Math.max(0, ...formsOf(secret).map((form) => text.indexOf(form)));
  return text.slice(Math.max(0, at - 80), at + 80);
}
