import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { StartedTestContainer } from "testcontainers";
import { afterEach, expect, it } from "vitest";
import type { RoundResult } from "#collect/status.ts";
import { startBridge, type BridgeProcess } from "./bridge-process.ts";
import { daprContainer, withValue } from "./dapr-sidecar.ts";
import { freePort } from "./stack.ts";

// Dapr's real sidecar with the component of dapr/: its cron binding must start rounds, with the token it is given.

const EVERY_TWO_SECONDS = '"*/2 * * * * *"';

let directory: string | undefined;
let bridge: BridgeProcess | undefined;
let sidecar: StartedTestContainer | undefined;

afterEach(async () => {
  await sidecar?.stop();
  await bridge?.kill("SIGKILL");
  if (directory) await rm(directory, { recursive: true, force: true });
});

/** The bridge with its sidecar; `tokens`: callers, Dapr among them, need one. */
async function start({ tokens }: { tokens: boolean }): Promise<void> {
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
      OWN_METRICS_INTERVAL: "0",
      ...(tokens
        ? { API_TOKENS_FILE: join(directory, "tokens.yaml"), APP_API_TOKEN: token }
        : { AUTH_ENABLED: "false" }),
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
    .withEnvironment(tokens ? { APP_API_TOKEN: token } : {})
    .start();
}

it.each([
  ["with tokens", { tokens: true }],
  ["without tokens", { tokens: false }],
])("Dapr's cron binding starts rounds, which name it as their trigger: %s", async (_name, access) => {
  await start(access);
  const lastRound = async (): Promise<RoundResult | null> => (await bridge!.status()).last_round;
  await expect.poll(lastRound, { timeout: 30_000, interval: 250 }).toMatchObject({ trigger: "dapr" });
  const first = await lastRound();
  const nextId = async (): Promise<string | undefined> => (await lastRound())?.id;
  await expect.poll(nextId, { timeout: 30_000, interval: 250 }).not.toBe(first?.id);
});
