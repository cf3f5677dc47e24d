import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import type { BridgeError } from "#errors/error.ts";
import type { StateStore } from "#state/store.ts";
import { bridgeErrorOf } from "./bridge-error-of.ts";

/** The contract of every state store. Each test opens one, which may contain records of other tests: keys are unique. */
export function testStore(name: string, open: () => StateStore | Promise<StateStore>): void {
  const unique = (key: string): string => `${key}-${randomUUID()}`;
  const withStore = async (run: (store: StateStore) => Promise<void>): Promise<void> => {
    const store = await open();
    try {
      await run(store);
    } finally {
      await store.close();
    }
  };

  test(`${name}: gives back what was put, with a new ETag for each write`, () =>
    withStore(async (store) => {
      const key = unique("progress:a");
      await store.check();
      expect(await store.get(key)).toBeUndefined();
      const value = { text: "ß\u0000 日本 <&>\u2028", list: [1, null, 1.5e-300, 2 ** 53 - 1], no: {} };
      const first = await store.put(key, value, undefined);
      expect(await store.get(key)).toEqual({ value, etag: first });
      const second = await store.put(key, 2, first);
      expect(second).not.toBe(first);
      expect(await store.get(key)).toEqual({ value: 2, etag: second });
    }));

  test(`${name}: keeps every kind of JSON value`, () =>
    withStore(async (store) => {
      for (const value of [null, false, 0, "", "text", '{"a":1}', [], {}, [[{ a: [] }]]]) {
        const key = unique("value");
        const etag = await store.put(key, value, undefined);
        expect(await store.get(key)).toEqual({ value, etag });
      }
    }));

  test(`${name}: gives many records at once, with their ETags, and leaves out missing ones`, () =>
    withStore(async (store) => {
      expect(await store.getMany([])).toEqual(new Map());
      const keys = Array.from({ length: 150 }, (_, i) => unique(`lease:ß%/${i}`));
      const etags = new Map<string, string>();
      for (const key of keys.slice(1)) etags.set(key, await store.put(key, { of: key }, undefined));
      const found = await store.getMany([...keys, keys[1]!]);
      expect([...found.keys()].sort()).toEqual(keys.slice(1).sort());
      for (const [key, record] of found) expect(record).toEqual({ value: { of: key }, etag: etags.get(key) });
    }));

  test(`${name}: refuses a write on an old ETag, on a missing one and on a key that is gone, and changes nothing`, () =>
    withStore(async (store) => {
      const [key, other] = [unique("a"), unique("b")];
      const first = await store.put(key, 1, undefined);
      const second = await store.put(key, 2, first);
      for (const [where, etag] of [
        [key, first],
        [key, undefined],
        [other, first],
      ] as const) {
        expect((await bridgeErrorOf(store.put(where, 3, etag))).code).toBe("state_conflict");
      }
      expect(await store.get(key)).toEqual({ value: 2, etag: second });
      expect(await store.get(other)).toBeUndefined();
    }));

  test(`${name}: a key that was deleted and made again never gets an earlier ETag`, () =>
    withStore(async (store) => {
      const key = unique("lease:a");
      const first = await store.put(key, "mine", undefined);
      await store.delete(key);
      await store.delete(key);
      expect(await store.get(key)).toBeUndefined();
      const again = await store.put(key, "yours", undefined);
      expect(again).not.toBe(first);
      expect((await bridgeErrorOf(store.put(key, "mine", first))).code).toBe("state_conflict");
      expect(await store.get(key)).toEqual({ value: "yours", etag: again });
    }));

  test(`${name}: keys are taken literally`, () =>
    withStore(async (store) => {
      const mark = randomUUID();
      const keys = [
        ":",
        "/",
        "%",
        "%2F",
        "||",
        "?a=b&c",
        "..",
        "ß 日本",
        "Ä",
        "ä",
        '"',
        "'",
        "\\",
        "#",
        "+",
        " ",
      ];
      const etags = new Map<string, string>();
      for (const part of keys) {
        const key = `${mark}${part}x`;
        etags.set(key, await store.put(key, part, undefined));
      }
      for (const [i, [key, etag]] of [...etags].entries()) {
        expect(await store.get(key)).toEqual({ value: keys[i], etag });
        await store.delete(key);
        expect(await store.get(key)).toBeUndefined();
      }
    }));

  test(`${name}: of many who write at once on one ETag exactly one succeeds`, () =>
    withStore(async (store) => {
      const key = unique("race");
      let etag: string | undefined;
      for (let round = 0; round < 5; round++) {
        const base = etag;
        const results = await Promise.allSettled(
          Array.from({ length: 8 }, async (_, writer) => await store.put(key, { round, writer }, base)),
        );
        const won = results.flatMap((result, writer) =>
          result.status === "fulfilled" ? [{ writer, etag: result.value }] : [],
        );
        expect(won).toHaveLength(1);
        etag = won[0]!.etag;
        expect(await store.get(key)).toEqual({ value: { round, writer: won[0]!.writer }, etag });
        const reasons = results.flatMap((result) =>
          result.status === "rejected" ? [(result.reason as BridgeError).code] : [],
        );
        expect(new Set(reasons)).toEqual(new Set(["state_conflict"]));
      }
    }));

  test(`${name}: keeps a record of three megabytes`, () =>
    withStore(async (store) => {
      const key = unique("large");
      const value = Array.from({ length: 30_000 }, (_, i) => [i, "x".repeat(92)]);
      const etag = await store.put(key, value, undefined);
      expect(await store.get(key)).toEqual({ value, etag });
    }));

  test(`${name}: refuses keys and values it can't keep`, () =>
    withStore(async (store) => {
      for (const [key, value] of [
        ["", 1],
        ["k".repeat(513), 1],
        ["a", undefined],
        ["a", "x".repeat(17 * 1024 * 1024)],
      ] as const) {
        expect((await bridgeErrorOf(store.put(key, value, undefined))).code).toBe("internal");
      }
    }));
}
