import { expect, it } from "vitest";
import { Labels } from "#promql/labels.ts";
import { placeSamples, type SampleBlock } from "#query/promql/place-samples.ts";

const HOUR_MS = 3_600_000;
/** The same lower halves of the ids. */
const [A, B] = [7n, 7n + (1n << 32n)];

type Row = [id: bigint, time: number, value: number, marker?: 1];

function blockOf(rows: readonly Row[]): SampleBlock {
  return {
    rows: rows.length,
    id: Uint32Array.from(rows.flatMap(([id]) => [Number(id & 0xffff_ffffn), Number(id >> 32n)])),
    time: Float64Array.from(rows, ([, time]) => time),
    value: Float64Array.from(rows, ([, , value]) => value),
    marker: Uint8Array.from(rows, ([, , , marker = 0]) => marker),
  };
}

function place(ids: readonly bigint[], ...blocks: Row[][]) {
  const chunk = ids.map((id) => ({
    labels: Labels.of([["id", `${id}`]]),
    stored: [{ id: `${id}`, clusterId: "one", metric: "m", kinds: [], tables: [] }],
  }));
  return placeSamples(chunk, blocks.map(blockOf)).map(({ labels, times, values, stale }) => ({
    id: labels.get("id"),
    samples: [...times].map((time, i) => [time, values[i], ...(stale ? [stale[i]] : [])]),
  }));
}

it("puts the rows of each series together; passes over others, and series without a row", () => {
  const rows: Row[] = [
    [A, 1, 10],
    [A, 2, 20],
    [B, 1, 30],
    [8n, 1, 40],
    [A, HOUR_MS, 50],
  ];
  expect(place([B, 9n, A], rows)).toEqual([
    { id: `${B}`, samples: [[1, 30]] },
    {
      id: `${A}`,
      samples: [
        [1, 10],
        [2, 20],
        [HOUR_MS, 50],
      ],
    },
  ]);
});

it("brings hours into their order, though threads read them in another one, and a block has some that are apart", () => {
  const [third, ...others]: Row[][] = [0, 1, 2, 3]
    .map((hour) => [
      [A, hour * HOUR_MS, hour],
      [A, hour * HOUR_MS + 1, hour],
    ])
    .reverse() as Row[][];
  const [second, first, zeroth] = others;
  const samples = place([A], [...zeroth!, ...second!], [...first!, ...third!])[0]!.samples;
  expect(samples).toEqual(
    [zeroth, first, second, third].flatMap((rows) => rows!.map(([, time, value]) => [time, value])),
  );
});

it("keeps one of several copies, wherever they are", () => {
  const rows: Row[] = [
    [A, 1, 10],
    [A, 2, 20],
    [A, 3, 30],
  ];
  const once = [
    {
      id: `${A}`,
      samples: [
        [1, 10],
        [2, 20],
        [3, 30],
      ],
    },
  ];
  expect(place([A], rows, rows)).toEqual(once);
  expect(place([A], [rows[0]!, rows[1]!, rows[1]!, rows[2]!])).toEqual(once);
  expect(place([A], [rows[2]!], [rows[1]!, rows[2]!], rows)).toEqual(once);
});

it("has the sample of a time with a marker, and of two samples that of the later block", () => {
  const one: Row[] = [
    [A, 2, 20],
    [A, 3, 30],
  ];
  const other: Row[] = [
    [A, 1, 11],
    [A, 2, 21],
    [A, 3, 0, 1],
    [A, 4, 0, 1],
  ];
  expect(place([A], one, other)[0]!.samples).toEqual([
    [1, 11, 0],
    [2, 21, 0],
    [3, 30, 0],
    [4, Number.NaN, 1],
  ]);
  expect(place([A], other, one)[0]!.samples[1]).toEqual([2, 20, 0]);
});
