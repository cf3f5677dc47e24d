import { beforeAll, expect, test } from "vitest";
import { bridgeErrorOf } from "../helpers/bridge-error-of.ts";
import { useEngine } from "../helpers/engine.ts";

// The collection of the role all-in-one writes by the same engine that the queries read.

const engine = useEngine({ migrated: false });
beforeAll(() =>
  engine.database.command("CREATE TABLE default.inserted (n UInt32) ENGINE = MergeTree ORDER BY n"),
);

const insert = (n: number): Promise<void> =>
  engine.database.insertRowBinary(
    "default.inserted",
    [["n", "UInt32"]],
    new Uint8Array(new Uint32Array([n]).buffer),
  );

test("inserts pass a queue that is full of queries", async () => {
  const stop = new AbortController();
  let answered = 0;
  const queries = Array.from({ length: 300 }, (_, index) =>
    engine.database.query(`SELECT sleep(0.05), ${index}`, {}, stop.signal).then(
      () => void answered++,
      () => {},
    ),
  );
  const last = bridgeErrorOf(engine.database.query("SELECT 1"));
  expect((await last).message).toContain("too many statements are waiting");
  await Promise.all([insert(1), insert(2), insert(3)]);
  // The queue had no time to empty: the inserts did not wait for their turn in it.
  expect(answered).toBeLessThan(200);
  stop.abort(new Error("the test has seen enough"));
  await Promise.all(queries);
  expect(await engine.database.query("SELECT n FROM default.inserted ORDER BY n")).toEqual([
    { n: 1 },
    { n: 2 },
    { n: 3 },
  ]);
});
