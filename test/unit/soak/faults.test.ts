import { expect, test } from "vitest";
import { runFaults } from "../../soak/faults.ts";
import { KINDS, nameOf } from "../../soak/plan.ts";
import type { Strike } from "../../soak/parts.ts";

const soon = KINDS.map((kind) => ({ ...kind, atMs: 0, forMs: 1 }));

/** Notes which faults are struck at the same time. */
function createStand(): { strike: Strike; together: Set<string>; away: Set<string> } {
  const away = new Set<string>();
  const together = new Set<string>();
  const strike: Strike = (fault) => {
    for (const other of away) together.add(`${other} | ${nameOf(fault)}`);
    away.add(nameOf(fault));
    return Promise.resolve(() => void away.delete(nameOf(fault)));
  };
  return { strike, together, away };
}

test("strikes and heals each fault, and counts it", async () => {
  const { strike, away } = createStand();
  const struck = new Map<string, number>();
  expect(await runFaults([...soon, ...soon], strike, struck, new AbortController().signal)).toEqual([]);
  expect(away).toEqual(new Set());
  expect(struck).toEqual(new Map(KINDS.map((kind) => [nameOf(kind), 2])));
});

test("strikes one part once at a time, and takes one container from the network at a time", async () => {
  const { strike, together } = createStand();
  const long = soon.map((fault) => ({ ...fault, forMs: 20 }));
  await runFaults(long, strike, new Map(), new AbortController().signal);
  expect(together.size).toBeGreaterThan(0);
  for (const pair of together) {
    const [one, other] = pair.split(" | ").map((name) => name.split(" of "));
    expect(one![1]).not.toBe(other![1]);
    const fromNetwork = [one!, other!].filter(([action, part]) => action !== "pause" && part !== "bridge");
    expect(fromNetwork.length).toBeLessThan(2);
  }
});

test("heals what is struck when it is interrupted, and strikes nothing more", async () => {
  const { strike, away } = createStand();
  const interrupted = new AbortController();
  const struck = new Map<string, number>();
  const plan = [
    { part: "bridge", action: "kill", atMs: 0, forMs: 3_600_000 },
    { part: "Collector", action: "pause", atMs: 3_600_000, forMs: 1 },
  ] as const;
  const strikeOnce: Strike = async (fault) => {
    const heal = await strike(fault);
    interrupted.abort();
    return heal;
  };
  expect(await runFaults(plan, strikeOnce, struck, interrupted.signal)).toEqual([]);
  expect(away).toEqual(new Set());
  expect([...struck.keys()]).toEqual(["kill of bridge"]);
});

test("names a fault that could not be struck or healed, and does not count it", async () => {
  const struck = new Map<string, number>();
  const strike: Strike = ({ part }) => {
    if (part === "kubelet") return Promise.reject(new Error("no such container"));
    return Promise.resolve(() => Promise.reject(new Error("it did not start")));
  };
  const plan = (["kubelet", "Prometheus"] as const).map(
    (part) => ({ part, action: "kill", atMs: 0, forMs: 0 }) as const,
  );
  expect(await runFaults(plan, strike, struck, new AbortController().signal)).toEqual([
    "kill of kubelet: no such container",
    "kill of Prometheus: it did not start",
  ]);
  expect(struck).toEqual(new Map());
});
