import { Agent } from "undici";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createTurns } from "#lib/turns.ts";
import { BridgeError } from "#errors/error.ts";
import { toQueries, type Query } from "#prometheus/catalogue.ts";
import { createPrometheusClient, type PrometheusClient } from "#prometheus/client.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import {
  startHttpServer,
  type ReceivedRequest,
  type Respond,
  type TestServer,
} from "../../helpers/http-server.ts";
import { createManualClock, type ManualClock } from "../../helpers/manual-clock.ts";
import { MATRIX_NOW_MS as NOW, toMatrixAnswer } from "../../helpers/matrix-answer.ts";
import { createSeriesKeeper } from "../../helpers/scanned-series.ts";

type ReadHooks = Parameters<PrometheusClient["read"]>[2];

const TIMEOUT_MS = 30_000;
const WINDOW = { fromMs: NOW - 300_123, toMs: NOW - 1 };
const { signal } = new AbortController();

let server: TestServer;
let agent: Agent;
let clock: ManualClock;
let client: PrometheusClient;

beforeEach(async () => {
  server = await startHttpServer();
  agent = new Agent({ connections: 2, pipelining: 1 });
  clock = createManualClock();
  client = createPrometheusClient(
    { dispatcher: agent, clock, turns: createTurns() },
    { origin: server.origin, pathPrefix: "/prefix", timeoutMs: TIMEOUT_MS },
  );
});

afterEach(async () => {
  await agent.destroy();
  await server.close();
});

const json =
  (body: unknown): Respond =>
  (response) =>
    void response.setHeader("content-type", "application/json").end(JSON.stringify(body));
const success = (data: unknown): Respond => json({ status: "success", data });
const matrix = (result: unknown[]): Respond => success({ resultType: "matrix", result });

const queryOf = (promql: string, stepSeconds?: number): Query =>
  toQueries([{ name: "q", promql, group: "g", ...(stepSeconds === undefined ? {} : { stepSeconds }) }])[0]!;
const formOf = (request: ReceivedRequest | undefined): unknown =>
  Object.fromEntries(new URLSearchParams(request?.body.toString()));
const at = (ms: number, value = "1"): string => `[${(ms / 1000).toFixed(3)},"${value}"]`;
const noPause = { pause: () => undefined };

describe("reading raw samples", () => {
  test("asks for selector[window] at the window's end and streams what lies in the window", async () => {
    const body = toMatrixAnswer([
      {
        labels: ['"__name__":"up"'],
        samples: [WINDOW.fromMs, WINDOW.fromMs + 1, WINDOW.toMs].map((ms) => at(ms)),
      },
    ]);
    server.respond = (response) => void response.end(body);
    const sink = createSeriesKeeper();
    const result = await client.read(queryOf('up{a="b"} # c'), WINDOW, { sink, ...noPause }, signal);
    expect(sink.kept).toEqual([
      {
        name: "up",
        labels: [],
        samples: [
          [WINDOW.fromMs + 1, 1],
          [WINDOW.toMs, 1],
        ],
      },
    ]);
    expect(result).toEqual({ series: 1, samples: 2, histogramSamples: 0, refused: [], warnings: [] });
    expect(server.requests).toHaveLength(1);
    expect(server.requests[0]).toMatchObject({ method: "POST", path: "/prefix/api/v1/query" });
    expect(server.requests[0]!.headers["content-type"]).toBe("application/x-www-form-urlencoded");
    expect(server.requests[0]!.headers["accept-encoding"]).toBeUndefined();
    expect(formOf(server.requests[0])).toEqual({ query: 'up{a="b"}[300122ms]', time: "1767225599.999" });
    expect(clock.pending()).toBe(0);
  });

  test("passes the limits to the scanner", async () => {
    const limits = {
      seriesMax: 1,
      seriesBytesMax: 1e6,
      labelsMax: 9,
      labelBytesMax: 1e3,
      fallbackBytesMax: 1e6,
    };
    const limited = createPrometheusClient(
      { dispatcher: agent, clock, turns: createTurns() },
      { origin: server.origin, pathPrefix: "", timeoutMs: TIMEOUT_MS, limits },
    );
    const series = { labels: [], samples: [at(NOW - 1)] };
    server.respond = (response) => void response.end(toMatrixAnswer([series, series]));
    const error = await bridgeErrorOf(
      limited.read(queryOf("up"), WINDOW, { sink: createSeriesKeeper(), ...noPause }, signal),
    );
    expect(error.code).toBe("prometheus_answer_too_large");
    expect(server.requests[0]!.path).toBe("/api/v1/query");
  });
});

describe("reading an expression", () => {
  const expression = queryOf("sum(up)", 60);
  const hooks: ReadHooks = { sink: { series: () => {} }, ...noPause };

  test.each([
    [NOW, NOW + 120_000, "1767225660.000", "1767225720.000"],
    [NOW - 1, NOW, "1767225600.000", "1767225600.000"],
    [NOW - 300_123, NOW + 59_999, "1767225300.000", "1767225600.000"],
    [NOW + 1, NOW + 60_000, "1767225660.000", "1767225660.000"],
  ])("asks for the multiples of the step in (%d, %d]", async (fromMs, toMs, start, end) => {
    server.respond = matrix([]);
    await client.read(expression, { fromMs, toMs }, hooks, signal);
    expect(server.requests[0]).toMatchObject({ method: "POST", path: "/prefix/api/v1/query_range" });
    expect(formOf(server.requests[0])).toEqual({ query: "sum(up)", start, end, step: "60.000" });
  });

  test("two neighbouring windows ask for each multiple once", async () => {
    server.respond = matrix([]);
    const cut = NOW + 31_234;
    await client.read(expression, { fromMs: NOW - 90_000, toMs: cut }, hooks, signal);
    await client.read(expression, { fromMs: cut, toMs: NOW + 200_000 }, hooks, signal);
    const [first, second] = server.requests.map((request) => formOf(request) as Record<string, string>);
    expect(Number(second!["start"]) - Number(first!["end"])).toBe(60);
  });

  test.each([
    [NOW, NOW + 59_999],
    [NOW + 1, NOW + 1],
  ])("asks nothing when no multiple lies in (%d, %d]", async (fromMs, toMs) => {
    expect(await client.read(expression, { fromMs, toMs }, hooks, signal)).toEqual({
      series: 0,
      samples: 0,
      histogramSamples: 0,
      refused: [],
      warnings: [],
    });
    expect(server.requests).toHaveLength(0);
  });
});

describe("Prometheus' clock", () => {
  test("is time(), in ms", async () => {
    server.respond = success({ resultType: "scalar", result: [NOW / 1000, "1767225600.1239"] });
    expect(await client.now(signal)).toBe(1_767_225_600_124);
    expect(server.requests[0]).toMatchObject({ method: "POST", path: "/prefix/api/v1/query" });
    expect(formOf(server.requests[0])).toEqual({ query: "time()" });
    expect(clock.pending()).toBe(0);
  });

  test.each([
    [{ resultType: "scalar", result: [1, "NaN"] }],
    [{ resultType: "scalar", result: [1, "0"] }],
    [{ resultType: "scalar", result: [1, "soon"] }],
    [{ resultType: "scalar", result: [1, 1_767_225_600] }],
    [{ resultType: "scalar", result: null }],
    [{ resultType: "scalar", result: "1767225600" }],
    [{ resultType: "vector", result: [] }],
    [{}],
    [[]],
  ])("answered as %j is refused", async (data) => {
    server.respond = success(data);
    expect((await bridgeErrorOf(client.now(signal))).code).toBe("prometheus_answer_invalid");
  });
});

describe("metadata", () => {
  test("is the first entry of each family", async () => {
    server.respond = success({
      up: [
        { type: "gauge", help: "Is it up?", unit: "" },
        { type: "counter", help: "no", unit: "x" },
      ],
      node_cpu_seconds: [{ type: "counter", help: "CPU" }],
      empty: [],
    });
    expect(await client.metadata(signal)).toEqual(
      new Map([
        ["up", { type: "gauge", help: "Is it up?", unit: "" }],
        ["node_cpu_seconds", { type: "counter", help: "CPU", unit: "" }],
      ]),
    );
    // Prometheus has this path for GET alone.
    expect(server.requests[0]).toMatchObject({
      method: "GET",
      path: "/prefix/api/v1/metadata?limit_per_metric=1",
    });
  });

  test("of other types than Prometheus' counts as absent", async () => {
    server.respond = success({
      a: [{ type: 7, help: ["x"], unit: null }],
      b: [null],
      c: "gauge",
      d: null,
      e: { type: "gauge" },
      f: [7],
    });
    const unknown = { type: "unknown", help: "", unit: "" };
    expect(await client.metadata(signal)).toEqual(
      new Map([
        ["a", unknown],
        ["f", unknown],
      ]),
    );
  });
});

describe("is there any sample", () => {
  test.each([
    [[{ metric: {}, value: [NOW / 1000, "3"] }], true],
    [[], false],
    [null, false],
    ["text", false],
  ])("an answer %j says %s", async (result, wanted) => {
    server.respond = success({ resultType: "vector", result });
    expect(await client.hasSamplesAt(NOW + 1, signal)).toBe(wanted);
    expect(formOf(server.requests[0])).toEqual({ query: "count(up)", time: "1767225600.001" });
  });
});

describe("the oldest sample", () => {
  /** Answers as a Prometheus with one target whose samples are at `times`; refuses what Prometheus refuses. */
  const prometheusWith =
    (times: readonly number[]): Respond =>
    (response, request) => {
      const form = formOf(request) as Record<string, string>;
      const range = /^up\[(\d+)ms\]$/.exec(form["query"]!);
      const seconds = (name: string): number => Math.round(Number(form[name]) * 1000);
      if (range) {
        const toMs = seconds("time");
        const fromMs = toMs - Number(range[1]);
        if (fromMs >= toMs)
          return void response
            .writeHead(400)
            .end('{"status":"error","errorType":"bad_data","error":"duration must be greater than 0"}');
        const values = times.filter((ms) => ms >= fromMs && ms <= toMs).map((ms) => [ms / 1000, "1"]);
        return matrix(values.length > 0 ? [{ metric: { __name__: "up" }, values }] : [])(response, request);
      }
      const values: [number, string][] = [];
      if (seconds("end") < seconds("start"))
        return void response
          .writeHead(400)
          .end('{"status":"error","errorType":"bad_data","error":"end before start"}');
      for (let step = seconds("start"); step <= seconds("end"); step += seconds("step")) {
        if (times.some((ms) => ms > step - 300_000 && ms <= step)) values.push([step / 1000, "1"]);
      }
      matrix(values.length > 0 ? [{ metric: {}, values }] : [])(response, request);
    };

  const DAY_MS = 86_400_000;
  const from = NOW - DAY_MS + 123;
  const scrapes = (first: number, last: number): number[] =>
    Array.from({ length: Math.floor((last - first) / 15_000) + 1 }, (_, i) => first + i * 15_000);

  test.each<[string, number[], number, number | undefined]>([
    ["in the middle of a day", scrapes(NOW - DAY_MS / 2 + 7, NOW), from, NOW - DAY_MS / 2 + 7],
    ["in the last minutes", scrapes(NOW - 100_000, NOW), from, NOW - 100_000],
    ["at the window's end", [NOW], from, NOW],
    ["just after the window's beginning", scrapes(from + 1, NOW), from, from + 1],
    ["of a Prometheus that has more than the window", scrapes(from - 600_001, NOW), from, from + 14_999],
    [
      "before a hole",
      [...scrapes(from + 1_000_003, from + 2_000_000), ...scrapes(NOW - 50_000, NOW)],
      from,
      from + 1_000_003,
    ],
    ["in a window shorter than a step", scrapes(NOW - 600_000, NOW), NOW - 40_000, NOW - 30_000],
    ["at the window's beginning only, which is not in it", [from], from, undefined],
    ["of none", [], from, undefined],
  ])("%s is found", async (_name, times, fromMs, wanted) => {
    server.respond = prometheusWith(times);
    expect(await client.oldestSample({ fromMs, toMs: NOW }, signal)).toBe(wanted);
    expect(server.requests.length).toBeLessThanOrEqual(2);
  });

  test("is asked for with a few hundred steps at most", async () => {
    server.respond = prometheusWith([]);
    await client.oldestSample({ fromMs: NOW - 30 * DAY_MS, toMs: NOW }, signal);
    const form = formOf(server.requests[0]) as Record<string, string>;
    expect((Number(form["end"]) - Number(form["start"])) / Number(form["step"])).toBeLessThanOrEqual(250);
  });

  test.each([
    [{ resultType: "matrix", result: [null] }],
    [{ resultType: "matrix", result: [{ values: [["soon", 1]] }] }],
    [{ resultType: "matrix", result: { 0: 1 } }],
  ])("a probe answered as %j finds nothing", async (data) => {
    server.respond = (response, request) =>
      (request.path.endsWith("query_range") ? success(data) : matrix([]))(response, request);
    expect(await client.oldestSample({ fromMs: from, toMs: NOW }, signal)).toBeUndefined();
  });
});

describe("small answers", () => {
  test.each([
    ['{"status":"succ', "prometheus_answer_truncated"],
    ["", "prometheus_answer_truncated"],
    ["<html></html>", "prometheus_unexpected_answer"],
    ["OK", "prometheus_unexpected_answer"],
    ["null", "prometheus_unexpected_answer"],
    ["[1]", "prometheus_unexpected_answer"],
    ['{"status":"error","error":"x"}', "prometheus_unexpected_answer"],
    ['{"status":"success"}', "prometheus_unexpected_answer"],
    ['{"status":"success","data":null}', "prometheus_unexpected_answer"],
    [`{"status":"success","data":"${"x".repeat(1 << 20)}"}`, "prometheus_answer_too_large"],
  ])("that are %.30s are refused", async (body, code) => {
    server.respond = (response) => void response.end(body);
    const error = await bridgeErrorOf(client.now(signal));
    expect(error.code).toBe(code);
    expect(error).toBeInstanceOf(BridgeError);
  });
});
