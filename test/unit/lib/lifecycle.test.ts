import { expect, test } from "vitest";
import { createLifecycle } from "#lib/lifecycle.ts";

test("parts end in reverse order, one after the other, each once", async () => {
  const events: string[] = [];
  const lifecycle = createLifecycle(() => {});
  for (const name of ["first", "second", "third"]) {
    lifecycle.onStop(name, async () => {
      events.push(`${name} ends`);
      await Promise.resolve();
      events.push(`${name} ended`);
    });
  }
  await lifecycle.stop();
  await lifecycle.stop();
  expect(events).toEqual([
    "third ends",
    "third ended",
    "second ends",
    "second ended",
    "first ends",
    "first ended",
  ]);
});

test("a part that does not end well is reported and does not keep the others", async () => {
  const errors: [string, unknown][] = [];
  const ended: string[] = [];
  const lifecycle = createLifecycle((part, error) => errors.push([part, error]));
  const failure = new Error("stuck");
  lifecycle.onStop("first", () => void ended.push("first"));
  lifecycle.onStop("rejects", () => Promise.reject(failure));
  lifecycle.onStop("throws", () => {
    throw failure;
  });
  await lifecycle.stop();
  expect(errors).toEqual([
    ["throws", failure],
    ["rejects", failure],
  ]);
  expect(ended).toEqual(["first"]);
});

test("a part that starts after the end has begun is refused, and ended by the next stop", async () => {
  const ended: string[] = [];
  const lifecycle = createLifecycle(() => {});
  lifecycle.onStop("first", () => void ended.push("first"));
  await lifecycle.stop();
  expect(() => lifecycle.onStop("late", () => void ended.push("late"))).toThrow(/late started after/);
  await lifecycle.stop();
  expect(ended).toEqual(["first", "late"]);
});
