import { request } from "node:http";
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { gunzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { PrometheusFault } from "#simulator/fault-kinds.ts";
import { formatLabels, formatTime, formatValue } from "#simulator/answer-format.ts";
import { startSimulator } from "#simulator/simulator.ts";
import type { SimulatedCluster, Simulator, SimulatorSettings } from "#simulator/simulator.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import type { ManualClock } from "../helpers/manual-clock.ts";

const NOW_MS = 1_700_000_000_000;

let clock: ManualClock;
let simulator: Simulator;
let cluster: SimulatedCluster;

async function start(settings: SimulatorSettings = {}): Promise<void> {
  await simulator?.stop();
  simulator = await startSimulator({ clock, ...settings });
  cluster = simulator.clusters[0] as SimulatedCluster;
}

beforeEach(async () => {
  clock = createManualClock(NOW_MS);
  await start();
});
afterEach(async () => simulator.stop());

interface Answer {
  status: number;
  text: string;
  headers: Headers;
}

async function get(path: string, parameters: Record<string, string> = {}): Promise<Answer> {
  const url = `${cluster.prometheusUrl}${path}?${new URLSearchParams(parameters).toString()}`;
  const response = await fetch(url, { headers: { "accept-encoding": "identity" } });
  return { status: response.status, text: await response.text(), headers: response.headers };
}

async function query(promql: string, parameters: Record<string, string> = {}): Promise<Answer> {
  return get("/api/v1/query", { query: promql, ...parameters });
}

type WithoutLayer<T> = T extends unknown ? Omit<T, "layer"> : never;

async function withFault(fault: WithoutLayer<PrometheusFault>): Promise<void> {
  await simulator.faults.set(cluster.id, { layer: "prometheus", ...fault });
}

describe("bytes as Prometheus writes them", () => {
  test("scalars, vectors, strings and empty results", async () => {
    clock.advance(270);
    expect((await query("time()")).text).toBe(
      '{"status":"success","data":{"resultType":"scalar","result":[1700000000.27,"1700000000.27"]}}',
    );
    expect((await query("count(up)")).text).toBe(
      '{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1700000000.270,"12"]}]}}',
    );
    expect((await query('"abc"')).text).toBe(
      '{"status":"success","data":{"resultType":"string","result":[1700000000.27,"abc"]}}',
    );
    expect((await query("nonexist[5m]")).text).toBe(
      '{"status":"success","data":{"resultType":"matrix","result":[]}}',
    );
  });

  test("a matrix has every sample of the truth, series sorted by their labels", async () => {
    const fromMs = NOW_MS - 120_000;
    const expected = cluster.world.expected({ metric: "kube_pod_info", fromMs, toMs: NOW_MS, nowMs: NOW_MS });
    const texts = expected.map(({ labels, timestamps, values }) => {
      const samples = timestamps.map((at, i) => `[${formatTime(at)},"${formatValue(values[i] ?? 0)}"]`);
      return `{"metric":${formatLabels(labels, 3)},"values":[${samples.join(",")}]}`;
    });
    const { text, headers } = await query("kube_pod_info[2m]");
    const head = '{"status":"success","data":{"resultType":"matrix","result":[';
    expect(text.startsWith(head) && text.endsWith("]}}")).toBe(true);
    const found = text.slice(head.length, -3).split(/(?<=\]\}),(?=\{"metric")/);
    expect(found.toSorted()).toEqual(texts.toSorted());
    expect(found).toEqual(found.toSorted((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1)));
    expect(headers.get("content-type")).toBe("application/json");
  });

  test("query_range on a grid", async () => {
    const start = String(NOW_MS / 1000 - 30);
    const { text } = await get("/api/v1/query_range", {
      query: "count(up)",
      start,
      end: "1700000000",
      step: "15",
    });
    expect(text).toBe(
      '{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1699999970,"12"],[1699999985,"12"],[1700000000,"12"]]}]}}',
    );
  });

  test("metadata, series, names, build information and readiness", async () => {
    expect((await get("/api/v1/metadata", { metric: "node_load1" })).text).toBe(
      '{"status":"success","data":{"node_load1":[{"type":"gauge","unit":"","help":"1m load average."}]}}',
    );
    expect((await get("/api/v1/metadata", { metric: "up" })).text).toBe('{"status":"success","data":{}}');
    expect(
      Object.keys(
        (JSON.parse((await get("/api/v1/metadata", { limit: "2" })).text) as { data: object }).data,
      ),
    ).toHaveLength(2);
    expect((await get("/api/v1/series", { "match[]": "up" })).text).toContain(
      '{"__name__":"up","container":',
    );
    expect((await get("/api/v1/label/__name__/values")).text).toContain('"node_load15"');
    expect((await get("/api/v1/status/buildinfo")).text).toContain('"version":"3.15.0"');
    expect(await get("/-/ready")).toMatchObject({ status: 200, text: "Prometheus Server is Ready.\n" });
    expect((await get("/-/healthy")).text).toBe("Prometheus Server is Healthy.\n");
  });

  test("errors have Prometheus' types and statuses", async () => {
    expect(await query("up{")).toMatchObject({
      status: 400,
      text: '{"status":"error","errorType":"bad_data","error":"invalid parameter \\"query\\": 1:4: parse error: unexpected end of input inside braces"}',
    });
    expect((await query("up", { time: "abc" })).text).toBe(
      `{"status":"error","errorType":"bad_data","error":"invalid parameter \\"time\\": invalid time value for 'time': cannot parse \\"abc\\" to a valid timestamp"}`,
    );
    const range = async (end: string, step: string): Promise<string> =>
      (await get("/api/v1/query_range", { query: "up", start: "3", end, step })).text;
    expect(await range("2", "1")).toContain("end timestamp must not be before start time");
    expect(await range("4", "0")).toContain("zero or negative query resolution step widths");
    expect(await range("4", "x")).toContain('cannot parse \\"x\\" to a valid duration');
    expect(await range("200000", "1")).toContain(
      "exceeded maximum resolution of 11,000 points per timeseries.",
    );
    expect(await get("/api/v1/nope")).toMatchObject({ status: 404, text: "404 page not found\n" });
  });

  test("POST works where a real one takes it and nowhere else", async () => {
    const post = async (path: string): Promise<number> => {
      const body = new URLSearchParams({ query: "up", "match[]": "up" });
      return (await fetch(`${cluster.prometheusUrl}${path}`, { method: "POST", body })).status;
    };
    expect(await post("/api/v1/query")).toBe(200);
    expect(await post("/api/v1/series")).toBe(200);
    expect(await post("/api/v1/metadata")).toBe(405);
  });

  test("gzip for who asks for it, a length for small bodies, chunks for others", async () => {
    const raw = async (
      promql: string,
      headers: Record<string, string>,
    ): Promise<[IncomingMessage, Buffer]> => {
      const path = `/api/v1/query?query=${encodeURIComponent(promql)}`;
      const sent = request(`${cluster.prometheusUrl}${path}`, { headers, agent: false }).end();
      const [response] = (await once(sent, "response")) as [IncomingMessage];
      const parts: Buffer[] = [];
      for await (const part of response as AsyncIterable<Buffer>) parts.push(part);
      return [response, Buffer.concat(parts)];
    };
    const [small, smallBody] = await raw("time()", {});
    expect(small.headers["content-length"]).toBe(String(smallBody.length));
    const [large, body] = await raw("node_cpu_seconds_total[1h]", {});
    expect(large.headers["transfer-encoding"]).toBe("chunked");
    const [zipped, zippedBody] = await raw("node_cpu_seconds_total[1h]", { "accept-encoding": "gzip" });
    expect(zipped.headers["content-encoding"]).toBe("gzip");
    expect(gunzipSync(zippedBody).equals(body)).toBe(true);
  });
});

describe("settings", () => {
  test("2.x closes ranges at both ends and escapes HTML", async () => {
    const [series] = cluster.world.expected({ metric: "up", fromMs: NOW_MS - 120_000, toMs: NOW_MS });
    const [first = 0, , , last = 0] = series?.timestamps ?? [];
    const instance = series?.labels.find(([name]) => name === "instance")?.[1];
    const count = async (): Promise<number> => {
      const { text } = await query(`up{instance="${instance}"}[${last - first}ms]`, {
        time: formatTime(last),
      });
      return (
        (JSON.parse(text) as { data: { result: { values: unknown[] }[] } }).data.result[0]?.values.length ?? 0
      );
    };
    expect(await count()).toBe(3);
    await start({ prometheus: { version: 2 } });
    expect(await count()).toBe(4);
    expect((await query('kube_pod_info{pod="odd-9"}')).text).toContain("\\u003ca href='x'\\u003e\\u0026amp;");
    expect((await query("up", { time: "abc" })).text).toContain("Invalid time value");
    expect((await get("/api/v1/metadata", { metric: "node_load1" })).text).toContain(
      '[{"type":"gauge","help":"1m load average.","unit":""}]',
    );
  });

  test("path prefix, max-samples, skew and oldest sample", async () => {
    await start({
      prometheus: { pathPrefix: "/prom", samplesMax: 1_000 },
      shape: { skewMs: -7_000, oldestMs: NOW_MS - 60_000 },
    });
    expect((await get("/-/ready")).status).toBe(404);
    expect((await get("/prom/api/v1/query", { query: "time()" })).text).toContain('"1699999993"');
    expect(await get("/prom/api/v1/query", { query: "node_cpu_seconds_total[1h]" })).toMatchObject({
      status: 200,
    });
    clock.advance(3_600_000);
    expect(await get("/prom/api/v1/query", { query: "node_cpu_seconds_total[1h]" })).toMatchObject({
      status: 422,
      text: '{"status":"error","errorType":"execution","error":"query processing would load too many samples into memory in query execution"}',
    });
  });

  test("a large answer waits for a slow reader instead of piling up", async () => {
    await start({ shape: { pods: 2_000 } });
    const path = `/api/v1/query?query=${encodeURIComponent("kube_pod_status_phase[1h]")}`;
    const sent = request(`${cluster.prometheusUrl}${path}`, { agent: false }).end();
    const [response] = (await once(sent, "response")) as [IncomingMessage];
    await once(response, "readable");
    const before = process.memoryUsage().arrayBuffers;
    const ready = await get("/-/ready");
    expect(ready.status).toBe(200);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(20_000_000);
    let bytes = 0;
    for await (const part of response as AsyncIterable<Buffer>) bytes += part.length;
    expect(bytes).toBeGreaterThan(30_000_000);
  });

  test("text for a real Prometheus, and the clusters in CLUSTERS_FILE's form", async () => {
    const response = await fetch(cluster.metricsUrl);
    expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
    expect(await response.text()).toContain("# TYPE node_load1 gauge\nnode_load1{");
    expect(simulator.clustersFile()).toContain("    kubeconfig: |\n      apiVersion: v1\n");
  });
});

describe("faults", () => {
  test("answers that replace Prometheus' own", async () => {
    await withFault({ kind: "not-ready" });
    expect(await query("up")).toMatchObject({ status: 503, text: "Service Unavailable" });
    await withFault({ kind: "html" });
    expect((await query("up")).headers.get("content-type")).toContain("text/html");
    for (const status of [401, 403, 404, 500]) {
      await withFault({ kind: "status", status });
      expect((await query("up")).status).toBe(status);
    }
    await withFault({
      kind: "error",
      status: 503,
      errorType: "timeout",
      message: "query timed out in expression evaluation",
    });
    expect(await query("up")).toMatchObject({
      status: 503,
      text: '{"status":"error","errorType":"timeout","error":"query timed out in expression evaluation"}',
    });
    await withFault({ kind: "wrong-shape" });
    expect((await query("up")).text).toBe('{"message":"ok","result":[]}');
    await withFault({ kind: "max-samples", samples: 0 });
    expect((await query("up[5m]")).text).toContain("too many samples");
  });

  test("a limit of samples that a smaller window passes", async () => {
    await withFault({ kind: "max-samples", samples: 300 });
    expect((await query("up[1h]")).status).toBe(422);
    expect((await query("up[5m]")).status).toBe(200);
  });

  test("bodies that end too early, as HTTP notices or not", async () => {
    const whole = (await query("up[5m]")).text;
    for (const how of ["close", "complete"] as const) {
      await withFault({ kind: "truncate", atByte: 500, how });
      expect((await query("up[5m]")).text).toBe(whole.slice(0, 500));
    }
    for (const how of ["chunked", "length"] as const) {
      await withFault({ kind: "truncate", atByte: 500, how });
      await expect(query("up[5m]")).rejects.toThrow("terminated");
    }
    await withFault({ kind: "truncate", atByte: 0, how: "complete" });
    expect((await query("up[5m]")).text).toBe("");
  });

  test("other layouts hold the same content, histograms come beside the values", async () => {
    const plain = JSON.parse((await query("up[5m]")).text) as { data: { result: object[] } };
    for (const layout of ["extra-members", "reordered", "spaced"] as const) {
      await withFault({ kind: "layout", layout });
      const { text } = await query("up[5m]");
      expect(JSON.parse(text)).toMatchObject(plain);
      expect(text.startsWith('{"status":"success","data":{"resultType":"matrix","result":[')).toBe(false);
    }
    await withFault({ kind: "histograms" });
    const { data } = JSON.parse((await query("up[5m]")).text) as typeof plain;
    expect(data.result[0]).toHaveProperty("histograms");
    expect(data.result[1]).not.toHaveProperty("histograms");
  });

  test("hang until the client gives up; slow and drip by the clock", async () => {
    await withFault({ kind: "hang", times: 1 });
    const controller = new AbortController();
    const hanging = fetch(`${cluster.prometheusUrl}/api/v1/query?query=up`, { signal: controller.signal });
    await expect.poll(() => simulator.faults.traffic(cluster.id).prometheus).toBe(1);
    controller.abort();
    await expect(hanging).rejects.toThrow("aborted");
    expect((await query("up")).status).toBe(200);

    await withFault({ kind: "slow", delayMs: 1_000 });
    const slow = query("time()");
    await expect.poll(() => clock.pending()).toBe(1);
    clock.advance(1_000);
    expect((await slow).status).toBe(200);

    await withFault({ kind: "drip", bytes: 50, delayMs: 1_000 });
    const dripping = query("time()");
    for (const left of [1, 1]) {
      await expect.poll(() => clock.pending()).toBe(left);
      clock.advance(1_000);
    }
    expect((await dripping).text).toContain('"resultType":"scalar"');
  });

  test("a Pod that restarts in the middle of an answer has another UID", async () => {
    const uid = cluster.kube.pods[0]?.uid;
    await withFault({ kind: "pod-restart", afterBytes: 3_000, times: 1 });
    await expect(query("node_cpu_seconds_total[1h]")).rejects.toThrow("terminated");
    expect(cluster.kube.pods[0]?.uid).not.toBe(uid);
    expect((await query("node_cpu_seconds_total[1h]")).status).toBe(200);
  });
});

/** Values of the labels of a series in their order, to compare by. */
function nameOf(series: string): string {
  const { metric } = JSON.parse(series) as { metric: Record<string, string> };
  return Object.entries(metric)
    .map(([name, value]) => `${name}\u0000${Buffer.from(value).toString("latin1")}`)
    .join("\u0000");
}
