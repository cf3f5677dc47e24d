import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { startSimulator } from "#simulator/simulator.ts";
import { startBridgeChild } from "../helpers/bridge-child.ts";
import { ACCEPT, startOtlpCollector } from "../helpers/otlp-collector.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { bridgeEnvironment, SMALL } from "../helpers/test-bridge.ts";

// Temporary kubeconfigs, CAs and private keys stayed on disk.

it("neither during a round nor after it is there any file but the state", async () => {
  const directory = createTemporaryFolder();
  const temporary = createTemporaryFolder();
  const simulator = await startSimulator({ shape: SMALL });
  const collector = await startOtlpCollector();
  const files = (): string[] => [
    ...readdirSync(temporary),
    ...readdirSync(join(directory, "data")).filter((name) => !/^state\.sqlite(-wal)?$/.test(name)),
  ];
  const during: string[] = [];
  collector.onRequest = () => {
    during.push(...files());
    return ACCEPT;
  };
  try {
    const environment = bridgeEnvironment(directory, { simulator, collector });
    const child = startBridgeChild({ ...environment, TMPDIR: temporary, HOME: temporary });
    expect(await child.collect()).toMatchObject({ successful: 1 });
    expect(collector.requests.length).toBeGreaterThan(0);
    expect(during).toEqual([]);
    expect(files()).toEqual([]);
    child.signal("SIGKILL");
    await child.ended;
    expect(files()).toEqual([]);
  } finally {
    await collector.stop();
    await simulator.stop();
  }
});
