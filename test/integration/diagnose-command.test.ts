import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import type { DiagnoseCluster } from "#diagnose/cluster.ts";
import type { DiagnoseStorage } from "#diagnose/storage.ts";
import type { Diagnosis } from "#diagnose/step-runner.ts";
import { managedClusterManifest } from "#onboard/manifest.ts";
import { startSimulator, type Simulator } from "#simulator/simulator.ts";
import { runDiagnoseCommand } from "#commands/diagnose.ts";
import { runKubeconfigCommand } from "#commands/kubeconfig.ts";
import { runBridge } from "../helpers/bridge-child.ts";
import { bridgeErrorOf } from "../helpers/bridge-error-of.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { ACCESS, startHarness, TOKENS, type Harness } from "./http-harness.ts";

const folder = createTemporaryFolder();
let harness: Harness;
let simulator: Simulator;

const FAILED: Diagnosis = {
  status: "failed",
  started_at: "2025-06-01T12:00:00.000Z",
  duration_ms: 1234,
  steps: [
    { step: "dns", title: "Name", status: "passed", duration_ms: 5, message: "two addresses" },
    {
      step: "tls",
      title: "Certificate",
      status: "failed",
      duration_ms: 7,
      code: "cluster_tls_untrusted",
      message: "not trusted \u001b[31m, Bearer abcdefghijkl",
      hint: "Give the CA.",
      details: { token: "abc", dns_names: ["a"] },
    },
    {
      step: "service",
      title: "Service",
      status: "skipped",
      duration_ms: 0,
      message: 'it needs "Certificate"',
    },
  ],
};
const diagnoseCluster: DiagnoseCluster = async (cluster) => ({
  cluster_id: cluster.id,
  cluster_name: cluster.name,
  ...FAILED,
});
const diagnoseStorage: DiagnoseStorage = async () => ({
  database: "metrics",
  ...FAILED,
  status: "passed",
  steps: FAILED.steps.slice(0, 1),
});

beforeAll(async () => {
  harness = await startHarness({ access: ACCESS, deps: { diagnoseCluster, diagnoseStorage } });
  simulator = await startSimulator({ clusters: 1 });
});
afterAll(async () => {
  await harness.server.stop();
  await simulator.stop();
});

async function run(argv: string[], environment: Record<string, string> = {}) {
  let written = "";
  const code = await runDiagnoseCommand(argv, { environment, out: (text) => void (written += text) });
  return { code, written };
}

describe("npm run diagnose -- ID", () => {
  it("prints a line for each step, and the remedy; exit code 1", async () => {
    const { code, written } = await run(["edge-1", "--url", harness.url], { BUDCLUSTER_TOKEN: TOKENS.admin });
    expect(code).toBe(1);
    expect(written).toBe(
      [
        "Cluster edge-1 (Edge 1): failed, 1.2 s",
        "",
        "  ✓ Name              5 ms  two addresses",
        "  ✗ Certificate       7 ms  not trusted  [31m, Bearer [redacted]",
        "      cluster_tls_untrusted: Give the CA.",
        '  - Service                 it needs "Certificate"',
        "",
      ].join("\n"),
    );
  });

  it("takes the token from a file, and asks about the storage", async () => {
    const file = join(folder, "token");
    writeFileSync(file, `${TOKENS.read}\n`);
    chmodSync(file, 0o600);
    const { code, written } = await run(["--storage", "--url", `${harness.url}/`, "--token-file", file]);
    expect(code).toBe(0);
    expect(written).toMatch(/^ClickHouse, database metrics: passed, 1\.2 s\n/);
  });

  it("prints the answer itself with --json", async () => {
    const options = ["edge-1", "--json", "--url", harness.url];
    const { written } = await run(options, { BUDCLUSTER_TOKEN: TOKENS.admin });
    expect(JSON.parse(written)).toMatchObject({ cluster_id: "edge-1", status: "failed" });
  });

  it.each([
    ["an unknown cluster", "nobody", { BUDCLUSTER_TOKEN: TOKENS.admin }, "cluster_not_found"],
    ["a token that may not", "edge-1", { BUDCLUSTER_TOKEN: TOKENS.read }, "forbidden"],
    ["no token", "edge-1", {}, "unauthenticated"],
  ])("tells the refusal of %s", async (_what, id, environment, code) => {
    const { code: exit, written } = await run([id, "--url", harness.url], environment);
    expect(exit).toBe(1);
    expect(written).toMatch(new RegExp(`^${code}: `));
  });

  it("tells that nobody listens, and what else can be done", async () => {
    const { code, written } = await run(["edge-1"], { PORT: "1" });
    expect(code).toBe(1);
    expect(written).toMatch(/http:\/\/127\.0\.0\.1:1 \(ECONNREFUSED\)\n.*--kubeconfig FILE/);
  });

  it.each([[[]], [["a", "b"]], [["a", "--storage"]], [["--what"]], [["a", "--url", "ftp://x"]]])(
    "refuses %j",
    async (argv) => {
      expect(await bridgeErrorOf(run(argv))).toMatchObject({ code: "config_invalid" });
    },
  );
});

describe("npm run diagnose -- --kubeconfig FILE", () => {
  it("diagnoses from here, without a running bridge", async () => {
    const path = join(folder, "sim.kubeconfig");
    writeFileSync(path, simulator.cluster("sim-1").kubeconfig, { mode: 0o600 });
    const { code, stdout, stderr } = await runBridge({}, ["diagnose", "--kubeconfig", path]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(
      /^Cluster sim-1: (passed|warning), .*✓ A port-forward opens .*✓ Metrics of the group node/s,
    );
    // The default role has no Collector.
    expect(stdout).not.toContain("Collector");
  });

  it("tells a kubeconfig that can't be read", async () => {
    const { code, written } = await run(["--kubeconfig", join(folder, "none")]);
    expect(code).toBe(1);
    expect(written).toMatch(/^kubeconfig_invalid: .*ENOENT/);
  });
});

describe("npm run kubeconfig", () => {
  const kubeconfig = (argv: string[], environment: Record<string, string> = {}) =>
    runKubeconfigCommand(argv, { environment, out: () => {}, tell: () => {} });

  it.each([
    [[], "--context"],
    [["--context", "a", "--duration", "5m"], "--duration"],
    [["--context", "a", "--duration", "soon"], "--duration"],
    [["--context", "a", "--namespace", "A b"], "--namespace"],
    [["--context", "a", "--service-account", "../x"], "--service-account"],
    [["--context", "a", "b"], "b"],
  ])("refuses %j", async (argv, named) => {
    const error = await bridgeErrorOf(kubeconfig(argv));
    expect(error).toMatchObject({
      code: "config_invalid",
      message: expect.stringContaining(named) as string,
    });
  });

  it("prints the manifest for these names, and asks nobody", async () => {
    let written = "";
    const argv = ["--print-manifest", "--namespace", "tools", "--prometheus-namespace", "monitoring"];
    const out = (text: string): void => void (written += text);
    expect(await runKubeconfigCommand(argv, { environment: {}, out, tell: () => {} })).toBe(0);
    const objects = parseAllDocuments(written).map((each) => each.toJS() as unknown);
    expect(objects).toEqual(
      managedClusterManifest({
        namespace: "tools",
        serviceAccount: "budcluster-metrics-reader",
        prometheusNamespace: "monitoring",
      }),
    );
  });

  it("does not guess between several files", async () => {
    const error = await bridgeErrorOf(kubeconfig(["--context", "a"], { KUBECONFIG: "/a:/b" }));
    expect(error.message).toContain("--kubeconfig");
  });

  it("names every right that an ordinary user lacks, and changes nothing", async () => {
    const path = join(folder, "user.kubeconfig");
    writeFileSync(path, simulator.cluster("sim-1").kubeconfig, { mode: 0o600 });
    simulator.faults.forget("sim-1");
    const error = await bridgeErrorOf(kubeconfig(["--kubeconfig", path]));
    expect(error).toMatchObject({
      code: "cluster_forbidden",
      hint: expect.stringContaining("Nothing was changed") as string,
    });
    expect(error.details?.["missing"]).toHaveLength(16);
    const asked = simulator.faults.traffic("sim-1").requests.map(({ what }) => what);
    expect(new Set(asked)).toEqual(new Set(["create selfsubjectaccessreviews"]));
  });
});

describe("the routes", () => {
  it.each([
    ["POST", "/clusters/edge-1/diagnose", "read", 403],
    ["POST", "/clusters/edge-1/diagnose", "admin", 200],
    ["GET", "/diagnose", "collect", 403],
    ["GET", "/diagnose", "read", 200],
  ] as const)("%s %s with the scope %s is %d", async (method, path, scope, status) => {
    const headers = { authorization: `Bearer ${TOKENS[scope]}` };
    const answer = await fetch(`${harness.url}${path}`, { method, headers });
    expect(answer.status).toBe(status);
    // Neither what a remote side quoted nor a field of such a name.
    expect(await answer.text()).not.toMatch(/abcdefghijkl|"abc"/);
  });

  it("are described with examples", async () => {
    const document = (await (await fetch(`${harness.url}/docs/json`)).json()) as {
      paths: Record<string, Record<string, { summary: string }>>;
      components: { schemas: Record<string, { examples?: unknown[] }> };
    };
    expect(document.paths["/clusters/{id}/diagnose"]?.["post"]?.summary).toBeTruthy();
    expect(document.paths["/diagnose"]?.["get"]?.summary).toBeTruthy();
    const { schemas } = document.components;
    expect(schemas["ClusterDiagnosis"]?.examples).toHaveLength(1);
    expect(schemas["StorageDiagnosis"]?.examples).toHaveLength(1);
  });
});
