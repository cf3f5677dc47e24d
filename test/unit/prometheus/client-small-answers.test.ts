import type { ServerResponse } from "node:http";
import { Agent } from "undici";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createTurns } from "#lib/turns.ts";
import { createPrometheusClient, type PrometheusClient } from "#prometheus/client.ts";
import { namesOfSelectors } from "#prometheus/selector-matchers.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { startHttpServer, type TestServer } from "../../helpers/http-server.ts";
import { createManualClock } from "../../helpers/manual-clock.ts";

const { signal } = new AbortController();

let server: TestServer;
let agent: Agent;

const clientOf = (metricNames?: ReadonlySet<string>): PrometheusClient =>
  createPrometheusClient(
    { dispatcher: agent, clock: createManualClock(), turns: createTurns() },
    { origin: server.origin, pathPrefix: "", timeoutMs: 30_000, ...(metricNames ? { metricNames } : {}) },
  );

beforeEach(async () => {
  server = await startHttpServer();
  agent = new Agent();
});

afterEach(async () => {
  await agent.destroy();
  await server.close();
});

function family(name: string, type: string, help = "h"): string {
  return `"${name}":[{"type":"${type}","help":"${help}","unit":""}]`;
}

function answerMetadata(families: readonly string[]): void {
  server.respond = (response) => void response.end(`{"status":"success","data":{${families.join(",")}}}`);
}

describe("metadata", () => {
  test("of the wanted names and their families alone, among very many", async () => {
    const others = Array.from({ length: 50_000 }, (_, i) => family(`other_${i}`, "gauge"));
    answerMetadata([
      ...others,
      family("http_seconds", "histogram"),
      family("up", "gauge", "x".repeat(100_000)),
      family("x".repeat(5000), "gauge"),
      family("jobs", "counter"),
    ]);
    const client = clientOf(new Set(["up", "http_seconds_bucket", "jobs_total", "absent"]));
    const metadata = await client.metadata(signal);
    expect([...metadata.keys()].toSorted()).toEqual(["http_seconds", "jobs", "up"]);
    expect(metadata.get("up")).toEqual({ type: "gauge", help: "x".repeat(1200), unit: "" });
  });

  test("of a million names, when all are wanted, is too large by name", async () => {
    const block = Array.from({ length: 1000 }, (_, i) => family(`n_${i}`, "gauge"));
    server.respond = (response) => {
      response.write('{"status":"success","data":{');
      for (let i = 0; i < 60; i++) response.write(`${block.join(",").replaceAll("n_", `n_${i}_`)},`);
      response.end(`${family("last", "gauge")}}}`);
    };
    expect((await bridgeErrorOf(clientOf().metadata(signal))).code).toBe("prometheus_answer_too_large");
  });

  test.each<[string, string, string]>([
    [
      "deep brackets",
      `{"status":"success","data":{"up":${"[".repeat(100_000)}`,
      "prometheus_answer_too_large",
    ],
    ["no JSON", "<html>", "prometheus_unexpected_answer"],
    ["another API", '{"metadata":{}}', "prometheus_unexpected_answer"],
    ["half of it", '{"status":"success","data":{"up":[{"ty', "prometheus_answer_truncated"],
    ["a list", '{"status":"success","data":[1,2]}', ""],
    ["texts instead of lists", '{"status":"success","data":{"up":"gauge"}}', ""],
  ])("%s", async (_name, body, code) => {
    server.respond = (response) => void response.end(body);
    const outcome = clientOf().metadata(signal);
    expect(code === "" ? (await outcome).size : (await bridgeErrorOf(outcome)).code).toBe(
      code === "" ? 0 : code,
    );
  });
});

describe("answers that should be small", () => {
  const flood = (response: ServerResponse, piece: string): void => {
    const block = piece.repeat(Math.ceil(65_536 / piece.length));
    const more = (): void => {
      while (!response.destroyed) if (!response.write(block)) return void response.once("drain", more);
    };
    more();
  };

  test.each<[string, string, string]>([
    ["brackets", "", "["],
    ["brackets that nobody wants", '{"x":', '{"a":'],
    ["an endless text", '{"status":"', "x"],
    ["endless white space", "{", " "],
    ["empty series", '{"status":"success","data":{"result":[', "{},"],
    ["numbers", '{"status":"success","data":{"result":[', "1,"],
  ])("%s without an end are too large", async (_name, open, piece) => {
    server.respond = (response) => {
      response.write(open);
      flood(response, piece);
    };
    const client = clientOf();
    for (const ask of [
      () => client.now(signal),
      () => client.hasSamplesAt(0, signal),
      () => client.version(signal),
    ])
      expect((await bridgeErrorOf(ask())).code).toBe("prometheus_answer_too_large");
  });

  test("an error without an end is read no further than its beginning", async () => {
    server.respond = (response) => {
      response.writeHead(503, { "content-type": "text/html" });
      flood(response, "<b>");
    };
    const error = await bridgeErrorOf(clientOf().now(signal));
    expect(error.code).toBe("prometheus_overloaded");
    expect(error.message.length).toBeLessThan(600);
  });
});

test.each([
  [
    ["up", 'node_load1{job="x"}', "a:b:c {}"],
    ["up", "node_load1", "a:b:c"],
  ],
  [["up", '{__name__=~"DCGM_.*"}'], undefined],
  [['{"my.metric"}'], ["my.metric"]],
  [
    ['{__name__=~"node_load1|up", job="x"}', "up"],
    ["node_load1", "up"],
  ],
  [['{job="x"}'], undefined],
  [['{__name__!="up"}'], undefined],
  [['{__name__=~"up|node_load[15]"}'], undefined],
  [['{__name__=~"up|"}'], undefined],
  [['up{__name__=~"up"}'], undefined],
  [[], []],
])("the names of %j", (selectors, names) => {
  expect(namesOfSelectors(selectors)).toEqual(names && new Set(names));
});
