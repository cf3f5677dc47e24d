import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it, onTestFinished } from "vitest";
import { writeKeyFile } from "#clusters/key-files.ts";
import { loadKeyring } from "#clusters/keyring.ts";
import { systemClock } from "#lib/clock.ts";
import { createSecret } from "#lib/secret.ts";
import { PROMETHEUS } from "#simulator/clusters-file.ts";
import { bridgeRights } from "#simulator/kube-rights.ts";
import { startSimulator, type Simulator } from "#simulator/simulator.ts";
import { startBridgeChild, type BridgeChild } from "../helpers/bridge-child.ts";
import { FAKE_STORE, startFakeDapr } from "../helpers/fake-dapr.ts";
import { ACCEPT, isOwn, refusal, startOtlpCollector, type OtlpCollector } from "../helpers/otlp-collector.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { bridgeEnvironment, SMALL } from "../helpers/test-bridge.ts";

// The whole program at LOG_LEVEL=trace with every secret in play, through good rounds and bad ones, where each party that is given a secret says
// it back in its error texts. sim-1 is in CLUSTERS_FILE in clear text, sim-2 sealed, sim-3 registered over the API.

const API_TOKEN = "reader-7f3b1c9d2e5a4806";
const WRONG_TOKEN = "mistyped-90ab12cd34ef56";
const DAPR_TOKEN = "dapr-app-4d1f0c8b7a6e5932";
const SIDECAR_TOKEN = "dapr-api-6a09e667f3bcc908";
const COLLECTOR_TOKEN = "collector-5e2c8a1b9f7d3046";
const COLLECTOR_KEY = "key-c0ffee15600d5eed";
const DATABASE_PASSWORD = "clickhouse-2b7e151628aed2a6";
const PROMETHEUS_TOKEN = "prom-file-428a2f98d728ae22";
/** JSON has to escape some of it. */
const PROMETHEUS_PASSWORD = 'prom-"sealed\\7137449123ef65cd';
const REGISTERED_TOKEN = "prom-api-b5c0fbcfec4d3b2f";
const PATCHED_TOKEN = "prom-new-e9b5dba58189dbbc";
const PLUGIN_SECRET = "plugin-3956c25bf348b538";
const WRONG_CLUSTER_TOKEN = "cluster-59f111f1b605d019";

/** Values that the environment contains, because the operator sets them there. */
const IN_ENVIRONMENT = [
  "DAPR_TOKEN",
  "SIDECAR_TOKEN",
  "COLLECTOR_TOKEN",
  "COLLECTOR_KEY",
  "DATABASE_PASSWORD",
];

const directory = createTemporaryFolder();
const keysDirectory = join(directory, "keys");
let simulator: Simulator;
let collector: OtlpCollector;
let environment: Record<string, string>;
let child: BridgeChild;
let secrets: Record<string, string>;
/** Everything that was said, and where. */
let said: [where: string, text: string][] = [];

async function call(
  path: string,
  method = "GET",
  { headers = {}, body }: { headers?: Record<string, string>; body?: unknown } = {},
): Promise<number> {
  const json = body === undefined ? {} : { "content-type": "application/json" };
  const answer = await fetch(`${await child.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${API_TOKEN}`, ...json, ...headers },
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  said.push([`${method} ${path}`, `${JSON.stringify([...answer.headers])}\n${await answer.text()}`]);
  return answer.status;
}

const collect = (): Promise<number> => call("/metrics/collect-all?wait=true", "POST");

/** Everything that shows the state of things, after each round. */
async function look(): Promise<void> {
  const clusters = simulator.clusters.map(({ id }) => `/clusters/${id}`);
  for (const path of ["/", "/metrics", "/metrics/status", "/clusters", ...clusters, "/readyz"]) {
    await call(path);
  }
}

/** Forms in which a secret would be found again; base64 at each of its three alignments. */
function formsOf(secret: string): string[] {
  const escaped = JSON.stringify(secret).slice(1, -1);
  const shifted = [0, 1, 2].map((shift) => {
    const text = Buffer.from(" ".repeat(shift) + secret).toString("base64");
    return text.slice(shift === 0 ? 0 : shift + 1, -4);
  });
  const hex = Buffer.from(secret).toString("hex");
  return [secret, encodeURIComponent(secret), escaped, JSON.stringify(escaped).slice(1, -1), hex, ...shifted];
}

function readFiles(path: string): void {
  for (const entry of readdirSync(path, { recursive: true, withFileTypes: true })) {
    const file = join(entry.parentPath, entry.name);
    if (entry.isFile()) said.push([file, readFileSync(file, "latin1")]);
  }
}

/** The process as others on the machine see it. */
function readProcess(): void {
  const { pid } = child;
  said.push(["command line", readFileSync(`/proc/${pid}/cmdline`, "latin1")]);
  said.push(["environment", readFileSync(`/proc/${pid}/environ`, "latin1")]);
}

async function end(): Promise<void> {
  child.signal("SIGTERM");
  expect(await child.ended).toBe(0);
  said.push(["standard output", child.stdout()], ["standard error", child.stderr()]);
  said.push(
    ...collector.requests.map(({ points }): [string, string] => ["OTLP request", JSON.stringify(points)]),
  );
}

function findSecrets(): string[] {
  return Object.entries(secrets).flatMap(([name, secret]) =>
    said
      .filter(([where]) => where !== "environment" || !IN_ENVIRONMENT.includes(name))
      .filter(([, text]) => formsOf(secret).some((form) => text.includes(form)))
      .map(([where, text]) => `${name} in ${where}: ${around(text, secret)}`),
  );
}

function around(text: string, secret: string): string {
  const at = Math.max(0, ...formsOf(secret).map((form) => text.indexOf(form)));
  return text.slice(Math.max(0, at - 80), at + 80);
}

const basic = `Basic ${Buffer.from(`scraper:${PROMETHEUS_PASSWORD}`).toString("base64")}`;

/** Each Prometheus asks for its own credentials. */
async function guardPrometheus(): Promise<void> {
  const headers = [`Bearer ${PROMETHEUS_TOKEN}`, basic, `Bearer ${REGISTERED_TOKEN}`];
  for (const [i, header] of headers.entries()) {
    await simulator.faults.set(`sim-${i + 1}`, { layer: "prometheus", kind: "authorization", header });
  }
}

/** The body of POST /clusters for sim-3. */
function registration(): Record<string, unknown> {
  const { id, name, platform, kubeconfig } = simulator.cluster("sim-3");
  return { id, name, platform, kubeconfig, prometheus: { bearer_token: REGISTERED_TOKEN } };
}

beforeAll(async () => {
  simulator = await startSimulator({ clusters: 3, shape: SMALL });
  collector = await startOtlpCollector();
  const tokensFile = join(directory, "tokens.yaml");
  const sha256 = createHash("sha256").update(API_TOKEN).digest("hex");
  writeFileSync(tokensFile, JSON.stringify([{ name: "tester", sha256, scopes: ["admin"] }]));
  mkdirSync(keysDirectory);
  const keyFile = join(keysDirectory, await writeKeyFile(keysDirectory, systemClock.now()));
  const keyLines = readFileSync(keyFile, "utf8").split("\n");
  secrets = {
    API_TOKEN,
    WRONG_TOKEN,
    DAPR_TOKEN,
    SIDECAR_TOKEN,
    COLLECTOR_TOKEN,
    COLLECTOR_KEY,
    DATABASE_PASSWORD,
    PROMETHEUS_TOKEN,
    PROMETHEUS_PASSWORD,
    REGISTERED_TOKEN,
    PATCHED_TOKEN,
    PLUGIN_SECRET,
    WRONG_CLUSTER_TOKEN,
    "private key, line 10": keyLines[10]!,
    "private key, line 20": keyLines[20]!,
    ...Object.fromEntries(simulator.clusters.map(({ id, token }) => [`token of ${id}`, token])),
  };
  environment = {
    ...bridgeEnvironment(directory, { simulator, collector }),
    LOG_LEVEL: "trace",
    API_TOKENS_FILE: tokensFile,
    APP_API_TOKEN: DAPR_TOKEN,
    DAPR_API_TOKEN: SIDECAR_TOKEN,
    OTLP_HEADERS: `authorization=Bearer%20${COLLECTOR_TOKEN},x-api-key=${COLLECTOR_KEY}`,
    CLICKHOUSE_PASSWORD: DATABASE_PASSWORD,
    CREDENTIALS_KEYS_DIR: keysDirectory,
    API_SERVER_CIDRS: "127.0.0.0/8,::1",
  };
  const [first, second] = simulator.clusters;
  const keyring = await loadKeyring(keysDirectory, { clock: systemClock, logger: createSilentLogger() });
  const jwe = await keyring.seal(second!.id, {
    kubeconfig: createSecret(second!.kubeconfig),
    prometheus: { kind: "basic", username: "scraper", password: createSecret(PROMETHEUS_PASSWORD) },
  });
  const clusters = [
    { id: first!.id, kubeconfig: first!.kubeconfig, prometheus: { bearer_token: PROMETHEUS_TOKEN } },
    { id: second!.id, kubeconfig_jwe: jwe },
  ];
  writeFileSync(environment["CLUSTERS_FILE"]!, JSON.stringify({ clusters }));
});

afterAll(async () => {
  await collector?.stop();
  await simulator?.stop();
});

it("no secret gets into a log line, an answer, a file or the process table", async () => {
  said = [];
  child = startBridgeChild(environment);
  await guardPrometheus();
  expect(await call("/clusters", "POST", { body: registration() })).toBe(201);
  expect(await collect()).toBe(200);
  expect(said.at(-1)?.[1]).toMatch(/"successful":3,/);
  expect(collector.requests[0]!.headers).toMatchObject({
    authorization: `Bearer ${COLLECTOR_TOKEN}`,
    "x-api-key": COLLECTOR_KEY,
  });
  await look();
  for (const { id } of simulator.clusters) expect(await call(`/clusters/${id}/diagnose`, "POST")).toBe(200);

  // Registrations that are refused by the parser, by the connection check, and by what they ask for.
  const body = registration();
  const plugin = {
    clusters: [{ name: "x", cluster: { server: "https://127.0.0.1:1" } }],
    users: [
      {
        name: "x",
        user: {
          token: WRONG_CLUSTER_TOKEN,
          exec: { command: "sh", args: ["-c", PLUGIN_SECRET], env: [{ name: "S", value: PLUGIN_SECRET }] },
        },
      },
    ],
    contexts: [{ name: "x", context: { cluster: "x", user: "x" } }],
    "current-context": "x",
  };
  const kubeconfig = String(body["kubeconfig"]);
  const wrong = kubeconfig.replace(simulator.cluster("sim-3").token, WRONG_CLUSTER_TOKEN);
  const refused: [body: unknown, status: number][] = [
    [{ ...body, id: "x", kubeconfig: plugin }, 400],
    [{ ...body, id: "x", kubeconfig: JSON.stringify(plugin) }, 400],
    [{ ...body, id: "x", kubeconfig: `${wrong}\n  - broken: [` }, 400],
    [{ ...body, id: "x", kubeconfig: `!!js/function ${wrong}` }, 400],
    [{ ...body, id: "x", kubeconfig: wrong }, 422],
    [{ ...body, id: "x", prometheus: { bearer_token: PATCHED_TOKEN } }, 422],
    [{ ...body, id: "x", prometheus: { bearer_token: `${PATCHED_TOKEN}\n` } }, 400],
    [{ ...body, id: "x", prometheus: { token: PATCHED_TOKEN } }, 400],
    [{ ...body, id: { token: PATCHED_TOKEN } }, 400],
    [`{"kubeconfig": ${JSON.stringify(wrong)}, "token": ${PATCHED_TOKEN}`, 400],
    [body, 409],
  ];
  for (const [each, status] of refused) expect(await call("/clusters", "POST", { body: each })).toBe(status);
  const patch = { prometheus: { bearer_token: PATCHED_TOKEN } };
  expect(await call("/clusters/sim-3", "PATCH", { body: patch })).toBe(422);
  expect(await call("/clusters/sim-1", "PATCH", { body: patch })).toBe(409);
  const says = (secret: string): string =>
    `the request with Authorization: Bearer ${secret} (token ${secret}) failed`;
  await simulator.faults.set("sim-3", {
    layer: "prometheus",
    kind: "status",
    status: 401,
    body: says(PATCHED_TOKEN),
  });
  expect(await call("/clusters/sim-3?check=false", "PATCH", { body: patch })).toBe(200);
  expect(await collect()).toBe(200);
  await look();
  expect(await call("/clusters/sim-3/diagnose", "POST")).toBe(200);

  // The API servers say the tokens back: in a Status, on a page, and when the token is not known any more.
  const [first, second, third] = simulator.clusters;
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
  for (const { id } of simulator.clusters) expect(await call(`/clusters/${id}/diagnose`, "POST")).toBe(200);
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

  // Callers with wrong tokens, or with right ones in the wrong place; until they are told to wait.
  const unknown = { authorization: `Bearer ${WRONG_TOKEN}` };
  const dapr = { authorization: "", "dapr-api-token": DAPR_TOKEN };
  expect(await call("/metrics/status", "GET", { headers: unknown })).toBe(401);
  expect(await call("/metrics/status", "GET", { headers: dapr })).toBe(403);
  expect(await call("/clusters", "POST", { headers: dapr, body })).toBe(403);
  expect(await call(`/metrics/status?token=${WRONG_TOKEN}`, "GET", { headers: { authorization: "" } })).toBe(
    401,
  );
  for (let i = 0; i < 15; i++) await call("/clusters", "POST", { headers: unknown, body });
  expect(await call("/clusters", "POST", { headers: unknown, body })).toBe(429);
  expect(await call("/metrics/collect-all", "POST", { headers: dapr })).toBe(200);
  expect(await call("/docs/json", "GET")).toBe(200);
  readProcess();
  readFiles(join(directory, "data"));
  expect(await call("/clusters/sim-3", "DELETE")).toBe(204);
  await end();
  readFiles(join(directory, "data"));

  // It did say something about each of these failures.
  expect(child.stdout()).toMatch(
    /cluster_api_error[\s\S]*cluster_tls_untrusted[\s\S]*collector_misconfigured/,
  );
  for (const code of ["cluster_unauthorized", "prometheus_unauthorized", '"action":"cluster.create"']) {
    expect(child.stdout()).toContain(code);
  }
  const places = said.map(([where]) => where);
  expect(places.filter((where) => where.endsWith("state.sqlite-wal")).length).toBeGreaterThan(0);
  expect(places.filter((where) => where.endsWith("state.sqlite"))).toHaveLength(2);
  expect(said.find(([where]) => where === "environment")?.[1]).toContain(DAPR_TOKEN);
  expect(findSecrets()).toEqual([]);
});

it("no secret gets into Dapr's state store", async () => {
  said = [];
  const { kube, token } = simulator.cluster("sim-3");
  kube.setUser({ name: "bridge", token, rights: bridgeRights(PROMETHEUS.namespace) });
  collector.onRequest = () => ACCEPT;
  const dapr = await startFakeDapr(SIDECAR_TOKEN);
  onTestFinished(() => dapr.close());
  child = startBridgeChild({
    ...environment,
    DAPR_STATE_STORE: FAKE_STORE,
    DAPR_HTTP_PORT: String(dapr.port),
    DATA_DIR: join(directory, "unused"),
  });
  await guardPrometheus();
  expect(await call("/clusters?check=false", "POST", { body: registration() })).toBe(201);
  expect(await collect()).toBe(200);
  await look();
  // The sidecar says its token back.
  dapr.intercept = (_kind, response) => {
    response.writeHead(500, { "content-type": "application/json" });
    response.end(JSON.stringify({ errorCode: "ERR_STATE_GET", message: `dapr-api-token: ${SIDECAR_TOKEN}` }));
    return true;
  };
  await call("/clusters");
  await collect();
  await look();
  dapr.intercept = () => false;
  await end();
  expect(dapr.records.size).toBeGreaterThan(2);
  said.push(...[...dapr.records].map(([key, record]): [string, string] => [key, JSON.stringify(record)]));
  expect(said.find(([where]) => where.includes("cluster:sim-3"))?.[1]).toContain("eyJ");
  expect(findSecrets()).toEqual([]);
});
