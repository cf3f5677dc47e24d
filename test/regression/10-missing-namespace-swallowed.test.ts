import { expect, it } from "vitest";
import { setScene } from "../helpers/scene.ts";

it("a missing namespace is an error that names it and the variables to set", async () => {
  const { bridge, simulator } = await setScene();
  const { kube } = simulator.cluster("sim-1");
  kube.services.splice(0);
  kube.namespaces.delete("bud-system");
  const { clusters, failed } = await bridge.collect();
  expect(failed).toBe(1);
  expect(clusters[0]!.error).toMatchObject({
    code: "prometheus_service_not_found",
    message: expect.stringContaining("bud-system/"),
    hint: expect.stringContaining("PROMETHEUS_NAMESPACE"),
  });
  expect(await bridge.statusOf("sim-1")).toMatchObject({
    state: "failing",
    last_error: { code: "prometheus_service_not_found" },
  });
});
