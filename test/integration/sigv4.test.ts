import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createAwsSigners } from "#aws/signer.ts";
import type { RoundResult } from "#collect/status.ts";
import { systemClock } from "#lib/clock.ts";
import {
  signatureProblem,
  startAwsStandIn,
  type AwsStandIn,
  type KnownKeys,
} from "../helpers/aws-stand-in.ts";
import { Agent } from "undici";
import { startBridgeChild, type BridgeChild } from "../helpers/bridge-child.ts";
import { issueCertificate } from "../helpers/certificate-chain.ts";
import { apiEnvironment, createClustersApi } from "../helpers/clusters-api.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { startSourcePrometheus, type SourcePrometheus, type StandIn } from "../helpers/source-prometheus.ts";
import { startOtlpCollector, type OtlpCollector } from "../helpers/otlp-collector.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";

// The whole program before a stand-in of Amazon Managed Service for Prometheus, which verifies each signature, and of STS and the EKS agent.

const REGION = "eu-central-1";
const SECRET = "static-secret-wJalrXUtnFEMI/K7MDENG";
const STATIC: Record<string, KnownKeys> = {
  AKIAIOSFODNN7EXAMPLE: { secret: SECRET },
  ASIAIOSFODNN7EXAMPLE: { secret: SECRET, token: "static-session-token//==" },
};
const WEB_TOKEN = "web-identity-token-0123456789";
const AGENT_TOKEN = "agent-token-0123456789";
const ROLE = "arn:aws:iam::123456789012:role/metrics";

const folder = createTemporaryFolder();
let aws: AwsStandIn;
let prometheus: SourcePrometheus;
let ca = "";
let collector: OtlpCollector;
let child: BridgeChild;
let round: RoundResult;
let end = (): Promise<void> => Promise.resolve();

/** Only POST, or only GET, gets through; `skewed`: its clock is ahead. */
const amp =
  (skewMs = 0, only = ""): StandIn =>
  (call) => {
    const { request, response } = call;
    const isQuery = call.path.startsWith("/api/v1/query");
    if (only !== "" && isQuery && request.method !== only) {
      response.writeHead(405).end();
      return true;
    }
    const body = request.method === "POST" ? call.body : "";
    const scope = { region: REGION, service: "aps", nowMs: Date.now() + skewMs };
    const message = signatureProblem(request, body, scope, { ...STATIC, ...aws.keys });
    if (message === undefined) {
      if (!call.form.get("query")?.startsWith("sum by")) return false;
      response.end(JSON.stringify({ status: "success", data: { resultType: "matrix", result: [] } }));
      return true;
    }
    response.writeHead(403, { "content-type": "application/json" }).end(JSON.stringify({ message }));
    return true;
  };

const url = (path = "ws"): string => `https://127.0.0.1:${prometheus.port}/${path}`;
const entry = (id: string, sigv4: object, path = "ws", more: object = {}): object => ({
  id,
  ...more,
  prometheus: { url: url(path), ca, sigv4: { region: REGION, ...sigv4 } },
});
const ID = "AKIAIOSFODNN7EXAMPLE";
const KEYS = { access_key_id: ID, secret_access_key: SECRET };

beforeAll(async () => {
  aws = await startAwsStandIn({
    webToken: WEB_TOKEN,
    agentToken: AGENT_TOKEN,
    known: STATIC,
    region: REGION,
    lifeMs: () => 3_600_000,
  });
  collector = await startOtlpCollector();
  const authority = await issueCertificate("ca", { isAuthority: true });
  const server = await issueCertificate("server", { issuer: authority });
  ca = authority.certPem;
  prometheus = await startSourcePrometheus(
    [{ name: "node_load1", labels: { instance: "a" }, valueAt: () => 1 }],
    {},
    { ws: amp(), "ws-get": amp(0, "GET"), "ws-ahead": amp(600_000), "ws-behind": amp(-600_000) },
    { cert: server.certPem, key: server.keyPem },
  );
  writeFileSync(join(folder, "web-token"), `${WEB_TOKEN}\n`);
  writeFileSync(join(folder, "agent-token"), AGENT_TOKEN);
  const queries = [
    { name: "node_load1", group: "test" },
    // Spaces, plus, slash and quotes in the query: each must be encoded in one way only.
    {
      name: "picked",
      promql: 'sum by (instance) (node_load1{instance!="x+y/z ü"})',
      type: "gauge",
      group: "test",
    },
  ];
  writeFileSync(join(folder, "queries.yaml"), JSON.stringify({ extends: "none", queries }));
  const temporary = {
    access_key_id: "ASIAIOSFODNN7EXAMPLE",
    secret_access_key: SECRET,
    session_token: "static-session-token//==",
  };
  const clusters = [
    entry("keys", KEYS),
    entry("get", KEYS, "ws-get"),
    entry("temporary", temporary),
    entry("role", { ...KEYS, role: ROLE }),
    entry("irsa", {}, "ws", { trusted: true }),
    entry("irsa-role", { role: ROLE }, "ws", { trusted: true }),
    entry("wrong", { ...KEYS, secret_access_key: "wrong-secret-0123456789" }),
    entry("elsewhere", { ...KEYS, region: "us-west-2" }),
    entry("ahead", KEYS, "ws-ahead"),
    entry("behind", KEYS, "ws-behind"),
  ];
  const environment = {
    ...apiEnvironment(folder),
    ROLE: "bridge",
    PORT: "0",
    SCHEDULER: "dapr",
    DATA_DIR: join(folder, "data"),
    CLUSTERS_FILE: join(folder, "clusters.yaml"),
    QUERIES_FILE: join(folder, "queries.yaml"),
    OTEL_COLLECTOR_ENDPOINT: collector.url,
    API_SERVER_CIDRS: "127.0.0.1",
    OWN_METRICS_INTERVAL: "0",
    LOG_LEVEL: "trace",
    AWS_ENDPOINT_URL_STS: aws.url,
    AWS_WEB_IDENTITY_TOKEN_FILE: join(folder, "web-token"),
    AWS_ROLE_ARN: "arn:aws:iam::123456789012:role/irsa",
  };
  writeFileSync(environment.CLUSTERS_FILE, JSON.stringify({ clusters }));
  child = startBridgeChild(environment, [], { atEnd: (kill) => (end = kill) });
  round = await child.collect();
}, 120_000);

afterAll(async () => {
  await end();
  await prometheus?.stop();
  await collector?.stop();
  await aws?.stop();
});

const resultOf = (id: string, of = round): RoundResult["clusters"][number] =>
  of.clusters.find((each) => each.cluster_id === id)!;

test.each(["keys", "get", "temporary", "role", "irsa", "irsa-role"])(
  "%s: what is signed is answered",
  (id) => {
    expect(resultOf(id)).toMatchObject({ outcome: "successful", error: null });
    expect(resultOf(id).points).toBeGreaterThanOrEqual(30);
  },
);

test.each([
  ["wrong", /does not match.*signed with AWS keys/, /prometheus\.sigv4/],
  ["elsewhere", /valid region/, /prometheus\.sigv4/],
  ["ahead", /Signature expired/, /clock of this machine/],
  ["behind", /Signature not yet current/, /clock of this machine/],
])("%s: what AWS refuses is named", (id, message, hint) => {
  expect(resultOf(id).error).toMatchObject({
    code: "prometheus_unauthorized",
    message: expect.stringMatching(message),
    hint: expect.stringMatching(hint),
  });
});

test("keys that are still good are not fetched again, and none is shown", async () => {
  const expected = ["AssumeRole", "AssumeRole", "AssumeRoleWithWebIdentity"];
  expect(aws.calls.toSorted()).toEqual(expected);
  expect(resultOf("irsa-role", await child.collect())).toMatchObject({ outcome: "successful" });
  expect(aws.calls.toSorted()).toEqual(expected);
  expect(`${child.stdout()}${child.stderr()}`).not.toMatch(
    /static-secret|issued-secret|issued-token|static-session|web-identity-token/,
  );
}, 120_000);

test("clusters of the API need keys of their own, which are sealed and never shown", async () => {
  const base = await child.url;
  const api = createClustersApi(() => base);
  const input = (prometheus: object): object => ({ id: "a", name: "a", platform: "eks", prometheus });
  const target = { url: url(), ca };
  expect(await api.create(input({ ...target, sigv4: { region: REGION } }))).toMatchObject({
    status: 400,
    error: { message: expect.stringMatching(/has no keys.*trusted: true/) },
  });
  const twice = { ...target, bearer_token: "abc-0123", sigv4: { region: REGION, ...KEYS } };
  expect(await api.create(input(twice))).toMatchObject({
    status: 400,
    error: { message: expect.stringMatching(/bearer_token and sigv4: give one/) },
  });
  const made = await api.create(input({ ...target, sigv4: { region: REGION, ...KEYS } }));
  expect(made).toMatchObject({ status: 201, cluster: { prometheus: { auth: "sigv4" } } });
  expect(await api.patch("a", { prometheus: { url: "https://other.example.com" } })).toMatchObject({
    status: 400,
    error: { message: expect.stringMatching(/sigv4 would go to another server/) },
  });
  expect(`${made.text}${(await api.get("a")).text}${child.stdout()}`).not.toContain(SECRET);
}, 120_000);

const asked = { method: "GET", url: "https://aps.example.com/", headers: {}, body: "" };
const never = new AbortController().signal;

test("EKS Pod Identity: the agent's keys are renewed before they end, and older ones serve while the agent fails", async () => {
  let lifeMs = 3_600_000;
  const agent = await startAwsStandIn({
    webToken: WEB_TOKEN,
    agentToken: AGENT_TOKEN,
    known: {},
    region: REGION,
    lifeMs: () => lifeMs,
  });
  const dispatcher = new Agent();
  const clock = createManualClock(Date.now());
  const file = join(folder, "agent-token");
  const sign = createAwsSigners({
    clock,
    dispatcher,
    environment: {
      AWS_CONTAINER_CREDENTIALS_FULL_URI: `${agent.url}/v1/credentials`,
      AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: file,
    },
  })({ region: REGION, service: "aps" });
  const keyOf = async (): Promise<string> =>
    /Credential=(\w+)\//.exec((await sign(asked, never))["authorization"]!)![1]!;
  const [first, same] = await Promise.all([keyOf(), keyOf()]);
  expect(same).toBe(first);
  clock.advance(54 * 60_000);
  expect(await keyOf()).toBe(first);
  writeFileSync(file, "expired");
  clock.advance(2 * 60_000);
  expect(await keyOf()).toBe(first);
  clock.advance(4 * 60_000);
  await expect(keyOf()).rejects.toMatchObject({ code: "aws_credentials_unavailable" });
  writeFileSync(file, AGENT_TOKEN);
  lifeMs = 7_200_000 + 3_600_000;
  expect(await keyOf()).not.toBe(first);
  await agent.stop();
  await dispatcher.close();
});

test.each([
  [{}, /no AWS identity/],
  [
    { AWS_CONTAINER_CREDENTIALS_FULL_URI: "http://169.254.169.254/latest" },
    /not the address of the EKS Pod Identity/,
  ],
  [
    { AWS_ROLE_ARN: ROLE, AWS_WEB_IDENTITY_TOKEN_FILE: "/nowhere" },
    /AWS_WEB_IDENTITY_TOKEN_FILE can't be read/,
  ],
  [{ AWS_CONTAINER_CREDENTIALS_FULL_URI: "http://127.0.0.1:1/v1/credentials" }, /not reachable/],
])("an identity that can't be had is named: %j", async (environment, message) => {
  const dispatcher = new Agent();
  const sign = createAwsSigners({ clock: systemClock, dispatcher, environment })({
    region: REGION,
    service: "aps",
  });
  await expect(sign(asked, never)).rejects.toMatchObject({
    code: "aws_credentials_unavailable",
    message: expect.stringMatching(message),
  });
  await dispatcher.close();
});
