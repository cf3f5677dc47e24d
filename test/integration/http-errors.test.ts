import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { BridgeError } from "#errors/error.ts";
import type { RouteModule } from "#http/app-types.ts";
import { HTTP_LIMITS } from "#http/server.ts";
import { errorOf, type ErrorJson, type Harness, SECRETS, startHarness, talk } from "./http-harness.ts";

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

async function start(options: Parameters<typeof startHarness>[0] = {}): Promise<Harness> {
  const harness = await startHarness(options);
  ends.push(() => harness.server.stop());
  return harness;
}

describe("errors", () => {
  const routes: RouteModule[] = [
    (app) => {
      app.get("/broken", { config: { scope: "read" } }, () => {
        throw Object.assign(
          new Error(`boom at 10.1.2.3 with token=${SECRETS[0]}`, { cause: new Error("root cause") }),
          {
            statusCode: 418,
          },
        );
      });
      app.get(
        "/mismatch",
        { config: { scope: "read" }, schema: { response: { 200: z.object({ a: z.string() }) } } },
        (() => ({
          a: 1,
        })) as never,
      );
      app.get("/storage", { config: { scope: "read" } }, () => {
        throw new BridgeError("storage_failed", `refused for https://u:${SECRETS[1]}@db/`, {
          details: { token: SECRETS[2], tries: 2 },
        });
      });
      app.post(
        "/echo",
        {
          config: { scope: "read" },
          schema: { body: z.strictObject({ name: z.string(), deep: z.object({ n: z.int() }) }) },
        },
        (request) => request.body,
      );
    },
  ];
  const json = { "content-type": "application/json" };
  let harness: Harness;
  beforeAll(async () => (harness = await startHarness({ deps: { routes } })));
  afterAll(() => harness.server.stop());

  it.each<[string, RequestInit, string, number, string, RegExp]>([
    ["an unknown path", {}, "/nothing?token=abc", 404, "not_found", /^there is no GET \/nothing$/],
    [
      "an unknown path with a strange body",
      { method: "POST", headers: { "content-type": "a/b" }, body: "x" },
      "/nothing",
      404,
      "not_found",
      /POST/,
    ],
    ["another method", { method: "DELETE" }, "/clusters", 405, "method_not_allowed", /DELETE/],
    [
      "broken JSON",
      { method: "POST", headers: json, body: '{"name":' },
      "/echo",
      400,
      "request_invalid",
      /not JSON/,
    ],
    [
      "prototype pollution",
      { method: "POST", headers: json, body: '{"__proto__":{"a":1}}' },
      "/echo",
      400,
      "request_invalid",
      /./,
    ],
    [
      "an empty body where one is needed",
      { method: "POST", headers: json },
      "/echo",
      400,
      "request_invalid",
      /^body: /,
    ],
    [
      "a wrong field",
      { method: "POST", headers: json, body: '{"name":"a","deep":{"n":"x"}}' },
      "/echo",
      400,
      "request_invalid",
      /body field "deep.n": .*number/,
    ],
    [
      "a content type that is not taken",
      { method: "POST", headers: { "content-type": "text/plain" }, body: "x" },
      "/echo",
      415,
      "unsupported_media_type",
      /./,
    ],
    [
      "too large a body",
      { method: "POST", headers: json, body: JSON.stringify("x".repeat(HTTP_LIMITS.bodyBytesMax)) },
      "/echo",
      413,
      "body_too_large",
      /./,
    ],
    ["a malformed path", {}, "/clusters/%E0%A4%A", 400, "request_invalid", /path/],
    ["an endless path part", {}, `/clusters/${"x".repeat(300)}`, 400, "request_invalid", /path/],
    ["a thrown error", {}, "/broken", 500, "internal", /^an unexpected error happened$/],
    [
      "an answer that is not as documented",
      {},
      "/mismatch",
      500,
      "internal",
      /^an unexpected error happened$/,
    ],
    ["a BridgeError", {}, "/storage", 500, "storage_failed", /refused for/],
  ])("%s", async (_name, init, path, status, code, message) => {
    const answer = await fetch(harness.url + path, init);
    const body = await answer.text();
    expect(answer.status).toBe(status);
    expect(answer.headers.get("content-type")).toBe("application/json; charset=utf-8");
    expect(answer.headers.get("x-content-type-options")).toBe("nosniff");
    const { error, ...rest } = JSON.parse(body) as ErrorJson;
    expect(rest).toEqual({});
    expect(error).toMatchObject({
      code,
      message: expect.stringMatching(message),
      hint: expect.stringMatching(/./),
    });
    expect(body).not.toMatch(/stack|at file|node_modules|10\.1\.2\.3|boom|root cause/);
    for (const secret of SECRETS) expect(body).not.toContain(secret);
  });

  it("logs an unexpected error once, in full, under the id that the client gets", async () => {
    const line = harness.nextLine((fields) => fields["level"] === "error");
    const answer = await fetch(`${harness.url}/broken`, { headers: { "x-request-id": "my-request.1" } });
    expect(answer.headers.get("x-request-id")).toBe("my-request.1");
    expect((await errorOf(answer)).details).toEqual({ request_id: "my-request.1" });
    expect(await line).toMatchObject({
      request_id: "my-request.1",
      err: {
        code: "internal",
        stack: expect.any(String),
        cause: { message: expect.stringContaining("boom"), cause: { message: "root cause" } },
      },
    });
    const about = harness.lines.filter((each) => each.includes("my-request.1") && each.includes('"error"'));
    expect(about).toHaveLength(1);
  });

  it("takes only harmless request ids", async () => {
    for (const given of ["a b", "x".repeat(65), "<script>"]) {
      const answer = await fetch(`${harness.url}/healthz`, { headers: { "x-request-id": given } });
      expect(answer.headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
    }
  });

  it("the log has one line a request, without query strings, headers or secrets", async () => {
    const line = harness.nextLine((fields) => fields["path"] === "/clusters/edge-1");
    await fetch(`${harness.url}/clusters/edge-1?password=${SECRETS[0]}`, {
      headers: {
        authorization: `Bearer ${SECRETS[1]}`,
        cookie: `session=${SECRETS[2]}`,
        "user-agent": `agent ${SECRETS[3]}`,
      },
    });
    expect(await line).toMatchObject({
      level: "info",
      method: "GET",
      status: 200,
      caller: "local",
      msg: "request",
    });
    expect(harness.lines.filter((each) => each.includes("/clusters/edge-1"))).toHaveLength(1);
    const probe = harness.nextLine((fields) => fields["path"] === "/healthz");
    await fetch(`${harness.url}/healthz`);
    expect(await probe).toMatchObject({ level: "debug" });
    for (const secret of SECRETS) expect(harness.lines.join("")).not.toContain(secret);
  });
});

describe("a client that goes away", () => {
  it("stops the work for it, and is no failure", async () => {
    const begun = Promise.withResolvers<AbortSignal>();
    const harness = await start({
      deps: {
        latest: async ({ signal }) => {
          begun.resolve(signal);
          await new Promise((_resolve, reject) => {
            signal.addEventListener("abort", () => reject(signal.reason as Error));
          });
          throw new Error("not reached");
        },
      },
    });
    const client = new AbortController();
    const url = `${harness.url}/cluster-metrics/edge-1/latest?metric=up`;
    const answered = fetch(url, { signal: client.signal });
    const signal = await begun.promise;
    const line = harness.nextLine((fields) => fields["msg"] === "a request ended after its client went away");
    client.abort();
    await expect(answered).rejects.toThrow("abort");
    expect(await line).toMatchObject({ level: "debug" });
    expect(signal.aborted).toBe(true);
    expect(harness.lines.filter((each) => /"level":"(?:warn|error)"/.test(each))).toEqual([]);
  });

  it("is answered with shutting_down when the server stops first", async () => {
    const begun = Promise.withResolvers<void>();
    const harness = await start({
      deps: {
        latest: ({ signal }) => {
          begun.resolve();
          return new Promise((_resolve, reject) => {
            signal.addEventListener("abort", () => reject(signal.reason as Error));
          });
        },
      },
    });
    const answered = fetch(`${harness.url}/cluster-metrics/edge-1/latest?metric=up`);
    await begun.promise;
    await harness.server.stop();
    const answer = await answered;
    expect(answer.status).toBe(503);
    expect((await errorOf(answer)).code).toBe("shutting_down");
  });
});

describe("a hostile connection", () => {
  const host = (harness: Harness): string => `Host: 127.0.0.1:${harness.port}\r\n`;

  it.each<[string, (harness: Harness) => string, number, string]>([
    ["no HTTP at all", () => "\u0016\u0003\u0001 hello\r\n\r\n", 400, "request_invalid"],
    ["no Host", () => "GET /healthz HTTP/1.1\r\n\r\n", 400, ""],
    [
      "endless headers",
      (h) => `GET / HTTP/1.1\r\n${host(h)}X: ${"x".repeat(20_000)}\r\n\r\n`,
      431,
      "headers_too_large",
    ],
    [
      "smuggling",
      (h) => `POST / HTTP/1.1\r\n${host(h)}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      400,
      "request_invalid",
    ],
  ])("%s", async (_name, bytes, status, code) => {
    const harness = await start();
    const answer = await talk(harness.port, bytes(harness));
    expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(answer).toContain(code);
    expect((await fetch(`${harness.url}/healthz`)).status).toBe(200);
  });

  it("that never ends its headers or its body is cut with 408", async () => {
    const limits = { headersTimeoutMs: 60, requestTimeoutMs: 120 };
    const harness = await start({ settings: { limits } });
    const head = await talk(harness.port, `GET /healthz HTTP/1.1\r\n${host(harness)}X-Slow: `);
    expect(head).toMatch(/^HTTP\/1.1 408 [\s\S]*"code":"request_timeout"/);
    const body = await talk(
      harness.port,
      `POST /metrics/collect-all HTTP/1.1\r\n${host(harness)}Content-Length: 10\r\n\r\nabc`,
    );
    expect(body).toMatch(/^HTTP\/1.1 408 [\s\S]*"code":"request_timeout"/);
  });

  it("that hangs in a request does not hold the end up", async () => {
    const harness = await start({ settings: { limits: { stopGraceMs: 20 } } });
    const connected = talk(
      harness.port,
      `POST /metrics/collect-all HTTP/1.1\r\n${host(harness)}Content-Length: 10\r\n\r\nabc`,
    );
    await fetch(`${harness.url}/healthz`);
    await harness.server.stop();
    await expect(connected).resolves.toBeTypeOf("string");
  });

  it("meets limits in production too", () => {
    expect(HTTP_LIMITS).toMatchObject({
      headersTimeoutMs: 10_000,
      requestTimeoutMs: 30_000,
      connectionsMax: 1000,
    });
  });
});
