import { DatabaseSync } from "node:sqlite";
import { join } from "node:path";
import { expect, test } from "vitest";
import { apiEnvironment, createClustersApi } from "../helpers/clusters-api.ts";
import { startTestSystem } from "../helpers/test-system.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";

const folder = createTemporaryFolder();
const DAMAGED = "state_record_damaged";

/** Writes texts in place of records of a program that has ended, as no writer of ours would. */
function spoil(directory: string, texts: Readonly<Record<string, string>>): void {
  const database = new DatabaseSync(join(directory, "data", "state.sqlite"));
  const update = database.prepare("UPDATE records SET value = ? WHERE key = ?");
  for (const [key, text] of Object.entries(texts)) expect(update.run(text, key).changes).toBe(1);
  database.close();
}

test("records that are cut or changed are named, and hurt no other cluster", async () => {
  const { bridge, clock, simulator } = await startTestSystem({
    environment: apiEnvironment(folder),
    clusters: 4,
  });
  const api = createClustersApi(() => bridge.url);
  const input = (id: string): Record<string, unknown> => {
    const { name, platform, kubeconfig } = simulator.cluster(id);
    return { id, name, platform, kubeconfig };
  };
  for (const id of ["sim-1", "sim-2", "sim-3", "sim-4"]) await api.create(input(id));
  clock.jump(120_000);
  expect(await bridge.collect()).toMatchObject({ total: 4, successful: 4 });

  await bridge.progress("sim-4");
  spoil(bridge.directory, {
    "cluster:sim-1": '{"id":"sim-1","jw',
    "progress:sim-2": "{",
    "progress:sim-3": "{}",
  });
  await bridge.restart();

  const { clusters, warnings } = await bridge.status();
  expect(clusters.map(({ cluster_id: id, state }) => [id, state])).toEqual([
    ["sim-2", "failing"],
    ["sim-3", "failing"],
    ["sim-4", "healthy"],
  ]);
  expect(clusters.map(({ last_error: error }) => error?.code)).toEqual([DAMAGED, DAMAGED, undefined]);
  expect(warnings.join()).toContain("sim-1: the record can't be read");
  clock.jump(60_000);
  const round = await bridge.collect();
  expect(
    Object.fromEntries(round.clusters.map((each) => [each.cluster_id, each.error?.code ?? null])),
  ).toEqual({
    "sim-2": DAMAGED,
    "sim-3": DAMAGED,
    "sim-4": null,
  });

  // The remedy: each is as new when it is deleted and registered again.
  for (const id of ["sim-1", "sim-2", "sim-3"]) {
    expect((await api.create(input(id))).error.code).toBe("cluster_exists");
    expect((await api.remove(id)).status).toBe(204);
    expect((await api.create(input(id))).status).toBe(201);
  }
  expect(await bridge.collect()).toMatchObject({ total: 4, successful: 4 });
});
