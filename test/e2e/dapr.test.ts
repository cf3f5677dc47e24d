import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { StartedTestContainer } from "testcontainers";
import { afterAll, beforeAll, expect, it } from "vitest";
import { startBridge, type BridgeProcess } from "./bridge-process.ts";
import { daprContainer, withValue } from "./dapr-sidecar.ts";
import { freePort } from "./stack.ts";

// Dapr's real sidecar with the component of dapr/: its cron binding must start rounds, with the token it is given.

const EVERY_TWO_SECONDS = '"*/2 * * * * *"';

let directory: string;
let bridge: BridgeProcess | undefined;
let sidecar: StartedTestContainer | undefined;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "budcluster-dapr-"));
  const [port, token, readToken] = [
    await freePort(),
    randomBytes(16).toString("hex"),
    randomBytes(16).toString("hex"),
  ];
  const sha256 = createHash("sha256").update(readToken).digest("hex");
  await writeFile(
    join(directory, "tokens.yaml"),
    JSON.stringify([{ name: "test", sha256, scopes: ["read"] }]),
  );
  await writeFile(join(directory, "clusters.yaml"), "clusters: []");
  bridge = await startBridge(
    {
      ROLE: "bridge",
      HOST: "0.0.0.0",
      DATA_DIR: join(directory, "data"),
      CLUSTERS_FILE: join(directory, "clusters.yaml"),
      API_TOKENS_FILE: join(directory, "tokens.yaml"),
      APP_API_TOKEN: token,
      OWN_METRICS_INTERVAL: "0",
    },
    port,
    { authorization: `Bearer ${readToken}` },
  );
  const cron = await readFile("dapr/components/metrics-collection-cron.yaml", "utf8");
  sidecar = await daprContainer({ "cron.yaml": withValue(cron, '"0 */5 * * * *"', EVERY_TWO_SECONDS) }, [
    "--app-port",
    String(port),
    "--app-channel-address",
    "host.docker.internal",
  ])
    .withExtraHosts([{ host: "host.docker.internal", ipAddress: "host-gateway" }])
    .withEnvironment({ APP_API_TOKEN: token })
    .start();
});

afterAll(async () => {
  await sidecar?.stop();
  await bridge?.kill("SIGKILL");
  if (directory) await rm(directory, { recursive: true, force: true });
});

it("Dapr's cron binding starts rounds", async () => {
  const lastRound = async (): Promise<string | undefined> => (await bridge!.status()).last_round?.id;
  await expect.poll(lastRound, { timeout: 30_000, interval: 250 }).toBeDefined();
  const first = await lastRound();
  await expect.poll(lastRound, { timeout: 30_000, interval: 250 }).not.toBe(first);
});
