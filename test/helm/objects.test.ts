import { describe, expect, test } from "vitest";
import { CHART, HELM, render, run } from "./helm.ts";
import { schemaProblems } from "./kubernetes-schema.ts";
import { SETUPS } from "./matrix.ts";
import { workloadsOf } from "./pods.ts";
import { danglingReferences } from "./references.ts";

test("helm lint --strict finds nothing", async () => {
  const { ok, stdout, stderr } = await run(HELM, ["lint", "--strict", CHART]);
  expect({ ok, stdout, stderr }).toEqual({
    ok: true,
    stdout: expect.stringContaining("0 chart(s) failed"),
    stderr: "",
  });
});

test("helm dependency update needs nothing", async () => {
  const { ok, stderr } = await run(HELM, ["dependency", "update", CHART]);
  expect([ok, stderr]).toEqual([true, expect.not.stringMatching(/error/i)]);
});

describe.each(SETUPS)("$name", ({ values, options, given }) => {
  const rendered = render(values, options);

  test("every object fits Kubernetes' schema", async () => {
    expect((await rendered).flatMap(schemaProblems)).toEqual([]);
  });

  test("no two objects have one name", async () => {
    const names = (await rendered).map(({ kind, metadata }) => `${kind} ${metadata.name}`);
    expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
  });

  test("every reference leads somewhere", async () => {
    expect(danglingReferences(await rendered, given)).toEqual([]);
  });

  test("every Pod is as restricted as it can be", async () => {
    for (const { name, spec, containers } of workloadsOf(await rendered)) {
      expect({ name, ...spec }).toMatchObject({
        name,
        // The guard asks the API server of its own cluster; nothing that stays does.
        automountServiceAccountToken: name.endsWith("-guard"),
        enableServiceLinks: false,
        securityContext: { runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } },
      });
      expect(Number(spec.securityContext["runAsUser"])).toBeGreaterThan(0);
      for (const container of containers) {
        expect(container).toMatchObject({
          securityContext: {
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ["ALL"] },
          },
          resources: { requests: { cpu: expect.any(String), memory: expect.any(String) } },
        });
      }
    }
  });

  test("nothing reaches beyond its own namespace", async () => {
    const rights = (await rendered).filter(({ kind }) => /^Cluster|Role/.test(kind));
    expect(rights.map(({ kind, metadata }) => `${kind} ${metadata.name.replace(/^.*-/, "")}`)).toEqual([
      "Role guard",
      "RoleBinding guard",
    ]);
    expect((await rendered).filter((object) => "namespace" in object.metadata)).toEqual([]);
  });
});

test("the schemas refuse what Kubernetes refuses", async () => {
  const objects = await render(SETUPS[3]?.values ?? {});
  const deployment = structuredClone(objects.find(({ kind }) => kind === "Deployment"));
  const container = workloadsOf(deployment ? [deployment] : [])[0]?.containers[0];
  if (!deployment || !container) throw new Error("there is no Deployment");
  Object.assign(container, { imagePullPolcy: "Always" });
  expect(schemaProblems(deployment)).toEqual([expect.stringContaining("containers.[0].imagePullPolcy")]);
  Object.assign(container, { image: 5 });
  expect(schemaProblems(deployment)).toEqual([expect.anything(), expect.stringContaining("image")]);
});
