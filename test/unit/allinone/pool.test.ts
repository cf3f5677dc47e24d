import { expect, test } from "vitest";
import { createPool } from "#allinone/pool.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";

function gate(): { opened: Promise<void>; open: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { opened: promise, open: resolve };
}

/** Lets every promise reaction that is due run. */
function settled(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

test("gives each item to one user at a time, first come first served", async () => {
  const pool = createPool(["a", "b"], { waitingMax: 10 });
  const gates = [gate(), gate(), gate(), gate()];
  const log: string[] = [];
  const users = gates.map(({ opened }, index) =>
    pool.use(async (item) => {
      log.push(`${index}${item}`);
      await opened;
    }),
  );
  await settled();
  expect(log).toEqual(["0b", "1a"]);
  gates[1]?.open();
  await users[1];
  await settled();
  expect(log).toEqual(["0b", "1a", "2a"]);
  for (const { open } of gates) open();
  await Promise.all(users);
  expect(log).toEqual(["0b", "1a", "2a", "3b"]);
});

test("an item comes back after an error", async () => {
  const pool = createPool(["a"], { waitingMax: 10 });
  await expect(pool.use(() => Promise.reject(new Error("no")))).rejects.toThrow("no");
  expect(await pool.use(async (item) => item)).toBe("a");
});

test("refuses when too many wait, and forgets who is aborted while waiting", async () => {
  const pool = createPool(["a"], { waitingMax: 1 });
  const { opened, open } = gate();
  const first = pool.use(() => opened);
  const controller = new AbortController();
  const waiting = pool.use(async () => "never", controller.signal);
  const refused = await bridgeErrorOf(pool.use(async () => {}));
  expect([refused.code, refused.message]).toEqual([
    "storage_unavailable",
    "the embedded ClickHouse engine is busy: too many statements are waiting",
  ]);
  const reason = new Error("gone");
  controller.abort(reason);
  await expect(waiting).rejects.toBe(reason);
  const next = pool.use(async (item) => item);
  open();
  await first;
  expect(await next).toBe("a");
});

test("close refuses those who wait and waits for those who work", async () => {
  const pool = createPool(["a"], { waitingMax: 5 });
  const { opened, open } = gate();
  const working = pool.use(() => opened);
  const waiting = bridgeErrorOf(pool.use(async () => {}));
  let closed = false;
  const closing = pool.close().then(() => {
    closed = true;
  });
  expect((await waiting).message).toBe("the embedded ClickHouse engine is closed");
  expect(closed).toBe(false);
  open();
  await working;
  await closing;
  await pool.close();
  expect((await bridgeErrorOf(pool.use(async () => {}))).code).toBe("storage_unavailable");
});

test("ordinary users leave the reserved item, and preferred ones are next", async () => {
  const pool = createPool(["a", "b", "c"], { waitingMax: 10, reserved: 1 });
  const gates = [gate(), gate(), gate(), gate()];
  const log: string[] = [];
  const users = gates.map(({ opened }, index) =>
    pool.use(async () => {
      log.push(`query ${index}`);
      await opened;
    }),
  );
  await settled();
  expect(log).toEqual(["query 0", "query 1"]);
  await pool.use(async () => void log.push("insert"), undefined, "preferred");
  const { opened, open } = gate();
  const long = pool.use(() => opened, undefined, "preferred");
  const next = pool.use(async () => void log.push("next insert"), undefined, "preferred");
  await settled();
  expect(log).toEqual(["query 0", "query 1", "insert"]);
  gates[0]?.open();
  await next;
  await settled();
  expect(log).toEqual(["query 0", "query 1", "insert", "next insert", "query 2"]);
  open();
  await long;
  await settled();
  expect(log).not.toContain("query 3");
  for (const each of gates) each.open();
  await Promise.all(users);
});

test("a full queue of ordinary users refuses no preferred one", async () => {
  const pool = createPool(["a"], { waitingMax: 1 });
  const { opened, open } = gate();
  const first = pool.use(() => opened);
  const waiting = pool.use(async () => "query");
  expect((await bridgeErrorOf(pool.use(async () => {}))).code).toBe("storage_unavailable");
  const insert = pool.use(async () => "insert", undefined, "preferred");
  expect((await bridgeErrorOf(pool.use(async () => {}, undefined, "preferred"))).code).toBe(
    "storage_unavailable",
  );
  open();
  await first;
  expect(await Promise.race([insert, waiting])).toBe("insert");
  expect(await waiting).toBe("query");
});
