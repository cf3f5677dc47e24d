import { expect, it } from "vitest";
import { refusal, ACCEPT } from "../helpers/otlp-collector.ts";
import { setScene } from "../helpers/scene.ts";
import { exact } from "../helpers/truth.ts";

// Certificates were not checked unless somebody asked for it, and what could not be sent was gone with the process.

it("an API server with a foreign certificate never sees the token, by default", async () => {
  const { bridge, clock, simulator } = await setScene();
  await simulator.faults.set("sim-1", { layer: "api", kind: "tls", problem: "untrusted" });
  const { clusters } = await bridge.collect();
  expect(clusters[0]!.error).toMatchObject({
    code: "cluster_tls_untrusted",
    hint: expect.stringContaining("VALIDATE_CERTS=false"),
  });
  expect(simulator.faults.traffic("sim-1")).toMatchObject({ api: 0, tunnel: 0, prometheus: 0 });
  await bridge.restart({ VALIDATE_CERTS: "false" });
  clock.jump(60_000);
  expect(await bridge.collect()).toMatchObject({ successful: 1 });
  const { warnings } = await bridge.status();
  expect(warnings.join()).toMatch(/sim-1.*certificate is not verified/);
});

it("a Collector's outage over restarts loses nothing", async () => {
  const { bridge, clock, collector, compareAll } = await setScene();
  await bridge.collect();
  collector.onRequest = () => refusal(503);
  for (let hour = 0; hour < 3; hour++) {
    clock.jump(3_600_000);
    expect(await bridge.collect()).toMatchObject({ failed: 1 });
    await bridge.restart();
  }
  collector.onRequest = () => ACCEPT;
  expect(await bridge.collect()).toMatchObject({ successful: 1 });
  const compared = await compareAll();
  expect(compared).toEqual(exact(compared.samples));
  expect(compared.samples).toBeGreaterThan(20_000);
  expect(collector.repeats).toBe(0);
});
