import { describe, expect, test } from "vitest";
import { createEngine, type QueryResult } from "#promql/engine.ts";
import { histogramText } from "#promql/histogram-buckets.ts";
import type { FloatHistogram } from "#promql/histogram.ts";
import { parseExpr } from "#promql/parse.ts";
import { memorySource, MINUTE_MS, series, type Point } from "../../helpers/memory-series.ts";

const limits = { samplesMax: 1_000_000, seriesMax: 1000 };
const signal = new AbortController().signal;

const up = (count: number, by = 1): number[] => Array.from({ length: count }, (_none, i) => i * by);

/** 2 observations in (1, 2], `more` in (2, 4]. */
function native(more: number): FloatHistogram {
  return {
    schema: 0,
    count: 2 + more,
    sum: 3 + 3 * more,
    zeroThreshold: 0,
    zeroCount: 0,
    positiveSpans: [{ offset: 1, length: 2 }],
    positiveBuckets: [2, more],
    negativeSpans: [],
    negativeBuckets: [],
    hint: "unknown",
  };
}

const STORED = memorySource(
  series("requests_total", { job: "api", pod: "a" }, up(11, 60)),
  series("requests_total", { job: "api", pod: "b" }, [0, 60, 120, 30, 90, 150, 210, 270, 330, 390, 450]),
  series("requests_total", { job: "db", pod: "c" }, [5, 5, 5, 5, 5, "stale"]),
  series("memory", { pod: "a" }, [...up(10), NaN]),
  series("memory", { pod: "b" }, up(11, 10)),
  series("memory", { pod: "c" }, [
    Infinity,
    -1,
    0.5,
    undefined,
    undefined,
    undefined,
    undefined,
    undefined,
    2,
  ]),
  series("swap", { pod: "b" }, up(11)),
  series("pod_info", { pod: "a", node: "n1" }, up(11).fill(1)),
  series("pod_info", { pod: "b", node: "n2" }, up(11).fill(1)),
  ...["0.1", "1", "+Inf"].map((le, i) => series("latency_bucket", { le }, up(11, [10, 30, 40][i]))),
  series("fallen_bucket", { le: "1" }, up(11).fill(9)),
  series("fallen_bucket", { le: "2" }, up(11).fill(5)),
  series("fallen_bucket", { le: "+Inf" }, up(11).fill(10)),
  series("native", { pod: "a" }, up(11).map(native)),
  series(
    "native",
    { pod: "b" },
    up(11).map((i): Point => (i === 5 ? 1 : native(2 * i))),
  ),
);

/** What a query gives at ten minutes, or over minutes 8 to 10: texts of the series in order. */
async function answer(query: string, isRange = false): Promise<unknown> {
  const engine = createEngine({ source: STORED }, { limits });
  const expr = parseExpr(query);
  const times = { startMs: 8 * MINUTE_MS, endMs: 10 * MINUTE_MS, stepMs: MINUTE_MS };
  const result = isRange
    ? await engine.range(expr, times, { text: query }, signal)
    : await engine.instant(expr, times.endMs, { text: query }, signal);
  return shown(result);
}

function shown(result: QueryResult): unknown {
  if (result.type === "scalar" || result.type === "string") return result.value;
  return result.series.map(({ labels, values, histograms }) => {
    const texts = Array.from(values, (value, i) =>
      histograms?.[i] ? histogramText(histograms[i]) : String(Number(value.toPrecision(12))),
    );
    return `${labels.toString()} ${texts.join(" ")}`;
  });
}

async function remarks(query: string): Promise<string[]> {
  const engine = createEngine({ source: STORED }, { limits });
  const { warnings, infos } = await engine.instant(parseExpr(query), 10 * MINUTE_MS, { text: query }, signal);
  return [...warnings, ...infos];
}

describe("an instant query", () => {
  test.each<[query: string, expected: unknown]>([
    // Functions of ranges.
    ["rate(requests_total[5m])", ['{job="api", pod="a"} 1', '{job="api", pod="b"} 1']],
    ['increase(requests_total{pod="b"}[10m])', ['{job="api", pod="b"} 566.666666667']],
    ["delta(memory[2m])", ['{pod="a"} NaN', '{pod="b"} 20']],
    ['irate(requests_total{pod="a"}[5m])', ['{job="api", pod="a"} 1']],
    [
      "resets(requests_total[11m])",
      ['{job="api", pod="a"} 0', '{job="api", pod="b"} 1', '{job="db", pod="c"} 0'],
    ],
    ['changes(requests_total{job="db"}[11m])', ['{job="db", pod="c"} 0']],
    ['sum_over_time(memory{pod="b"}[3m])', ['{pod="b"} 270']],
    ['avg_over_time(memory{pod="c"}[11m])', ['{pod="c"} Infinity']],
    ['max_over_time(memory{pod="a"}[3m])', ['{pod="a"} 9']],
    ['quantile_over_time(0.5, memory{pod="b"}[3m])', ['{pod="b"} 90']],
    ['stddev_over_time(memory{pod="b"}[3m])', ['{pod="b"} 8.16496580928']],
    ['last_over_time(memory{pod="c"}[5m])', ['{__name__="memory", pod="c"} 2']],
    ['deriv(memory{pod="b"}[5m])', ['{pod="b"} 0.166666666667']],
    ['predict_linear(memory{pod="b"}[5m], 60)', ['{pod="b"} 110']],
    ["count_over_time(memory[1m] offset 1m)", ['{pod="a"} 1', '{pod="b"} 1']],
    ["max_over_time(rate(requests_total[2m])[4m:1m])", ['{job="api", pod="a"} 1', '{job="api", pod="b"} 1']],
    ['absent_over_time(nothing{a="b", c=~"d"}[5m])', ['{a="b"} 1']],
    // Prometheus' storage moves a matcher that lets no label through to the end.
    ['absent(nothing{a!="x", a="b"})', ["{} 1"]],
    ['absent(nothing{a!="", a="b"})', ['{a="b"} 1']],
    // Functions of vectors.
    ['memory{pod="b"} @ 60', ['{__name__="memory", pod="b"} 10']],
    ["absent(memory)", []],
    ['clamp(memory{pod="b"}, 5, 42)', ['{pod="b"} 42']],
    ["clamp_min(memory, 7)", ['{pod="a"} NaN', '{pod="b"} 100', '{pod="c"} 7']],
    ['round(memory{pod="b"} / 3, 0.5)', ['{pod="b"} 33.5']],
    [
      "sort_desc(memory)",
      [
        '{__name__="memory", pod="b"} 100',
        '{__name__="memory", pod="c"} 2',
        '{__name__="memory", pod="a"} NaN',
      ],
    ],
    ["scalar(memory)", NaN],
    ["day_of_year(vector(1709251199)) + year(vector(-62135596801))", ["{} 60"]],
    ['timestamp(memory{pod="b"} @ 60 offset 1m)', ['{pod="b"} 0']],
    ["log10(vector(1000)) - 3 + log2(vector(8))", ["{} 3"]],
    ["year(vector(1 / 0))", ["{} 292277026596"]],
    ['abs({__name__=~"memory|pod_info", pod="b"})', ['{node="n2", pod="b"} 1', '{pod="b"} 100']],
    ['timestamp(memory{pod="c"})', ['{pod="c"} 480']],
    [
      'label_replace(memory{pod="b"}, "to", "${1}-$2$$", "pod", "(.)(x)?")',
      ['{__name__="memory", pod="b", to="b-$"} 100'],
    ],
    [
      'label_join(pod_info{pod="a"}, "both", "/", "pod", "node")',
      ['{__name__="pod_info", both="a/n1", node="n1", pod="a"} 1'],
    ],
    // Aggregations.
    ["sum by (job) (rate(requests_total[5m]))", ['{job="api"} 2']],
    ["count without (pod) (requests_total)", ['{job="api"} 2']],
    ["min(memory)", ["{} 2"]],
    ["max(memory)", ["{} 100"]],
    ['stdvar(memory{pod!="a"})', ["{} 2401"]],
    ["topk(1, memory)", ['{__name__="memory", pod="b"} 100']],
    ["bottomk(2, memory)", ['{__name__="memory", pod="c"} 2', '{__name__="memory", pod="b"} 100']],
    ["quantile(0.5, memory)", ["{} 2"]],
    ['count_values("value", pod_info)', ['{value="1"} 2']],
    ["group(memory)", ["{} 1"]],
    // Operators.
    ["1 + 2 * 3 ^ 2 % 5", 4],
    ["1 ^ (0 / 0)", 1],
    ["memory > 1", ['{__name__="memory", pod="b"} 100', '{__name__="memory", pod="c"} 2']],
    ["3 < bool memory", ['{pod="a"} 0', '{pod="b"} 1', '{pod="c"} 0']],
    [
      "requests_total * on (pod) group_left (node) pod_info",
      ['{job="api", node="n1", pod="a"} 600', '{job="api", node="n2", pod="b"} 450'],
    ],
    ["memory / ignoring (node) pod_info", ['{pod="a"} NaN', '{pod="b"} 100']],
    [
      "memory and on (pod) pod_info",
      ['{__name__="memory", pod="a"} NaN', '{__name__="memory", pod="b"} 100'],
    ],
    ["memory unless on (pod) pod_info", ['{__name__="memory", pod="c"} 2']],
    ['vector(3) or memory{pod="c"}', ["{} 3", '{__name__="memory", pod="c"} 2']],
    ['-memory{pod="b"}', ['{pod="b"} -100']],
    // Histograms.
    ["histogram_quantile(0.9, latency_bucket)", ["{} 1"]],
    ["histogram_quantile(0.5, rate(latency_bucket[5m]))", ["{} 0.55"]],
    ["histogram_fraction(0, 0.55, latency_bucket)", ["{} 0.5"]],
    ['native{pod="a"}', ['{__name__="native", pod="a"} {count:12, sum:33, (1,2]:2, (2,4]:10}']],
    ["sum(native)", ["{} {count:34, sum:96, (1,2]:4, (2,4]:30}"]],
    ['increase(native{pod="a"}[5m])', ['{pod="a"} {count:5, sum:15, (2,4]:5}']],
    ['histogram_count(native{pod="a"} * 2)', ['{pod="a"} 24']],
    ['histogram_quantile(0.5, native{pod="a"})', ['{pod="a"} 2.63901582155']],
  ])("%s", async (query, expected) => {
    expect(await answer(query)).toEqual(expected);
  });
});

describe("a range query", () => {
  test.each<[query: string, expected: unknown]>([
    [
      "memory offset 8m",
      [
        '{__name__="memory", pod="a"} 0 1 2',
        '{__name__="memory", pod="b"} 0 10 20',
        '{__name__="memory", pod="c"} Infinity -1 0.5',
      ],
    ],
    ["count(memory @ end())", ["{} 3 3 3"]],
    ["topk(1, memory)", ['{__name__="memory", pod="b"} 80 90 100']],
    ["time()", ["{} 480 540 600"]],
    ['memory{pod="a"} > 8', ['{__name__="memory", pod="a"} 9']],
    ['sum_over_time(memory{pod="b"}[2m:30s])', ['{pod="b"} 280 320 360']],
  ])("%s", async (query, expected) => {
    expect(await answer(query, true)).toEqual(expected);
  });
});

describe("a query is refused", () => {
  test.each([
    [
      "requests_total * on (job) pod_info",
      "found duplicate series for the match group {} on the right hand-side of the operation: " +
        '[{__name__="pod_info", node="n1", pod="a"}, {__name__="pod_info", node="n2", pod="b"}];' +
        "many-to-many matching not allowed: matching labels must be unique on one side",
    ],
    [
      'requests_total * on (job) requests_total{pod="a"}',
      "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
    ],
    [
      'rate({pod="b", __name__=~"memory|pod_info", node=""}[5m]) or rate({__name__=~"native|memory", pod="b"}[5m])',
      "vector cannot contain metrics with the same labelset",
    ],
    ['abs({__name__=~"memory|swap"})', "vector cannot contain metrics with the same labelset"],
    [
      "sum_over_time(memory[100y:1ms])",
      "query processing would load too many samples into memory in query execution",
    ],
    [
      "sum_over_time(vector(1)[2000000s:1s])",
      "query processing would load too many samples into memory in query execution",
    ],
    ["topk(scalar(nothing), memory)", "Parameter value is NaN"],
    [
      'label_replace(memory, "pod", "x", "pod", ".*")',
      "vector cannot contain metrics with the same labelset",
    ],
    ['label_replace(memory, "pod", "x", "pod", "(")', "invalid regular expression in label_replace(): ("],
  ])("%s", async (query, message) => {
    await expect(answer(query)).rejects.toThrow(message);
  });
});

describe("a query's remarks", () => {
  test.each<[query: string, expected: string[]]>([
    [
      "rate(memory[5m])",
      [
        'PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "memory" (1:6)',
      ],
    ],
    ["quantile(1.5, memory)", ["PromQL warning: quantile value should be between 0 and 1, got 1.5 (1:10)"]],
    [
      "histogram_quantile(0.5, fallen_bucket)",
      [
        "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)" +
          ", from buckets 2 to 2, with a max diff of 4, over 1 samples from 1970-01-01T00:10:00Z to 1970-01-01T00:10:00Z (1:25)",
      ],
    ],
    [
      'histogram_quantile(0.5, memory{pod="b"})',
      ['PromQL warning: bucket label "le" is missing or has a malformed value of "" (1:25)'],
    ],
    [
      'sum(native{pod="a"} or memory{pod="b"})',
      ["PromQL warning: encountered a mix of histograms and floats for aggregation (1:5)"],
    ],
    ["max(native)", ["PromQL info: ignored histogram in max aggregation (1:5)"]],
    [
      'native{pod="a"} + on () memory{pod="b"}',
      ['PromQL info: incompatible sample types encountered for binary operator "+": histogram + float (1:1)'],
    ],
    [
      'rate(native{pod="b"}[10m])',
      ['PromQL warning: encountered a mix of histograms and floats for metric name "native" (1:6)'],
    ],
  ])("%s", async (query, expected) => {
    expect(await remarks(query)).toEqual(expected);
  });
});

test("what stands in a query twice is read once", async () => {
  const source = memorySource(series("memory", { pod: "a" }, up(11)));
  const engine = createEngine({ source }, { limits });
  const query = parseExpr("(memory + 1) / (memory + memory)");
  const result = await engine.instant(query, 10 * MINUTE_MS, {}, signal);
  expect(shown(result)).toEqual(['{pod="a"} 0.55']);
  expect(source.asked).toHaveLength(1);
});
