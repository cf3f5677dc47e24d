import { Agent } from "undici";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createTurns } from "#lib/turns.ts";
import { createPrometheusClient, type PrometheusClient } from "#prometheus/client.ts";
import { createEngine } from "#simulator/evaluate.ts";
import { parsePromql } from "#simulator/promql.ts";
import { createWorld } from "#simulator/world.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { startHttpServer, type TestServer } from "../../helpers/http-server.ts";
import { createManualClock } from "../../helpers/manual-clock.ts";

const { signal } = new AbortController();
const HOUR = 3_600_000;
const NOW = 480_000 * HOUR;
const WINDOW = { fromMs: NOW - HOUR, toMs: NOW };

let server: TestServer;
let agent: Agent;
let client: PrometheusClient;
/** Forms of the requests that came. */
let asked: URLSearchParams[];
/** The answer to the question how ranges begin, and to the others. */
let begin: string;
let answer: string;

const vector = (...items: string[]): string => `"data":{"resultType":"vector","result":[${items.join(",")}]}`;
const item = (value: string, labels = "{}"): string =>
  `{"metric":${labels},"value":[${NOW / 1000},"${value}"]}`;
const success = (rest: string): string => `{"status":"success",${rest}}`;

beforeEach(async () => {
  server = await startHttpServer();
  agent = new Agent();
  asked = [];
  begin = success(vector(item("1")));
  answer = success(vector(item("7")));
  server.respond = (response, { body }) => {
    const form = new URLSearchParams(String(body));
    asked.push(form);
    response.end(form.get("query")!.includes("vector(1)") ? begin : answer);
  };
  client = createPrometheusClient(
    { dispatcher: agent, clock: createManualClock(), turns: createTurns() },
    { origin: server.origin, pathPrefix: "", timeoutMs: 30_000 },
  );
});

afterEach(async () => {
  await agent.destroy();
  await server.close();
});

test.each([
  ["1", "up[3600000ms]"],
  ["2", "up[3599999ms]"],
])(
  "a source with %s points in a range of one second is asked for %s, and how ranges begin only once",
  async (points, range) => {
    begin = success(vector(item(points)));
    expect(await client.countSamples(["up"], WINDOW, signal)).toEqual([7]);
    expect(await client.countSamples(["up"], WINDOW, signal)).toEqual([7]);
    expect(asked.map((form) => form.get("query"))).toEqual([
      "count_over_time(vector(1)[1s:1s])",
      `sum(count_over_time(${range}))`,
      `sum(count_over_time(${range}))`,
    ]);
    expect(asked.every((form) => Number(form.get("time")) === NOW / 1000)).toBe(true);
  },
);

test.each([2, 3] as const)(
  "a sample on either border is counted as it is read, on Prometheus %i.x",
  async (version) => {
    const world = createWorld({ clock: createManualClock(NOW) }).cluster("sim-1");
    const engine = createEngine(world, { version, replica: 0, samplesMax: Infinity });
    const [series] = world.expected({ metric: "up", fromMs: NOW - HOUR, toMs: NOW - HOUR / 2 });
    // Both borders are times of samples of the first series.
    const window = { fromMs: series!.timestamps[0]!, toMs: series!.timestamps.at(-1)! };
    server.respond = (response, { body }) => {
      const form = new URLSearchParams(String(body));
      const result = engine.instant(parsePromql(form.get("query")!), Number(form.get("time")) * 1000);
      const items = result.type === "vector" ? result.items : [];
      response.end(
        success(
          vector(
            ...items.map(({ labels, value }) =>
              item(String(value), JSON.stringify(Object.fromEntries(labels))),
            ),
          ),
        ),
      );
    };
    const expected = world
      .expected({ metric: "up", ...window })
      .reduce((sum, { timestamps }) => sum + timestamps.length, 0);
    expect(await client.countSamples(["up", "nothing", 'up{job="none"}'], window, signal)).toEqual([
      expected,
      0,
      0,
    ]);
  },
);

test("the series of a selector are counted as they are at present", async () => {
  answer = success(vector(item("12")));
  const selector = '{__name__=~"node_.*"}';
  expect(await client.countSeries(selector, signal)).toBe(12);
  answer = success(vector());
  expect(await client.countSeries(selector, signal)).toBe(0);
  for (const form of asked) expect(form.get("query")).toBe(`count(${selector})`);
  expect(asked).toHaveLength(2);
});

test("several selectors are one request; one without series is 0", async () => {
  answer = success(vector(item("3", '{"selector":"2"}'), item("5", '{"selector":"0"}')));
  expect(await client.countSamples(["a", "b", "c"], WINDOW, signal)).toEqual([5, 0, 3]);
  expect(asked).toHaveLength(2);
});

test.each([
  ["a warning of a storage", `${vector()},"warnings":["store gone"]`, "prometheus_answer_partial"],
  ["isPartial", `${vector()},"isPartial":true`, "prometheus_answer_partial"],
  [
    "no stores",
    `${vector()},"warnings":["No StoreAPIs matched for this query"]`,
    "prometheus_answer_partial",
  ],
  ["half a sample", vector(item("1.5")), "prometheus_answer_invalid"],
  ["a negative count", vector(item("-1")), "prometheus_answer_invalid"],
  ["NaN", vector(item("NaN")), "prometheus_answer_invalid"],
  ["null", vector("null"), "prometheus_answer_invalid"],
])("an answer with %s is no count", async (_name, rest, code) => {
  answer = success(rest);
  expect((await bridgeErrorOf(client.countSamples(["up"], WINDOW, signal))).code).toBe(code);
});

test("a count of a selector that nobody asked for is refused", async () => {
  answer = success(vector(item("1", '{"selector":"9"}')));
  expect((await bridgeErrorOf(client.countSamples(["a", "b"], WINDOW, signal))).code).toBe(
    "prometheus_answer_invalid",
  );
});

test("a source whose ranges are of neither kind can't count", async () => {
  begin = success(vector());
  expect((await bridgeErrorOf(client.countSamples(["a"], WINDOW, signal))).code).toBe(
    "prometheus_answer_invalid",
  );
});

test("Prometheus' own remarks do not matter", async () => {
  answer = success(`${vector(item("7"))},"warnings":["PromQL warning: x"],"infos":["PromQL info: y"]`);
  expect(await client.countSamples(["up"], WINDOW, signal)).toEqual([7]);
});
