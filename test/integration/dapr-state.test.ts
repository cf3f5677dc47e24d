import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { startSimulator, type Simulator } from "#simulator/simulator.ts";
import { startBridgeChild } from "../helpers/bridge-child.ts";
import { FAKE_STORE, startFakeDapr, type FakeDapr } from "../helpers/fake-dapr.ts";
import { startOtlpCollector, type OtlpCollector } from "../helpers/otlp-collector.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { bridgeEnvironment, SMALL } from "../helpers/test-bridge.ts";

// The program with its state in Dapr, in a process of its own.

const TOKEN = "a-token-of-the-sidecar";
const folder = createTemporaryFolder();
let simulator: Simulator;
let collector: OtlpCollector;
let dapr: FakeDapr;
let environment: Record<string, string>;

beforeEach(async () => {
  simulator = await startSimulator({ shape: SMALL });
  collector = await startOtlpCollector();
  dapr = await startFakeDapr(TOKEN);
  environment = {
    ...bridgeEnvironment(mkdtempSync(join(folder, "test-")), { simulator, collector }),
    DAPR_STATE_STORE: FAKE_STORE,
    DAPR_HTTP_PORT: String(dapr.port),
    DAPR_API_TOKEN: TOKEN,
  };
});

afterEach(async () => {
  await dapr.close();
  await collector.stop();
  await simulator.stop();
});

/** The sidecar as it is while it starts, or when it was killed. */
const gone: FakeDapr["intercept"] = (_kind, response) => {
  response.destroy();
  return true;
};

it("waits for the sidecar, names one that is gone, and goes on when it is back", async () => {
  dapr.intercept = gone;
  const bridge = startBridgeChild(environment);
  await dapr.nextRequest();
  dapr.intercept = () => false;
  const url = await bridge.url;
  expect((await bridge.collect()).clusters[0]).toMatchObject({ outcome: "successful", error: null });
  expect([...dapr.records.keys()].filter((key) => key.startsWith("progress:"))).toEqual(["progress:sim-1"]);

  dapr.intercept = gone;
  const ready = await fetch(`${url}/readyz`);
  expect(ready.status).toBe(503);
  expect(await ready.text()).toContain("Dapr's sidecar does not answer");
  expect((await bridge.collect()).clusters[0]).toMatchObject({
    outcome: "failed",
    error: { code: "state_unavailable" },
  });
  dapr.intercept = () => false;
  expect((await bridge.collect()).clusters[0]?.error).toBeNull();
  expect((await fetch(`${url}/readyz`)).status).toBe(200);

  bridge.signal("SIGTERM");
  expect(await bridge.ended).toBe(0);
  expect(bridge.stdout() + bridge.stderr()).not.toContain(TOKEN);
});

it("ends at SIGTERM while it waits for the sidecar", async () => {
  dapr.intercept = gone;
  const bridge = startBridgeChild(environment);
  await dapr.nextRequest();
  bridge.signal("SIGTERM");
  expect(await bridge.ended).toBe(0);
});
