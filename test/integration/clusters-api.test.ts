import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { createCertificate } from "../helpers/certificates.ts";
import { apiEnvironment, createClustersApi, type ClustersApi } from "../helpers/clusters-api.ts";
import { rsaPem, writeFiles } from "../helpers/keys.ts";
import { startTestSystem, type TestSystem, type TestSystemSettings } from "../helpers/test-system.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";

const folder = createTemporaryFolder();
const PROMETHEUS_TOKEN = "prometheus-bearer-0123456789";
let withoutClusters: Record<string, string>;

beforeAll(() => {
  withoutClusters = apiEnvironment(folder);
});

interface ApiSystem extends TestSystem {
  api: ClustersApi;
  /** The simulated cluster as it is registered. */
  input: (id?: string) => Record<string, unknown>;
}

async function startApiSystem(settings: TestSystemSettings = {}): Promise<ApiSystem> {
  const system = await startTestSystem({ environment: withoutClusters, ...settings });
  const input = (id = "sim-1"): Record<string, unknown> => {
    const { name, platform, kubeconfig } = system.simulator.cluster(id);
    return { id, name, platform, kubeconfig };
  };
  return { ...system, input, api: createClustersApi(() => system.bridge.url) };
}

/** Everything that lies in the program's folder, as text. */
function filesOf(directory: string): string {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), "latin1"))
    .join("\n");
}

describe("the life of a cluster", () => {
  test("registered, it is collected from the next round on, without a restart and after one", async () => {
    const { api, bridge, clock, input, simulator, compareAll } = await startApiSystem();
    expect((await bridge.collect()).total).toBe(0);
    const made = await api.create({ ...input(), labels: { team: "edge" } });
    expect(made).toMatchObject({ status: 201, location: "/clusters/sim-1" });
    expect(made.cluster).toMatchObject({
      id: "sim-1",
      source: "api",
      enabled: true,
      validate_certs: true,
      labels: { team: "edge" },
      prometheus: { service: "bud-metrics-kube-prometheu-prometheus", port: 9090, auth: null },
      credentials: {
        sealed: true,
        server: simulator.cluster("sim-1").apiServerUrl,
        user: "token",
        certificate_expires_at: null,
        token_expires_at: null,
        ca_sha256: [expect.stringMatching(/^[0-9a-f]{64}$/)],
      },
      warnings: [],
      created_at: new Date(clock.now()).toISOString(),
    });
    expect(await api.list()).toEqual([made.cluster]);
    expect((await api.get("sim-1")).cluster).toEqual(made.cluster);
    clock.jump(120_000);
    const round = await bridge.collect();
    expect(bridge.resultOf(round, "sim-1")).toMatchObject({ outcome: "successful", error: null });
    expect((await bridge.statusOf("sim-1")).state).toBe("healthy");
    await bridge.restart();
    expect((await api.get("sim-1")).cluster).toEqual(made.cluster);
    clock.jump(60_000);
    expect((await bridge.collect()).successful).toBe(1);
    expect(await compareAll()).toMatchObject({ missing: [], extra: [], different: [] });
  });

  test("nothing secret is answered, logged or stored in clear text", async () => {
    const { api, bridge, input, simulator } = await startApiSystem();
    const { token } = simulator.cluster("sim-1");
    // A private key that was pasted along with the certificate.
    const { certPem, keyPem } = await createCertificate("prometheus");
    const prometheus = { bearer_token: PROMETHEUS_TOKEN, ca: `${keyPem}${certPem}` };
    const answers = [
      await api.create({ ...input(), prometheus }),
      await api.create({ ...input(), id: "x", kubeconfig: `token: ${token}` }),
      await api.create({ ...input(), id: "x", prometheus: { bearer_token: `${PROMETHEUS_TOKEN} ` } }),
      await api.create({ ...input(), [token]: true }),
      await api.patch("sim-1", { prometheus: { basic_auth: { username: "u", password: PROMETHEUS_TOKEN } } }),
      await api.get("sim-1"),
    ];
    expect(answers.map(({ status }) => status)).toEqual([201, 400, 400, 400, 200, 200]);
    expect(answers.at(-1)?.cluster).toMatchObject({ prometheus: { auth: "basic" } });
    await bridge.collect();
    const told = [...answers.map(({ text }) => text), JSON.stringify(bridge.logs)].join("\n");
    const key = readFileSync(join(folder, "keys", "2025.pem"), "utf8").split("\n")[1]!;
    const pasted = keyPem.split("\n")[1]!;
    const packed = Buffer.from(PROMETHEUS_TOKEN).toString("base64");
    const secrets = [token, PROMETHEUS_TOKEN, packed, key, pasted];
    const stored = filesOf(join(bridge.directory, "data"));
    for (const secret of secrets) {
      // An unknown field's own name is the caller's to see; the log has it nowhere.
      expect(told.replaceAll(answers[3]!.text, "")).not.toContain(secret);
      expect(stored).not.toContain(secret);
    }
    expect(stored).toContain("cluster:sim-1");
  });

  test("a rotated token: 401 by name, and the next round after PATCH works", async () => {
    const { api, bridge, clock, input, simulator } = await startApiSystem();
    const { kube, kubeconfig, token } = simulator.cluster("sim-1");
    await api.create(input());
    const bridgeUser = kube.users.find(({ name }) => name === "bridge")!;
    kube.setUser({ ...bridgeUser, token: "another-token-0123456789" });
    const failed = await bridge.collect();
    expect(bridge.resultOf(failed, "sim-1").error?.code).toBe("cluster_unauthorized");

    const old = await api.patch("sim-1", { kubeconfig });
    expect(old).toMatchObject({ status: 422, error: { code: "cluster_unauthorized" } });
    expect(old.error.hint).toContain("?check=false");
    const fresh = kubeconfig.replaceAll(token, "another-token-0123456789");
    expect((await api.patch("sim-1", { kubeconfig: fresh })).status).toBe(200);
    clock.jump(60_000);
    expect((await bridge.collect()).successful).toBe(1);
  });

  test("a merge patch: what is left out stays, null resets", async () => {
    const { api, bridge, input } = await startApiSystem();
    const prometheus = { path_prefix: "/x", bearer_token: PROMETHEUS_TOKEN };
    const body = { ...input(), prometheus, labels: { a: "1", b: "2" }, enabled: false };
    await api.create(body, "?check=false");
    expect((await bridge.collect()).total).toBe(0);
    expect((await bridge.statusOf("sim-1")).state).toBe("disabled");

    const patch = { name: "New", labels: { a: null, c: "3" }, prometheus: { path_prefix: null } };
    expect((await api.patch("sim-1", patch)).cluster).toMatchObject({
      name: "New",
      labels: { b: "2", c: "3" },
      enabled: false,
      prometheus: { path_prefix: "", auth: "bearer" },
    });
    expect(
      (await api.patch("sim-1", { enabled: null, labels: null, prometheus: null })).cluster,
    ).toMatchObject({
      name: "New",
      labels: {},
      enabled: true,
      prometheus: { auth: null },
    });
    expect((await bridge.collect()).total).toBe(1);
    expect((await api.patch("sim-1", {})).status).toBe(200);
    const typed = await fetch(`${bridge.url}/clusters/sim-1`, {
      method: "PATCH",
      headers: { "content-type": "application/merge-patch+json" },
      body: '{"name": "By its own type"}',
    });
    expect(await typed.json()).toMatchObject({ name: "By its own type" });
  });

  test("deleted while it is collected: the work ends, and nothing of it is left", async () => {
    const { api, bridge, input, simulator } = await startApiSystem({
      environment: { ...withoutClusters, METRICS_COLLECTION_TIMEOUT: "60" },
    });
    await api.create(input());
    await simulator.faults.set("sim-1", { layer: "prometheus", kind: "hang" });
    simulator.faults.forget("sim-1");
    const round = bridge.collect();
    while (simulator.faults.traffic("sim-1").prometheus === 0) await bridge.status();
    expect((await api.remove("sim-1")).status).toBe(204);
    expect(bridge.resultOf(await round, "sim-1").error?.code).toBe("cluster_deleted");
    expect((await bridge.status()).clusters).toEqual([]);
    expect(await api.get("sim-1")).toMatchObject({ status: 404, error: { code: "cluster_not_found" } });
    expect((await api.remove("sim-1")).status).toBe(404);
    expect((await bridge.collect()).total).toBe(0);
    await expect(bridge.progress("sim-1")).rejects.toThrow("nothing is recorded of sim-1");
  });
});

describe("what is refused", () => {
  test("requests that are wrong, each field by its name and nothing stored", async () => {
    const { api, input } = await startApiSystem();
    const several = {
      clusters: [{ name: "c", cluster: { server: "https://c" } }],
      users: [{ name: "u", user: { token: "t" } }],
      contexts: ["first", "second"].map((name) => ({ name, context: { cluster: "c", user: "u" } })),
      "current-context": "first",
    };
    const cases: [Record<string, unknown>, RegExp][] = [
      [{ labls: {} }, /unknown "labls" \(did you mean labels\?\); allowed: id, name/],
      [
        { prometheus: { bearer_tokn: "x" } },
        /field "prometheus": unknown "bearer_tokn" \(did you mean bearer_token\?\)/,
      ],
      [{ prometheus: { port: 0 } }, /field "prometheus.port": must be from 1 to 65535/],
      [{ prometheus: { ca: "no certificate" } }, /prometheus.ca has no PEM certificate/],
      [
        { prometheus: { bearer_token: "a", basic_auth: { username: "u", password: "p" } } },
        /give one of them/,
      ],
      [{ id: "../x" }, /field "id"/],
      // Clients take these out of a URL's path: nobody could ask for or delete the cluster.
      [{ id: "." }, /field "id": must be 1 to 64 characters .* and not \. or \.\./],
      [{ id: ".." }, /field "id": must be 1 to 64 characters .* and not \. or \.\./],
      [{ name: "" }, /field "name": must not be empty/],
      [{ labels: { "a b": "x" } }, /field "labels/],
      [{ labels: Object.fromEntries(Array.from({ length: 33 }, (_, i) => [`l${i}`, ""])) }, /more than 32/],
      [{ kubeconfig: 5 }, /field "kubeconfig": must be a kubeconfig/],
      [{ kubeconfig: several }, /the kubeconfig has several contexts/],
      [{ kubeconfig: several, context: "third" }, /no context "third"/],
    ];
    for (const [change, message] of cases) {
      const answer = await api.create({ ...input(), ...change });
      expect(answer).toMatchObject({ status: 400, error: { message: expect.stringMatching(message) } });
    }
    const contexts = await api.create({ ...input(), kubeconfig: several });
    expect(contexts.error.hint).toContain("first, second");
    expect((await api.create({ ...input(), name: undefined })).error.message).toContain('"name"');
    expect((await api.create("", "")).status).toBe(400);
    expect((await api.create(input(), "?check=no")).status).toBe(400);
    expect(await api.list()).toEqual([]);
  });

  test("an id that is taken, a cluster that is not there, and a context alone", async () => {
    const { api, input } = await startApiSystem();
    expect((await api.create(input(), "?check=false")).status).toBe(201);
    expect(await api.create(input())).toMatchObject({ status: 409, error: { code: "cluster_exists" } });
    expect(await api.patch("nobody", {})).toMatchObject({
      status: 404,
      error: { code: "cluster_not_found" },
    });
    expect((await api.patch("sim-1", { context: "x" })).error.message).toContain("give both");
    expect((await api.patch("sim-1", { name: null })).error.code).toBe("request_invalid");
    const { id: _id, ...nameless } = input();
    const made = await api.create(nameless);
    expect(made.cluster.id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4/);
    expect(made.location).toBe(`/clusters/${made.cluster.id}`);
  });

  test("a cluster that can't be collected from, unless it is to be stored unchecked", async () => {
    const { api, bridge, input, simulator } = await startApiSystem();
    const wrong = { ...input(), prometheus: { service: "nothing-here" } };
    expect(await api.create(wrong)).toMatchObject({
      status: 422,
      error: { code: "prometheus_service_not_found" },
    });
    await simulator.faults.set("sim-1", { layer: "prometheus", kind: "not-ready" });
    expect(await api.create(input())).toMatchObject({ status: 422, error: { code: /^prometheus_/ } });
    expect(await api.list()).toEqual([]);
    expect((await api.create(wrong, "?check=false")).status).toBe(201);
    const round = await bridge.collect();
    expect(bridge.resultOf(round, "sim-1").error?.code).toBe("prometheus_service_not_found");
    expect((await api.patch("sim-1", { prometheus: { service: "else" } })).status).toBe(422);
    expect((await api.get("sim-1")).cluster).toMatchObject({ prometheus: { service: "nothing-here" } });
  });

  test("a client that goes away ends the check, and nothing is stored", async () => {
    const { api, bridge, input, simulator } = await startApiSystem({
      environment: { ...withoutClusters, METRICS_COLLECTION_TIMEOUT: "60" },
    });
    await simulator.faults.set("sim-1", { layer: "api", kind: "hang" });
    const client = new AbortController();
    const made = api.create(input(), "", client.signal);
    while (simulator.faults.traffic("sim-1").api === 0) await bridge.status();
    client.abort();
    await expect(made).rejects.toThrow("abort");
    await simulator.faults.clear("sim-1");
    expect(await api.list()).toEqual([]);
    expect((await api.create(input())).status).toBe(201);
  });

  test("credentials, by a bridge without a key", async () => {
    const { api, input } = await startApiSystem({ environment: { CLUSTERS_FILE: "" } });
    const answer = await api.create(input());
    expect(answer).toMatchObject({ status: 503, error: { code: "credentials_keys_missing" } });
    expect(answer.error.hint).toContain("CREDENTIALS_KEYS_DIR");
  });
});

describe("beside CLUSTERS_FILE", () => {
  test("a file's cluster is shown and read-only", async () => {
    const { CREDENTIALS_KEYS_DIR = "" } = withoutClusters;
    const { api, input } = await startApiSystem({ clusters: 2, environment: { CREDENTIALS_KEYS_DIR } });
    expect((await api.list()).map(({ id, source }) => [id, source])).toEqual([
      ["sim-1", "file"],
      ["sim-2", "file"],
    ]);
    expect((await api.get("sim-1")).cluster).toMatchObject({
      credentials: { sealed: false, user: "token" },
      created_at: null,
    });
    expect(await api.create(input())).toMatchObject({ status: 409, error: { code: "cluster_exists" } });
    for (const answer of [await api.patch("sim-1", { name: "x" }), await api.remove("sim-1")])
      expect(answer).toMatchObject({ status: 409, error: { code: "cluster_read_only" } });
  });

  test("of one id in both the file's is used, which log and status say", async () => {
    const { api, bridge, input } = await startApiSystem();
    await api.create({ ...input(), name: "of the API" });
    await bridge.restart({ CLUSTERS_FILE: join(bridge.directory, "clusters.yaml") });
    expect((await api.list()).map(({ id, source }) => [id, source])).toEqual([["sim-1", "file"]]);
    const { warnings } = await bridge.status();
    expect(warnings).toContainEqual(expect.stringMatching(/^sim-1: registered twice/));
    expect(bridge.logs).toContainEqual(expect.objectContaining({ level: "warn", clusters: ["sim-1"] }));
    await bridge.restart();
    expect((await api.get("sim-1")).cluster).toMatchObject({ source: "api", name: "of the API" });
  });
});

test("a cluster whose key is lost takes new credentials; what is missing of them is named", async () => {
  const { api, bridge, input } = await startApiSystem();
  await api.create({ ...input(), prometheus: { bearer_token: PROMETHEUS_TOKEN } }, "?check=false");
  await bridge.restart({ CREDENTIALS_KEYS_DIR: writeFiles(join(folder, "another"), { "9.pem": rsaPem() }) });
  const { kubeconfig } = input();
  const half = await api.patch("sim-1", { kubeconfig });
  expect(half.error.code).toBe("credentials_key_unknown");
  expect(half.error.hint).toMatch(/^Give `prometheus` with its bearer_token or basic_auth as well/);
  const whole = { kubeconfig, prometheus: { bearer_token: null } };
  expect((await api.patch("sim-1", whole)).status).toBe(200);
  expect((await bridge.collect()).successful).toBe(1);
});

test("a new key seals every cluster anew at the start, and the old one is not needed any more", async () => {
  const keys = writeFiles(join(folder, "rotated"), { "1.pem": rsaPem() });
  const environment = { CLUSTERS_FILE: "", CREDENTIALS_KEYS_DIR: keys };
  const { api, bridge, clock, input } = await startApiSystem({ environment });
  await api.create({ ...input(), id: "a" });
  await api.create({ ...input(), id: "b" });
  const next = rsaPem();
  writeFiles(keys, { "2.pem": next });
  await bridge.restart();
  const resealed = (): boolean =>
    bridge.logs.some((line) => line["msg"] === "sealed credentials anew with the newest key");
  while (!resealed()) await bridge.status();
  await bridge.restart({ CREDENTIALS_KEYS_DIR: writeFiles(join(folder, "only-new"), { "2.pem": next }) });
  clock.jump(60_000);
  expect((await bridge.collect()).successful).toBe(2);
  expect((await api.list()).map(({ id }) => id)).toEqual(["a", "b"]);
});
