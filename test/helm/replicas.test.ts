import { describe, expect, test } from "vitest";
import { find, GIVEN_KEYS, overlay, render, type KubeObject, type Values } from "./helm.ts";
import { environmentOf, workload } from "./pods.ts";

// Several bridges that share the clusters by leases in Dapr's state store.

const SHARED = overlay(GIVEN_KEYS, { dapr: { stateStore: { enabled: true } }, bridge: { replicas: 3 } });

interface DeploymentSpec {
  replicas?: number;
  minReadySeconds?: number;
  strategy: { type: string; rollingUpdate?: object };
}

const deploymentOf = (objects: readonly KubeObject[]): DeploymentSpec =>
  find(objects, "Deployment", "budcluster")["spec"] as DeploymentSpec;

test("a new bridge joins before an old one leaves", async () => {
  expect(deploymentOf(await render(SHARED))).toMatchObject({
    replicas: 3,
    // Two scans for leases, each 10 s.
    minReadySeconds: 20,
    strategy: { type: "RollingUpdate", rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } },
  });
});

test("with SQLite an old bridge ends before the new one starts: both would open one file", async () => {
  expect(deploymentOf(await render(GIVEN_KEYS))).toMatchObject({
    replicas: 1,
    strategy: { type: "Recreate" },
  });
});

test("each replica has its Pod's name, which nobody can set for all of them", async () => {
  expect(environmentOf(await render(SHARED), "budcluster")).toMatchObject({
    REPLICA_NAME: "<metadata.name>",
  });
  await expect(render(overlay(SHARED, { bridge: { env: { REPLICA_NAME: "a" } } }))).rejects.toThrow(
    "REPLICA_NAME: set bridge.replicas instead",
  );
});

test("the sidecar outlives the program, and both end within the Pod's grace period", async () => {
  const { annotations, spec } = workload(await render(SHARED), "budcluster");
  const seconds = Number(/^(\d+)s$/.exec(annotations["dapr.io/block-shutdown-duration"] ?? "")?.[1]);
  const { terminationGracePeriodSeconds } = spec as unknown as { terminationGracePeriodSeconds: number };
  // src/main.ts: STOP_MS_MAX.
  expect(seconds).toBeGreaterThan(9.5);
  // Dapr's own graceful-shutdown-seconds are 5.
  expect(seconds + 5).toBeLessThan(terminationGracePeriodSeconds);
  const alone = workload(await render({ ...GIVEN_KEYS, scheduler: "dapr" }), "budcluster");
  expect(alone.annotations["dapr.io/block-shutdown-duration"]).toBeUndefined();
});

test("replicas spread over nodes, and one at a time is evicted", async () => {
  const objects = await render(SHARED);
  const { labels, spec } = workload(objects, "budcluster");
  const { topologySpreadConstraints } = spec as unknown as { topologySpreadConstraints: Values[] };
  expect(topologySpreadConstraints).toEqual([
    {
      maxSkew: 1,
      topologyKey: "kubernetes.io/hostname",
      whenUnsatisfiable: "ScheduleAnyway",
      labelSelector: { matchLabels: expect.objectContaining({ "app.kubernetes.io/component": "bridge" }) },
    },
  ]);
  const selected = { matchLabels: expect.objectContaining({ "app.kubernetes.io/component": "bridge" }) };
  expect(find(objects, "PodDisruptionBudget", "budcluster")["spec"]).toEqual({
    maxUnavailable: 1,
    selector: selected,
  });
  expect(labels["app.kubernetes.io/component"]).toBe("bridge");
});

describe("autoscaling", () => {
  const scaled = (more: Values = {}): Promise<KubeObject[]> =>
    render(
      overlay(
        GIVEN_KEYS,
        { dapr: { stateStore: { enabled: true } }, bridge: { autoscaling: { enabled: true } } },
        more,
      ),
    );

  test("leaves the number of Pods to the autoscaler", async () => {
    const objects = await scaled();
    expect(deploymentOf(objects).replicas).toBeUndefined();
    expect(find(objects, "HorizontalPodAutoscaler", "budcluster")["spec"]).toMatchObject({
      scaleTargetRef: { kind: "Deployment", name: "budcluster" },
      minReplicas: 2,
      maxReplicas: 6,
    });
  });

  test.each([
    [300, 300, 900],
    ["20m", 1200, 3600],
    ["2h", 3600, 3600],
  ])("of an interval of %s looks at %i s for more, at %i s for less", async (interval, up, down) => {
    const objects = await scaled({ collection: { interval } });
    expect(find(objects, "HorizontalPodAutoscaler", "budcluster")["spec"]).toMatchObject({
      behavior: {
        scaleUp: { stabilizationWindowSeconds: up },
        scaleDown: { stabilizationWindowSeconds: down },
      },
    });
  });
});
