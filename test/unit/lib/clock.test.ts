import { getEventListeners } from "node:events";
import { expect, test } from "vitest";
import { abortable, deadline, systemClock } from "#lib/clock.ts";
import { createManualClock } from "../../helpers/manual-clock.ts";

const LATE = new Error("late");
const STOP = new Error("stop");

test("a deadline aborts at its time with its reason", () => {
  const clock = createManualClock();
  const { signal } = deadline(clock, 1000, () => LATE);
  clock.advance(999);
  expect(signal.aborted).toBe(false);
  clock.advance(1);
  expect(signal.reason).toBe(LATE);
});

test("a deadline follows its parent when that comes first, and keeps the first reason", () => {
  const clock = createManualClock();
  const parent = new AbortController();
  const { signal } = deadline(clock, 1000, () => LATE, parent.signal);
  parent.abort(STOP);
  clock.advance(2000);
  expect(signal.reason).toBe(STOP);
});

test("a deadline under a parent that is aborted already is aborted", () => {
  const { signal } = deadline(createManualClock(), 1000, () => LATE, AbortSignal.abort(STOP));
  expect(signal.reason).toBe(STOP);
});

test("a deadline that is disposed leaves neither timer nor listener and aborts no more", () => {
  const clock = createManualClock();
  const parent = new AbortController();
  const { signal, dispose } = deadline(clock, 1000, () => LATE, parent.signal);
  dispose();
  expect(clock.pending()).toBe(0);
  expect(getEventListeners(parent.signal, "abort")).toEqual([]);
  parent.abort(STOP);
  clock.advance(2000);
  expect(signal.aborted).toBe(false);
});

test("abortable work settles as the work does, and leaves no listener", async () => {
  const { signal } = new AbortController();
  expect(await abortable(Promise.resolve(7), signal)).toBe(7);
  await expect(abortable(Promise.reject(LATE), signal)).rejects.toBe(LATE);
  expect(getEventListeners(signal, "abort")).toEqual([]);
});

test("abortable work is left as soon as the signal is aborted; how it fails later goes unobserved", async () => {
  const controller = new AbortController();
  const { promise, reject } = Promise.withResolvers<never>();
  const work = abortable(promise, controller.signal);
  controller.abort(STOP);
  await expect(work).rejects.toBe(STOP);
  reject(LATE);
  await expect(abortable(Promise.reject(LATE), controller.signal)).rejects.toBe(STOP);
});

test("the system's sleep ends with the signal's reason", async () => {
  await expect(systemClock.sleep(60_000, AbortSignal.abort(STOP))).rejects.toBe(STOP);
  const controller = new AbortController();
  const sleep = systemClock.sleep(60_000, controller.signal);
  controller.abort(STOP);
  await expect(sleep).rejects.toBe(STOP);
  await systemClock.sleep(0);
});

test("the system's timers run once, unless they are cancelled", async () => {
  let runs = 0;
  const cancel = systemClock.after(0, () => (runs += 100));
  cancel();
  systemClock.after(0, () => runs++);
  while (runs === 0) await systemClock.sleep(0);
  expect(runs).toBe(1);
});

test("the system's monotonic time does not go back", () => {
  const before = systemClock.monotonic();
  expect(systemClock.monotonic()).toBeGreaterThanOrEqual(before);
  expect(systemClock.now()).toBeGreaterThan(1_700_000_000_000);
});
