import { readFile } from "node:fs/promises";
import { getContainerRuntimeClient, Network, type StartedTestContainer } from "testcontainers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { systemClock } from "#lib/clock.ts";
import { createSecret } from "#lib/secret.ts";
import { createDaprStore } from "#state/dapr-store.ts";
import type { StateStore } from "#state/store.ts";
import { bridgeErrorOf } from "../helpers/bridge-error-of.ts";
import { testStore } from "../helpers/store-contract.ts";
import { daprContainer, redisContainer, withValue } from "./dapr-sidecar.ts";

// The state store on Dapr's real sidecar with the component of dapr/ and a real Redis behind it.

const TOKEN = "a-token-of-the-sidecar";
let network: Awaited<ReturnType<Network["start"]>>;
let redis: StartedTestContainer;
let sidecar: StartedTestContainer;

beforeAll(async () => {
  network = await new Network().start();
  redis = await redisContainer().withNetwork(network).withNetworkAliases("redis").start();
  const statestore = await readFile("dapr/components/statestore.yaml", "utf8");
  sidecar = await daprContainer(
    { "statestore.yaml": withValue(statestore, "localhost:6379", "redis:6379") },
    [],
  )
    .withNetwork(network)
    .withEnvironment({ DAPR_API_TOKEN: TOKEN })
    .withExposedPorts(3500)
    .start();
});

afterAll(async () => {
  await sidecar?.stop();
  await redis?.stop();
  await network?.stop();
});

function open(storeName = "statestore", token = TOKEN, requestTimeoutMs = 5000): Promise<StateStore> {
  const settings = { storeName, port: sidecar.getMappedPort(3500), requestTimeoutMs };
  return createDaprStore({ clock: systemClock }, { ...settings, apiToken: createSecret(token) });
}

describe("Dapr's sidecar before Redis", () => {
  testStore("Dapr", () => open());

  it("says what is wrong with the name and the token", async () => {
    expect((await bridgeErrorOf((await open("other")).check())).message).toBe(
      'Dapr\'s sidecar has no state store "other"',
    );
    expect((await bridgeErrorOf((await open("statestore", "another-token")).check())).message).toBe(
      "Dapr's sidecar refuses the token",
    );
  });

  it("a Redis that hangs, then a sidecar that hangs, are named, and the store is used again after them", async () => {
    const { container } = await getContainerRuntimeClient();
    const store = await open("statestore", TOKEN, 2000);
    let etag = await store.put("outage", 0, undefined);
    for (const part of [redis, sidecar]) {
      const handle = container.getById(part.getId());
      await handle.pause();
      expect((await bridgeErrorOf(store.put("outage", "lost?", etag))).code).toBe("state_unavailable");
      await handle.unpause();
      await expect.poll(() => store.check().then(() => "ready", String), { timeout: 30_000 }).toBe("ready");
      const record = (await store.get<unknown>("outage"))!;
      expect(record.value).toBe(0);
      etag = await store.put("outage", 0, record.etag);
    }
    await store.close();
  });

  it("a sidecar that is gone is said at once", async () => {
    const store = await open();
    await store.check();
    const { container } = await getContainerRuntimeClient();
    await container.getById(sidecar.getId()).stop({ t: 0 });
    const error = await bridgeErrorOf(store.check());
    expect(error.message).toContain("Dapr's sidecar does not answer");
  });
});
