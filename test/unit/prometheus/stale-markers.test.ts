import { expect, test } from "vitest";
import { separatingMarkers } from "#prometheus/stale-markers.ts";
import type { ScannedSeries } from "#prometheus/series-sink.ts";
import { createKeepingWriter, decodeRequest } from "../../helpers/otlp-points.ts";
import { toScanned } from "../../helpers/scanned-series.ts";

const NOW = 1_767_225_600_000;
const GAUGE = { name: "up", kind: "gauge", unit: "", description: "" } as const;
const STALE = 0x7ff0000000000002n;
/** A signalling NaN of another payload, a quiet one, Prometheus' own, a negative zero and a number. */
const OTHERS = [
  0x7ff0000000000003n,
  0x7ffdeadbeefcafe1n,
  0x7ff8000000000001n,
  0x8000000000000000n,
  0x3ff8000000000000n,
];

/** Bits of the values of the request's points, and their flags, from its bytes. */
function pointsOf(body: Buffer): { bits: bigint; flags: number }[] {
  const [first] = decodeRequest(body).resourceMetrics[0]!.scopeMetrics[0]!.metrics;
  let at = 0;
  return first!.gauge!.dataPoints.map(({ timeUnixNano, flags }) => {
    const time = Buffer.alloc(8);
    time.writeBigUInt64LE(BigInt(timeUnixNano.toString()));
    at = body.indexOf(time, at) + 8;
    expect(body[at]).toBe(0x21);
    return { bits: body.readBigUInt64LE(at + 1), flags };
  });
}

test("markers go apart from the values, and both keep each bit on their way into a request", () => {
  const bits = [STALE, OTHERS[0]!, OTHERS[1]!, STALE, ...OTHERS.slice(2), STALE];
  const values = new Float64Array(bits.length);
  const halves = new BigUint64Array(values.buffer);
  bits.forEach((each, i) => void (halves[i] = each));
  const plain = toScanned({ name: "up", labels: [["job", "a"]], samples: bits.map((_, i) => [NOW + i, 0]) });
  const { writer, batches } = createKeepingWriter<string>();
  const times: Record<string, number[]> = { samples: [], markers: [] };
  const put = (kind: "samples" | "markers") => (series: ScannedSeries) => {
    times[kind]!.push(...series.timestamps.subarray(0, series.sampleCount));
    return writer.series(series, GAUGE, kind, kind);
  };
  const separating = separatingMarkers({ series: put("samples"), markers: put("markers") });
  separating.series({ ...plain, values, valueBits: new Uint32Array(values.buffer) });
  writer.flush();
  expect(separating.count()).toBe(3);
  expect(times).toEqual({
    samples: [1, 2, 4, 5, 6].map((i) => NOW + i),
    markers: [0, 3, 7].map((i) => NOW + i),
  });
  expect(batches.map(({ parts }) => parts)).toEqual([
    [
      { owner: "samples", points: 5 },
      { owner: "markers", points: 3 },
    ],
  ]);
  expect(pointsOf(batches[0]!.body)).toEqual([
    ...OTHERS.map((each) => ({ bits: each, flags: 0 })),
    ...[1, 2, 3].map(() => ({ bits: STALE, flags: 1 })),
  ]);
});

test("a sink without a place for markers gets the values alone", () => {
  const plain = toScanned({
    name: "up",
    labels: [],
    samples: [
      [NOW, 0],
      [NOW + 1, 2],
    ],
  });
  const valueBits = new Uint32Array(plain.values.buffer);
  valueBits.set([2, 0x7ff00000]);
  const got: number[] = [];
  const separating = separatingMarkers({
    series: ({ values, sampleCount }) => void got.push(...values.subarray(0, sampleCount)),
  });
  separating.series({ ...plain, valueBits });
  expect(got).toEqual([2]);
});
