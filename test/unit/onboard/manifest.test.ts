import { readFileSync } from "node:fs";
import { join } from "node:path";
import { KubeConfig } from "@kubernetes/client-node";
import { expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { parseKubeconfig } from "#clusters/parse-kubeconfig.ts";
import { NEEDED_RIGHTS, nameOfRight, ruleOfRight } from "#clusters/needed-rights.ts";
import { toKubeconfigText } from "#onboard/kubeconfig-text.ts";
import { managedClusterManifest, toManifestText } from "#onboard/manifest.ts";
import { createCertificate } from "../../helpers/certificates.ts";

const SETTINGS = {
  namespace: "bud-system",
  serviceAccount: "budcluster-metrics-reader",
  prometheusNamespace: "bud-system",
};

test("docs/rbac/managed-cluster.yaml is what `npm run kubeconfig` applies", () => {
  const path = join(import.meta.dirname, "../../../docs/rbac/managed-cluster.yaml");
  const documents = parseAllDocuments(readFileSync(path, "utf8")).map((each) => each.toJS() as unknown);
  expect(documents).toEqual(managedClusterManifest(SETTINGS));
});

test("the roles hold the needed rights and no other", () => {
  const rules = managedClusterManifest(SETTINGS).flatMap(
    (object) => (object["rules"] ?? []) as { apiGroups: string[]; resources: string[]; verbs: string[] }[],
  );
  const granted = rules.flatMap(({ resources, verbs }) => verbs.map((verb) => `${verb} ${resources.join()}`));
  expect(granted).toEqual(NEEDED_RIGHTS.map(nameOfRight));
  expect(NEEDED_RIGHTS.map(ruleOfRight)[1]).toBe(
    "{apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list]}",
  );
});

test("namespaces and name are where they belong", () => {
  const objects = managedClusterManifest({
    namespace: "tools",
    serviceAccount: "bridge",
    prometheusNamespace: "monitoring",
  });
  expect(objects.map(({ kind, metadata }) => [kind, metadata.namespace, metadata.name])).toEqual([
    ["ServiceAccount", "tools", "bridge"],
    ["Role", "monitoring", "bridge"],
    ["RoleBinding", "monitoring", "bridge"],
    ["ClusterRole", undefined, "bridge-nodes"],
    ["ClusterRoleBinding", undefined, "bridge-nodes"],
  ]);
  const subjects = objects.filter(({ kind }) => kind.endsWith("Binding")).map((each) => each["subjects"]);
  expect(subjects).toEqual(
    subjects.map(() => [{ kind: "ServiceAccount", name: "bridge", namespace: "tools" }]),
  );
});

test("a manifest has no aliases, which other readers refuse", () => {
  expect(toManifestText(managedClusterManifest(SETTINGS))).not.toMatch(/[&*]a\d/);
});

test("a kubeconfig passes the allow-list parser and has nothing of the administrator's", async () => {
  const { certPem } = await createCertificate("api.example.com");
  const admin = new KubeConfig();
  admin.loadFromClusterAndUser(
    {
      name: "prod",
      server: "https://api.example.com:6443",
      caData: Buffer.from(certPem).toString("base64"),
      tlsServerName: "kubernetes",
      skipTLSVerify: false,
    },
    { name: "admin", token: "admin-secret-token" },
  );
  const text = await toKubeconfigText(admin, { name: "budcluster", token: "issued-token" });
  expect(text).not.toContain("admin");
  expect(parseKubeconfig(text)).toEqual({
    server: "https://api.example.com:6443",
    caPem: certPem,
    tlsServerName: "kubernetes",
    token: "issued-token",
  });
});
