import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parser } from "@prometheus-io/lezer-promql";
import { parse } from "yaml";
import { beforeAll, describe, expect, test } from "vitest";
import { readKeyFiles, writeKeyFile } from "#clusters/key-files.ts";
import { systemClock } from "#lib/clock.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { find, GIVEN_KEYS, MONITORING, overlay, render, type KubeObject, type Values } from "./helm.ts";
import { environmentOf, selects, workload, workloadsOf } from "./pods.ts";

const DOCUMENTED = { otelCollector: { enabled: true }, clickhouse: { enabled: true } };

/** The rendered object, and the field at the path in it. */
function field(object: KubeObject, path: string): unknown {
  return path.split(".").reduce<unknown>((below, key) => (below as Values | undefined)?.[key], object);
}

describe("the documented installation", () => {
  const folder = createTemporaryFolder();
  let objects: KubeObject[];
  beforeAll(async () => {
    objects = await render(DOCUMENTED);
  });

  test("gives Services and Deployments their fixed names and ports", () => {
    const ports = (name: string) =>
      (field(find(objects, "Service", name), "spec.ports") as { port: number }[]).map(({ port }) => port);
    expect(ports("budcluster")).toEqual([9081]);
    expect(ports("budmetrics")).toEqual([9081]);
    expect(ports("bud-otel-collector")).toEqual([4317, 4318, 8888]);
    expect(ports("bud-clickhouse")).toEqual([8123, 9000]);
    for (const name of ["budcluster", "budmetrics", "bud-otel-collector"]) find(objects, "Deployment", name);
  });

  test("has the Collector that it promises", () => {
    const [container] = workload(objects, "bud-otel-collector").spec.containers;
    expect(field(find(objects, "Deployment", "bud-otel-collector"), "spec.replicas")).toBe(1);
    expect(container).toMatchObject({
      image: "otel/opentelemetry-collector-contrib:0.161.0",
      resources: { limits: { cpu: "1000m", memory: "2Gi" } },
    });
    expect(environmentOf(objects, "bud-otel-collector")).toMatchObject({
      CLICKHOUSE_ENDPOINT: "tcp://bud-clickhouse:9000",
      CLICKHOUSE_DATABASE: "metrics",
      CLICKHOUSE_PASSWORD: "<bud-clickhouse/password>",
    });
  });

  test("gives the bridge what it needs and nothing of ClickHouse's", () => {
    const environment = environmentOf(objects, "budcluster");
    expect(environment).toMatchObject({
      ROLE: "bridge",
      HOST: "0.0.0.0",
      SCHEDULER: "internal",
      COLLECTION_INTERVAL: "300",
      OTEL_COLLECTOR_ENDPOINT: "http://bud-otel-collector:4318",
    });
    expect(Object.keys(environment).filter((name) => name.startsWith("CLICKHOUSE_"))).toEqual([]);
  });

  test("gives query and migration the HTTP port, and the migration the retention", () => {
    const shared = { CLICKHOUSE_URL: "http://bud-clickhouse:8123", CLICKHOUSE_DATABASE: "metrics" };
    expect(environmentOf(objects, "budmetrics")).toMatchObject({ ...shared, ROLE: "query" });
    expect(environmentOf(objects, "bud-migrate")).toMatchObject({
      ...shared,
      ROLE: "migrate",
      CLICKHOUSE_RETENTION: "90d",
    });
  });

  test("migrates after an install and before an upgrade, with an account that is there by then", () => {
    const hooks = ["Job", "ServiceAccount", "NetworkPolicy"].map(
      (kind) => find(objects, kind, "bud-migrate").metadata.annotations ?? {},
    );
    expect(hooks.map((annotations) => annotations["helm.sh/hook"])).toEqual(
      Array(3).fill("post-install,pre-upgrade"),
    );
    // Hooks are no part of the release: what is not deleted here outlives an uninstall.
    expect(hooks.map((annotations) => annotations["helm.sh/hook-delete-policy"])).toEqual(
      Array(3).fill("before-hook-creation,hook-succeeded"),
    );
    for (const annotations of hooks.slice(1))
      expect(Number(annotations["helm.sh/hook-weight"])).toBeLessThan(0);
  });

  test("makes tokens that its tokens file knows by their hash", () => {
    const texts = find(objects, "Secret", "bud-api-tokens")["stringData"] as Record<string, string>;
    const entries = parse(texts["tokens.yaml"] ?? "") as { name: string; sha256: string; scopes: string[] }[];
    const hashOf = (secret: string) => {
      const token = Buffer.from(String(field(find(objects, "Secret", secret), "data.token")), "base64");
      expect(token.toString()).toMatch(/^[A-Za-z0-9]{40}$/);
      return createHash("sha256").update(token).digest("hex");
    };
    expect(entries).toEqual([
      { name: "admin", sha256: hashOf("bud-admin-token"), scopes: ["admin"] },
      { name: "prometheus", sha256: hashOf("bud-metrics-token"), scopes: ["read"] },
    ]);
  });

  test("makes a key for the credentials that the program takes, never deleted by Helm, older than any that is added", async () => {
    const secret = find(objects, "Secret", "bud-credentials-keys");
    for (const [name, content] of Object.entries(secret["data"] as Record<string, string>)) {
      await writeFile(join(folder, name), Buffer.from(content, "base64"));
    }
    const { keys: made, problems } = await readKeyFiles(folder);
    expect([made.map(({ bits }) => bits), problems]).toEqual([[4096], []]);
    await writeKeyFile(folder, systemClock.now());
    const { keys } = await readKeyFiles(folder);
    expect(keys.map(({ kid }) => kid === made[0]?.kid)).toEqual([true, false]);
    expect(secret.metadata.annotations).toEqual({ "helm.sh/resource-policy": "keep" });
  });

  test("keeps volumes when it is uninstalled", () => {
    const claims = objects.filter(({ kind }) => kind === "PersistentVolumeClaim");
    expect(claims.map(({ metadata }) => [metadata.name, metadata.annotations])).toEqual([
      ["budcluster-state", { "helm.sh/resource-policy": "keep" }],
      ["bud-clickhouse", { "helm.sh/resource-policy": "keep" }],
    ]);
  });

  test("needs no Dapr", () => {
    expect(JSON.stringify(objects)).not.toContain("dapr.io");
  });
});

test("names follow the release's, ClickHouse's host is a template", async () => {
  const values = {
    ...GIVEN_KEYS,
    otelCollector: { clickhouse: { host: "ch.{{ .Release.Namespace }}.svc" } },
  };
  const objects = await render(values, { release: "two", namespace: "metrics" });
  expect(environmentOf(objects, "budcluster")["OTEL_COLLECTOR_ENDPOINT"]).toBe(
    "http://two-otel-collector:4318",
  );
  expect(environmentOf(objects, "two-otel-collector")["CLICKHOUSE_ENDPOINT"]).toBe(
    "tcp://ch.metrics.svc:9000",
  );
  expect(environmentOf(objects, "budmetrics")["CLICKHOUSE_URL"]).toBe("http://ch.metrics.svc:8123");
});

test("the version is that of package.json", async () => {
  const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
  const [container] = workload(await render(GIVEN_KEYS), "budcluster").spec.containers;
  expect(container?.image).toBe(`budcluster:${version}`);
});

describe("Dapr", () => {
  let objects: KubeObject[];
  beforeAll(async () => {
    const stateStore = { enabled: true };
    objects = await render(overlay(GIVEN_KEYS, { scheduler: "dapr", dapr: { stateStore } }));
  });

  test("its cron binding calls the bridge, and nobody else sees the components", () => {
    const cron = find(objects, "Component", "metrics-collection-cron");
    expect(cron).toMatchObject({
      spec: {
        type: "bindings.cron",
        metadata: [
          { name: "schedule", value: "0 */5 * * * *" },
          { name: "route", value: "/metrics/collect-all" },
          { name: "direction", value: "input" },
        ],
      },
    });
    const { annotations } = workload(objects, "budcluster");
    const components = objects.filter(({ kind }) => kind === "Component");
    expect(components.map((component) => component["scopes"])).toEqual([["budcluster"], ["budcluster"]]);
    expect(annotations["dapr.io/app-port"]).toBe("9081");
  });

  test("the same binding is used by `dapr run`", () => {
    const local = parse(readFileSync("dapr/components/metrics-collection-cron.yaml", "utf8")) as KubeObject;
    expect(find(objects, "Component", "metrics-collection-cron")["spec"]).toEqual(local["spec"]);
  });

  test("its sidecar needs no token of the Pod's ServiceAccount", () => {
    const { annotations, spec } = workload(objects, "budcluster");
    expect(spec.automountServiceAccountToken).toBe(false);
    expect(annotations["dapr.io/disable-builtin-k8s-secret-store"]).toBe("true");
  });

  test("sidecar and bridge have the same tokens", () => {
    const { annotations } = workload(objects, "budcluster");
    expect(environmentOf(objects, "budcluster")).toMatchObject({
      SCHEDULER: "dapr",
      APP_API_TOKEN: `<${annotations["dapr.io/app-token-secret"]}/token>`,
      DAPR_API_TOKEN: `<${annotations["dapr.io/api-token-secret"]}/token>`,
      DAPR_STATE_STORE: "budcluster-state",
    });
  });

  test("no probe depends on it", () => {
    const paths = workload(objects, "budcluster").spec.containers.flatMap((container) =>
      ["startupProbe", "livenessProbe", "readinessProbe"].map((probe) =>
        field(container as never, `${probe}.httpGet.path`),
      ),
    );
    expect(paths).toEqual(["/healthz", "/healthz", "/healthz"]);
  });
});

interface Rule {
  ports?: { port: number }[];
  to?: { podSelector?: { matchLabels: Record<string, string> } }[];
}

describe("network policies", () => {
  test.each([
    ["of the release's own", DOCUMENTED],
    ["of the user's", { otelCollector: { clickhouse: { host: "ch", httpPort: 8443, port: 9440 } } }],
  ])("let the bridge reach no ClickHouse %s", async (_, values) => {
    const objects = await render(overlay(GIVEN_KEYS, values));
    const egress = (name: string) => field(find(objects, "NetworkPolicy", name), "spec.egress") as Rule[];
    const clickhouse = egress("budmetrics").at(-1);
    const ports = clickhouse?.ports?.map(({ port }) => port) ?? [];
    expect(ports).toHaveLength(2);
    for (const rule of egress("budcluster")) {
      expect(
        rule.ports?.map(({ port }) => port).filter((port) => ports.includes(port)) ?? "every port",
      ).toEqual([]);
      const components = rule.to?.map(
        ({ podSelector }) => podSelector?.matchLabels["app.kubernetes.io/component"],
      );
      expect(components ?? []).not.toContain("clickhouse");
    }
    expect(egress("bud-otel-collector")).toContainEqual(clickhouse);
    expect(egress("bud-migrate")).toContainEqual(clickhouse);
  });

  test("let `helm test` in where the callers are named", async () => {
    const from = [{ namespaceSelector: {} }];
    const networkPolicy = { bridge: { from }, query: { from } };
    const objects = await render(overlay(GIVEN_KEYS, DOCUMENTED, { networkPolicy }));
    const labels = workload(objects, "bud-test").labels;
    for (const name of ["budcluster", "budmetrics"]) {
      const [rule] = field(find(objects, "NetworkPolicy", name), "spec.ingress") as {
        from: { podSelector?: { matchLabels: Record<string, string> } }[];
      }[];
      expect(rule?.from).toHaveLength(2);
      expect(selects(rule?.from[1]?.podSelector?.matchLabels ?? { none: "" }, labels)).toBe(true);
    }
  });

  test("cover every Pod, in both directions", async () => {
    const objects = await render(overlay(GIVEN_KEYS, DOCUMENTED));
    const covered = objects.filter(({ kind }) => kind === "NetworkPolicy");
    const types = new Set(covered.map((policy) => String(field(policy, "spec.policyTypes"))));
    expect([...types]).toEqual(["Ingress,Egress"]);
    expect(covered.map(({ metadata }) => metadata.name).toSorted()).toEqual(
      workloadsOf(objects)
        .map(({ name }) => name)
        .toSorted(),
    );
  });
});

describe("monitoring", () => {
  test("is left out where the cluster has no such API", async () => {
    const objects = await render(GIVEN_KEYS);
    expect(objects.filter(({ apiVersion }) => apiVersion.startsWith("monitoring."))).toEqual([]);
  });

  test("every alert is PromQL on metrics of ours, with a severity and words", async () => {
    const objects = await render(GIVEN_KEYS, { apiVersions: [MONITORING] });
    const [group] = field(find(objects, "PrometheusRule", "bud-alerts"), "spec.groups") as {
      rules: Alert[];
    }[];
    expect(group?.rules.length).toBeGreaterThan(8);
    for (const { alert, expr, labels, annotations } of group?.rules ?? []) {
      let isWrong = false;
      parser.parse(expr).iterate({ enter: (node) => void (isWrong ||= node.type.isError) });
      expect(isWrong, `${alert}: ${expr}`).toBe(false);
      expect({ alert, labels, annotations }).toEqual({
        alert,
        labels: { severity: expect.stringMatching(/^(warning|critical)$/) },
        annotations: { summary: expect.any(String), description: expect.any(String) },
      });
    }
  });

  test("a custom Collector, or none of the query service, takes its alerts away", async () => {
    const without = { query: { enabled: false }, collection: { enabled: false } };
    const objects = await render(overlay(GIVEN_KEYS, without), { apiVersions: [MONITORING] });
    const [group] = field(find(objects, "PrometheusRule", "bud-alerts"), "spec.groups") as {
      rules: Alert[];
    }[];
    const names = group?.rules.map(({ alert }) => alert) ?? [];
    const ofRounds = ["BudNoRounds", "BudClusterLate", "BudClusterAboutToLoseData"];
    expect(names).not.toEqual([]);
    expect(names.filter((name) => name.startsWith("BudQuery") || ofRounds.includes(name))).toEqual([]);
  });
});

interface Alert {
  alert: string;
  expr: string;
  labels: Record<string, string>;
  annotations: Record<string, string>;
}
