import { readFileSync, readlinkSync, readdirSync } from "node:fs";
import { expect, onTestFinished, test } from "vitest";
import { startSimulator } from "#simulator/simulator.ts";
import { startBridgeChild } from "../helpers/bridge-child.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { bridgeEnvironment, SMALL } from "../helpers/test-bridge.ts";

const directory = createTemporaryFolder();

/** Loopback ports on which a process listens (proc(5), net/tcp: local address, state 0A). */
function portsOf(pid: number): number[] {
  const inodes = new Set(
    readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      const target = readlinkSync(`/proc/${pid}/fd/${fd}`);
      return /^socket:\[(\d+)\]$/.exec(target)?.[1] ?? [];
    }),
  );
  return readFileSync(`/proc/${pid}/net/tcp`, "utf8")
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , , state, , , , , , inode]) => state === "0A" && inodes.has(inode ?? ""))
    .map(([, local]) => Number.parseInt(local!.split(":")[1]!, 16));
}

test("all-in-one stores what it collects with OTLP_COMPRESSION=zstd, and takes nothing from another process", async () => {
  const simulator = await startSimulator({ clusters: 1, shape: SMALL });
  onTestFinished(() => simulator.stop());
  const { OTEL_COLLECTOR_ENDPOINT: _unused, ...environment } = bridgeEnvironment(directory, {
    simulator,
    collector: { url: "http://127.0.0.1:9" } as never,
  });
  const child = startBridgeChild({
    ...environment,
    ROLE: "all-in-one",
    OTLP_COMPRESSION: "zstd",
    OTLP_HEADERS: "authorization=Bearer%20for-another-collector",
    EXPORT_TIMEOUT: "20",
    METRICS_COLLECTION_TIMEOUT: "20",
  });
  const round = await child.collect();
  expect(round).toMatchObject({ successful: 1, failed: 0, partial: 0 });
  expect(round.points).toBeGreaterThan(100);
  const own = Number(new URL(await child.url).port);
  const others = portsOf(child.pid).filter((port) => port !== own);
  expect(others).toHaveLength(1);
  const answer = await fetch(`http://127.0.0.1:${others[0]}/v1/metrics`, {
    method: "POST",
    headers: { "content-type": "application/x-protobuf" },
    body: new Uint8Array(),
  });
  expect(answer.status).toBe(401);
  expect(await answer.text()).toContain("OpenTelemetry Collector");
  child.signal("SIGTERM");
  expect(await child.ended).toBe(0);
});
