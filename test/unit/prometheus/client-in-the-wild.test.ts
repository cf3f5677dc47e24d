import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import { Agent } from "undici";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ErrorCode } from "#errors/error.ts";
import { createTurns } from "#lib/turns.ts";
import { toQueries } from "#prometheus/catalogue.ts";
import { createPrometheusClient, type PrometheusClient } from "#prometheus/client.ts";
import { decodedBody } from "#prometheus/decompress.ts";
import type { ScanResult } from "#prometheus/matrix-scanner.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { startHttpServer, startTcpServer, type Respond, type TestServer } from "../../helpers/http-server.ts";
import { createManualClock, type ManualClock } from "../../helpers/manual-clock.ts";
import { MATRIX_NOW_MS as NOW, toMatrixAnswer } from "../../helpers/matrix-answer.ts";

const WINDOW = { fromMs: NOW - 300_000, toMs: NOW };
const UP = toQueries([{ name: "up", promql: "up", group: "g" }])[0]!;
const ANSWER = toMatrixAnswer([{ labels: ['"a":"b"'], samples: [`[${NOW / 1000},"1"]`] }]);
const METADATA = JSON.stringify({
  status: "success",
  data: { up: [{ type: "gauge", help: "h", unit: "" }] },
});
const { signal } = new AbortController();

let server: TestServer;
let agent: Agent;
let clock: ManualClock;
let client: PrometheusClient;

const clientOf = (origin: string, acceptPartial?: true): PrometheusClient =>
  createPrometheusClient(
    { dispatcher: agent, clock, turns: createTurns() },
    { origin, pathPrefix: "", timeoutMs: 30_000, ...(acceptPartial ? { acceptPartial } : {}) },
  );

beforeEach(async () => {
  server = await startHttpServer();
  agent = new Agent({ connections: 1, pipelining: 1 });
  clock = createManualClock();
  client = clientOf(server.origin);
});

afterEach(async () => {
  await agent.destroy();
  await server.close();
});

const read = (from = client): Promise<ScanResult> =>
  from.read(UP, WINDOW, { sink: { series: () => {} }, pause: () => undefined }, signal);

const answer =
  (status: number, headers: Record<string, string>, body: string | Buffer): Respond =>
  (response) =>
    void response.writeHead(status, headers).end(body);

describe("time() as other backends answer it", () => {
  const at = 1_700_000_000.5;
  const data = (resultType: string, result: unknown): string =>
    JSON.stringify({ status: "success", isPartial: false, data: { resultType, result } });

  test.each([
    ["Prometheus: a scalar", data("scalar", [at, String(at)])],
    // VictoriaMetrics has no scalars (MetricsQL); a proxy in front of it may put labels or the type elsewhere.
    ["VictoriaMetrics: a vector", data("vector", [{ metric: {}, value: [at, String(at)] }])],
    ["a vector, the value first", data("vector", [{ value: [at, String(at)], metric: { a: "b" } }])],
  ])("%s", async (_what, body) => {
    server.respond = answer(200, {}, body);
    expect(await client.now(signal)).toBe(1_700_000_000_500);
  });

  test.each([
    ["an empty vector", data("vector", [])],
    ["a series without a value", data("vector", [{ metric: {} }])],
    ["a value that is no time", data("vector", [{ metric: {}, value: [at, "NaN"] }])],
    ["null", data("vector", [null])],
    ["a matrix", data("matrix", [{ metric: {}, values: [[at, String(at)]] }])],
  ])("%s is no time", async (_what, body) => {
    server.respond = answer(200, {}, body);
    expect((await bridgeErrorOf(client.now(signal))).code).toBe("prometheus_answer_invalid");
  });
});

describe("a source that refuses POST", () => {
  const methods = (): string[] => server.requests.map(({ method }) => method);

  // 405: a proxy that routes by method; 403: kube-rbac-proxy, whose POST is the verb "create"; 501: as client_golang.
  test.each([403, 405, 501])("%d: the query goes by GET, and so do all later ones", async (status) => {
    server.respond = (response, { method }) =>
      method === "POST" ? void response.writeHead(status).end("no") : void response.end(ANSWER);
    expect(await read()).toMatchObject({ samples: 1 });
    expect(await read()).toMatchObject({ samples: 1 });
    expect(methods()).toEqual(["POST", "GET", "GET"]);
    const [, byGet] = server.requests;
    const url = new URL(byGet!.path, server.origin);
    const query = Object.fromEntries(url.searchParams);
    expect(url.pathname).toBe("/api/v1/query");
    expect(query).toEqual({ query: "up[300000ms]", time: (NOW / 1000).toFixed(3) });
    expect(byGet!.body).toHaveLength(0);
  });

  test("what GET refuses too is reported as POST had it", async () => {
    server.respond = (response, { method }) =>
      void response.writeHead(method === "POST" ? 403 : 405).end(`no ${method}`);
    const error = await bridgeErrorOf(read());
    expect(error).toMatchObject({ code: "prometheus_unauthorized", details: { status: 403 } });
    expect(error.message).toContain("no POST");
  });

  test("an error of the query by GET is that error", async () => {
    const body = JSON.stringify({ status: "error", errorType: "execution", error: "no such thing" });
    server.respond = (response, { method }) =>
      method === "POST" ? void response.writeHead(405).end() : void response.writeHead(422).end(body);
    expect((await bridgeErrorOf(read())).code).toBe("prometheus_query_failed");
    await bridgeErrorOf(read());
    expect(methods()).toEqual(["POST", "GET", "GET"]);
  });

  test("where POST has worked, a refusal is not about the method", async () => {
    server.respond = answer(200, {}, ANSWER);
    await read();
    server.respond = answer(403, {}, "revoked");
    expect((await bridgeErrorOf(read())).code).toBe("prometheus_unauthorized");
    expect(methods()).toEqual(["POST", "POST"]);
  });
});

describe("gzip that was not asked for", () => {
  const gzip = { "content-encoding": "gzip" };

  test.each(["gzip", "x-gzip", "GZIP", "identity, gzip"])("%s is read", async (encoding) => {
    const headers = { "content-encoding": encoding };
    server.respond = (response, { path }) =>
      void response
        .writeHead(200, headers)
        .end(gzipSync(path.startsWith("/api/v1/metadata") ? METADATA : ANSWER));
    expect(await read()).toMatchObject({ samples: 1 });
    expect((await client.metadata(signal)).get("up")).toMatchObject({ type: "gauge" });
    for (const { headers: sent } of server.requests) expect(sent["accept-encoding"]).toBeUndefined();
  });

  test("of an error answer is read too, and what can't be decompressed does not hide the status", async () => {
    const body = JSON.stringify({ status: "error", errorType: "bad_data", error: "parse error" });
    server.respond = answer(400, gzip, gzipSync(body));
    expect((await bridgeErrorOf(read())).message).toContain("bad_data: parse error");
    for (const encoding of ["br", "gzip"]) {
      server.respond = answer(429, { "content-encoding": encoding }, "no gzip");
      expect((await bridgeErrorOf(read())).code).toBe("prometheus_overloaded");
    }
  });

  test.each<[string, Buffer, ErrorCode, RegExp]>([
    ["cut", gzipSync(ANSWER).subarray(0, -9), "prometheus_answer_truncated", /\(gzip\), and ended before/],
    ["no gzip", Buffer.from("\u001F\u008B\0\0", "latin1"), "prometheus_unexpected_answer", /\(gzip\), but/],
    ["no JSON", gzipSync("hello"), "prometheus_unexpected_answer", /not JSON/],
    ["half an answer", gzipSync(ANSWER.slice(0, -20)), "prometheus_answer_truncated", /ended after/],
  ])("%s: named, and the connection goes on", async (_what, body, code, message) => {
    server.respond = answer(200, gzip, body);
    const error = await bridgeErrorOf(read());
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
    server.respond = answer(200, {}, ANSWER);
    expect(await read()).toMatchObject({ samples: 1 });
    expect(clock.pending()).toBe(0);
  });

  test("the limits of small answers count decompressed bytes", async () => {
    server.respond = answer(200, gzip, gzipSync(" ".repeat(8 << 20)));
    expect((await bridgeErrorOf(client.now(signal))).code).toBe("prometheus_answer_too_large");
    // Beside its series, an answer may have 256 KiB.
    expect((await bridgeErrorOf(read())).code).toBe("prometheus_answer_invalid");
  });

  test("an answer is not decompressed beyond its limit, however small it came", async () => {
    const bomb = gzipSync(Buffer.alloc(64 << 20));
    const body = Readable.from([bomb]);
    let bytes = 0;
    const all = async (): Promise<void> => {
      for await (const piece of decodedBody(gzip, body, 1 << 20)) bytes += piece.length;
    };
    const error = await bridgeErrorOf(all());
    expect(error.code).toBe("prometheus_answer_too_large");
    expect(error.message).toContain("1 MiB");
    expect(bytes).toBe(1 << 20);
    expect(body.destroyed).toBe(true);
  });

  test("whoever stops reading ends both streams", async () => {
    const body = Readable.from([gzipSync(Buffer.alloc(8 << 20))]);
    for await (const piece of decodedBody(gzip, body)) {
      expect(piece.length).toBeGreaterThan(0);
      break;
    }
    expect(body.destroyed).toBe(true);
  });
});

describe("a login page in front of Prometheus", () => {
  test.each([
    [302, "https://dex.example.com/auth?client_id=x"],
    [302, "/login"],
    [303, "/oauth2/start?rd=%2Fapi%2Fv1%2Fquery"],
    [307, "https://accounts.google.com/o/oauth2/v2/auth?client_id=x&redirect_uri=y"],
    [302, "https://login.microsoftonline.com/tenant/oauth2/v2.0/authorize"],
    [302, "https://sso.example.com/realms/ops/protocol/openid-connect/auth"],
    [302, "https://team.cloudflareaccess.com/cdn-cgi/access/login/prom.example.com"],
    [302, "https://gate.example.com/?rd=https%3A%2F%2Fprom.example.com"],
    [302, "https://idp.example.com/start?SAMLRequest=abc"],
  ])("a redirect: %d %s", async (status, location) => {
    server.respond = answer(status, { location }, "<a>Found</a>");
    for (const work of [read(), client.now(signal), client.ready(signal)]) {
      const error = await bridgeErrorOf(work);
      expect(error).toMatchObject({ code: "prometheus_login_required", details: { status } });
      expect(error.message).toContain(`answered ${status}`);
      expect(error.message).not.toContain("example.com");
    }
    expect(new Set(server.requests.map(({ path }) => path.split("?")[0])).size).toBe(2);
  });

  test.each([
    '<!doctype html><form action="/x"><input type="password" name="p"></form>',
    "<html><head><title>Sign In</title></head></html>",
    "<html><button>Sign in with OpenID Connect</button></html>",
    "<html><form method='post' action='/oauth2/sign_in'></form></html>",
  ])("a page with status 200: %s", async (page) => {
    server.respond = answer(200, { "content-type": "text/html; charset=utf-8" }, page);
    for (const work of [read(), client.now(signal), client.ready(signal)])
      expect((await bridgeErrorOf(work)).code).toBe("prometheus_login_required");
  });

  test("other redirects and pages are just not Prometheus", async () => {
    for (const location of ["/graph", "http://other.example.com/x", "https://h/authors.txt?x=1", "::"]) {
      server.respond = answer(302, { location }, "");
      expect((await bridgeErrorOf(read())).code).toBe("prometheus_unexpected_answer");
    }
    server.respond = answer(200, { "content-type": "text/html" }, "<html><title>Welcome</title></html>");
    const error = await bridgeErrorOf(read());
    expect(error.code).toBe("prometheus_unexpected_answer");
    expect(error.message).toContain("an HTML page");
  });
});

describe("TLS that was asked by plain HTTP", () => {
  test.each([
    ["Go", "text/plain", "Client sent an HTTP request to an HTTPS server.\n"],
    [
      "nginx",
      "text/html",
      "<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>",
    ],
    ["Apache", "text/html", "Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />"],
  ])("%s says so", async (_server, type, body) => {
    server.respond = answer(400, { "content-type": type }, body);
    for (const work of [read(), client.now(signal), client.ready(signal)]) {
      const error = await bridgeErrorOf(work);
      expect(error.code).toBe("prometheus_tls_required");
      expect(error.hint).toContain("prometheus.scheme to https");
    }
  });

  test("a redirect to the same path by https", async () => {
    server.respond = (response, { path }) =>
      void response.writeHead(308, { location: `https://prom.example.com${path}` }).end();
    expect((await bridgeErrorOf(client.now(signal))).code).toBe("prometheus_tls_required");
  });

  test("a TLS alert instead of HTTP", async () => {
    // alert, TLS 1.2, 2 bytes, fatal, unexpected_message
    const alert = Buffer.from([0x15, 3, 3, 0, 2, 2, 10]);
    const tls = await startTcpServer((socket) => void socket.end(alert));
    try {
      expect((await bridgeErrorOf(clientOf(tls.origin).now(signal))).code).toBe("prometheus_tls_required");
    } finally {
      await tls.close();
    }
  });
});

describe("an answer that says that it is partial", () => {
  const SERIES = [{ labels: ['"a":"b"'], samples: [`[${NOW / 1000},"1"]`] }];
  const GONE =
    'fetch series for {cluster=\\"old\\"} 10.0.0.9:10901: rpc error: code = Unavailable desc = connection refused';
  const NO_STORES = "No StoreAPIs matched for this query";
  const withWarnings = (series: typeof SERIES, ...warnings: string[]): string =>
    toMatrixAnswer(series, undefined, `]},"warnings":[${warnings.map((each) => `"${each}"`).join()}]}`);
  const VICTORIA = ANSWER.replace('"status":"success",', '"status":"success","isPartial":true,');

  test.each([
    ["Thanos: a store is gone", withWarnings(SERIES, GONE), /Unavailable/],
    ["Thanos: a querier below has lost its stores", withWarnings(SERIES, NO_STORES), /No StoreAPIs/],
    ["VictoriaMetrics: a storage node is gone", VICTORIA, /isPartial/],
  ])("%s: refused by a code of its own, or accepted with a warning", async (_what, body, words) => {
    server.respond = answer(200, {}, body);
    const error = await bridgeErrorOf(read());
    expect(error.code).toBe("prometheus_answer_partial");
    expect(error.message).toMatch(words);
    expect(error.message).not.toContain("10.0.0.9");
    expect(error.hint).toContain("prometheus.accept_partial: true");
    const accepted = await read(clientOf(server.origin, true));
    expect(accepted).toMatchObject({ samples: 1, warnings: [expect.stringMatching(words)] });
    expect(accepted.noStores).toBeUndefined();
  });

  test("Thanos, a time without any store: an empty answer that says so", async () => {
    server.respond = answer(200, {}, withWarnings([], NO_STORES, NO_STORES));
    expect(await read()).toMatchObject({ samples: 0, warnings: [], noStores: true });
    // A store that is gone besides is more than that.
    server.respond = answer(200, {}, withWarnings([], NO_STORES, GONE));
    expect((await bridgeErrorOf(read())).code).toBe("prometheus_answer_partial");
  });

  test("Thanos without any store now has no oldest sample to go by", async () => {
    server.respond = answer(200, {}, withWarnings([], NO_STORES));
    expect((await bridgeErrorOf(client.oldestSample(WINDOW, signal))).code).toBe("prometheus_answer_partial");
    expect(await client.hasSamplesAt(NOW, signal)).toBe(false);
  });
});
