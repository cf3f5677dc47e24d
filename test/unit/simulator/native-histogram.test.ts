import { expect, test } from "vitest";
import { exponentialBound, formatHistogram } from "#simulator/native-histogram.ts";

test("the bounds of schema 3 are Prometheus' own", () => {
  // Buckets -112 to -110 and -108 to -104 as 3.15 wrote them.
  const written = [
    "0.00006103515625 0.00006655930985505723 0.0000725834420778028",
    "0.00008631674575031097 0.00009412907869921513 0.00010264848819015068 0.0001119389701177577",
    "0.0001220703125",
  ];
  const indexes = [-112, -111, -110, -108, -107, -106, -105, -104];
  expect(indexes.map(exponentialBound)).toEqual(written.join(" ").split(" ").map(Number));
  expect([exponentialBound(0), exponentialBound(8), exponentialBound(-8)]).toEqual([1, 2, 0.5]);
});

test("buckets from the lowest to the highest, each with the ends that belong to it; empty ones are left out", () => {
  const histogram = {
    schema: 3 as const,
    count: 12,
    sum: 2.5,
    zeroThreshold: 0.001,
    zeroCount: 2,
    positiveSpans: [
      [-8, 1],
      [7, 2],
    ] as const,
    positiveCounts: [3, 0, 1],
    negativeSpans: [[0, 2]] as const,
    negativeCounts: [4, 2],
    customValues: [],
    startedMs: 0,
  };
  expect(formatHistogram(1500, histogram)).toBe(
    '[1.500,{"count":"12","sum":"2.5","buckets":[' +
      '[1,"-1.0905077326652577","-1","2"],[1,"-1","-0.9170040432046711","4"],[3,"-0.001","0.001","2"],' +
      '[0,"0.45850202160233555","0.5","3"],[0,"1","1.0905077326652577","1"]]}]',
  );
  const empty = { ...histogram, zeroCount: 0, positiveCounts: [], negativeCounts: [0, 0], count: 0, sum: 0 };
  expect(formatHistogram(1000, { ...empty, positiveSpans: [] })).toBe('[1,{"count":"0","sum":"0"}]');
});
