import { randomBytes } from "node:crypto";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { GenericContainer, Wait } from "testcontainers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  CHART,
  find,
  HELM,
  KUBECTL,
  overlay,
  render,
  run,
  toObjects,
  type KubeObject,
  type Values,
} from "../helm/helm.ts";
import { SETUPS } from "../helm/matrix.ts";
import { workload, workloadsOf } from "../helm/pods.ts";

// The chart on a real API server, where no controller runs: objects are kept and checked, nothing is started. And its Collector's
// configuration in the real Collector.

const kubeconfig = process.env["E2E_KUBECONFIG_ADMIN"];

const FOREIGN = /^(dapr\.io|monitoring\.coreos\.com|gateway\.networking\.k8s\.io)\//;

function onCluster(program: string, args: readonly string[], input = "") {
  if (kubeconfig === undefined) {
    throw new Error("E2E_KUBECONFIG_ADMIN must name the kubeconfig of a cluster's admin");
  }
  return run(program, args, input, { ...process.env, KUBECONFIG: kubeconfig });
}

/** Standard output; throws with what the program says when it fails. */
async function must(program: string, args: readonly string[], input = ""): Promise<string> {
  const { ok, stdout, stderr } = await onCluster(program, args, input);
  if (!ok) throw new Error(`${args.slice(0, 3).join(" ")}: ${stderr}`);
  return stdout;
}

/** A namespace that takes no Pod that is not restricted. */
function restrictedNamespace(): string {
  const name = `helm-${randomBytes(4).toString("hex")}`;
  const labels = { "pod-security.kubernetes.io/enforce": "restricted" };
  beforeAll(async () => {
    const namespace = { apiVersion: "v1", kind: "Namespace", metadata: { name, labels } };
    await must(KUBECTL, ["create", "-f", "-"], JSON.stringify(namespace));
  });
  afterAll(async () => {
    await must(KUBECTL, ["delete", "namespace", name, "--wait=false"]);
  });
  return name;
}

describe("the real API server", () => {
  const namespace = restrictedNamespace();
  const dryRun = (objects: readonly unknown[]) => {
    const list = { apiVersion: "v1", kind: "List", items: objects };
    const args = [
      "create",
      "--dry-run=server",
      "--validate=strict",
      "--namespace",
      namespace,
      "-o",
      "name",
      "-f",
      "-",
    ];
    return onCluster(KUBECTL, args, JSON.stringify(list));
  };
  /** Pods that the objects' controllers would create: admission checks Pods, not their templates. */
  const podsOf = (objects: readonly KubeObject[]) =>
    workloadsOf(objects).map(({ name, labels, annotations, spec }) => ({
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: `${name}-pod`, labels, annotations },
      // The PriorityClass and the account would be somebody else's to make.
      spec: { ...spec, priorityClassName: undefined, restartPolicy: "Never" },
    }));

  test.each(SETUPS)("accepts every object of: $name", async ({ values, options }) => {
    const objects = await render(values, options);
    const own = objects.filter(({ apiVersion, kind }) => !FOREIGN.test(apiVersion) && kind !== "Pod");
    const items = [...own, ...podsOf(objects)];
    const { stdout, stderr } = await dryRun(items);
    expect([stdout.trim().split("\n").length, stderr]).toEqual([items.length, ""]);
  });

  test("refuses a Pod that is not restricted, and a field that it does not know", async () => {
    const objects = await render({ bridge: { securityContext: { allowPrivilegeEscalation: true } } });
    const loose = await dryRun(podsOf([find(objects, "Deployment", "budcluster")]));
    expect([loose.ok, loose.stderr]).toEqual([
      false,
      expect.stringContaining('violates PodSecurity "restricted'),
    ]);
    const service = find(objects, "Service", "budcluster");
    const wrong = await dryRun([{ ...service, spec: { ...(service["spec"] as object), selektor: {} } }]);
    expect([wrong.ok, wrong.stderr]).toEqual([false, expect.stringContaining("selektor")]);
  });
});

describe("an upgrade", () => {
  const namespace = restrictedNamespace();
  const folders: string[] = [];
  afterAll(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true }))));

  /** Without hooks: nothing would run them here. */
  const upgrade = (values: Values, chart = CHART) => {
    const args = [
      "upgrade",
      "--install",
      "bud",
      chart,
      "--no-hooks",
      "--namespace",
      namespace,
      "--values",
      "-",
    ];
    return must(HELM, args, JSON.stringify(values));
  };
  const secrets = async (): Promise<Record<string, Record<string, string>>> => {
    const list = JSON.parse(await must(KUBECTL, ["get", "secrets", "-n", namespace, "-o", "json"])) as {
      items: { type: string; metadata: { name: string }; data: Record<string, string> }[];
    };
    const own = list.items.filter(({ type }) => type === "Opaque");
    return Object.fromEntries(own.map(({ metadata, data }) => [metadata.name, data]));
  };
  const documented: Values = { otelCollector: { enabled: true }, clickhouse: { enabled: true } };
  const withDapr = overlay(documented, {
    scheduler: "internal",
    dapr: { stateStore: { enabled: true, create: false } },
  });
  /** When the migration runs, according to the release's hooks. */
  const migrationHook = async () => {
    const hooks = toObjects(await must(HELM, ["get", "hooks", "bud", "--namespace", namespace]));
    return find(hooks, "Job", "bud-migrate").metadata.annotations?.["helm.sh/hook"];
  };

  test("keeps every generated Secret: with other values, with another version of the chart, after an uninstall", async () => {
    await upgrade(withDapr);
    const first = await secrets();
    expect(Object.keys(first).toSorted()).toEqual([
      "bud-admin-token",
      "bud-api-tokens",
      "bud-clickhouse",
      "bud-credentials-keys",
      "bud-dapr-api-token",
      "bud-dapr-app-token",
      "bud-metrics-token",
    ]);
    await upgrade(overlay(withDapr, { bridge: { logLevel: "debug" } }));
    expect(await secrets()).toEqual(first);

    const next = await mkdtemp(join(tmpdir(), "helm-next-"));
    folders.push(next);
    await cp(CHART, next, { recursive: true });
    const manifest = await readFile(join(next, "Chart.yaml"), "utf8");
    await writeFile(join(next, "Chart.yaml"), manifest.replace(/^version: .*$/m, "version: 99.0.0"));
    await upgrade(withDapr, next);
    expect(await must(HELM, ["list", "--namespace", namespace])).toContain("99.0.0");
    expect(await secrets()).toEqual(first);

    await must(HELM, ["uninstall", "bud", "--no-hooks", "--namespace", namespace]);
    const kept = await secrets();
    expect(Object.keys(kept).toSorted()).toEqual(["bud-clickhouse", "bud-credentials-keys"]);
    expect(await must(KUBECTL, ["get", "pvc", "-n", namespace, "-o", "name"])).toContain("bud-clickhouse");
    await upgrade(withDapr);
    expect(await secrets()).toMatchObject(kept);
  });

  test("keeps a key that was added to the credentials' Secret", async () => {
    await upgrade(documented);
    const added = { "2030-01-01T00-00-00.000Z.pem": "YWRkZWQ=" };
    const patch = JSON.stringify({ data: added });
    await must(KUBECTL, ["patch", "secret", "bud-credentials-keys", "-n", namespace, "-p", patch]);
    await upgrade(overlay(documented, { bridge: { logLevel: "warn" } }));
    expect((await secrets())["bud-credentials-keys"]).toMatchObject(added);
  });

  test("migrates before the new query service starts, but after a ClickHouse that it adds or that never became ready", async () => {
    await upgrade({});
    await must(KUBECTL, ["delete", "statefulset", "-n", namespace, "--all"]);
    await upgrade(documented);
    expect(await migrationHook()).toBe("post-install,post-upgrade");
    await upgrade(documented);
    expect(await migrationHook()).toBe("post-install,post-upgrade");
    const status = JSON.stringify({ status: { replicas: 1, readyReplicas: 1 } });
    const ready = [
      "patch",
      "statefulset",
      "bud-clickhouse",
      "-n",
      namespace,
      "--subresource=status",
      "-p",
      status,
    ];
    await must(KUBECTL, ready);
    await upgrade(documented);
    expect(await migrationHook()).toBe("post-install,pre-upgrade");
  });
});

describe("the real Collector", () => {
  const NAME = "bud-otel-collector";
  /** The Collector's errors for the rendered configuration; empty when it is valid. */
  const validate = async (values: Values): Promise<string> => {
    const objects = await render(values);
    const [container] = workload(objects, NAME).spec.containers;
    const files = find(objects, "ConfigMap", NAME)["data"] as Record<string, string>;
    const environment = (container?.env ?? []).map(
      ({ name, value }) => [name, value ?? "from-a-secret"] as const,
    );
    const said: string[] = [];
    const prepared = new GenericContainer(container?.image ?? "")
      .withEnvironment(Object.fromEntries(environment))
      .withCopyContentToContainer(
        Object.entries(files).map(([name, content]) => ({ content, target: `/etc/otelcol/${name}` })),
      )
      .withCommand(["validate", ...(container?.args ?? [])])
      .withLogConsumer((stream) => stream.on("data", (line) => said.push(String(line))))
      .withWaitStrategy(Wait.forOneShotStartup());
    try {
      const started = await prepared.start();
      await started.stop();
      return "";
    } catch (error) {
      return `${String(error)}: ${said.join("")}`;
    }
  };

  test.each(SETUPS.filter(({ name, options }) => !name.startsWith("only") && !options?.release))(
    "finds the configuration valid of: $name",
    async ({ values }) => {
      expect(await validate(values)).toBe("");
    },
  );

  test("finds a wrong one invalid", async () => {
    const extraConfig = { exporters: { clickhouse: { create_scheme: false } } };
    expect(await validate({ otelCollector: { extraConfig } })).toContain("invalid keys: create_scheme");
  });
});
