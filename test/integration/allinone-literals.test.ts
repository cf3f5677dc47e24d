import { execFileSync } from "node:child_process";
import { open } from "node:fs/promises";
import { join } from "node:path";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { quoteText } from "#allinone/literals.ts";
import { bridgeErrorOf } from "../helpers/bridge-error-of.ts";
import { useEngine } from "../helpers/engine.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";

// The embedded engine takes parameters as literals in the statement's text.

const engine = useEngine({ migrated: false });

/** As every UTF-8 text: a lone surrogate is U+FFFD. */
const asUtf8 = (text: string): string => Buffer.from(text, "utf8").toString("utf8");

const hostile = fc.constantFrom(
  "'",
  "\\",
  "\\'",
  "''",
  "\0",
  "\n",
  "' OR 1 = 1 -- ",
  "\\' UNION ALL SELECT 1 -- ",
  "{text:String}",
  "{number:Int64}",
  "/*",
  "*/",
  "$tag$",
  "\ud800",
  "🙂",
);
const texts = fc.oneof(
  fc.string({ unit: "binary", maxLength: 40 }),
  fc.string({ maxLength: 40 }),
  fc.array(hostile, { maxLength: 6 }).map((parts) => parts.join("")),
);

interface Row {
  text: string;
  quoted: string;
  texts: string[];
  number: string;
  double: number | string;
  time: string;
  end: string;
}

test("any text, array, number and time arrives as it was sent, and nothing leaves its literal", async () => {
  await fc.assert(
    fc.asyncProperty(
      texts,
      fc.array(texts, { maxLength: 5 }),
      fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
      fc.double(),
      fc.integer({ min: 0, max: 4_000_000_000_000 }),
      async (text, array, number, double, timeMs) => {
        const rows = await engine.database.query<Row>(
          `SELECT {text:String} AS text, ${quoteText(text)} AS quoted, {texts:Array(String)} AS texts, {number:Int64} AS number,
             {double:Float64} AS double, toUnixTimestamp64Milli(fromUnixTimestamp64Milli({time:Int64})) AS time, 'end' AS end`,
          { text, texts: array, number: String(number), double, time: timeMs },
        );
        const sent = Number.isFinite(double)
          ? double + 0
          : String(double).replace("Infinity", "inf").toLowerCase();
        expect(rows).toEqual([
          {
            text: asUtf8(text),
            quoted: asUtf8(text),
            texts: array.map(asUtf8),
            number: String(number),
            double: sent,
            time: String(timeMs),
            end: "end",
          },
        ]);
      },
    ),
    { numRuns: 300 },
  );
});

test.each([
  ["Int64", "1 OR 1 = 1"],
  ["Int64", "1) UNION ALL SELECT 2 -- "],
  ["UInt8", "nan"],
  ["Float64", "'"],
])("a text that is no %s is refused: %s", async (type, value) => {
  const error = await bridgeErrorOf(engine.database.query(`SELECT {value:${type}} AS value`, { value }));
  expect(error.code).toBe("storage_failed");
});

test("a parameter may be where the engine wants a constant", async () => {
  const rows = await engine.database.query(
    `SELECT number FROM numbers({count:UInt64}) WHERE number IN (SELECT toUInt64(arrayJoin({wanted:Array(String)}))) ORDER BY number LIMIT {limit:UInt32}`,
    { count: 10, wanted: ["3", "1", "2"], limit: 2 },
  );
  expect(rows).toEqual([{ number: "1" }, { number: "2" }]);
});

test("a place without a value is refused, whatever the object's prototype has", async () => {
  for (const name of ["missing", "constructor", "toString"]) {
    const error = await bridgeErrorOf(engine.database.query(`SELECT {${name.toLowerCase()}:String}`, {}));
    expect(error.code).toBe("storage_failed");
  }
});

test("places are not looked for in texts, quoted names and comments", async () => {
  const rows = await engine.database.query(
    `SELECT '{one:Int64} \\' {one:Int64}' AS text, 1 AS \`{one:Int64}\`, 2 AS "{one:Int64}'" -- it's {one:Int64}
     /* {one:Int64} ' */ , {one:Int64} AS one`,
    { one: 3 },
  );
  expect(rows).toEqual([
    { text: "{one:Int64} ' {one:Int64}", "{one:Int64}": 1, "{one:Int64}'": 2, one: "3" },
  ]);
});

test("a statement may be larger than the engine's default of 256 KiB", async () => {
  const text = "\\'".repeat(200_000);
  const rows = await engine.database.query("SELECT length({text:String}) AS length", { text });
  expect(rows).toEqual([{ length: String(text.length) }]);
});

test("statements with parameters run at the same time", async () => {
  const pipe = join(createTemporaryFolder(), "pipe");
  execFileSync("mkfifo", [pipe]);
  // It ends only when somebody has written.
  const blocked = engine.database.query<{ n: number }>(
    `SELECT n FROM file(${quoteText(pipe)}, 'TSV', 'n UInt32') WHERE n > {least:Int64} ORDER BY n LIMIT 10`,
    { least: 1 },
  );
  const writer = await open(pipe, "w");
  expect(await engine.database.query("SELECT {one:Int64} AS one", { one: 1 })).toEqual([{ one: "1" }]);
  await writer.write("1\n2\n");
  await writer.close();
  expect(await blocked).toEqual([{ n: 2 }]);
});
