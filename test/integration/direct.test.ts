import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { loadKeyring } from "#clusters/keyring.ts";
import type { CollectionStatus, RoundResult } from "#collect/status.ts";
import { runKeysCommand } from "#commands/keys.ts";
import { systemClock } from "#lib/clock.ts";
import { startSimulator, type Simulator } from "#simulator/simulator.ts";
import { startBridgeChild, type BridgeChild } from "../helpers/bridge-child.ts";
import { issueCertificate } from "../helpers/certificate-chain.ts";
import type { Certificate } from "../helpers/certificates.ts";
import { createClustersApi } from "../helpers/clusters-api.ts";
import { rsaPem, writeFiles } from "../helpers/keys.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import {
  startSourcePrometheus,
  type SourceCall,
  type SourcePrometheus,
  type StandIn,
} from "../helpers/source-prometheus.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";

// The whole program before Prometheus servers that it reads without a tunnel. The path's first part chooses what the server asks for.

const TOKEN = "direct-token-0123456789abcdef";
const SEALED = "sealed-token-fedcba9876543210";
const PASSWORD = "direct-password-55aa55aa55aa";
const TENANT = "tenant-77cc77cc77cc77cc";

const refuse = ({ response }: SourceCall, status = 401): true => {
  response.writeHead(status, { "content-type": "text/plain" }).end("Unauthorized\n");
  return true;
};
const wants =
  (name: string, value: string): StandIn =>
  (call) =>
    call.request.headers[name] !== value && refuse(call);
const basic = `Basic ${Buffer.from(`me:${PASSWORD}`).toString("base64")}`;

const STAND_INS: Readonly<Record<string, StandIn>> = {
  open: () => false,
  bearer: wants("authorization", `Bearer ${TOKEN}`),
  sealed: wants("authorization", `Bearer ${SEALED}`),
  basic: wants("authorization", basic),
  tenant: wants("x-scope-orgid", TENANT),
  moved: ({ response }) => {
    response.writeHead(307, { location: "https://elsewhere.example.com/api/v1/query" }).end();
    return true;
  },
};

const folder = createTemporaryFolder();
const keys = join(folder, "keys");
let ca: Certificate;
let client: Certificate;
let secure: SourcePrometheus;
let mutual: SourcePrometheus;
let expired: SourcePrometheus;
let plain: SourcePrometheus;
let simulator: Simulator;
let child: BridgeChild;
let end = (): Promise<void> => Promise.resolve();
let round: RoundResult;
let status: CollectionStatus;
/** Of requests that reached the plain server. */
let seen: (string | undefined)[] = [];

const url = ({ port }: SourcePrometheus, path = "open", scheme = "https"): string =>
  `${scheme}://127.0.0.1:${port}/${path}`;

async function seal(prometheusUrl: string, id: string): Promise<string> {
  const token = join(folder, "token.txt");
  writeFileSync(token, SEALED);
  let out = "";
  const io = {
    clock: systemClock,
    keysDirectory: keys,
    out: (text: string) => void (out += text),
    tell: () => {},
    readInput: () => Promise.resolve(""),
  };
  const argv = ["seal", "--prometheus-url", prometheusUrl, "--id", id, "--prometheus-token-file", token];
  expect(await runKeysCommand(argv, io)).toBe(0);
  return out.trim();
}

beforeAll(async () => {
  ca = await issueCertificate("ca", { isAuthority: true });
  client = await issueCertificate("client", { issuer: ca });
  const server = await issueCertificate("server", { issuer: ca });
  const old = await issueCertificate("old", { issuer: ca, isExpired: true });
  const series = [{ name: "node_load1", labels: { instance: "a" }, valueAt: () => 1 }];
  const start = (tls?: object): Promise<SourcePrometheus> =>
    startSourcePrometheus(series, {}, STAND_INS, tls);
  secure = await start({ cert: server.certPem, key: server.keyPem });
  const asked = { requestCert: true, rejectUnauthorized: true, ca: ca.certPem };
  mutual = await start({ cert: server.certPem, key: server.keyPem, ...asked });
  expired = await start({ cert: old.certPem, key: old.keyPem });
  plain = await startSourcePrometheus(
    series,
    {},
    {
      ...STAND_INS,
      watched: ({ request }) => {
        seen.push(request.headers.authorization);
        return false;
      },
    },
  );
  simulator = await startSimulator({ clusters: 1, shape: { nodes: 1, pods: 0 } });
  writeFiles(keys, { "2025.pem": rsaPem() });
  mkdirSync(join(folder, "pem"));
  writeFileSync(join(folder, "pem/cert.pem"), client.certPem);
  writeFileSync(join(folder, "pem/key.pem"), client.keyPem);
  const trust = { ca: ca.certPem };
  const entries: Record<string, object> = {
    open: { prometheus: { url: url(secure), ...trust } },
    bearer: { prometheus: { url: url(secure, "bearer"), ...trust, bearer_token: TOKEN } },
    basic: {
      prometheus: { url: url(secure, "basic"), ...trust, basic_auth: { username: "me", password: PASSWORD } },
    },
    tenant: { prometheus: { url: url(secure, "tenant"), ...trust, headers: { "X-Scope-OrgID": TENANT } } },
    mutual: {
      prometheus: {
        url: url(mutual),
        ...trust,
        client_certificate: { cert: "pem/cert.pem", key: "pem/key.pem" },
      },
    },
    sealed: {
      credentials_jwe: await seal(url(secure, "sealed"), "sealed"),
      prometheus: { url: url(secure, "sealed"), ...trust },
    },
    plain: { prometheus: { url: url(plain, "open", "http") } },
    unverified: { validate_certs: false, prometheus: { url: url(secure, "bearer"), bearer_token: TOKEN } },
    untrusted: { prometheus: { url: url(secure) } },
    expired: { prometheus: { url: url(expired), ...trust } },
    "no-token": { prometheus: { url: url(secure, "bearer"), ...trust } },
    "no-certificate": { prometheus: { url: url(mutual), ...trust } },
    "tls-wanted": { prometheus: { url: url(secure, "open", "http") } },
    "no-tls": { prometheus: { url: url(plain), ...trust } },
    moved: { prometheus: { url: url(secure, "moved"), ...trust } },
    gone: { prometheus: { url: "https://127.0.0.1:1/open" } },
    nameless: { prometheus: { url: "https://prometheus.invalid/open" } },
  };
  const clusters = Object.entries(entries).map(([id, entry]) => ({ id, ...entry }));
  writeFileSync(join(folder, "clusters.yaml"), JSON.stringify({ clusters }));
  writeFileSync(
    join(folder, "queries.yaml"),
    JSON.stringify({ extends: "none", queries: [{ name: "node_load1", group: "test" }] }),
  );
  const environment = {
    ROLE: "all-in-one",
    PORT: "0",
    SCHEDULER: "dapr",
    DATA_DIR: join(folder, "data"),
    CLUSTERS_FILE: join(folder, "clusters.yaml"),
    QUERIES_FILE: join(folder, "queries.yaml"),
    CREDENTIALS_KEYS_DIR: keys,
    API_SERVER_CIDRS: "127.0.0.1",
    OWN_METRICS_INTERVAL: "0",
    LOG_LEVEL: "trace",
  };
  child = startBridgeChild(environment, [], { atEnd: (kill) => (end = kill) });
  round = await child.collect();
  status = await child.status();
}, 120_000);

afterAll(async () => {
  await end();
  await simulator?.stop();
  await Promise.all([secure, mutual, expired, plain].map((server) => server?.stop()));
});

const resultOf = (id: string, result = round): RoundResult["clusters"][number] =>
  result.clusters.find((each) => each.cluster_id === id)!;
const statusOf = (id: string): CollectionStatus["clusters"][number] =>
  status.clusters.find((each) => each.cluster_id === id)!;

test.each(["open", "bearer", "basic", "tenant", "mutual", "sealed", "plain", "unverified"])(
  "%s is collected without a tunnel and without a kubeconfig",
  (id) => {
    expect(resultOf(id)).toMatchObject({ outcome: "successful", error: null });
    // 15 minutes of INITIAL_LOOKBACK: a sample every 30 s.
    expect(resultOf(id).points).toBeGreaterThanOrEqual(30);
    expect(statusOf(id)).toMatchObject({ state: "healthy", transport: "direct" });
  },
);

test("the source is named by host and path, and stays the same in the next round", async () => {
  const name = `127.0.0.1:${secure.port}/bearer`;
  expect(statusOf("bearer").prometheus_pod).toBe(name);
  expect(resultOf("bearer", await child.collect())).toMatchObject({ outcome: "successful" });
  const again = (await child.status()).clusters.find((each) => each.cluster_id === "bearer");
  expect(again).toMatchObject({ prometheus_pod: name, gaps: [], last_error: null });
  expect(child.stdout()).not.toContain("another Prometheus Pod");
});

test("the status warns of what is in clear text or not verified, and of nothing else", () => {
  expect(statusOf("open").warnings).toEqual([]);
  expect(statusOf("sealed").warnings).toEqual([]);
  expect(statusOf("bearer").warnings).toEqual([expect.stringMatching(/clear text.*credentials_jwe/)]);
  expect(statusOf("unverified").warnings).toEqual([
    expect.stringMatching(/certificate is not verified/),
    expect.stringMatching(/clear text/),
  ]);
});

test.each([
  [
    "untrusted",
    "prometheus_tls_untrusted",
    /UNABLE_TO_VERIFY_LEAF_SIGNATURE|UNABLE_TO_GET_ISSUER/,
    /prometheus\.ca/,
  ],
  ["expired", "prometheus_tls_untrusted", /CERT_HAS_EXPIRED/, /valid now/],
  ["no-token", "prometheus_unauthorized", /401.*no authentication/, /bearer_token/],
  ["no-certificate", "prometheus_unauthorized|prometheus_unreachable", /./, /prometheus\.client_certificate/],
  ["tls-wanted", "prometheus_unreachable", /before it answered/, /scheme and the port/],
  ["no-tls", "prometheus_unexpected_answer", /does not speak TLS/, /http:\/\//],
  ["moved", "prometheus_unexpected_answer", /redirects are not followed/, /prometheus\.url/],
  ["gone", "cluster_unreachable", /connection was refused/, /prometheus\.url/],
  ["nameless", "cluster_unreachable", /name/, /prometheus\.url/],
])("%s fails with %s and a remedy that speaks of the URL", (id, code, message, hint) => {
  expect(resultOf(id)).toMatchObject({
    outcome: "failed",
    error: {
      code: expect.stringMatching(new RegExp(`^(${code})$`)),
      message: expect.stringMatching(message),
      hint: expect.stringMatching(hint),
    },
  });
  expect(resultOf(id).error?.hint).not.toMatch(/Service|kubeconfig|port-forward/);
});

const api = (): ReturnType<typeof createClustersApi> => createClustersApi(() => base);
let base = "";
const input = (prometheus: object, id = "api"): object => ({ id, name: id, platform: "kind", prometheus });

test("a cluster with a URL is registered, sealed, patched and never shows a secret", async () => {
  base = await child.url;
  const trust = { ca: ca.certPem };
  const wrong = await api().create(
    input({ url: url(secure, "bearer"), ...trust, bearer_token: "wrong-token-1" }),
  );
  expect(wrong).toMatchObject({ status: 422, error: { code: "prometheus_unauthorized" } });
  const made = await api().create(input({ url: `${url(secure, "bearer")}/`, ...trust, bearer_token: TOKEN }));
  expect(made).toMatchObject({
    status: 201,
    cluster: {
      prometheus: {
        url: url(secure, "bearer"),
        namespace: null,
        service: null,
        port: null,
        scheme: "https",
        path_prefix: "/bearer",
        auth: "bearer",
      },
      credentials: {
        sealed: true,
        server: null,
        user: null,
        ca_sha256: [expect.stringMatching(/^[0-9a-f]{64}$/)],
      },
    },
  });
  // Another path of the same server keeps the token; the check fails there.
  const path = await api().patch("api", { prometheus: { url: url(secure, "sealed") } });
  expect(path).toMatchObject({ status: 422, error: { code: "prometheus_unauthorized" } });
  const certificate = { cert: client.certPem, key: client.keyPem };
  const patched = await api().patch("api", { prometheus: { client_certificate: certificate } });
  expect(patched).toMatchObject({
    status: 200,
    cluster: { prometheus: { client_certificate: true, auth: "bearer" } },
  });
  expect(patched.cluster).toMatchObject({
    credentials: { certificate_expires_at: expect.stringMatching(/Z$/) },
  });
  expect(resultOf("api", await child.collect())).toMatchObject({ outcome: "successful" });
  const told = [wrong, made, path, patched, await api().get("api")].map(({ text }) => text).join("\n");
  const files = ["state.sqlite", "state.sqlite-wal", "registry-copy.sqlite"]
    .map((name) => join(folder, "data", name))
    .filter((name) => existsSync(name))
    .map((name) => readFileSync(name, "latin1"));
  const all = `${told}${files.join("\n")}${child.stdout()}${child.stderr()}`;
  const keyLine = client.keyPem.split("\n")[1]!;
  for (const secret of [TOKEN, SEALED, PASSWORD, TENANT, keyLine]) expect(all).not.toContain(secret);
}, 120_000);

test("stored credentials do not go to another server: the request must give them again", async () => {
  base = await child.url;
  const { bearer_token: _none, ...open } = {
    url: url(secure, "bearer"),
    ca: ca.certPem,
    bearer_token: TOKEN,
  };
  expect(await api().create(input({ ...open, bearer_token: TOKEN }, "mover"))).toMatchObject({ status: 201 });
  for (const query of ["", "?check=false"]) {
    const moved = await api().patch("mover", { prometheus: { url: url(plain, "watched", "http") } }, query);
    expect(moved).toMatchObject({ status: 400, error: { code: "request_invalid" } });
    expect(moved.error.message).toMatch(/bearer_token would go to another server: give bearer_token again/);
  }
  const http = { url: url(plain, "watched", "http"), bearer_token: TOKEN };
  expect(await api().patch("mover", { prometheus: http }, "?check=false")).toMatchObject({
    status: 422,
    error: { code: "prometheus_plain_http" },
  });
  const anonymous = { url: url(plain, "watched", "http"), bearer_token: null, ca: null };
  expect(await api().patch("mover", { prometheus: anonymous })).toMatchObject({
    status: 200,
    cluster: { prometheus: { auth: null, scheme: "http" } },
  });
  // Who accepts that the path is readable sends the token all the same.
  const accepted = { validate_certs: false, prometheus: { bearer_token: TOKEN } };
  expect(await api().patch("mover", accepted)).toMatchObject({ status: 200 });
  expect(new Set(seen)).toEqual(new Set([undefined, `Bearer ${TOKEN}`]));
  expect(await api().patch("mover", { validate_certs: true })).toMatchObject({
    status: 422,
    error: { code: "prometheus_plain_http" },
  });
  seen = [];
}, 120_000);

test("a cluster changes from a tunnel to a URL and back, with a kubeconfig of its own each time", async () => {
  base = await child.url;
  const { kubeconfig } = simulator.cluster("sim-1");
  const tunnel = { id: "both", name: "both", platform: "kind", kubeconfig };
  expect(await api().create({ ...tunnel, prometheus: { headers: { "X-A": TENANT } } })).toMatchObject({
    status: 201,
  });
  const direct = { url: url(secure), ca: ca.certPem };
  expect(await api().patch("both", { prometheus: direct })).toMatchObject({ status: 400 });
  expect(await api().patch("both", { kubeconfig, prometheus: { ...direct, headers: null } })).toMatchObject({
    status: 400,
    error: { message: expect.stringMatching(/kubeconfig can't be together with prometheus\.url/) },
  });
  expect(await api().patch("both", { prometheus: { ...direct, headers: null } })).toMatchObject({
    status: 200,
    cluster: { prometheus: { url: url(secure), headers: [] } },
  });
  expect(resultOf("both", await child.collect())).toMatchObject({ outcome: "successful" });
  expect(await api().patch("both", { prometheus: { url: null } })).toMatchObject({
    status: 400,
    error: { message: expect.stringMatching(/kubeconfig is missing/) },
  });
  expect(await api().patch("both", { prometheus: { namespace: "monitoring" } })).toMatchObject({
    status: 400,
    error: { message: expect.stringMatching(/has namespace besides url/) },
  });
  expect(await api().patch("both", { kubeconfig, prometheus: { url: null, ca: null } })).toMatchObject({
    status: 200,
    cluster: { prometheus: { url: null, namespace: "bud-system" }, credentials: { user: "token" } },
  });
}, 120_000);

test.each([
  ["https://user:secret-pw-1@127.0.0.1/", 400, /no user name and password/],
  ["https://127.0.0.1/?token=x", 400, /no query/],
  ["https://127.0.0.1/#x", 400, /no fragment/],
  ["ftp://127.0.0.1/", 400, /must be a URL/],
  ["127.0.0.1:9090", 400, /must be a URL/],
  ["https://127.0.0.1/prometheus/api/v1/query", 400, /before \/api\/v1/],
  ["https://169.254.169.254/latest", 422, /link-local/],
  ["https://[fe80::1]/", 422, /link-local/],
  ["https://[::ffff:169.254.169.254]/", 422, /link-local/],
  ["https://0x7f.1.1.1/", 422, /loopback/],
  ["https://100.100.100.200/", 422, /metadata/],
  ["https://0.0.0.0:9090/", 422, /unspecified/],
])("the URL %s is refused with %s", async (wrong, expected, message) => {
  base = await child.url;
  const answer = await api().create(input({ url: wrong }, "wrong"), "?check=false");
  expect(answer).toMatchObject({ status: expected, error: { message: expect.stringMatching(message) } });
  expect(answer.error.code).toBe(expected === 422 ? "api_server_refused" : "request_invalid");
  expect(answer.text).not.toContain("secret-pw-1");
});

test("diagnose takes the steps of a cluster without a tunnel", async () => {
  base = await child.url;
  const diagnose = async (
    id: string,
  ): Promise<Record<string, { status: string; code?: string; hint?: string }>> => {
    const answer = await fetch(`${base}/clusters/${id}/diagnose`, { method: "POST" });
    const { steps } = (await answer.json()) as { steps: { step: string; status: string }[] };
    return Object.fromEntries(steps.map((each) => [each.step, each]));
  };
  const good = await diagnose("mutual");
  expect(Object.keys(good)).toEqual([
    "credentials",
    "dns",
    "tcp",
    "tls",
    "authentication",
    "prometheus_ready",
    "prometheus_version",
    "prometheus_metadata",
    "samples_by",
    "clock_skew",
    "query_test",
    "collector",
  ]);
  expect(good).toMatchObject({
    tls: { status: "passed" },
    authentication: { status: "passed" },
    query_test: { status: "passed" },
  });
  expect((await diagnose("untrusted"))["tls"]).toMatchObject({
    status: "failed",
    code: "prometheus_tls_untrusted",
    hint: expect.stringMatching(/prometheus\.ca/),
  });
  expect(await diagnose("no-token")).toMatchObject({
    tls: { status: "passed" },
    authentication: { status: "failed", code: "prometheus_unauthorized" },
    prometheus_ready: { status: "skipped" },
  });
  expect((await diagnose("gone"))["tcp"]).toMatchObject({ status: "failed", code: "cluster_unreachable" });
  expect((await diagnose("plain"))["tls"]).toMatchObject({ status: "skipped" });
  expect((await diagnose("no-tls"))["tls"]).toMatchObject({
    status: "failed",
    code: "prometheus_unexpected_answer",
  });
}, 120_000);

test("credentials that were sealed for one server are not sent to another one", async () => {
  const jwe = await seal("https://one.example.com", "a");
  const keyring = await loadKeyring(keys, { clock: systemClock, logger: createSilentLogger() });
  expect(await keyring.open("a", jwe)).toMatchObject({ origin: "https://one.example.com" });
  const { loadClustersFile } = await import("#clusters/clusters-file.ts");
  const file = join(folder, "moved.yaml");
  const prometheus = { url: "https://two.example.com/prometheus" };
  writeFileSync(file, JSON.stringify({ clusters: [{ id: "a", credentials_jwe: jwe, prometheus }] }));
  const defaults = {
    prometheus: { namespace: "n", service: "s", port: 1, scheme: "http" as const, pathPrefix: "" },
    validateCerts: true,
  };
  await expect(loadClustersFile(file, defaults, keyring)).rejects.toThrow(/another scheme, host or port/);
});

test("the server's name is resolved and checked at each connection: rebinding it to a forbidden address is refused", async () => {
  const { createApiServerGuard, PROMETHEUS_URL } = await import("#tunnel/api-server-guard.ts");
  const { openDirect } = await import("#tunnel/direct.ts");
  const { request } = await import("undici");
  let address = "127.0.0.1";
  const guard = createApiServerGuard(
    { cidrs: ["127.0.0.1"] },
    () => Promise.resolve([{ address, family: 4 }]),
    PROMETHEUS_URL,
  );
  const server: Server = createServer((_request, response) => {
    response.writeHead(200, { connection: "close" }).end("{}");
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const direct = await openDirect(
    { clock: systemClock, logger: createSilentLogger(), guard },
    { target: { url: `http://prometheus.example.com:${port}`, isVerified: true }, lanes: 1, timeoutMs: 5000 },
    new AbortController().signal,
  );
  const ask = async (): Promise<number> =>
    (await request(direct.origin, { dispatcher: direct.dispatcher })).statusCode;
  expect(await ask()).toBe(200);
  address = "169.254.169.254";
  await expect(ask()).rejects.toMatchObject({
    code: "api_server_refused",
    details: { field: "prometheus.url" },
  });
  await direct.close();
  server.close();
});
