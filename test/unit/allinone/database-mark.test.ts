import { copyFileSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { DATABASE_MARK, identifyDatabase, type DatabaseIdentity } from "#allinone/database-mark.ts";
import { createMemoryStore, type MemoryStore } from "../../helpers/memory-store.ts";
import { createSilentLogger } from "../../helpers/silent-logger.ts";
import { createTemporaryFolder } from "../../helpers/temporary-folder.ts";

const folder = createTemporaryFolder();
let folders = 0;

interface Place {
  path: string;
  mark: string;
  store: MemoryStore;
  start: (wasMissing?: boolean) => Promise<DatabaseIdentity>;
}

function newPlace(): Place {
  const path = join(folder, String(++folders));
  mkdirSync(join(path, "data"), { recursive: true });
  const place: Place = {
    path,
    mark: join(path, "data", DATABASE_MARK),
    store: createMemoryStore(),
    start: (wasMissing = false) =>
      identifyDatabase({ path, wasMissing }, { store: place.store, logger: createSilentLogger() }),
  };
  return place;
}

test("a database keeps its identity over starts", async () => {
  const place = newPlace();
  const first = await place.start(true);
  expect(first.isNew).toBe(true);
  expect(await place.start()).toEqual({ id: first.id, isNew: false });
  expect(await place.start()).toEqual({ id: first.id, isNew: false });
  expect(statSync(place.mark).mode & 0o777).toBe(0o600);
});

test("the database of an earlier version, without a mark, is the one that was committed to", async () => {
  expect((await newPlace().start(false)).isNew).toBe(false);
});

test.each<[string, (place: Place, backup: string) => void]>([
  ["emptied", ({ path, mark }) => [rmSync(mark), mkdirSync(join(path, "data"), { recursive: true })]],
  ["restored from an older backup", ({ mark }, backup) => copyFileSync(backup, mark)],
  ["another one", ({ mark }) => writeFileSync(mark, JSON.stringify({ id: "other", starts: 99 }))],
  ["one with a damaged mark", ({ mark }) => writeFileSync(mark, '{"id":')],
])("a database that was %s is new", async (_what, replace) => {
  const place = newPlace();
  const first = await place.start(true);
  const backup = `${place.mark}.backup`;
  copyFileSync(place.mark, backup);
  await place.start();
  replace(place, backup);
  const after = await place.start();
  expect([after.isNew, after.id === first.id]).toEqual([true, false]);
  expect(await place.start()).toEqual({ id: after.id, isNew: false });
});

test.each<[string, (place: Place) => Promise<void>]>([
  [
    "was lost",
    async (place) => {
      place.store = createMemoryStore();
    },
  ],
  [
    "was restored from an older backup",
    async ({ store }) => {
      const { value, etag } = (await store.get<{ id: string; starts: number }>("database"))!;
      await store.put("database", { ...value, starts: value.starts - 1 }, etag);
    },
  ],
])("a state store that %s does not make the database another one", async (_what, change) => {
  const place = newPlace();
  const { id } = await place.start(true);
  await place.start();
  await change(place);
  expect(await place.start()).toEqual({ id, isNew: false });
  expect(JSON.parse(readFileSync(place.mark, "utf8"))).toEqual({ id, starts: 3 });
});
