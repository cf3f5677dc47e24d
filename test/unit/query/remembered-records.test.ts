import { expect, test } from "vitest";
import { BridgeError } from "#errors/error.ts";
import type { CollectionRecords, ReadRecords } from "#query/collection-record.ts";
import { rememberRecords } from "#query/remembered-records.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { createManualClock } from "../../helpers/manual-clock.ts";

const query = { query: "up", watermarkMs: 0, openGaps: 0, lostGaps: 0, samplesRead: 0, samplesSent: 0 };

function createSource(queries = 1) {
  const read: number[] = [];
  let firsts = 0;
  const records: CollectionRecords = {
    read: (clusterId, { baseMs }) => {
      read.push(baseMs);
      if (clusterId === "unknown") throw new BridgeError("cluster_not_found", "no samples");
      const known: ReadRecords = {
        record: {
          up: null,
          credentialsExpireMs: null,
          queries: Array.from({ length: queries }, () => query),
        },
        before: [],
        // Reports are 300 ms apart here.
        beforeHolds: { fromMs: Math.floor(baseMs / 300) * 300, toMs: (Math.floor(baseMs / 300) + 1) * 300 },
      };
      return Promise.resolve(known);
    },
    firstAttempt: () => Promise.resolve(++firsts),
  };
  const clock = createManualClock();
  return { read, clock, remembered: rememberRecords({ records, clock }) };
}

const at = (baseMs: number) => ({ nowMs: 1_000_000, baseMs });

test("a record is read once in five seconds, and again for a range that begins before another report", async () => {
  const { read, clock, remembered } = createSource();
  const first = await remembered.read("a", at(300), undefined);
  clock.advance(4999);
  expect(await remembered.read("a", at(599), undefined)).toBe(first);
  expect(await remembered.read("a", at(600), undefined)).not.toBe(first);
  expect(await remembered.read("a", at(300), undefined)).toBe(first);
  expect(await remembered.read("b", at(300), undefined)).not.toBe(first);
  expect(read).toEqual([300, 600, 300]);
  clock.advance(1);
  await remembered.read("a", at(300), undefined);
  expect(read).toEqual([300, 600, 300, 300]);
});

test("a record is as old as the beginning of its reading", async () => {
  const { read, clock, remembered } = createSource();
  const reading = remembered.read("a", at(0), undefined);
  clock.advance(5000);
  await reading;
  await remembered.read("a", at(0), undefined);
  expect(read).toEqual([0, 0]);
});

test("errors and very large records are not kept, nor more than a thousand clusters", async () => {
  const { read, remembered } = createSource();
  for (const _ of [1, 2]) {
    const error = await bridgeErrorOf((async () => await remembered.read("unknown", at(0), undefined))());
    expect(error.code).toBe("cluster_not_found");
  }
  expect(read).toHaveLength(2);
  for (let i = 0; i <= 1000; i++) await remembered.read(`c-${i}`, at(0), undefined);
  await remembered.read("c-1000", at(0), undefined);
  expect(read).toHaveLength(1003);
  await remembered.read("c-0", at(0), undefined);
  expect(read).toHaveLength(1004);

  const large = createSource(2001);
  for (const _ of [1, 2]) await large.remembered.read("a", at(0), undefined);
  expect(large.read).toHaveLength(2);
});

test("the first attempt is kept as long", async () => {
  const { clock, remembered } = createSource();
  expect(await remembered.firstAttempt("a", undefined)).toBe(1);
  clock.advance(4999);
  expect(await remembered.firstAttempt("a", undefined)).toBe(1);
  clock.advance(1);
  expect(await remembered.firstAttempt("a", undefined)).toBe(2);
});
