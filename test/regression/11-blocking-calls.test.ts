import { expect, it } from "vitest";
import { setScene } from "../helpers/scene.ts";

// Blocking calls stopped the whole program while one cluster or the Collector did not answer.

it("while clusters and the Collector hang, every request is answered", async () => {
  const { bridge, collector, simulator } = await setScene({ clusters: 3 });
  await simulator.faults.set("sim-1", { layer: "api", kind: "mute" });
  await simulator.faults.set("sim-2", { layer: "tunnel", kind: "hang" });
  const reached = new Promise<void>((resolve) => {
    collector.onRequest = () => {
      resolve();
      return { kind: "hang" };
    };
  });
  let isOver = false;
  const round = bridge.collect().finally(() => (isOver = true));
  await reached;
  for (const path of ["/healthz", "/readyz", "/metrics/status", "/metrics", "/clusters"]) {
    const answer = await fetch(`${bridge.url}${path}`);
    expect({ path, status: answer.status, isOver }).toEqual({ path, status: 200, isOver: false });
  }
  expect(await round).toMatchObject({ failed: 3 });
});
