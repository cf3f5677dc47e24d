import { join } from "node:path";
import { expect, test } from "vitest";
import { createSqliteStore } from "#state/sqlite-store.ts";
import { startTestSystem } from "../helpers/test-system.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { clusterRecord } from "../helpers/stored-clusters.ts";

const KEY = "clusters:index";

test.each([
  ["a deletion that was cut off", { ids: [], creating: [], deleting: ["sim-1"] }],
  [
    "a registration that was given up",
    { ids: [], creating: [{ id: "sim-1", by: "a dead process", at: 0 }], deleting: [] },
  ],
])("%s does not touch the progress of a cluster that CLUSTERS_FILE defines since", async (_what, index) => {
  const { bridge, clock } = await startTestSystem();
  clock.jump(60_000);
  expect(await bridge.collect()).toMatchObject({ successful: 1 });
  const before = await bridge.progress("sim-1");

  const path = join(bridge.directory, "data", "state.sqlite");
  const leaveBehind = createSqliteStore({ path, logger: createSilentLogger() });
  await leaveBehind.put("cluster:sim-1", clusterRecord("sim-1"), undefined);
  await leaveBehind.put(KEY, index, (await leaveBehind.get(KEY))?.etag);
  await leaveBehind.close();

  // Longer than INITIAL_LOOKBACK: a progress that begins anew would leave a hole.
  clock.jump(600_000);
  await bridge.restart();
  expect(await bridge.collect()).toMatchObject({ successful: 1 });
  const after = await bridge.progress("sim-1");
  for (const [query, { from }] of Object.entries(before.queries)) {
    const { committed, attempted } = after.queries[query]!;
    expect([query, committed]).toEqual([query, [[from, attempted]]]);
  }
  // The credentials of the deleted cluster are gone nevertheless.
  const store = createSqliteStore({ path, logger: createSilentLogger() });
  expect(await store.get("cluster:sim-1")).toBeUndefined();
  expect((await store.get(KEY))?.value).toEqual({ ids: [], creating: [], deleting: [] });
  await store.close();
});
