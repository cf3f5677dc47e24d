import { describe, expect, it } from "vitest";
import { Labels } from "#promql/labels.ts";
import type { DatedSeries, ReadSeries } from "#query/promql/list-series.ts";
import { rememberLists } from "#query/promql/remembered-lists.ts";
import { toSelection } from "#query/promql/selection.ts";
import { createManualClock } from "../../helpers/manual-clock.ts";

const DAY = Date.UTC(2026, 0, 5);
const HOUR_MS = 3_600_000;
const MAX = 10;

const seriesOf = (count: number): DatedSeries[] =>
  Array.from({ length: count }, (_none, i) => ({
    labels: Labels.of([
      ["__name__", "m"],
      ["exported_cluster", `c${i}`],
    ]),
    stored: [],
    firstMs: DAY + i * HOUR_MS,
    lastMs: DAY + (i + 1) * HOUR_MS,
  }));

function setUp({ count = 3, isInSeriesTable = true, withHistograms = false } = {}) {
  const clock = createManualClock();
  const reads: { fromMs: number; toMs: number }[] = [];
  let answer: ReadSeries = (_selection, _range, _sources, max) => {
    const all = seriesOf(count);
    return Promise.resolve({ series: all.slice(0, max), isCut: all.length > max });
  };
  const read: ReadSeries = (selection, range, ...rest) => {
    reads.push(range);
    return answer(selection, range, ...rest);
  };
  const list = rememberLists({
    read,
    isInSeriesTable: () => Promise.resolve(isInSeriesTable),
    mayBeHistogram: () => Promise.resolve(withHistograms),
    clock,
  });
  const ask = async (
    [fromHour, toHour]: [number, number],
    { matchers = [], name = "One", signal = new AbortController().signal }: Partial<Asked> = {},
  ): Promise<string[]> => {
    const selection = toSelection(
      [{ name: "__name__", type: "=", value: "m" }, ...matchers],
      [{ id: "one", name }],
    );
    const range = { fromMs: DAY + fromHour * HOUR_MS, toMs: DAY + toHour * HOUR_MS };
    return (await list(selection, range, MAX, signal)).series.map(({ labels }) =>
      labels.get("exported_cluster"),
    );
  };
  return { clock, reads, ask, answerWith: (other: ReadSeries) => (answer = other) };
}

interface Asked {
  matchers: Parameters<typeof toSelection>[0];
  name: string;
  signal: AbortSignal;
}

describe("lists of series", () => {
  it("are read once for all ranges of their days, for ten seconds", async () => {
    const { ask, reads, clock } = setUp();
    expect(await ask([0, 24])).toEqual(["c0", "c1", "c2"]);
    expect(await ask([1, 2])).toEqual(["c1", "c2"]);
    // A range is open on the left.
    expect(await ask([2, 2.5])).toEqual(["c2"]);
    expect(reads).toEqual([
      { fromMs: DAY - 1, toMs: DAY + 48 * HOUR_MS - 1 },
      { fromMs: DAY - 1, toMs: DAY + 24 * HOUR_MS - 1 },
    ]);
    clock.advance(10_001);
    await ask([1, 2]);
    expect(reads.length).toBe(3);
  });

  it("are of the names that clusters have now", async () => {
    const { ask, reads } = setUp();
    await ask([1, 2]);
    await ask([1, 2], { name: "Two" });
    expect(reads.length).toBe(2);
  });

  it("have what the labels of the cluster leave", async () => {
    const { ask, reads } = setUp();
    expect(await ask([0, 9], { matchers: [{ name: "exported_cluster", type: "=", value: "c1" }] })).toEqual([
      "c1",
    ]);
    expect(await ask([0, 9], { matchers: [{ name: "exported_cluster", type: "!=", value: "c1" }] })).toEqual([
      "c0",
      "c2",
    ]);
    expect(reads.length).toBe(1);
  });

  it.each([{ isInSeriesTable: false }, { withHistograms: true }])(
    "are read each time, and of the range alone, where they come from samples: %o",
    async (where) => {
      const { ask, reads } = setUp(where);
      await ask([1, 2]);
      await ask([1, 2]);
      const range = { fromMs: DAY + HOUR_MS, toMs: DAY + 2 * HOUR_MS };
      expect(reads).toEqual([range, range]);
    },
  );

  it("are of the range alone where a day has too many", async () => {
    const { ask, reads } = setUp({ count: MAX + 1 });
    await ask([1, 2]);
    expect(reads).toEqual([
      { fromMs: DAY - 1, toMs: DAY + 24 * HOUR_MS - 1 },
      { fromMs: DAY + HOUR_MS, toMs: DAY + 2 * HOUR_MS },
    ]);
  });

  it("that fail are not remembered", async () => {
    const { ask, reads, answerWith } = setUp();
    answerWith(() => Promise.reject(new Error("down")));
    await expect(ask([1, 2])).rejects.toThrow("down");
    answerWith(() => Promise.resolve({ series: seriesOf(2), isCut: false }));
    expect(await ask([1, 2])).toEqual(["c1"]);
    expect(reads.length).toBe(2);
  });

  it("that are being read are shared within one query only: another one may be given up", async () => {
    const { ask, reads } = setUp();
    const { signal } = new AbortController();
    await Promise.all([ask([1, 2], { signal }), ask([1, 2], { signal }), ask([1, 2])]);
    expect(reads.length).toBe(2);
  });

  it("are bounded together", async () => {
    const { ask, reads, answerWith } = setUp();
    const [one] = seriesOf(1);
    answerWith(() => Promise.resolve({ series: Array.from({ length: 7000 }, () => one!), isCut: false }));
    for (const name of ["A", "B", "C"]) await ask([1, 2], { name });
    await ask([1, 2], { name: "C" });
    await ask([1, 2], { name: "B" });
    expect(reads.length).toBe(3);
    await ask([1, 2], { name: "A" });
    expect(reads.length).toBe(4);
  });
});
