import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { z } from "zod";
import type { Cluster } from "#clusters/cluster.ts";
import { NEEDED_RIGHTS, nameOfRight, type NeededRight } from "#clusters/needed-rights.ts";
import { openCredentials } from "#clusters/open-credentials.ts";
import { createDiagnoseCluster, type DiagnoseCluster } from "#diagnose/cluster.ts";
import type { StepResult } from "#diagnose/step-runner.ts";
import { systemClock } from "#lib/clock.ts";
import { createSecret } from "#lib/secret.ts";
import { createTurns } from "#lib/turns.ts";
import { managedClusterManifest, type ManifestObject } from "#onboard/manifest.ts";
import { DEFAULT_QUERIES, toQueries } from "#prometheus/catalogue.ts";
import { createPrometheusClient } from "#prometheus/client.ts";
import { openTunnel } from "#tunnel/dispatcher.ts";
import type { KubeClient } from "#tunnel/kube-client.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { deleteAccount, kubeconfigCommand, NAMESPACE, openAdmin, SERVICE } from "./managed-account.ts";

// Against a real API server: `npm run kubeconfig` makes a ServiceAccount that can do everything a collection needs; each right that is taken away is named
// by the diagnosis.

const ACCOUNT = "budcluster-e2e";
const SETTINGS = { namespace: NAMESPACE, serviceAccount: ACCOUNT, prometheusNamespace: NAMESPACE };
const TARGET = {
  namespace: NAMESPACE,
  service: SERVICE,
  port: 9090,
  scheme: "http" as const,
};
const TIMEOUT_MS = 20_000;
const { signal } = new AbortController();
const adminPath = process.env["E2E_KUBECONFIG_ADMIN"];

let directory: string;
let admin: KubeClient;
let kubeconfigPath: string;
let said: string;
let diagnose: DiagnoseCluster;

function command(...options: string[]): Promise<{ stdout: string; stderr: string }> {
  return kubeconfigCommand("--service-account", ACCOUNT, ...options);
}

/** The registered cluster: through the allow-list parser, as if it came over the API. */
async function registered(): Promise<Cluster> {
  return {
    id: "rbac",
    name: "rbac",
    platform: "test",
    enabled: true,
    credentials: { kind: "inline", kubeconfig: createSecret(await readFile(kubeconfigPath, "utf8")) },
    prometheus: { ...TARGET, pathPrefix: "" },
    validateCerts: true,
    source: "file",
    labels: {},
  };
}

beforeAll(async () => {
  if (!adminPath) {
    throw new Error("E2E_KUBECONFIG_ADMIN must name an administrator's kubeconfig: see README.md, Tests");
  }
  directory = await mkdtemp(join(tmpdir(), "budcluster-rbac-"));
  admin = await openAdmin(adminPath);
  kubeconfigPath = join(directory, "managed.kubeconfig");
  said = (await command("--kubeconfig", adminPath, "--out", kubeconfigPath)).stderr;
  diagnose = createDiagnoseCluster(
    {
      clock: systemClock,
      logger: createSilentLogger(),
      openDirect: () => Promise.reject(new Error("the cluster has a tunnel")),
      open: (each) => openCredentials(each, undefined),
      clientOf: ({ dispatcher, origin }, _cluster, _opened, timeoutMs) =>
        createPrometheusClient(
          { dispatcher, clock: systemClock, turns: createTurns() },
          { origin, pathPrefix: "", timeoutMs },
        ),
    },
    { stepMs: TIMEOUT_MS, lagMs: 30_000, queries: toQueries(DEFAULT_QUERIES) },
  );
});

afterAll(async () => {
  if (directory) await rm(directory, { recursive: true, force: true });
});

const anything = z.object({});

async function setRules(object: ManifestObject, rules: unknown): Promise<void> {
  const { name, namespace } = object.metadata;
  const path =
    namespace === undefined
      ? `/apis/${object.apiVersion}/clusterroles/${name}`
      : `/apis/${object.apiVersion}/namespaces/${namespace}/roles/${name}`;
  await admin.send(
    {
      method: "PATCH",
      path,
      what: "change the role",
      schema: anything,
      contentType: "application/merge-patch+json",
      body: { rules },
    },
    signal,
  );
}

interface Rule {
  resources: string[];
  verbs: string[];
}

/** Both roles, without one right. */
async function grantAllBut(right: NeededRight | undefined): Promise<void> {
  for (const object of managedClusterManifest(SETTINGS)) {
    if (object.kind !== "Role" && object.kind !== "ClusterRole") continue;
    const rules = (object["rules"] as Rule[]).map((rule) => {
      const resource = right && nameOfRight(right).split(" ")[1];
      if (!right || rule.resources[0] !== resource) return rule;
      return { ...rule, verbs: rule.verbs.filter((verb) => verb !== right.verb) };
    });
    await setRules(
      object,
      rules.filter(({ verbs }) => verbs.length > 0),
    );
  }
}

async function stepsOf(): Promise<StepResult[]> {
  return (await diagnose(await registered(), signal)).steps;
}

function named(steps: readonly StepResult[], status: StepResult["status"]): string[] {
  return steps.filter((step) => step.status === status).map(({ step }) => step);
}

/** The authorizer learns of a changed role a moment later. */
const SETTLED = { timeout: 20_000, interval: 100 };

describe("a managed cluster with the least rights", () => {
  beforeEach(() => grantAllBut(undefined));

  it("got a kubeconfig that only its owner can read, with its expiry", async () => {
    expect((await stat(kubeconfigPath)).mode & 0o777).toBe(0o600);
    expect(said).toMatch(/bud-system\/budcluster-e2e .*expires \d{4}-.* \(in 365 days\)/s);
  });

  it("passes every step with exactly these rights", async () => {
    await expect.poll(async () => named(await stepsOf(), "passed").length, SETTLED).toBeGreaterThan(15);
    const steps = await stepsOf();
    expect(named(steps, "failed")).toEqual([]);
    expect(named(steps, "warning")).toEqual([]);
    expect(named(steps, "skipped")).toEqual([]);
    expect(steps.find(({ step }) => step === "authentication")).toMatchObject({
      message: `known as system:serviceaccount:${NAMESPACE}:${ACCOUNT}`,
    });
  });

  it("collects: a tunnel opens, nodes have names, Prometheus answers", async () => {
    const { kubeConfig } = await openCredentials(await registered(), undefined);
    const tunnel = await openTunnel(
      { kubeConfig, clock: systemClock, logger: createSilentLogger() },
      { clusterId: "rbac", target: TARGET, lanes: 1, timeoutMs: TIMEOUT_MS },
      signal,
    );
    try {
      const { dispatcher, origin, warnings, nodeNames } = tunnel;
      const client = createPrometheusClient(
        { dispatcher, clock: systemClock, turns: createTurns() },
        { origin, pathPrefix: "", timeoutMs: TIMEOUT_MS },
      );
      expect(await client.hasSamplesAt(await client.now(signal), signal)).toBe(true);
      expect(warnings).toEqual([]);
      expect(nodeNames.size).toBeGreaterThan(0);
    } finally {
      await tunnel.close();
    }
  });

  it.each(NEEDED_RIGHTS.map((right) => [nameOfRight(right), right] as const))(
    "without %s that is the one that is named",
    async (name, right) => {
      await grantAllBut(right);
      const step = `right_${name.replaceAll(/[^a-z]+/g, "_")}`;
      const status = right.optional === undefined ? "failed" : "warning";
      await expect.poll(async () => named(await stepsOf(), status), SETTLED).toEqual([step]);
      const found = (await stepsOf()).find((each) => each.step === step);
      expect(found).toMatchObject({
        code: "cluster_forbidden",
        hint: expect.stringContaining(name.split(" ")[1]!),
      });
    },
  );

  it("changes nothing when it is made again, but for a new token", async () => {
    const path = join(directory, "again.kubeconfig");
    await command("--kubeconfig", adminPath!, "--out", path);
    const [first, second] = await Promise.all([kubeconfigPath, path].map((each) => readFile(each, "utf8")));
    const withoutToken = (text: string | undefined): string => (text ?? "").replace(/token: .*/, "");
    expect(withoutToken(second)).toBe(withoutToken(first));
    expect(second).not.toBe(first);
  });

  it("can't be made by somebody who lacks the rights for it: they are named, nothing is changed", async () => {
    const failure = (await command("--kubeconfig", kubeconfigPath).catch((error: unknown) => error)) as {
      code: number;
      stderr: string;
      stdout: string;
    };
    expect(failure).toMatchObject({ code: 1, stdout: "" });
    expect(failure.stderr).toMatch(
      /cluster_forbidden.*create clusterroles\.rbac.*create serviceaccounts\/token in namespace bud-system/s,
    );
  });

  it.each([
    ["a namespace that is not there", ["--namespace", "nowhere"], "kubectl create namespace nowhere"],
    ["the bindings of another ServiceAccount", ["--namespace", "default"], "did not make"],
  ])("does not take %s", async (what, options, words) => {
    const other = what.includes("not there") ? ["--service-account", "budcluster-other"] : [];
    const failure = (await command("--kubeconfig", adminPath!, ...options, ...other).catch(
      (error: unknown) => error,
    )) as { stderr: string };
    expect(failure.stderr).toContain(words);
  });
});

describe("a token that was revoked", () => {
  it("is not reported as a missing right", async () => {
    await deleteAccount(admin, ACCOUNT);
    await expect.poll(async () => named(await stepsOf(), "failed"), SETTLED).toEqual(["authentication"]);
    const step = (await stepsOf()).find((each) => each.step === "authentication");
    expect(step).toMatchObject({ code: "cluster_unauthorized" });
  });
});
