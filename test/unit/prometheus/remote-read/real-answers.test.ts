import { describe, expect, test } from "vitest";
import { decodeAnswer, recordedAnswer } from "../../../helpers/remote-read-answers.ts";
import {
  byName,
  expectedSeries,
  WRITTEN_WINDOW,
  writtenSeries,
} from "../../../helpers/remote-read-scenario.ts";

describe.each([
  ["prometheus-2.42.0-samples", "2.42", "samples"],
  ["prometheus-2.42.0-chunks", "2.42", "chunks"],
  ["prometheus-3.15.0-samples", "3", "samples"],
  ["prometheus-3.15.0-chunks", "3", "chunks"],
  ["prometheus-3.15.0-new-encodings-chunks", "3", "chunks"],
] as const)("the answer %s", (name, version, form) => {
  const written = writtenSeries(version);
  const bytes = recordedAnswer(name);

  test("gives back each bit that was written", () => {
    const answer = decodeAnswer(form, [bytes], WRITTEN_WINDOW);
    expect(byName(answer)).toEqual(expectedSeries(written, form));
    expect(answer.result).toMatchObject({
      series: written.length,
      samples: 900,
      histogramSamples: version === "3" ? 241 : 0,
      overlappingChunks: 0,
      refused: [],
    });
  });

  test("is the same in small pieces", () => {
    const pieces = Array.from({ length: Math.ceil(bytes.length / 17) }, (_, i) =>
      bytes.subarray(i * 17, i * 17 + 17),
    );
    expect(byName(decodeAnswer(form, pieces, WRITTEN_WINDOW))).toEqual(expectedSeries(written, form));
  });
});

test("an answer that Prometheus broke off is truncated, and its error is known", () => {
  expect(() => decodeAnswer("chunks", [recordedAnswer("prometheus-2.42.0-broken-chunks")])).toThrow(
    expect.objectContaining({
      reason: "truncated",
      remoteText: "iterate chunk while re-encoding: detected unexpected counter reset in histogram",
    }),
  );
});
