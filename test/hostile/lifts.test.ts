import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { API_SERVER } from "./api-server.ts";
import { CROWDS } from "./crowds.ts";
import { COLLECTOR } from "./collector.ts";
import { PROMETHEUS } from "./prometheus.ts";
import { STATE_STORE } from "./state-store.ts";
import { WEBSOCKET } from "./websocket.ts";

const SOURCE = join(import.meta.dirname, "../../src");
const sources = readdirSync(SOURCE, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
  .map((entry) => readFileSync(join(entry.parentPath, entry.name), "utf8"));

const TABLES = { API_SERVER, WEBSOCKET, PROMETHEUS, COLLECTOR, STATE_STORE };
const ALL = [...Object.values(TABLES), CROWDS];

test("the sources have every limit that HOSTILE_PROVE=1 switches off", () => {
  const texts = ALL.flatMap((rows) =>
    rows.flatMap(({ lift }) => ("source" in lift ? lift.source.map(([text]) => text) : [])),
  );
  expect(texts.filter((text) => !sources.some((source) => source.includes(text)))).toEqual([]);
});

test.each(Object.entries(TABLES))("%s has ten behaviours at least, each of another name", (_name, rows) => {
  expect(new Set(rows.map(({ name }) => name)).size).toBe(rows.length);
  expect(rows.length).toBeGreaterThanOrEqual(10);
});
