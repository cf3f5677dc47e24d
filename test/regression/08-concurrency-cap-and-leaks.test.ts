import { getActiveResourcesInfo } from "node:process";
import { expect, it } from "vitest";
import { ACCEPT } from "../helpers/otlp-collector.ts";
import { setScene } from "../helpers/scene.ts";

// The cap was checked before it was raised (3 became 8), and each cycle left port-forward processes behind.

it("never more clusters at once than MAX_CONCURRENT_CLUSTERS", async () => {
  const environment = { MAX_CONCURRENT_CLUSTERS: "3", EXPORT_TIMEOUT: "30" };
  const { bridge, collector } = await setScene({ clusters: 9, metrics: ["up"], environment });
  const working = new Map<string, () => void>();
  let most = 0;
  // Holds the first request of each cluster; when as many wait as may, others get their chance to come too early.
  collector.onRequest = async ({ clusterIds }) => {
    const [id] = [...clusterIds];
    if (!first.delete(id!)) return ACCEPT;
    const released = new Promise<void>((resolve) => working.set(id!, resolve));
    most = Math.max(most, working.size);
    if (working.size >= 3) {
      await bridge.status();
      await bridge.status();
      for (const [held, release] of working) {
        working.delete(held);
        release();
      }
    }
    await released;
    return ACCEPT;
  };
  const first = new Set(Array.from({ length: 9 }, (_, i) => `sim-${i + 1}`));
  expect(await bridge.collect()).toMatchObject({ successful: 9 });
  expect(most).toBe(3);
});

it("nothing is left open by rounds, good or bad", async () => {
  const { bridge, clock, simulator } = await setScene({ clusters: 3, metrics: ["up"] });
  const open = (): number =>
    getActiveResourcesInfo().filter((kind) => /TCP|TLS|Process|Pipe/.test(kind)).length;
  await bridge.collect();
  await bridge.status();
  const before = open();
  for (let round = 0; round < 8; round++) {
    const fault = { layer: "tunnel", kind: "cut", afterBytes: 200 * round } as const;
    await simulator.faults.set("sim-2", fault);
    await simulator.faults.set("sim-3", { layer: "tunnel", kind: "refuse", status: 500 });
    clock.jump(15_000);
    await bridge.collect();
  }
  const metrics = await fetch(`${bridge.url}/metrics`).then((answer) => answer.text());
  expect(metrics).toMatch(/^budcluster_tunnel_active(\{.*\})? 0$/m);
  // Connections of the last round may still be closing.
  expect(open()).toBeLessThan(before + 8);
  expect(getActiveResourcesInfo().filter((kind) => kind === "ProcessWrap")).toEqual([]);
});
