import { expect, test } from "vitest";
import { createLimiter } from "#lib/limit.ts";

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("at most so many run at once, first come first served", async () => {
  const limit = createLimiter(2);
  const begun: number[] = [];
  const ends: (() => void)[] = [];
  const all = Array.from({ length: 5 }, (_, i) =>
    limit(async () => {
      begun.push(i);
      await new Promise<void>((resolve) => ends.push(resolve));
      return i * 10;
    }),
  );
  expect(begun).toEqual([0, 1]);
  ends[1]!();
  await settled();
  expect(begun).toEqual([0, 1, 2]);
  while (ends.length < 5) {
    for (const end of ends) end();
    await settled();
  }
  for (const end of ends) end();
  expect(await Promise.all(all)).toEqual([0, 10, 20, 30, 40]);
});

test("a failure is its caller's and frees the place", async () => {
  const limit = createLimiter(1);
  const failure = new Error("failed");
  const first = limit(() => Promise.reject(failure));
  const second = limit(() => Promise.resolve("ran"));
  await expect(first).rejects.toBe(failure);
  expect(await second).toBe("ran");
  expect(await limit(() => Promise.resolve("again"))).toBe("again");
});
