import { describe, expect, test } from "vitest";
import { createMemoryBudget, type MemoryAccount } from "#lib/memory-budget.ts";

const { signal } = new AbortController();
const nothing = (): void => {};

/** Lets the event loop turn a few times. */
async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => void setImmediate(resolve));
}

/** Notes when an account gets its room. */
function waitFor(account: MemoryAccount, name: string, order: string[]): void {
  void account.room()?.then(() => order.push(name));
}

describe("the memory budget", () => {
  test("below it nobody waits", () => {
    const budget = createMemoryBudget(100);
    const account = budget.open(nothing, signal);
    account.add(99);
    expect(account.room()).toBeUndefined();
    expect(budget.used()).toBe(99);
  });

  test("who waits flushes everything that is held, and goes on when it came back", async () => {
    const budget = createMemoryBudget(100);
    const flushed: string[] = [];
    const one = budget.open(() => flushed.push("one"), signal);
    const two = budget.open(() => flushed.push("two"), signal);
    budget.open(() => flushed.push("three"), signal);
    one.add(40);
    two.add(60);
    const order: string[] = [];
    waitFor(one, "one", order);
    await settle();
    expect(flushed).toEqual(["two", "one"]);
    expect(order).toEqual([]);
    two.add(-60);
    await settle();
    expect(order).toEqual(["one"]);
  });

  test("those who wait go on in turn, each after the one before took its bytes", async () => {
    const budget = createMemoryBudget(100);
    const holder = budget.open(nothing, signal);
    holder.add(150);
    const order: string[] = [];
    const readers = ["a", "b", "c", "d"].map((name) => {
      const account = budget.open(nothing, signal);
      void account.room()!.then(() => {
        order.push(name);
        account.add(60);
      });
      return account;
    });
    holder.add(-150);
    await settle();
    // 60 of 100 are used when b looks, 120 when c does.
    expect(order).toEqual(["a", "b"]);
    readers[0]!.add(-60);
    await settle();
    expect(order).toEqual(["a", "b", "c"]);
    readers[1]!.add(-60);
    readers[2]!.add(-60);
    await settle();
    expect(order).toEqual(["a", "b", "c", "d"]);
  });

  test("a closed account gives everything back, and its waits end", async () => {
    const budget = createMemoryBudget(100);
    const one = budget.open(nothing, signal);
    const two = budget.open(nothing, signal);
    one.add(100);
    const order: string[] = [];
    waitFor(two, "two", order);
    waitFor(one, "one", order);
    one.close();
    one.add(-100);
    await settle();
    expect(order.toSorted()).toEqual(["one", "two"]);
    expect(budget.used()).toBe(0);
  });

  test("an aborted reader waits no longer, and keeps nobody else waiting", async () => {
    const budget = createMemoryBudget(100);
    const stop = new AbortController();
    const holder = budget.open(nothing, signal);
    holder.add(100);
    const order: string[] = [];
    waitFor(budget.open(nothing, stop.signal), "aborted", order);
    waitFor(budget.open(nothing, signal), "other", order);
    stop.abort(new Error("over"));
    await settle();
    expect(order).toEqual(["aborted"]);
    holder.add(-1);
    await settle();
    expect(order).toEqual(["aborted", "other"]);
  });
});
