import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openFormEngine, type FormEngine } from "../forms/judge.ts";
import { FORM_TABLES } from "../forms/tables.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";

// Clusters as people met them, beside the answers that are right for them.

const SOURCE = join(import.meta.dirname, "../../src");
const sources = readdirSync(SOURCE, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
  .map((entry) => readFileSync(join(entry.parentPath, entry.name), "utf8"));

let engine!: FormEngine;
beforeAll(async () => {
  engine = await openFormEngine(join(createTemporaryFolder(), "clickhouse"));
});
afterAll(() => engine?.close());

describe.each(FORM_TABLES.map((table) => [table.rule, table] as const))(
  "%s",
  (_rule, { forms, switches }) => {
    test.each(forms.map((form) => [form.name, form.why, form] as const))(
      "%s (%s)",
      async (_name, _why, form) => {
        expect(await engine.judge(form)).toEqual([]);
      },
    );

    test("the sources have everything that `node test/forms/prove.ts` switches off", () => {
      const texts = Object.values(switches).flatMap((all) => all.map(([text]) => text));
      expect(texts.filter((text) => !sources.some((source) => source.includes(text)))).toEqual([]);
      expect(new Set(forms.map(({ needs }) => needs))).toEqual(new Set(Object.keys(switches)));
    });

    test("has six forms at least, each with a source of its own", () => {
      expect(forms.length).toBeGreaterThanOrEqual(6);
      expect(new Set(forms.map(({ name }) => name)).size).toBe(forms.length);
      expect(forms.filter(({ source }) => !source.startsWith("https://"))).toEqual([]);
    });
  },
);
