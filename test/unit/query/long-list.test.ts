import { expect, test } from "vitest";
import { toLongList } from "#query/long-list.ts";

test("a list is one parameter, also an empty one", () => {
  expect(toLongList("ids", ["a", "b"])).toEqual({
    sql: "{ids_0:Array(String)}",
    parameters: { ids_0: ["a", "b"] },
  });
  expect(toLongList("ids", [])).toEqual({ sql: "{ids_0:Array(String)}", parameters: { ids_0: [] } });
});

test("no parameter is longer than ClickHouse takes one (http_max_field_value_size, 128 KiB), and no text is lost", () => {
  const texts = Array.from({ length: 10_000 }, (_, i) => `${i}-ééé`.padEnd(20, "x"));
  const { sql, parameters } = toLongList("ids", texts);
  const parts = Object.values(parameters) as string[][];
  expect(parts.flat()).toEqual(texts);
  expect(parts.length).toBeGreaterThan(1);
  for (const part of parts) expect(Buffer.byteLength(JSON.stringify(part))).toBeLessThan(128 * 1024);
  expect(sql).toBe(`arrayConcat(${parts.map((_, i) => `{ids_${i}:Array(String)}`).join(", ")})`);
});
