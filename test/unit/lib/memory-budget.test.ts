import { describe, expect, test } from "vitest";
import { createMemoryBudget, type MemoryAccount, type Reservation } from "#lib/memory-budget.ts";

const { signal } = new AbortController();
const nothing = (): void => {};

/** Lets the event loop turn a few times. */
async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => void setImmediate(resolve));
}

/** Notes when an account gets what it asked for; `of` has the reservations. */
function createOrder() {
  const names: string[] = [];
  const of = new Map<string, Reservation>();
  const reserve = (account: MemoryAccount, bytes: number, name: string, until = signal): void => {
    account.reserve(bytes, false, until).then(
      (reservation) => {
        names.push(name);
        of.set(name, reservation);
      },
      () => void names.push(`${name} not`),
    );
  };
  return { names, of, reserve };
}

describe("the memory budget", () => {
  test("below it nobody waits, and what is reserved counts before it is taken", async () => {
    const budget = createMemoryBudget(100);
    const account = budget.open(nothing);
    const reservation = await account.reserve(60, false, signal);
    expect([budget.used(), account.held()]).toEqual([60, 60]);
    expect(reservation.take(50)).toBe(true);
    expect(budget.used()).toBe(60);
    reservation.give(50);
    reservation.release();
    expect(budget.used()).toBe(0);
  });

  test("a read takes more than it reserved while there is room, and nothing beyond", async () => {
    const budget = createMemoryBudget(100);
    const reservation = await budget.open(nothing).reserve(10, false, signal);
    expect(reservation.take(60)).toBe(true);
    const other = budget.open(nothing);
    other.add(30);
    expect(reservation.take(11)).toBe(false);
    expect(reservation.take(10)).toBe(true);
    expect(budget.used()).toBe(100);
  });

  test("a read whose reservation is enough is refused nothing", async () => {
    const budget = createMemoryBudget(100);
    const reservation = await budget.open(nothing).reserve(90, true, signal);
    expect(reservation.take(120)).toBe(true);
    expect(budget.used()).toBe(120);
    reservation.give(120);
    reservation.release();
    expect(budget.used()).toBe(0);
  });

  test("what is in use after the end of a read counts until it is given back", async () => {
    const budget = createMemoryBudget(100);
    const reservation = await budget.open(nothing).reserve(90, false, signal);
    reservation.take(40);
    reservation.release();
    expect(budget.used()).toBe(40);
    reservation.give(15);
    expect(budget.used()).toBe(25);
    reservation.give(25);
    expect(budget.used()).toBe(0);
  });

  test("a read that waits flushes everything that is held, and goes on when it came back", async () => {
    const budget = createMemoryBudget(100);
    const flushed: string[] = [];
    const one = budget.open(() => flushed.push("one"));
    const two = budget.open(() => flushed.push("two"));
    const three = budget.open(() => flushed.push("three"));
    one.add(40);
    two.add(60);
    const { names, reserve } = createOrder();
    expect(three.isShort()).toBe(false);
    reserve(one, 10, "one");
    await settle();
    expect(flushed).toEqual(["two", "one"]);
    expect([names, three.isShort()]).toEqual([[], true]);
    two.add(-60);
    await settle();
    expect([names, three.isShort()]).toEqual([["one"], false]);
  });

  test("reads go on in the order in which they asked, a small one not before a large one", async () => {
    const budget = createMemoryBudget(100);
    const holder = budget.open(nothing);
    holder.add(100);
    const { names, of, reserve } = createOrder();
    for (const [name, bytes] of [
      ["a", 60],
      ["b", 60],
      ["c", 10],
    ] as const)
      reserve(budget.open(nothing), bytes, name);
    holder.add(-30);
    await settle();
    expect(names).toEqual([]);
    holder.add(-70);
    await settle();
    expect(names).toEqual(["a"]);
    expect(budget.used()).toBe(60);
    of.get("a")!.release();
    await settle();
    expect(names).toEqual(["a", "b", "c"]);
    expect(budget.used()).toBe(70);
  });

  test("a read that needs more than the budget gets it while nothing else is in use", async () => {
    const budget = createMemoryBudget(100);
    const { names, of, reserve } = createOrder();
    reserve(budget.open(nothing), 150, "alone");
    reserve(budget.open(nothing), 1, "behind");
    await settle();
    expect(names).toEqual(["alone"]);
    of.get("alone")!.release();
    await settle();
    expect(names).toEqual(["alone", "behind"]);
  });

  test("a closed account gives everything back", async () => {
    const budget = createMemoryBudget(100);
    const one = budget.open(nothing);
    one.add(100);
    const { names, reserve } = createOrder();
    reserve(budget.open(nothing), 50, "two");
    await settle();
    expect(names).toEqual([]);
    one.close();
    one.add(-100);
    await settle();
    expect(names).toEqual(["two"]);
    expect(budget.used()).toBe(50);
  });

  test("an aborted read waits no longer, and keeps nobody else waiting", async () => {
    const budget = createMemoryBudget(100);
    const stop = new AbortController();
    const holder = budget.open(nothing);
    holder.add(90);
    const { names, reserve } = createOrder();
    reserve(budget.open(nothing), 50, "aborted", stop.signal);
    reserve(budget.open(nothing), 10, "other");
    await settle();
    expect(names).toEqual([]);
    stop.abort(new Error("over"));
    await settle();
    expect(names.toSorted()).toEqual(["aborted not", "other"]);
    reserve(budget.open(nothing), 1, "late", stop.signal);
    await settle();
    expect(names.at(-1)).toBe("late not");
    expect(budget.used()).toBe(100);
  });
});
