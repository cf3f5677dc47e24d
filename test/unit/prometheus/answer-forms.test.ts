import { expect, test } from "vitest";
import { createAnswerForms } from "#prometheus/answer-forms.ts";

const MINUTE_MS = 60_000;
const FROM_MS = 1_700_000_000_000;
const windowOf = (minutes: number) => ({ fromMs: FROM_MS, toMs: FROM_MS + minutes * MINUTE_MS });

test("A query that was not read yet is read as samples up to fifteen minutes", () => {
  const forms = createAnswerForms();
  expect([5, 15, 16].map((minutes) => forms.formOf("up", windowOf(minutes)))).toEqual([
    "samples",
    "samples",
    "chunks",
  ]);
});

test("Then the samples of a series decide: those scraped every 5 s fill a chunk sooner than those every 30 s", () => {
  const forms = createAnswerForms();
  forms.learn("five", windowOf(5), { series: 10, samples: 600 });
  forms.learn("thirty", windowOf(5), { series: 10, samples: 100 });
  expect([8, 9].map((minutes) => forms.formOf("five", windowOf(minutes)))).toEqual(["samples", "chunks"]);
  expect([49, 50].map((minutes) => forms.formOf("thirty", windowOf(minutes)))).toEqual(["samples", "chunks"]);
  expect(forms.formOf("up", windowOf(49))).toBe("chunks");
});

test("An answer without samples teaches nothing", () => {
  const forms = createAnswerForms();
  forms.learn("up", windowOf(60), { series: 0, samples: 0 });
  expect(forms.formOf("up", windowOf(5))).toBe("samples");
  forms.learn("up", windowOf(5), { series: 1, samples: 5 });
  forms.learn("up", windowOf(5), { series: 0, samples: 0 });
  expect(forms.formOf("up", windowOf(59))).toBe("samples");
});
