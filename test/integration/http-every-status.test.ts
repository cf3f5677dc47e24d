import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { BridgeError } from "#errors/error.ts";
import type { RouteModule } from "#http/app-types.ts";
import {
  ACCESS,
  type ErrorJson,
  type Harness,
  SECURITY_HEADERS,
  startHarness,
  talk,
  TOKENS,
} from "./http-harness.ts";

// Each error status that the server can answer, over bare sockets: also what Node's HTTP parser refuses before there is a request.

const HEADERS = { "content-type": "application/json; charset=utf-8", ...SECURITY_HEADERS };

const routes: RouteModule[] = [
  (app) => {
    app.get("/broken", { config: { scope: "open" } }, () => {
      throw new Error("boom");
    });
    app.get("/unavailable", { config: { scope: "open" } }, () => {
      throw new BridgeError("storage_unavailable", "nobody answers");
    });
    app.post(
      "/echo",
      { config: { scope: "open" }, schema: { body: z.strictObject({ name: z.string() }) } },
      (request) => request.body,
    );
  },
];

interface Answer {
  status: number;
  headers: Record<string, string>;
  error: ErrorJson["error"];
}

function parse(text: string): Answer {
  const [head = "", body = ""] = text.split("\r\n\r\n");
  const [line = "", ...fields] = head.split("\r\n");
  const headers = Object.fromEntries(
    fields.map((field) => [field.split(":")[0]!.toLowerCase(), field.slice(field.indexOf(":") + 2)]),
  );
  expect(Buffer.byteLength(body)).toBe(Number(headers["content-length"]));
  return { status: Number(line.split(" ")[1]), headers, error: (JSON.parse(body) as ErrorJson).error };
}

let open: Harness;
let guarded: Harness;
let impatient: Harness;
beforeAll(async () => {
  open = await startHarness({ deps: { routes } });
  guarded = await startHarness({ access: ACCESS });
  impatient = await startHarness({ settings: { limits: { headersTimeoutMs: 60, requestTimeoutMs: 120 } } });
});
afterAll(async () => {
  for (const harness of [open, guarded, impatient]) await harness.server.stop();
});

const toRequest = (line: string, fields: readonly string[] = [], body = ""): string =>
  `${[`${line} HTTP/1.1`, "Host: localhost", "Connection: close", ...fields].join("\r\n")}\r\n\r\n${body}`;
const json = "Content-Type: application/json";

async function expectError(text: Promise<string>, status: number, code: string): Promise<Answer> {
  const answer = parse(await text);
  expect({ status: answer.status, code: answer.error.code }).toEqual({ status, code });
  expect(answer.headers).toMatchObject(HEADERS);
  expect(answer.error.message).toMatch(/./);
  expect(answer.error.hint).toMatch(/./);
  return answer;
}

describe("every error has the security headers and the JSON form", () => {
  it.each<[string, number, string, string]>([
    ["no HTTP at all", 400, "request_invalid", "\u0016\u0003\u0001 hello\r\n\r\n"],
    ["an unknown method", 400, "request_invalid", "NONSENSE / HTTP/1.1\r\n\r\n"],
    ["an HTTP version of the future", 400, "request_invalid", "GET / HTTP/9.9\r\n\r\n"],
    ["HTTP/2 without TLS", 400, "request_invalid", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    ["no Host", 400, "request_invalid", "GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n"],
    ["a header without a name", 400, "request_invalid", toRequest("GET /healthz", [": x"])],
    ["a header line that is folded", 400, "request_invalid", toRequest("GET /healthz", ["A: b", "  c"])],
    [
      "two lengths",
      400,
      "request_invalid",
      toRequest("POST /echo", [json, "Content-Length: 3", "Transfer-Encoding: chunked"], "0\r\n\r\n"),
    ],
    [
      "a chunk without a size",
      400,
      "request_invalid",
      toRequest("POST /echo", [json, "Transfer-Encoding: chunked"], "zz\r\n"),
    ],
    ["CONNECT", 400, "request_invalid", "CONNECT example.org:443 HTTP/1.1\r\nHost: localhost\r\n\r\n"],
    ["a malformed path", 400, "request_invalid", toRequest("GET /clusters/%E0%A4%A")],
    ["an endless path part", 400, "request_invalid", toRequest(`GET /clusters/${"x".repeat(300)}`)],
    ["broken JSON", 400, "request_invalid", toRequest("POST /echo", [json, "Content-Length: 1"], "{")],
    ["an unknown path", 404, "not_found", toRequest("GET /nothing")],
    ["a method of WebDAV", 404, "not_found", toRequest("PROPFIND /clusters")],
    ["another method", 405, "method_not_allowed", toRequest("DELETE /clusters")],
    [
      "too large a body",
      413,
      "body_too_large",
      toRequest("POST /echo", [json, `Content-Length: ${2 ** 21}`]),
    ],
    [
      "too large chunk extensions",
      413,
      "body_too_large",
      toRequest("POST /echo", [json, "Transfer-Encoding: chunked"], `1;${"x".repeat(20_000)}\r\na\r\n`),
    ],
    [
      "another content type",
      415,
      "unsupported_media_type",
      toRequest("POST /echo", ["Content-Type: text/plain", "Content-Length: 1"], "x"),
    ],
    [
      "a body without a type",
      415,
      "unsupported_media_type",
      toRequest("POST /echo", ["Content-Length: 1"], "x"),
    ],
    [
      "a malformed content type",
      415,
      "unsupported_media_type",
      toRequest("POST /echo", ["Content-Type: ;", "Content-Length: 1"], "x"),
    ],
    ["an expectation", 417, "expectation_failed", toRequest("POST /echo", [json, "Expect: 200-ok"])],
    ["another host", 421, "host_refused", "GET /healthz HTTP/1.0\r\nHost: example.org\r\n\r\n"],
    ["endless headers", 431, "headers_too_large", toRequest("GET /", [`X: ${"x".repeat(20_000)}`])],
    ["an endless URL", 431, "headers_too_large", toRequest(`GET /${"x".repeat(20_000)}`)],
    ["a defect", 500, "internal", toRequest("GET /broken")],
    ["storage that is away", 503, "storage_unavailable", toRequest("GET /unavailable")],
  ])("%s: %d", async (_name, status, code, bytes) => {
    await expectError(talk(open.port, bytes), status, code);
    expect((await fetch(`${open.url}/healthz`)).status).toBe(200);
  });

  it.each([
    ["no token", 401, "unauthenticated", []],
    ["a token without the scope", 403, "forbidden", [`Authorization: Bearer ${TOKENS.collect}`]],
  ])("%s: %d", async (_name, status, code, fields) => {
    const answer = talk(guarded.port, toRequest("GET /clusters", fields));
    expect((await expectError(answer, status, code)).error.details).toMatchObject({ required_scope: "read" });
  });

  it.each([
    ["headers", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "],
    ["a body", "POST /metrics/collect-all HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc"],
  ])("%s that never end: 408", async (_name, bytes) => {
    const { headers } = await expectError(talk(impatient.port, bytes), 408, "request_timeout");
    expect(headers["connection"]).toBe("close");
  });

  it("too many failed logins: 429", async () => {
    const guess = toRequest("GET /clusters", ["Authorization: Bearer guess"]);
    for (let i = 0; i < 10; i++) await expectError(talk(guarded.port, guess), 401, "unauthenticated");
    const { headers } = await expectError(talk(guarded.port, guess), 429, "too_many_failed_logins");
    expect(Number(headers["retry-after"])).toBeGreaterThan(0);
  });
});

describe("a request without a body", () => {
  it.each<[string, readonly string[], string?]>([
    ["nothing at all", []],
    ["a length of 0", ["Content-Length: 0"]],
    ["a length of 0 and JSON, as Dapr sends it", ["Content-Type: application/json", "Content-Length: 0"]],
    [
      "a form, as `curl -d ''` sends it",
      ["Content-Type: application/x-www-form-urlencoded", "Content-Length: 0"],
    ],
    ["an empty type", ["Content-Type:", "Content-Length: 0"]],
    ["a malformed type", ["Content-Type: ;;", "Content-Length: 0"]],
    ["another type", ["Content-Type: text/xml; charset=x"]],
    ["no chunks", ["Transfer-Encoding: chunked"], "0\r\n\r\n"],
    ["no chunks of a malformed type", ["Content-Type: /", "Transfer-Encoding: chunked"], "0\r\n\r\n"],
  ])("%s is taken where none is needed", async (_name, fields, body = "") => {
    const collect = await talk(open.port, toRequest("POST /metrics/collect-all", fields, body));
    expect(collect).toMatch(/^HTTP\/1\.1 200 /);
    // The route is there, the cluster is not.
    await expectError(
      talk(diagnosing.port, toRequest("POST /clusters/none/diagnose", fields, body)),
      404,
      "cluster_not_found",
    );
    await expectError(
      talk(diagnosing.port, toRequest("DELETE /clusters/none/diagnose", fields, body)),
      405,
      "method_not_allowed",
    );
  });

  it.each<[string, readonly string[], string]>([
    ["text", ["Content-Type: text/plain", "Content-Length: 5"], "hello"],
    ["broken JSON", ["Content-Type: application/json", "Content-Length: 1"], "{"],
    ["bytes without a type", ["Content-Length: 2"], "\u0001\u0002"],
  ])("a body of %s is ignored where none is needed", async (_name, fields, body) => {
    const path = "/clusters/none/diagnose";
    const answer = talk(diagnosing.port, toRequest(`POST ${path}`, fields, body));
    expect((await expectError(answer, 404, "cluster_not_found")).error.message).toContain("none");
  });

  it.each<[string, readonly string[], string?]>([
    ["nothing at all", []],
    ["a form", ["Content-Type: application/x-www-form-urlencoded", "Content-Length: 0"]],
    ["no chunks", ["Transfer-Encoding: chunked"], "0\r\n\r\n"],
  ])("%s is named where one is needed", async (_name, fields, body = "") => {
    const { error } = await expectError(
      talk(open.port, toRequest("POST /echo", fields, body)),
      400,
      "request_invalid",
    );
    expect(error.message).toMatch(/^body: /);
  });

  let diagnosing: Harness;
  beforeAll(async () => {
    diagnosing = await startHarness({
      deps: {
        diagnoseCluster: async () => {
          throw new Error("not reached");
        },
      },
    });
  });
  afterAll(() => diagnosing.server.stop());
});
