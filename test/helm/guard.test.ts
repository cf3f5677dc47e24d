import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:https";
import { type AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { DEFAULT_SERVICE_ACCOUNT } from "#onboard/manifest.ts";
import { createCertificate } from "../helpers/certificates.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import {
  find,
  GIVEN_KEYS,
  MONITORING,
  overlay,
  render,
  template,
  type KubeObject,
  type Values,
} from "./helm.ts";
import { SETUPS } from "./matrix.ts";
import { environmentOf, workload } from "./pods.ts";

// The Job that checks names where rendering sees no cluster (Argo CD). Its templates' own check needs a real API server: test/e2e/install.test.ts.

const isGuard = ({ metadata }: KubeObject): boolean => metadata.name.endsWith("-guard");
const nameOf = (release = "bud"): string => `${release}-guard`;

/** Resource and name of an API path: "deployments budcluster". */
const toName = (path: string): string => path.split("/").slice(-2).join(" ");

describe.each(SETUPS)("$name", ({ values, options }) => {
  const rendered = render(values, options);

  test("the Job asks of every object that the chart makes, and may read these only", async () => {
    const objects = await rendered;
    const asked = (environmentOf(objects, nameOf(options?.release))["PATHS"] ?? "").split(" ");
    const made = objects
      .filter((object) => !isGuard(object))
      .map(({ kind, metadata }) => {
        const plurals: Record<string, string> = { NetworkPolicy: "networkpolicies", Ingress: "ingresses" };
        return `${plurals[kind] ?? `${kind.toLowerCase()}s`} ${metadata.name}`;
      });
    expect(asked.map(toName).toSorted()).toEqual(made.toSorted());
    const rules = find(objects, "Role", nameOf(options?.release))["rules"] as {
      resources: string[];
      resourceNames: string[];
      verbs: string[];
    }[];
    expect(rules.map((rule) => `${rule.resources.join()} ${rule.resourceNames.join()}`)).toEqual(
      asked.map(toName),
    );
    expect(new Set(rules.flatMap(({ verbs }) => verbs))).toEqual(new Set(["get"]));
  });

  test("it comes before everything else, and goes", async () => {
    const weights = (await rendered).map(({ metadata }) =>
      Number(metadata.annotations?.["helm.sh/hook-weight"] ?? 0),
    );
    const guards = (await rendered).filter(isGuard);
    expect(guards.map(({ kind }) => kind)).toEqual(
      expect.arrayContaining(["ServiceAccount", "Role", "RoleBinding", "Job"]),
    );
    for (const { kind, metadata } of guards) {
      const { "helm.sh/hook": when, "helm.sh/hook-weight": weight, ...rest } = metadata.annotations ?? {};
      expect([when, Number(weight)]).toEqual(["pre-install,pre-upgrade", kind === "Job" ? -10 : -11]);
      expect(rest).toEqual({ "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded" });
    }
    expect(weights.filter((weight) => weight <= -10)).toHaveLength(guards.length);
  });
});

test("guard.enabled=false leaves it out", async () => {
  expect((await render({ guard: { enabled: false } })).filter(isGuard)).toEqual([]);
});

describe("its program", () => {
  const folder = createTemporaryFolder();
  const server = { answers: new Map<string, unknown>(), fallback: 404, tokens: new Set<string>() };
  let http: ReturnType<typeof createServer>;
  let objects: KubeObject[];

  beforeAll(async () => {
    objects = await render({ clickhouse: { enabled: true }, credentials: { existingSecret: "keys" } });
    const { certPem, keyPem } = await createCertificate("kubernetes");
    await writeFile(join(folder, "ca.crt"), certPem);
    await writeFile(join(folder, "token"), "the-token\n");
    http = createServer({ cert: certPem, key: keyPem }, (request, response) => {
      server.tokens.add(request.headers.authorization ?? "none");
      const answer = server.answers.get(toName(request.url ?? ""));
      response.statusCode = answer === undefined ? server.fallback : 200;
      response.end(JSON.stringify(answer ?? { kind: "Status" }));
    });
    await new Promise<void>((resolve) => void http.listen(0, "127.0.0.1", resolve));
  });
  afterAll(() => void http.close());
  beforeEach(() => {
    server.answers.clear();
    server.fallback = 404;
  });

  /** Exit code and what it says. */
  const check = (more: Record<string, string> = {}): Promise<{ code: number; said: string }> => {
    const [container] = workload(objects, "bud-guard").spec.containers;
    const env = {
      ...environmentOf(objects, "bud-guard"),
      ACCOUNT_DIR: folder,
      KUBERNETES_SERVICE_HOST: "127.0.0.1",
      KUBERNETES_SERVICE_PORT: String((http.address() as AddressInfo).port),
      ...more,
    };
    return new Promise((resolve) => {
      const args = ["--input-type=module", "-e", container?.args?.[0] ?? ""];
      execFile(process.execPath, args, { env }, (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code), said: stdout + stderr }),
      );
    });
  };
  const object = (kind: string, name: string, labels: Values, annotations?: Values) => ({
    kind,
    metadata: { name, labels, ...(annotations ? { annotations } : {}) },
  });
  const OURS = { "app.kubernetes.io/name": "budcluster-metrics-bridge" };
  const by = (release: string, namespace: string) => ({
    "meta.helm.sh/release-name": release,
    "meta.helm.sh/release-namespace": namespace,
  });

  test("free names, names of an earlier sync and of the release itself are let through", async () => {
    expect(await check()).toEqual({ code: 0, said: "The names of the release bud are free or its own.\n" });
    server.answers.set("deployments budcluster", object("Deployment", "budcluster", OURS));
    server.answers.set("services budmetrics", object("Service", "budmetrics", OURS, by("bud", "bud-system")));
    // Argo CD puts the name of its application into this label.
    const labels = { ...OURS, "app.kubernetes.io/instance": "an-application" };
    server.answers.set("secrets bud-admin-token", object("Secret", "bud-admin-token", labels));
    expect(await check()).toMatchObject({ code: 0 });
    expect(server.tokens).toEqual(new Set(["Bearer the-token"]));
  });

  test.each([
    [
      "no labels at all",
      { kind: "Service", metadata: { name: "budmetrics" } },
      "Service budmetrics is not this chart's",
    ],
    [
      "another chart's",
      object("Service", "budmetrics", { "app.kubernetes.io/name": "budmetrics" }),
      "is not this chart's",
    ],
    [
      "another chart's of a release of this name",
      object("Service", "budmetrics", { app: "x" }, by("bud", "bud-system")),
      "is not this chart's",
    ],
    [
      "this chart's of another release",
      object("Service", "budmetrics", OURS, by("other", "bud-system")),
      "belongs to the release other in the namespace bud-system",
    ],
    [
      "this chart's of another namespace's release",
      object("Service", "budmetrics", OURS, by("bud", "elsewhere")),
      "belongs to the release bud in the namespace elsewhere",
    ],
  ])("an object of somebody else's ends it: %s", async (_, answer, words) => {
    server.answers.set("services budmetrics", answer);
    const { code, said } = await check();
    expect({ code, said }).toEqual({ code: 1, said: expect.stringContaining(words) });
    expect(said).toContain("helm/README.md");
  });

  test("what it can't find out ends it as well", async () => {
    server.fallback = 403;
    expect(await check()).toEqual({ code: 1, said: expect.stringContaining("the API server answered 403") });
    expect(await check({ KUBERNETES_SERVICE_PORT: "1" })).toEqual({
      code: 1,
      said: expect.stringContaining("networkPolicy.bridge.apiServerPorts"),
    });
  });
});

test("Service names are values, and everything that calls a Service follows", async () => {
  const names = { bridge: "clusters", query: "cluster-state", otelCollector: "bud-otel-collector" };
  const values = Object.fromEntries(
    Object.entries(names).map(([part, name]) => [part, { service: { name } }]),
  );
  const more = { ingress: { enabled: true, bridge: true }, credentials: { existingSecret: "keys" } };
  const options = {
    release: "budcluster-metrics",
    namespace: "budcluster-metrics",
    apiVersions: [MONITORING],
  };
  const objects = await render(overlay(values, more), options);
  const services = objects.filter(({ kind }) => kind === "Service").map(({ metadata }) => metadata.name);
  expect(services.toSorted()).toEqual(Object.values(names).toSorted());
  // The Deployments keep their names: an upgrade with another Service name replaces no Pod's owner.
  for (const name of ["budcluster", "budmetrics", "budcluster-metrics-otel-collector"])
    find(objects, "Deployment", name);
  expect(environmentOf(objects, "budcluster")["OTEL_COLLECTOR_ENDPOINT"]).toBe(
    "http://bud-otel-collector:4318",
  );
  expect(environmentOf(objects, "budcluster-metrics-test")).toMatchObject({
    BRIDGE_URL: "http://clusters:9081",
    QUERY_URL: "http://cluster-state:9081",
  });
  const rules = JSON.stringify(find(objects, "PrometheusRule", "budcluster-metrics-alerts"));
  expect(rules).toContain('service=\\\\\\"clusters\\\\\\"'.replaceAll("\\\\\\", "\\"));
  expect(rules).not.toMatch(/service=\\"bud(cluster|metrics)\\"/);
  expect(JSON.stringify(find(objects, "Ingress", "budcluster-metrics-api"))).toMatch(
    /"cluster-state".*"clusters"/,
  );
});

test.each(["A", "a_b", "-a", "a".repeat(64)])("%s is no name of a Service", async (name) => {
  const { ok, stderr } = await template({ query: { service: { name } } });
  expect([ok, stderr]).toEqual([false, expect.stringContaining("/query/service/name")]);
});

test("the accounts of `npm run kubeconfig` and of the chart have different names", async () => {
  for (const { values, options } of SETUPS) {
    const accounts = (await render(overlay(values, GIVEN_KEYS), options)).filter(
      ({ kind }) => kind === "ServiceAccount",
    );
    expect(accounts.map(({ metadata }) => metadata.name)).not.toContain(DEFAULT_SERVICE_ACCOUNT);
  }
});
