import { randomBytes } from "node:crypto";
import { chmod, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  CHART,
  find,
  HELM,
  KUBECTL,
  run,
  template,
  toObjects,
  type Ended,
  type Values,
} from "../helm/helm.ts";
import { environmentOf, workload } from "../helm/pods.ts";
import { documentedCommands, type DocumentedCommand } from "./documented-commands.ts";

// On a real API server, where no controller runs: nothing that an installation or the documentation's commands do harms what others installed.

const ROOT = join(CHART, "..");
const kubeconfig = process.env["E2E_KUBECONFIG_ADMIN"];
const OWN = "budcluster-metrics";

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "install-"));
  // Hooks would wait for Pods, which nothing starts here.
  const bin = join(folder, "bin");
  await mkdir(bin);
  const wrapper = `#!/bin/sh
case " $* " in
  *" upgrade "*|*" install "*) exec "${HELM}" "$@" --no-hooks;;
  *" test "*) exec "${HELM}" "$@" --timeout 1s;;
  *) exec "${HELM}" "$@";;
esac
`;
  await writeFile(join(bin, "helm"), wrapper);
  await chmod(join(bin, "helm"), 0o755);
  await symlink(KUBECTL, join(bin, "kubectl"));
  await symlink(CHART, join(folder, "helm"));
  await writeFile(join(folder, "values.yaml"), "");
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

function environment(): NodeJS.ProcessEnv {
  if (kubeconfig === undefined) throw new Error("E2E_KUBECONFIG_ADMIN must name the kubeconfig of an admin");
  const path = [join(folder, "bin"), process.env["PATH"] ?? ""].join(delimiter);
  return { ...process.env, PATH: path, KUBECONFIG: kubeconfig };
}

/** As typed into a shell, in a folder that has the chart as `helm/`. */
function shell(command: string): Promise<Ended> {
  return run("sh", ["-c", `cd "${folder}" && ${command}`], "", environment());
}

/** Standard output; throws with what the program says when it fails. */
async function must(command: string, input?: unknown): Promise<string> {
  const text = input === undefined ? "" : JSON.stringify(input);
  const { ok, stdout, stderr } = await run("sh", ["-c", command], text, environment());
  if (!ok) throw new Error(`${command}: ${stderr}`);
  return stdout;
}

interface Present {
  kind: string;
  metadata: {
    name: string;
    uid: string;
    resourceVersion: string;
    deletionTimestamp?: string;
    annotations?: Record<string, string>;
  };
}

const KINDS =
  "deployments,statefulsets,services,secrets,configmaps,persistentvolumeclaims,serviceaccounts,networkpolicies";

async function present(namespace: string): Promise<Present[]> {
  return (JSON.parse(await must(`kubectl get ${KINDS} -n ${namespace} -o json`)) as { items: Present[] })
    .items;
}

/** Claims go when nothing uses them: where no controller runs, nobody finds that out. */
async function finishDeletedClaims(namespace: string): Promise<void> {
  const claims = (await present(namespace)).filter(
    ({ kind, metadata }) => kind === "PersistentVolumeClaim" && metadata.deletionTimestamp,
  );
  for (const { metadata } of claims)
    await shell(`kubectl patch pvc ${metadata.name} -n ${namespace} -p '{"metadata":{"finalizers":null}}'`);
}

/** A chart of somebody else's: what is in it, by kind. */
async function standIn(name: string): Promise<string> {
  const chart = join(folder, `chart-${name}`);
  await mkdir(join(chart, "templates"), { recursive: true });
  await writeFile(join(chart, "Chart.yaml"), `apiVersion: v2\nname: ${name}\nversion: 1.0.0\n`);
  const labels = { app: name };
  const container = { name: "app", image: "app:1" };
  const objects = [
    {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name: `${name}-app`, labels },
      spec: {
        selector: { matchLabels: labels },
        template: { metadata: { labels }, spec: { containers: [container] } },
      },
    },
    {
      apiVersion: "v1",
      kind: "Secret",
      metadata: { name: `${name}-app` },
      stringData: { password: "theirs" },
    },
    {
      apiVersion: "v1",
      kind: "PersistentVolumeClaim",
      metadata: { name: `${name}-data` },
      spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } },
    },
    // The names of the real platform's.
    { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "budcluster" } },
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "budmetrics" },
      spec: { selector: labels, ports: [{ port: 80 }] },
    },
  ];
  for (const [index, object] of objects.entries())
    await writeFile(join(chart, "templates", `${index}.yaml`), JSON.stringify(object));
  return chart;
}

/** The platform as it was before the bridge: release `bud` in `bud-system`. */
function platform() {
  let before: Present[];
  let history: unknown[];
  const readHistory = async () =>
    JSON.parse(await must("helm history bud --namespace bud-system -o json")) as unknown[];
  const held = async () =>
    (await present("bud-system")).filter(
      ({ metadata }) => metadata.annotations?.["meta.helm.sh/release-name"] === "bud",
    );
  beforeAll(async () => {
    await run("sh", ["-c", "kubectl create namespace bud-system"], "", environment());
    await finishDeletedClaims("bud-system");
    await must(`helm upgrade --install bud "${await standIn("bud-platform")}" --namespace bud-system`);
    before = await held();
    history = await readHistory();
    expect(before.map(({ kind }) => kind).toSorted()).toEqual([
      "Deployment",
      "PersistentVolumeClaim",
      "Secret",
      "Service",
      "ServiceAccount",
    ]);
  });
  afterAll(async () => {
    await must("helm uninstall bud --namespace bud-system --no-hooks");
    await finishDeletedClaims("bud-system");
  });
  return {
    /** Nothing of it was deleted, marked for deletion or changed. */
    expectUntouched: async () => {
      expect(await held()).toEqual(before);
      expect(before.filter(({ metadata }) => metadata.deletionTimestamp)).toEqual([]);
      expect(await readHistory()).toEqual(history);
    },
  };
}

describe("a platform of others, release bud in bud-system,", () => {
  const { expectUntouched } = platform();
  let commands: DocumentedCommand[];
  beforeAll(async () => {
    commands = await documentedCommands(environment());
  });
  afterAll(async () => {
    // Not the namespace: without its controller it would be terminating for ever.
    await shell(
      `helm uninstall ${OWN} --namespace ${OWN}; kubectl delete secrets,pvc --all -n ${OWN} --wait=false`,
    );
    await finishDeletedClaims(OWN);
    await shell("kubectl delete serviceaccount,role,rolebinding budcluster-metrics-reader -n bud-system");
    await shell("kubectl delete clusterrole,clusterrolebinding budcluster-metrics-reader-nodes");
  });

  test("survives every documented command", async () => {
    const context = (await must("kubectl config current-context")).trim();
    const outcomes: string[] = [];
    for (const { file, command } of commands) {
      const real = command
        .replace("--context ADMIN", `--context ${context}`)
        .replace("edge-1.yaml", join(folder, "edge-1.yaml"));
      const ended = real.startsWith("npm ")
        ? await run("sh", ["-c", `cd "${ROOT}" && ${real}`], "", environment())
        : await shell(real);
      outcomes.push(`${file}: ${command}: ${ended.ok ? "done" : ended.stderr}`);
      await expectUntouched();
    }
    const upgrades = outcomes.filter((outcome) => /helm upgrade|npm run -s kubeconfig/.test(outcome));
    expect(upgrades.length).toBeGreaterThanOrEqual(7);
    expect(upgrades.filter((outcome) => !outcome.endsWith(": done"))).toEqual([]);
    const names = (await present(OWN)).map(({ kind, metadata }) => `${kind} ${metadata.name}`);
    expect(names).toEqual(expect.arrayContaining(["Deployment budcluster", "Deployment budmetrics"]));
  });

  test.each([
    ["the command of before", "--install --create-namespace --set clickhouse.enabled=true"],
    ["without --install", "--reset-then-reuse-values"],
    ["with --take-ownership", "--take-ownership"],
    ["with other names for everything", "--set bridge.name=a --set query.name=b --set bridge.service.name=c"],
  ])("is not replaced by an upgrade: %s", async (_, options) => {
    const { ok, stderr } = await shell(`helm upgrade bud helm/ --namespace bud-system ${options}`);
    await expectUntouched();
    expect({ ok, stderr }).toEqual({ ok: false, stderr: expect.stringContaining("Nothing was changed") });
    for (const named of ["Deployment bud-platform-app", "Secret bud-platform-app", "bud-platform-data"])
      expect(stderr).toContain(named);
    expect(stderr).toContain(`helm upgrade --install ${OWN} CHART --namespace ${OWN} --create-namespace`);
  });

  test.each([
    ["as Helm sees it", ""],
    ["with --take-ownership", "--take-ownership"],
  ])("loses no name to another release in its namespace, %s", async (_, options) => {
    const { ok, stderr } = await shell(`helm install metrics helm/ --namespace bud-system ${options}`);
    await expectUntouched();
    expect({ ok, stderr }).toEqual({ ok: false, stderr: expect.stringContaining("Nothing was changed") });
    expect(stderr).toContain("ServiceAccount budcluster is not this chart's (it belongs to the release bud)");
    expect(stderr).toContain("Service budmetrics is not this chart's (it belongs to the release bud)");
    expect(await must("kubectl get secrets -n bud-system -l owner=helm,name=metrics -o name")).toBe("");
  });

  test("gives another release a place beside it by values", async () => {
    const options = "--set bridge.serviceAccount.name=metrics-bridge --set query.service.name=metrics-query";
    await must(`cd "${folder}" && helm install metrics helm/ --namespace bud-system ${options}`);
    await must(`cd "${folder}" && helm upgrade metrics helm/ --namespace bud-system ${options}`);
    const names = (await present("bud-system")).map(({ kind, metadata }) => `${kind} ${metadata.name}`);
    expect(names).toEqual(expect.arrayContaining(["ServiceAccount metrics-bridge", "Service metrics-query"]));
    await must("helm uninstall metrics --namespace bud-system");
    await must("kubectl delete pvc budcluster-state -n bud-system --wait=false");
    await must("kubectl delete secret metrics-credentials-keys -n bud-system");
    await expectUntouched();
  });

  test("keeps its accounts from `npm run kubeconfig`", async () => {
    const context = (await must("kubectl config current-context")).trim();
    const command = `npm run -s kubeconfig -- --context ${context} --service-account budcluster`;
    const { ok, stderr } = await run("sh", ["-c", `cd "${ROOT}" && ${command}`], "", environment());
    await expectUntouched();
    expect({ ok, stderr }).toEqual({
      ok: false,
      stderr: expect.stringContaining("there is a ServiceAccount budcluster already"),
    });
    expect((await shell("kubectl get role budcluster -n bud-system")).ok).toBe(false);
  });
});

/** A namespace of the test's. */
function ownNamespace(): string {
  const name = `install-${randomBytes(4).toString("hex")}`;
  beforeAll(() => must(`kubectl create namespace ${name}`));
  afterAll(() => must(`kubectl delete namespace ${name} --wait=false`));
  return name;
}

describe("names in use", () => {
  const namespace = ownNamespace();

  test.each([
    [
      "Deployment",
      "apps/v1",
      "budcluster",
      {
        spec: {
          selector: { matchLabels: { a: "b" } },
          template: { metadata: { labels: { a: "b" } }, spec: { containers: [{ name: "a", image: "a" }] } },
        },
      },
    ],
    ["Service", "v1", "release-otel-collector", { spec: { ports: [{ port: 1 }] } }],
    ["Secret", "v1", "release-clickhouse", {}],
    ["Secret", "v1", "release-credentials-keys", {}],
    ["ConfigMap", "v1", "release-otel-collector", {}],
    ["ServiceAccount", "v1", "budmetrics", {}],
    [
      "PersistentVolumeClaim",
      "v1",
      "budcluster-state",
      { spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } } },
    ],
    ["NetworkPolicy", "networking.k8s.io/v1", "release-migrate", { spec: { podSelector: {} } }],
  ])("%s (%s) %s is refused, and nothing is made", async (kind, apiVersion, name, rest) => {
    await must(`kubectl create -n ${namespace} -f -`, { apiVersion, kind, metadata: { name }, ...rest });
    const before = await present(namespace);
    const install = `helm install release helm/ --namespace ${namespace} --set clickhouse.enabled=true --take-ownership`;
    const { ok, stderr } = await shell(install);
    expect(await present(namespace)).toEqual(before);
    await must(`kubectl delete ${kind.toLowerCase()} ${name} -n ${namespace} --wait=false`);
    await finishDeletedClaims(namespace);
    expect({ ok, stderr }).toEqual({
      ok: false,
      stderr: expect.stringContaining(`${kind} ${name} is not this chart's`),
    });
  });

  test("two releases of this chart in one namespace: the second is refused", async () => {
    await must(`cd "${folder}" && helm install first helm/ --namespace ${namespace}`);
    const { ok, stderr } = await shell(`helm install second helm/ --namespace ${namespace} --take-ownership`);
    expect({ ok, stderr }).toEqual({
      ok: false,
      stderr: expect.stringContaining(
        `Deployment budcluster belongs to the release first in the namespace ${namespace}`,
      ),
    });
    await must(`helm uninstall first --namespace ${namespace}`);
  });

  test("an installation that failed before it made anything says how to go on", async () => {
    const values = `--set-json 'bridge.extraVolumes=[{"name":"NOT VALID","emptyDir":{}}]'`;
    const failed = await shell(`helm install broken helm/ --namespace ${namespace}-none`);
    expect(failed.ok).toBe(false);
    const half = await shell(
      `helm install broken helm/ --namespace ${namespace} --set bridge.name=broken --set query.name=broken-query ${values}`,
    );
    expect(half.ok).toBe(false);
    const again = `helm upgrade --install broken helm/ --namespace ${namespace} --set bridge.name=broken --set query.name=broken-query`;
    await must(`cd "${folder}" && ${again}`);
  });

  test("as a part of another chart it is upgraded with that chart's objects", async () => {
    const chart = await standIn("umbrella");
    await must(`helm install umbrella "${chart}" --namespace ${namespace} --set a=b`);
    await mkdir(join(chart, "charts"));
    await symlink(CHART, join(chart, "charts", "budcluster-metrics-bridge"));
    const options =
      "--set budcluster-metrics-bridge.bridge.name=u --set budcluster-metrics-bridge.query.name=u-query";
    await must(`helm upgrade umbrella "${chart}" --namespace ${namespace} ${options}`);
    await must(`helm upgrade umbrella "${chart}" --namespace ${namespace} ${options}`);
    const names = (await present(namespace)).map(({ metadata }) => metadata.name);
    expect(names).toEqual(expect.arrayContaining(["umbrella-app", "umbrella-data", "u", "u-query"]));
  });
});

describe("the Job for Argo CD", () => {
  const namespace = ownNamespace();

  /** Runs its program with the rights and the token that it has there. */
  const check = async (values: Values): Promise<Ended> => {
    const rendered = await template(values, { release: OWN, namespace });
    const objects = toObjects(rendered.stdout);
    const own = ["ServiceAccount", "Role", "RoleBinding"].map((kind) => find(objects, kind, `${OWN}-guard`));
    await must(`kubectl apply -n ${namespace} -f -`, { apiVersion: "v1", kind: "List", items: own });
    const account = join(folder, "account");
    await mkdir(account, { recursive: true });
    await writeFile(join(account, "token"), await must(`kubectl create token ${OWN}-guard -n ${namespace}`));
    const cluster = JSON.parse(await must("kubectl config view --raw --minify --flatten -o json")) as {
      clusters: { cluster: { server: string; "certificate-authority-data": string } }[];
    };
    const { server, "certificate-authority-data": ca } = cluster.clusters[0]!.cluster;
    await writeFile(join(account, "ca.crt"), Buffer.from(ca, "base64"));
    const { hostname, port } = new URL(server);
    const [container] = workload(objects, `${OWN}-guard`).spec.containers;
    return await run(process.execPath, ["--input-type=module", "-e", container?.args?.[0] ?? ""], "", {
      ...environmentOf(objects, `${OWN}-guard`),
      ACCOUNT_DIR: account,
      KUBERNETES_SERVICE_HOST: hostname,
      KUBERNETES_SERVICE_PORT: port,
    });
  };

  test("lets the first and every further sync through, and no other's objects be taken", async () => {
    const values = { clickhouse: { enabled: true } };
    const settled = { timeout: 20_000, interval: 500 };
    // The authorizer learns of a new Role a moment later.
    await expect.poll(async () => (await check(values)).stderr, settled).toBe("");
    await must(
      `cd "${folder}" && helm template ${OWN} helm/ --namespace ${namespace} --no-hooks --set clickhouse.enabled=true | kubectl apply -n ${namespace} -f -`,
    );
    expect(await check(values)).toMatchObject({ ok: true, stderr: "" });
    const objects = `secret/${OWN}-clickhouse deployment/budmetrics`;
    await must(`kubectl label ${objects} -n ${namespace} app.kubernetes.io/name=other --overwrite`);
    const { ok, stderr } = await check(values);
    expect({ ok, stderr }).toEqual({ ok: false, stderr: expect.stringContaining("are in use") });
    expect(stderr).toContain(`Secret ${OWN}-clickhouse is not this chart's`);
    expect(stderr).toContain("Deployment budmetrics is not this chart's");
  });

  test("may read what the release makes, and nothing else", async () => {
    const may = async (what: string) =>
      (
        await shell(
          `kubectl auth can-i ${what} -n ${namespace} --as system:serviceaccount:${namespace}:${OWN}-guard`,
        )
      ).ok;
    expect(await may(`get secret/${OWN}-clickhouse`)).toBe(true);
    for (const what of [
      "get secret/other",
      "list secrets",
      `delete secret/${OWN}-clickhouse`,
      "create deployments",
      "get pods",
    ])
      expect([what, await may(what)]).toEqual([what, false]);
  });
});

test("the documentation is read as it is written", async () => {
  const commands = await documentedCommands(environment());
  expect(commands.map(({ file }) => file)).toEqual(
    expect.arrayContaining([
      "README.md",
      "helm/README.md",
      "docs/install.md",
      "docs/upgrading.md",
      "NOTES.txt",
    ]),
  );
  // A platform's own release and namespace are nowhere in a command.
  const wrong = commands.filter(
    ({ command }) => /\bhelm\b/.test(command) && /\bbud(-system)?(\s|$)/.test(command),
  );
  expect(wrong).toEqual([]);
  expect(await readFile(join(CHART, "README.md"), "utf8")).toContain("## Protection of other releases");
});
