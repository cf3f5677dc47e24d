import { expect, test } from "vitest";
import { BridgeError } from "#errors/error.ts";
import { countAtSource, type CountTask } from "#collect/proof-compare.ts";
import { toQueries } from "#prometheus/catalogue.ts";
import type { PrometheusClient } from "#prometheus/client.ts";
import { matchersOfSelector } from "#prometheus/selector-matchers.ts";
import { createManualClock } from "../../helpers/manual-clock.ts";

const WINDOW = { fromMs: 0, toMs: 3_600_000 };
const SAMPLES: Readonly<Record<string, number>> = { a_total: 3, b_total: 5, up: 7 };

/** A source that counts, and refuses to count series of several names in one selector, as Prometheus does. */
function createSource(options: { mayCount?: boolean; joins?: boolean } = {}) {
  const { mayCount = true, joins = true } = options;
  const requests: string[][] = [];
  const read: string[] = [];
  const client = {
    countSamples: (selectors: readonly string[]) => {
      requests.push([...selectors]);
      if (!mayCount || (!joins && selectors.length > 1))
        return Promise.reject(new BridgeError("prometheus_query_failed", "not supported"));
      const counts = selectors.map((selector) => {
        const [name] = matchersOfSelector(selector)!.filter((each) => each.name === "__name__");
        return name?.type === "=" ? (SAMPLES[name.value] ?? 0) : undefined;
      });
      return counts.includes(undefined)
        ? Promise.reject(new BridgeError("prometheus_query_failed", "the same labelset"))
        : Promise.resolve(counts as number[]);
    },
    read: (query, _window, { sink }) => {
      read.push(query.name);
      const series = {
        bytes: Buffer.alloc(0),
        nameStart: 0,
        nameEnd: 0,
        labelCount: 0,
        labels: new Int32Array(0),
        sampleCount: 2,
        timestamps: Float64Array.of(1, 2),
        values: Float64Array.of(1, 1),
      };
      sink.series(series);
      return Promise.resolve({ series: 1, samples: 2, histogramSamples: 0, refused: [], warnings: [] });
    },
  } as Partial<PrometheusClient> as PrometheusClient;
  return { client, requests, read };
}

async function count(source: ReturnType<typeof createSource>, promqls: readonly string[], shareMs = 1000) {
  const counted: Record<string, number | string> = {};
  const clock = createManualClock();
  const tasks = promqls.map((promql, i): CountTask => {
    const [query] = toQueries([{ name: `q${i}`, promql, group: "g" }]) as [CountTask["query"]];
    return {
      query,
      window: WINDOW,
      windowMsMax: 3_600_000,
      done: (samples) => void (counted[query.name] = samples),
      failed: ({ code }) => void (counted[query.name] = code),
    };
  });
  const limits = { signal: new AbortController().signal, isStopping: () => false, shareMs };
  await countAtSource({ client: source.client, clock }, tasks, limits);
  return counted;
}

test("several metrics of one selector are counted by name, in one request with others", async () => {
  const source = createSource();
  const promqls = ["up", '{__name__=~"a_total|b_total|c_total",job="x"}'];
  expect(await count(source, promqls)).toEqual({ q0: 7, q1: 8 });
  const ofNames = ["a_total", "b_total", "c_total"].map((name) => `{__name__="${name}",job="x"}`);
  expect(source.requests).toEqual([["up", ...ofNames]]);
  expect(source.read).toEqual([]);
});

test("more metrics than one request has are counted by several", async () => {
  const source = createSource();
  const names = Array.from({ length: 40 }, (_, i) => `m${i}`);
  expect(await count(source, [`{__name__=~"${[...names, "up"].join("|")}"}`, "up"])).toEqual({
    q0: 7,
    q1: 7,
  });
  expect(source.requests.map(({ length }) => length)).toEqual([16, 16, 9, 1]);
});

test("a source that has no joint counts is asked for each name alone", async () => {
  const source = createSource({ joins: false });
  expect(await count(source, ['{__name__=~"a_total|b_total"}', "up"])).toEqual({ q0: 8, q1: 7 });
  expect(source.requests.slice(1).map(({ length }) => length)).toEqual([1, 1, 1]);
});

test("a selector that does not list its names is read, and the others are still counted", async () => {
  const source = createSource();
  expect(await count(source, ['{__name__=~"a_.*"}', "up", '{job="x"}'])).toEqual({ q0: 2, q1: 7, q2: 2 });
  expect(source.requests).toEqual([["up"]]);
  expect(source.read).toEqual(["q0", "q2"]);
});

test("a source that can't count is read", async () => {
  const source = createSource({ mayCount: false });
  expect(await count(source, ['{__name__=~"a_total|b_total"}', "up"])).toEqual({ q0: 2, q1: 2 });
  expect(source.read).toEqual(["q0", "q1"]);
});
