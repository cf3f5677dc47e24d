import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CPU, INFO, MEMORY, REQUESTS, RESTARTS, restartsOf, toThings } from "#query/state/pod-series.ts";
import type { PodSeries, PodThing } from "#query/state/pod-series.ts";

// The rules that choose between series, without storage: series are made of samples as the statements make them.

const MINUTE_MS = 60_000;
const WINDOW_MS = 20 * MINUTE_MS;
const LOOKBACK_MS = 5 * MINUTE_MS;
/** Times are before the answer's, in ms. */
type Sample = readonly [agoMs: number, value: number];
type Labels = Readonly<Record<string, string>>;

function toSeries(metric: string, labels: Labels, all: readonly Sample[]): PodSeries | undefined {
  const isGauge = ![CPU, RESTARTS].includes(metric);
  const samples = all
    .filter(([ago]) => ago >= 0 && ago < (isGauge ? LOOKBACK_MS : WINDOW_MS))
    .map(([ago, value]) => [-ago, value] as const)
    .sort(([a], [b]) => a - b);
  const [first, newest] = [samples[0], samples.at(-1)];
  if (first === undefined || newest === undefined) return undefined;
  const seconds = (newest[0] - first[0]) / 1000;
  return {
    metric,
    labels,
    firstMs: first[0],
    newestMs: newest[0],
    samples: samples.length,
    latest: newest[1],
    rate: metric === CPU && samples.length > 1 ? (newest[1] - first[1]) / seconds : null,
    isEnded: false,
    covered: new Set(samples.map(([ms]) => Math.floor(-ms / LOOKBACK_MS))).size,
    changes: metric === RESTARTS ? samples.filter(([, value], i) => value !== samples[i - 1]?.[1]) : [],
  };
}

interface Spec {
  metric: string;
  labels: Labels;
  /** The value at a time. */
  value: (agoMs: number) => number;
  fromMs: number;
  untilMs: number;
}

const scraped = (specs: readonly Spec[], intervalMs: number, target: Labels, shiftMs: number): PodSeries[] =>
  specs.flatMap(({ metric, labels, value, fromMs, untilMs }) => {
    const samples: Sample[] = [];
    for (let ago = WINDOW_MS + shiftMs; ago >= 0; ago -= intervalMs) {
      if (ago <= fromMs && ago >= untilMs) samples.push([ago, value(ago)]);
    }
    return toSeries(metric, { ...labels, ...target }, samples) ?? [];
  });

const MAIN = { namespace: "app", pod: "web", container: "main" };
/** A Pod that began some time ago, whose container was replaced and counted as restarted then. */
function podSpecs(bornMs: number, restartedMs: number): Spec[] {
  const all = { fromMs: bornMs, untilMs: 0 };
  const memory = (ago: number): number => 1000 + Math.floor(ago / 7);
  const cgroup = (id: string, life: Pick<Spec, "fromMs" | "untilMs">): Spec[] => [
    { metric: MEMORY, labels: { ...MAIN, id }, value: memory, ...life },
    {
      metric: CPU,
      labels: { ...MAIN, id, cpu: "total" },
      value: (ago) => (life.fromMs - ago) / 4000,
      ...life,
    },
  ];
  return [
    { metric: INFO, labels: { namespace: "app", pod: "web", node: "n" }, value: () => 1, ...all },
    { metric: REQUESTS, labels: { ...MAIN, resource: "cpu" }, value: () => 0.5, ...all },
    { metric: RESTARTS, labels: MAIN, value: (ago) => Number(ago < restartedMs), ...all },
    ...cgroup("/kubepods/zz", { fromMs: bornMs, untilMs: restartedMs }),
    ...cgroup("/kubepods/aa", { fromMs: Math.min(bornMs, restartedMs - 1), untilMs: 0 }),
  ];
}

const toValues = (series: readonly PodSeries[]) =>
  toThings(series)
    .map((thing) => ({
      thing: [thing.metric, thing.container, thing.part].join(" "),
      latest: thing.latest,
      newestMs: thing.newestMs,
      rate: thing.rate?.toPrecision(9),
      restarts: restartsOf(thing, -15 * MINUTE_MS),
    }))
    .sort((a, b) => (a.thing < b.thing ? -1 : 1));

test("with copies of every exporter the things of a Pod are those of one copy alone", () => {
  const target = fc.record({
    instance: fc.constantFrom("10.0.0.1:8080", "10.0.0.2:8080", "n:8080"),
    job: fc.constantFrom("a", "b"),
    prometheus_replica: fc.constantFrom("0", "1"),
  });
  fc.assert(
    fc.property(
      fc.uniqueArray(target, { minLength: 2, maxLength: 3, selector: (labels) => JSON.stringify(labels) }),
      fc.array(fc.double({ min: 0, max: 0.99, noNaN: true }), { minLength: 3, maxLength: 3 }),
      fc.constantFrom(15_000, 30_000, 60_000),
      fc.integer({ min: 0, max: 2 * WINDOW_MS }),
      fc.integer({ min: 0, max: WINDOW_MS }),
      fc.boolean(),
      (targets, shifts, intervalMs, bornMs, restartedMs, exported) => {
        const specs = podSpecs(bornMs, restartedMs);
        const renamed = (labels: Labels): Labels => ({
          ...Object.fromEntries(
            Object.entries(labels).map(([name, value]) => [name === "pod" ? "exported_pod" : name, value]),
          ),
          pod: "exporter-0",
        });
        const copy = (labels: Labels, i: number): PodSeries[] =>
          scraped(
            exported && i === 1 ? specs.map((spec) => ({ ...spec, labels: renamed(spec.labels) })) : specs,
            intervalMs,
            labels,
            Math.floor(shifts[i]! * intervalMs),
          );
        const copies = targets.map(copy);
        // A thing that only one copy has seen yet is that copy's.
        const alone = copies.map(toValues);
        for (const value of toValues(copies.flat())) {
          const same = alone.flatMap((values) => values.filter(({ thing }) => thing === value.thing));
          expect(same).toContainEqual(value);
        }
      },
    ),
    { numRuns: 500 },
  );
});

describe("one of several sources", () => {
  const gauge = (
    instance: string,
    fromMs: number,
    untilMs: number,
    value: number,
    more: Labels = {},
  ): PodSeries =>
    scraped(
      [{ metric: MEMORY, labels: { ...MAIN, ...more }, value: () => value, fromMs, untilMs }],
      30_000,
      { instance },
      0,
    )[0]!;
  const latest = (...series: PodSeries[]): number[] =>
    toThings(series).map((thing: PodThing) => thing.latest);

  const cases: [name: string, series: PodSeries[], right: number][] = [
    ["the smallest label text", [gauge("b", WINDOW_MS, 0, 2), gauge("a", WINDOW_MS, 0, 1)], 1],
    ["fewest labels", [gauge("a", WINDOW_MS, 0, 2, { endpoint: "x" }), gauge("b", WINDOW_MS, 0, 1)], 1],
    [
      "the one that is there, when the better one ended",
      [gauge("a", WINDOW_MS, MINUTE_MS, 1), gauge("b", WINDOW_MS, 0, 2)],
      2,
    ],
    [
      "the better one, when it has missed no scrape",
      [gauge("a", WINDOW_MS, 30_000, 1), gauge("b", WINDOW_MS, 0, 2)],
      1,
    ],
    [
      "of one target the newer cgroup, at once",
      [gauge("a", WINDOW_MS, 30_000, 9, { id: "/a" }), gauge("a", 0, 0, 1, { id: "/b" })],
      1,
    ],
    [
      "of one target the cgroup that uses most",
      [gauge("a", WINDOW_MS, 0, 1, { id: "/a" }), gauge("a", WINDOW_MS, 0, 9, { id: "/b" })],
      9,
    ],
    [
      "of one target the outermost cgroup, when they use the same",
      [gauge("a", WINDOW_MS, 0, 1, { id: "/a/b" }), gauge("a", WINDOW_MS, 0, 1, { id: "/a" })],
      1,
    ],
  ];
  test.each(cases)("%s", (_, series, right) => {
    expect(latest(...series)).toEqual([right]);
    expect(latest(...series.toReversed())).toEqual([right]);
  });

  test("a rate of which a part overlaps counts for its own time (kube-prometheus#2826)", () => {
    const rate = (instance: string, fromMs: number, untilMs: number, perSecond: number): PodSeries[] =>
      scraped(
        [{ metric: CPU, labels: MAIN, value: (ago) => 1e6 - (perSecond * ago) / 1000, fromMs, untilMs }],
        30_000,
        { instance },
        0,
      );
    const [thing] = toThings([
      ...rate("a", 19 * MINUTE_MS, 8 * MINUTE_MS, 1),
      ...rate("b", 10 * MINUTE_MS, 0, 1),
    ]);
    // Of the 10 minutes of b, 8 are after a's end.
    expect(thing!.rate).toBeCloseTo(1 + 0.8, 9);
  });

  test("restarts go on where another source takes over, also those between the two", () => {
    const counts = (instance: string, fromMs: number, untilMs: number, value: (ago: number) => number) =>
      scraped([{ metric: RESTARTS, labels: MAIN, value, fromMs, untilMs }], 30_000, { instance }, 0);
    const [thing] = toThings([
      ...counts("a", WINDOW_MS, 6 * MINUTE_MS, (ago) => 3 + Number(ago < 10 * MINUTE_MS)),
      ...counts("b", 4 * MINUTE_MS, 0, (ago) => 6 + Number(ago < 2 * MINUTE_MS)),
    ]);
    // 3 to 4 while there was only a, 4 to 6 while there was none, 6 to 7 by b.
    expect(restartsOf(thing!, -15 * MINUTE_MS)).toBe(4);
    expect(restartsOf(thing!, -5 * MINUTE_MS)).toBe(3);
  });
});
