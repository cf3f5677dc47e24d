import { execFileSync } from "node:child_process";
import { renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { systemClock } from "#lib/clock.ts";
import { startSimulator } from "#simulator/simulator.ts";
import { startBridgeChild } from "../helpers/bridge-child.ts";
import { startTestSystem } from "../helpers/test-system.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { bridgeEnvironment, readProgressRecord, SMALL } from "../helpers/test-bridge.ts";

const MINUTE = 60_000;

test("a state file that is gone: what Prometheus has is read again back to MAX_BACKFILL, the time before is lost", async () => {
  const { bridge, clock } = await startTestSystem({
    environment: { MAX_BACKFILL: "10m", INITIAL_LOOKBACK: "2m" },
  });
  for (let round = 0; round < 4; round++) {
    clock.jump(5 * MINUTE);
    expect(await bridge.collect()).toMatchObject({ successful: 1 });
  }
  const before = await bridge.progress("sim-1");
  const first = before.queries["up"]!;
  for (const suffix of ["", "-wal"])
    rmSync(join(bridge.directory, "data", `state.sqlite${suffix}`), { force: true });

  clock.jump(5 * MINUTE);
  await bridge.restart();
  await bridge.collect();
  const { queries } = await bridge.progress("sim-1");
  for (const [name, query] of Object.entries(queries)) {
    const floor = query.attempted - 10 * MINUTE;
    expect([name, query.committed]).toEqual([name, [[floor, query.attempted]]]);
    expect(query.gaps).toEqual([
      { from: expect.any(Number), to: floor, state: "lost", reason: "older than MAX_BACKFILL", points: 0 },
    ]);
    expect(query.gaps[0]!.from).toBeLessThanOrEqual(first.from);
  }
  expect(bridge.logs.map(({ msg }) => msg)).toContain(
    "the record of its progress is missing, although it was collected before: everything back to MAX_BACKFILL is read again",
  );
});

/** Samples of the clusters in the database of a program that has ended. */
function countSamples(directory: string): number {
  const chdb = join(import.meta.dirname, "../../src/allinone/chdb.ts");
  const script = `const { openChdb } = await import(${JSON.stringify(chdb)});
    const logger = { warn() {}, debug() {}, error() {} };
    const path = ${JSON.stringify(join(directory, "clickhouse"))};
    const database = await openChdb({ path, logger, memoryBytesMax: 1e9 });
    const sql = "SELECT count() AS n FROM metrics.otel_metrics_gauge FINAL WHERE MetricName NOT LIKE 'budcluster%'";
    console.log((await database.query(sql))[0].n);
    process.exit(0);`;
  return Number(execFileSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" }));
}

test("an embedded database that was moved away is filled again back to MAX_BACKFILL", async () => {
  const folder = createTemporaryFolder();
  const simulator = await startSimulator({ clock: systemClock, shape: SMALL });
  onTestFinished(() => simulator.stop());
  const collector = { url: "http://127.0.0.1:9" };
  const environment: Record<string, string> = {
    ...bridgeEnvironment(folder, {
      simulator,
      collector: collector as never,
      metrics: ["up", "node_load15"],
    }),
    ROLE: "all-in-one",
    METRICS_COLLECTION_TIMEOUT: "10",
    EXPORT_TIMEOUT: "10",
    INITIAL_LOOKBACK: "10m",
  };
  const data = environment["DATA_DIR"]!;
  const collectOnce = async (): Promise<void> => {
    const child = startBridgeChild(environment);
    expect(await child.collect()).toMatchObject({ successful: 1 });
    child.signal("SIGTERM");
    expect(await child.ended).toBe(0);
  };
  await collectOnce();
  const samples = countSamples(data);
  expect(samples).toBeGreaterThan(0);
  const { from } = (await readProgressRecord(data, "sim-1")).queries["up"]!;

  renameSync(join(data, "clickhouse"), join(data, "clickhouse.damaged"));
  await collectOnce();
  expect(countSamples(data)).toBeGreaterThanOrEqual(samples);
  expect((await readProgressRecord(data, "sim-1")).queries["up"]!.committed[0]![0]).toBe(from);
});
