import { expect, test } from "vitest";
import { createRecord } from "#lib/records.ts";

const INHERITED = Object.getOwnPropertyNames(Object.prototype);

test.each(INHERITED)("%s is a key like any other, over JSON too", (name) => {
  const record = createRecord<number>();
  expect(record[name]).toBeUndefined();
  record[name] = 1;
  expect(Object.entries(record)).toEqual([[name, 1]]);
  const again = createRecord(JSON.parse(JSON.stringify(record)) as Record<string, number>);
  expect(Object.entries(again)).toEqual([[name, 1]]);
  expect(Object.entries({ ...again })).toEqual([[name, 1]]);
});
