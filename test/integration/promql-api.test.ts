import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { createPromql } from "#query/promql/promql.ts";
import {
  type AnswerForm,
  encodeReadRequest,
  READ_HEADERS,
  type ReadQuery,
} from "#prometheus/remote-read/request.ts";
import { decompressSnappy } from "#prometheus/remote-read/snappy.ts";
import { readFields } from "#otlp/wire.ts";
import { useEngine } from "../helpers/engine.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { decodeAnswer } from "../helpers/remote-read-answers.ts";
import { readChunkAnswer, readSampleAnswer, toReadRequest } from "../helpers/remote-read-client.ts";
import { marker, point, storeOfResource } from "../helpers/stored-world.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";
import { ACCESS, type Harness, startHarness, TOKENS } from "./http-harness.ts";

const engine = useEngine({ migrated: true });
const MINUTE_MS = 60_000;
/** The last sample's time; a whole minute. */
const NOW_MS = Math.floor(Date.now() / MINUTE_MS) * MINUTE_MS;
const NOW = NOW_MS / 1000;
const FEW = "few-token-0123456789";
let harness: Harness;

beforeAll(async () => {
  for (const [id, factor] of [
    ["edge-1", 1],
    ["edge-2", 10],
  ] as const) {
    const resource = { cluster_id: id, cluster_name: `Edge ${id.at(-1)}` };
    const times = Array.from({ length: 60 }, (_unused, k) => NOW_MS - (59 - k) * 30_000);
    const hosts = ["a", "b"];
    const gauge = hosts.flatMap((host, h) =>
      times.map((ms, k) => point({ host }, ms, factor * (h * 100 + k))),
    );
    await storeOfResource(engine.database, resource, [
      { name: "load", kind: "gauge", points: gauge },
      {
        name: "requests_total",
        kind: "sum",
        points: times.map((ms, k) => point({ job: "api" }, ms, k * 30 * factor)),
      },
      {
        name: "gone",
        kind: "gauge",
        points: [point({ pod: "p" }, NOW_MS - 90_000, 1), marker({ pod: "p" }, NOW_MS - 60_000)],
      },
      {
        name: "odd",
        kind: "gauge",
        points: [Number.NaN, Infinity, -Infinity, -0, 1e21, 1e-7].map((value, i) =>
          point({ i: String(i) }, NOW_MS, value),
        ),
      },
    ]);
  }
  const { databaseName, limits, promql } = QUERY_DEFAULTS;
  const deps = { database: engine.database, clock: createManualClock(NOW_MS) };
  harness = await startHarness({
    access: {
      ...ACCESS,
      tokens: [
        ...ACCESS.tokens,
        {
          name: "few",
          sha256: createHash("sha256").update(FEW).digest("hex"),
          scopes: ["read"],
          clusters: ["edge-2"],
        },
      ],
    },
    deps: {
      clock: deps.clock,
      promql: createPromql(deps, { ...promql, databaseName, queryLimits: limits }),
    },
  });
});
afterAll(() => harness.server.stop());

/** The series of a ReadResponse with one result; values by their bits. */
function readResponse(block: Buffer): { labels: [string, string][]; samples: [number, string][] }[] {
  const bytes = decompressSnappy(block, 1e6);
  const [result] = [...readFields(bytes)];
  return [...readFields(bytes, result!.start, result!.end)].map((series) => {
    const labels: [string, string][] = [];
    const samples: [number, string][] = [];
    for (const { number, start, end } of readFields(bytes, series.start, series.end)) {
      const [first, second] = [...readFields(bytes, start, end)];
      if (number === 1)
        labels.push(
          [first!, second!].map((each) => bytes.toString("utf8", each.start, each.end)) as [string, string],
        );
      else
        samples.push([
          second!.value,
          Buffer.from(bytes.subarray(first!.start, first!.end)).reverse().toString("hex"),
        ]);
    }
    return { labels, samples };
  });
}

type Json = Record<string, unknown>;
type Init = Omit<RequestInit, "headers"> & { headers?: Record<string, string> };
type Answer = { status: number; body: Json & { data: Json } };

async function ask(
  path: string,
  parameters: [string, string][] | Json = {},
  init: Init = {},
): Promise<Answer> {
  const pairs = Array.isArray(parameters) ? parameters : Object.entries(parameters);
  const form = new URLSearchParams(pairs.map(([name, value]): [string, string] => [name, String(value)]));
  const isPost = init.method === "POST";
  const url = `${harness.url}/api/v1/${path}${isPost || pairs.length === 0 ? "" : `?${form.toString()}`}`;
  const answer = await fetch(url, {
    headers: { authorization: `Bearer ${TOKENS.read}`, ...init.headers },
    ...(isPost ? { body: form } : {}),
    ...init,
  });
  answered.add(
    `${init.method ?? "GET"} /api/v1/${path.replace(/^label\/[^/]+/, "label/{name}")} ${answer.status}`,
  );
  return { status: answer.status, body: (await answer.json()) as Answer["body"] };
}

/** Method, path and status of all answers. */
const answered = new Set<string>();

const post: Init = { method: "POST" };

describe("GET and POST /api/v1/query", () => {
  it.each([{}, post])("answers a vector at a time (%j)", async (init) => {
    const { status, body } = await ask("query", { query: "sum by (cluster) (load)", time: NOW }, init);
    expect([status, body]).toEqual([
      200,
      {
        status: "success",
        data: {
          resultType: "vector",
          result: [
            { metric: { cluster: "Edge 1" }, value: [NOW, "218"] },
            { metric: { cluster: "Edge 2" }, value: [NOW, "2180"] },
          ],
        },
      },
    ]);
  });

  it("answers Grafana's health check, in 1970", async () => {
    const { body } = await ask("query", { query: "1+1", time: "4" }, post);
    expect(body.data).toEqual({ resultType: "scalar", result: [4, "2"] });
  });

  it("prints times with decimals only where there are some", async () => {
    const headers = { authorization: `Bearer ${TOKENS.read}` };
    for (const time of ["4", "4.25"]) {
      const answer = await fetch(`${harness.url}/api/v1/query?query=1&time=${time}`, { headers });
      const printed = time === "4" ? "4" : "4.250";
      expect(await answer.text()).toContain(`"result":[${printed},"1"]`);
    }
  });

  it("answers a text, a matrix, and times with ms", async () => {
    expect((await ask("query", { query: '"text"', time: `${NOW}.25` })).body.data).toEqual({
      resultType: "string",
      result: [NOW + 0.25, "text"],
    });
    const { body } = await ask("query", { query: 'load{host="a",cluster_id="edge-1"}[1m]', time: NOW });
    expect(body.data).toEqual({
      resultType: "matrix",
      result: [
        {
          metric: { __name__: "load", cluster: "Edge 1", cluster_id: "edge-1", host: "a" },
          values: [
            [NOW - 30, "58"],
            [NOW, "59"],
          ],
        },
      ],
    });
  });

  it("prints numbers as Prometheus does", async () => {
    const { body } = await ask("query", { query: 'odd{cluster_id="edge-1"}', time: NOW });
    const result = body.data["result"] as { metric: Json; value: [number, string] }[];
    expect(Object.fromEntries(result.map(({ metric, value }) => [metric["i"], value[1]]))).toEqual({
      0: "NaN",
      1: "+Inf",
      2: "-Inf",
      3: "-0",
      4: "1000000000000000000000",
      5: "0.0000001",
    });
  });

  it("ends a series at its stale marker", async () => {
    const at = async (time: number) =>
      (await ask("query", { query: "count(gone)", time })).body.data["result"] as unknown[];
    expect(await at(NOW - 61)).toHaveLength(1);
    expect(await at(NOW)).toEqual([]);
  });

  it("takes the time of now, RFC 3339, limit and lookback_delta", async () => {
    const valueOf = async (parameters: Json) => {
      const { body } = await ask("query", { query: 'load{host="a",cluster_id="edge-1"}', ...parameters });
      return (body.data["result"] as { value: unknown[] }[]).map(({ value }) => value);
    };
    expect(await valueOf({})).toEqual([[NOW, "59"]]);
    expect(await valueOf({ time: new Date(NOW_MS - 30_000).toISOString() })).toEqual([[NOW - 30, "58"]]);
    expect(await valueOf({ time: NOW + 60, lookback_delta: "61s" })).toEqual([[NOW + 60, "59"]]);
    expect(await valueOf({ time: NOW + 60, lookback_delta: 60 })).toEqual([]);
    const { body } = await ask("query", { query: "load", limit: "3" });
    expect(body.data["result"]).toHaveLength(3);
    expect(body["warnings"]).toEqual(["results truncated due to limit"]);
    expect((await ask("query", { query: "load", limit: "0" })).body.data["result"]).toHaveLength(4);
  });

  it("gives warnings, infos and statistics", async () => {
    const { body } = await ask("query", { query: "rate(load[2m])", stats: "all" });
    expect(body["infos"]).toEqual([
      expect.stringMatching(/^PromQL info: metric might not be a counter.*\(1:6\)$/),
    ]);
    expect(body.data["stats"]).toMatchObject({ samples: { totalQueryableSamples: 16 } });
  });
});

describe("GET and POST /api/v1/query_range", () => {
  it.each([{}, post])("answers a matrix (%j)", async (init) => {
    const range = { start: NOW - 120, end: NOW, step: "1m" };
    const query = 'irate(requests_total{cluster="Edge 2"}[2m])';
    const { body } = await ask("query_range", { query, ...range }, init);
    expect(body.data).toEqual({
      resultType: "matrix",
      result: [
        {
          metric: { cluster: "Edge 2", cluster_id: "edge-2", job: "api" },
          values: [
            [NOW - 120, "10"],
            [NOW - 60, "10"],
            [NOW, "10"],
          ],
        },
      ],
    });
  });
});

describe("errors, in Prometheus' words", () => {
  const RANGE = { query: "up", start: "0", end: "60", step: "60" };
  it.each<[string, Json, number, string, string | RegExp]>([
    [
      "query",
      { query: "" },
      400,
      "bad_data",
      /^invalid parameter "query": .*parse error: no expression found in input$/,
    ],
    [
      "query",
      { query: "sum(" },
      400,
      "bad_data",
      /^invalid parameter "query": 1:5: parse error: unclosed left parenthesis$/,
    ],
    [
      "query",
      { query: "up", time: "noon" },
      400,
      "bad_data",
      'invalid parameter "time": cannot parse "noon" to a valid timestamp',
    ],
    [
      "query",
      { query: "up", timeout: "x" },
      400,
      "bad_data",
      'invalid parameter "timeout": cannot parse "x" to a valid duration',
    ],
    [
      "query",
      { query: "up", limit: "-1" },
      400,
      "bad_data",
      'invalid parameter "limit": limit must be non-negative',
    ],
    [
      "query",
      { query: "load + on () load" },
      422,
      "execution",
      /^found duplicate series for the match group .*$/s,
    ],
    [
      "query_range",
      { ...RANGE, start: "61" },
      400,
      "bad_data",
      'invalid parameter "end": end timestamp must not be before start time',
    ],
    [
      "query_range",
      { ...RANGE, step: "0" },
      400,
      "bad_data",
      'invalid parameter "step": zero or negative query resolution step widths are not accepted. Try a positive integer',
    ],
    [
      "query_range",
      { ...RANGE, step: "" },
      400,
      "bad_data",
      'invalid parameter "step": cannot parse "" to a valid duration',
    ],
    [
      "query_range",
      { ...RANGE, end: "11001", step: "1" },
      400,
      "bad_data",
      "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
    ],
    [
      "query_range",
      { ...RANGE, query: "up[1m]" },
      400,
      "bad_data",
      'invalid parameter "query": invalid expression type "range vector" for range query, must be Scalar or instant Vector',
    ],
    ["series", {}, 400, "bad_data", "no match[] parameter provided"],
    [
      "series",
      { "match[]": "{}" },
      400,
      "bad_data",
      /^invalid parameter "match\[\]": .*must contain at least one non-empty matcher$/,
    ],
    ["metadata", { limit: "x" }, 400, "bad_data", "limit must be a number"],
  ])("%s %j", async (path, parameters, status, errorType, error) => {
    const answer = await ask(path, parameters);
    expect(answer).toMatchObject({ status, body: { status: "error", errorType } });
    const found = error instanceof RegExp ? error.exec(String(answer.body["error"]))?.[0] : error;
    expect(answer.body["error"]).toBe(found);
  });

  it("answers callers who may not ask in the same form", async () => {
    const nobody = await ask("query", { query: "1" }, { headers: { authorization: "" } });
    expect(nobody).toMatchObject({ status: 401, body: { status: "error", errorType: "unauthorized" } });
    const collect = await ask(
      "query",
      { query: "1" },
      { headers: { authorization: `Bearer ${TOKENS.collect}` } },
    );
    expect(collect).toMatchObject({ status: 403, body: { status: "error", errorType: "forbidden" } });
  });

  it("refuses bodies that are no form", async () => {
    const json = {
      method: "POST",
      body: '{"query":"1"}',
      headers: { "content-type": "application/json", authorization: `Bearer ${TOKENS.read}` },
    };
    const answer = await fetch(`${harness.url}/api/v1/query`, json);
    expect([answer.status, await answer.json()]).toMatchObject([
      415,
      {
        status: "error",
        errorType: "bad_data",
        error: expect.stringContaining("Send application/x-www-form-urlencoded.") as string,
      },
    ]);
    const empty = await fetch(`${harness.url}/api/v1/query?query=1`, {
      method: "POST",
      headers: { authorization: `Bearer ${TOKENS.read}` },
    });
    expect(empty.status).toBe(200);
  });
});

describe("lists", () => {
  const list = async (path: string, parameters: [string, string][] = [], init: Init = {}) =>
    (await ask(path, parameters, init)).body.data as unknown;

  it("lists series, labels and values", async () => {
    const match: [string, string][] = [
      ["match[]", 'load{cluster="Edge 1"}'],
      ["match[]", "requests_total"],
    ];
    const series = [
      { __name__: "load", cluster: "Edge 1", cluster_id: "edge-1", host: "a" },
      { __name__: "load", cluster: "Edge 1", cluster_id: "edge-1", host: "b" },
      { __name__: "requests_total", cluster: "Edge 1", cluster_id: "edge-1", job: "api" },
      { __name__: "requests_total", cluster: "Edge 2", cluster_id: "edge-2", job: "api" },
    ];
    expect(await list("series", match)).toEqual(series);
    expect(await list("series", match, post)).toEqual(series);
    expect(await list("labels", match)).toEqual(["__name__", "cluster", "cluster_id", "host", "job"]);
    expect(await list("labels", match, post)).toEqual(["__name__", "cluster", "cluster_id", "host", "job"]);
    expect(await list("label/cluster/values")).toEqual(["Edge 1", "Edge 2"]);
    expect(await list("label/__name__/values")).toEqual(["gone", "load", "odd", "requests_total"]);
    expect(await list("label/U__host/values", [["match[]", "load"]])).toEqual(["a", "b"]);
    expect(await list("label/U__cluster__id/values")).toEqual(["edge-1", "edge-2"]);
    expect(
      await list("label/host/values", [
        ["start", String(NOW + 3600)],
        ["end", String(NOW + 7200)],
      ]),
    ).toEqual([]);
    const countAt = async (seconds: number): Promise<number> => {
      const at = String(seconds);
      const found = await list("series", [
        ["match[]", 'load{host="a",cluster_id="edge-1"}'],
        ["start", at],
        ["end", at],
      ]);
      return (found as unknown[]).length;
    };
    // Both ends count.
    expect([await countAt(NOW), await countAt(NOW + 0.001)]).toEqual([1, 0]);
    const { body } = await ask("label/__name__/values", { limit: "2" });
    expect(body).toEqual({
      status: "success",
      data: ["gone", "load"],
      warnings: ["results truncated due to limit"],
    });
  });

  it("describes metrics", async () => {
    expect(await list("metadata", [["metric", "requests_total"]])).toEqual({
      requests_total: [{ type: "counter", help: "", unit: "" }],
    });
    expect(Object.keys((await list("metadata", [["limit", "2"]])) as Json)).toHaveLength(2);
  });

  it("answers what Grafana asks beside them", async () => {
    expect(await list("rules")).toEqual({ groups: [] });
    expect(await list("alerts")).toEqual({ alerts: [] });
    expect(
      await list(
        "query_exemplars",
        [
          ["query", "load"],
          ["start", "0"],
          ["end", "1"],
        ],
        post,
      ),
    ).toEqual([]);
    expect(await list("status/buildinfo")).toMatchObject({ version: "3.15.0" });
    expect(await list("status/runtimeinfo")).toMatchObject({ reloadConfigSuccess: true });
    expect(await list("status/flags")).toMatchObject({ "query.lookback-delta": "300s" });
    expect(await list("format_query", [["query", "sum( load)by(host)"]])).toBe("sum by (host) (load)");
    expect(await list("parse_query", [["query", "load"]], post)).toMatchObject({
      type: "vectorSelector",
      name: "load",
    });
  });
});

describe("POST /api/v1/read", () => {
  const postRead = async (body: Buffer, token: string = TOKENS.read) =>
    fetch(`${harness.url}/api/v1/read`, {
      method: "POST",
      headers: { ...READ_HEADERS, authorization: `Bearer ${token}` },
      body: new Uint8Array(body),
    });
  const read = async (query: ReadQuery, forms: AnswerForm[], token?: string) =>
    postRead(encodeReadRequest(query, forms), token);
  const bytesOf = async (answer: Response): Promise<Buffer> => Buffer.from(await answer.arrayBuffer());
  const ALL = [["=~", "__name__", ".+"]] as const;
  const QUERY: ReadQuery = {
    startMs: NOW_MS - 90_000,
    endMs: NOW_MS - 30_000,
    matchers: [{ type: "=~", name: "__name__", value: "gone|requests_total" }],
  };
  const labelsOf = (cluster: number, name: string, label: [string, string]) => [
    ["__name__", name],
    ["cluster", `Edge ${cluster}`],
    ["cluster_id", `edge-${cluster}`],
    label,
  ];

  it("answers samples and stale markers, both ends included", async () => {
    const answer = await read(QUERY, ["samples", "chunks"]);
    expect([answer.status, answer.headers.get("content-encoding")]).toEqual([200, "snappy"]);
    const found = readResponse(Buffer.from(await answer.arrayBuffer()));
    const marked = [
      [NOW_MS - 90_000, "3ff0000000000000"],
      [NOW_MS - 60_000, "7ff0000000000002"],
    ];
    expect(found).toMatchObject([
      { labels: labelsOf(1, "gone", ["pod", "p"]), samples: marked },
      { labels: labelsOf(2, "gone", ["pod", "p"]), samples: marked },
      { labels: labelsOf(1, "requests_total", ["job", "api"]) },
      { labels: labelsOf(2, "requests_total", ["job", "api"]) },
    ]);
    expect(found[2]!.samples.map(([ms]) => ms)).toEqual([-90_000, -60_000, -30_000].map((ms) => NOW_MS + ms));
  });

  const EVERYTHING: ReadQuery = {
    startMs: 0,
    endMs: NOW_MS,
    matchers: [{ type: "=~", name: "__name__", value: ".+" }],
  };

  it("answers chunks with the same bits, in the same order", async () => {
    const answer = await read(EVERYTHING, ["chunks", "samples"]);
    const { headers, status } = answer;
    expect([status, headers.get("content-type"), headers.get("content-encoding")]).toEqual([
      200,
      "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse",
      null,
    ]);
    const chunks = await bytesOf(answer);
    const samples = await bytesOf(await read(EVERYTHING, ["samples"]));
    const { series } = decodeAnswer("chunks", [chunks]);
    expect(series).toEqual(decodeAnswer("samples", [samples]).series);
    expect(readChunkAnswer(chunks)).toEqual(
      readSampleAnswer(samples).map((each) => ({ ...each, chunks: expect.any(Array) as unknown })),
    );
    expect(series.map(({ labels }) => labels["__name__"])).toEqual([
      ...Array<string>(2).fill("gone"),
      ...Array<string>(4).fill("load"),
      ...Array<string>(12).fill("odd"),
      ...Array<string>(2).fill("requests_total"),
    ]);
    const bitsOfOdd = series.flatMap(({ labels, samples: [first] }) =>
      labels["__name__"] === "odd" ? [first![1].toString(16)] : [],
    );
    expect(bitsOfOdd).toEqual(
      expect.arrayContaining(["7ff0000000000000", "fff0000000000000", "8000000000000000"]),
    );
    expect(series[0]!.samples[1]).toEqual([NOW_MS - 60_000, 0x7ff0000000000002n]);
  });

  it.each([
    { accepted: [1, 0], type: "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse" },
    { accepted: [7, 1], type: "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse" },
    { accepted: [0, 1], type: "application/x-protobuf" },
    { accepted: [], type: "application/x-protobuf" },
  ])("takes the first form that it knows of $accepted", async ({ accepted, type }) => {
    const answer = await postRead(toReadRequest([{ fromMs: NOW_MS, toMs: NOW_MS, matchers: ALL }], accepted));
    expect([answer.status, answer.headers.get("content-type")]).toEqual([200, type]);
    await answer.body?.cancel();
  });

  it("names the query of each series", async () => {
    const queries = ["odd", "gone", "none", "load"].map((name) => ({
      fromMs: 0,
      toMs: NOW_MS,
      matchers: [["=", "__name__", name] as const],
    }));
    const answer = await postRead(toReadRequest(queries, [1]));
    const found = readChunkAnswer(await bytesOf(answer)).map(
      ({ queryIndex, labels }) => `${queryIndex} ${labels["__name__"]}`,
    );
    expect([...new Set(found)]).toEqual(["0 odd", "1 gone", "3 load"]);
  });

  it("has no chunks of clusters that the caller may not see", async () => {
    const { series } = decodeAnswer("chunks", [await bytesOf(await read(EVERYTHING, ["chunks"], FEW))]);
    expect(new Set(series.map(({ labels }) => labels["cluster_id"]))).toEqual(new Set(["edge-2"]));
    expect(series).toHaveLength(10);
  });

  it("has nothing of clusters that the caller may not see", async () => {
    const all = { ...QUERY, matchers: [{ type: "!=", name: "cluster_id", value: "edge-2" } as const] };
    const found = readResponse(Buffer.from(await (await read(all, ["samples"], FEW)).arrayBuffer()));
    expect(found).toEqual([]);
    const own = readResponse(Buffer.from(await (await read(QUERY, ["samples"], FEW)).arrayBuffer()));
    expect(own.map(({ labels }) => labels[2])).toEqual([
      ["cluster_id", "edge-2"],
      ["cluster_id", "edge-2"],
    ]);
  });

  it("refuses other forms and bodies that are none", async () => {
    const form = await fetch(`${harness.url}/api/v1/read`, {
      method: "POST",
      headers: { authorization: `Bearer ${TOKENS.read}` },
      body: new URLSearchParams({ query: "up" }),
    });
    expect([form.status, await form.json()]).toMatchObject([
      415,
      { error: expect.stringContaining("Send application/x-protobuf.") as string },
    ]);
    const unknown = await postRead(toReadRequest([{ fromMs: 0, toMs: NOW_MS, matchers: ALL }], [7]));
    expect([unknown.status, await unknown.json()]).toMatchObject([
      400,
      { errorType: "bad_data", error: expect.stringContaining("SAMPLES") as string },
    ]);
    const headers = { ...READ_HEADERS, authorization: `Bearer ${TOKENS.read}` };
    for (const body of [
      new Uint8Array([255, 255, 255, 255, 255, 255]),
      new Uint8Array([4, 12, 10, 200, 1, 1]),
      undefined,
    ]) {
      const answer = await fetch(`${harness.url}/api/v1/read`, {
        method: "POST",
        headers,
        ...(body && { body }),
      });
      expect([answer.status, await answer.json()]).toMatchObject([
        400,
        { status: "error", errorType: "bad_data" },
      ]);
    }
  });
});

describe("a token for some clusters", () => {
  const few = { authorization: `Bearer ${FEW}` };
  const EVERY: [string, Json][] = [
    ...[
      "load",
      'load{cluster="Edge 1"} or load',
      'load{cluster_id="edge-1"} or vector(0)',
      '{__name__=~".+"}',
      '{cluster_id!=""}',
      '{cluster=~".+", cluster_id!="edge-2"} or vector(0)',
      "sum without (cluster_id) (load)",
      "count by (cluster) (load)",
      "max_over_time(load[5m])",
      "max_over_time(sum by (cluster) (load)[5m:1m])",
      "load @ end()",
      "load offset 1m",
      'label_replace(load, "cluster", "$1", "cluster", "(.*)")',
      "absent(load) or load",
      "topk(100, load)",
      'count_values("cluster", load)',
      "load * on (cluster, host) group_left load",
      "load unless on (host) (load < 0)",
    ].flatMap((query): [string, Json][] => [
      ["query", { query, time: NOW }],
      ["query_range", { query, start: NOW - 120, end: NOW, step: 60 }],
    ]),
    ["series", { "match[]": "load" }],
    ["series", { "match[]": '{cluster_id=~"edge-1|edge-2"}' }],
    ["labels", {}],
    ["labels", { "match[]": 'load{cluster_id="edge-1"}' }],
    ["label/cluster/values", {}],
    ["label/cluster_id/values", { "match[]": "load" }],
    ["label/host/values", { "match[]": 'load{cluster="Edge 1"}' }],
    ["metadata", {}],
  ];

  it.each(EVERY)("sees nothing of others: %s %j", async (path, parameters) => {
    const forms = path.startsWith("label/") || path === "metadata" ? [{}] : [{}, post];
    for (const init of forms) {
      const { status, body } = await ask(path, parameters, { ...init, headers: few });
      expect([status, JSON.stringify(body)]).toEqual([200, expect.not.stringMatching(/edge-1|Edge 1/)]);
    }
  });

  it("sees its own", async () => {
    const { body } = await ask("query", { query: "count by (cluster) (load)" }, { headers: few });
    expect(body.data["result"]).toEqual([{ metric: { cluster: "Edge 2" }, value: [NOW, "2"] }]);
    const labels = await ask("label/host/values", { "match[]": 'load{cluster="Edge 1"}' }, { headers: few });
    expect(labels.body.data).toEqual([]);
  });
});

test("describes each status that it answers", async () => {
  const document = (await (await fetch(`${harness.url}/docs/json`)).json()) as {
    paths: Record<string, Record<string, { responses: Json }>>;
  };
  expect(answered.size).toBeGreaterThan(20);
  const isDescribed = (text: string): boolean => {
    const [method = "", path = "", status = ""] = text.split(" ");
    return document.paths[path]?.[method.toLowerCase()]?.responses[status] !== undefined;
  };
  expect([...answered].filter((each) => !isDescribed(each))).toEqual([]);
});
