import { inspect } from "node:util";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { Agent } from "undici";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createOtlpCodec } from "#allinone/otlp-proto.ts";
import type { ErrorCode } from "#errors/error.ts";
import { BridgeError } from "#errors/error.ts";
import { createSecret } from "#lib/secret.ts";
import { createTransport, type ExportResult, type Payload, type Transport } from "#otlp/transport.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { closedOrigin, startHttpServer, startTcpServer, type TestServer } from "../../helpers/http-server.ts";
import { createManualClock, type ManualClock } from "../../helpers/manual-clock.ts";

type Compression = Payload["encoding"];

const TIMEOUT_MS = 10_000;
const TOKEN = "Bearer s3cr3t-of-the-collector";
const BODY = Buffer.from("the points ".repeat(1_000));
const PROTOBUF = "application/x-protobuf";
const codec = createOtlpCodec();
const { signal } = new AbortController();

let server: TestServer;
let agent: Agent;
let clock: ManualClock;

beforeEach(async () => {
  server = await startHttpServer();
  answer(200, "", { "content-type": PROTOBUF });
  agent = new Agent({ connections: 1, pipelining: 1 });
  clock = createManualClock();
});

afterEach(async () => {
  await agent.destroy();
  await server.close();
});

function transportTo(url = `${server.origin}/v1/metrics`, compression: Compression = "gzip"): Transport {
  return createTransport(
    { clock, dispatcher: agent },
    {
      url,
      compression,
      timeoutMs: TIMEOUT_MS,
      headers: { authorization: createSecret(TOKEN), "x-tenant": createSecret("t-1") },
    },
  );
}

test.each(["gzip", "zstd", "none"] as const)(
  "what is kept is compressed, and sent as %s",
  async (compression) => {
    const transport = transportTo(undefined, compression);
    const packed = await transport.pack(BODY);
    expect(packed.body.length).toBeLessThan(BODY.length / 10);
    expect(await transport.decode(packed)).toEqual(BODY);
    const sent = await transport.unpack(packed);
    expect(sent.encoding).toBe(compression);
    expect(await transport.decode(sent)).toEqual(BODY);
  },
);

async function post(transport = transportTo()): Promise<ExportResult> {
  return await transport.send(await transport.encode(BODY), signal);
}

function answer(status: number, body: Uint8Array | string = "", headers: Record<string, string> = {}): void {
  server.respond = (response) => void response.writeHead(status, headers).end(body);
}

/** Fails the test when the result has no error. */
function errorOf(result: ExportResult): BridgeError {
  if (result.kind === "accepted" || result.kind === "partial") throw new Error(`it was ${result.kind}`);
  return result.error;
}

describe("a request", () => {
  test.each<[Compression, string | undefined, (body: Buffer) => Buffer]>([
    ["gzip", "gzip", (body) => gunzipSync(body)],
    ["zstd", "zstd", (body) => zstdDecompressSync(body)],
    ["none", undefined, (body) => body],
  ])("is sent with %s", async (compression, encoding, decompress) => {
    const transport = transportTo(undefined, compression);
    const input = Buffer.from(BODY);
    const payload = await transport.encode(input);
    input.fill(0);
    expect(await transport.send(payload, signal)).toEqual({ kind: "accepted", message: "" });
    const [request] = server.requests;
    expect(request).toMatchObject({ method: "POST", path: "/v1/metrics" });
    expect(request!.headers).toMatchObject({
      "content-type": PROTOBUF,
      "content-length": String(payload.body.length),
      authorization: TOKEN,
      "x-tenant": "t-1",
    });
    expect(request!.headers["user-agent"]).toMatch(/^budcluster/);
    expect(request!.headers["content-encoding"]).toBe(encoding);
    expect(decompress(request!.body)).toEqual(BODY);
    expect(await transport.decode(payload)).toEqual(BODY);
    expect(clock.pending()).toBe(0);
  });

  test("may be sent again", async () => {
    const transport = transportTo();
    const payload = await transport.encode(BODY);
    await transport.send(payload, signal);
    await transport.send(payload, signal);
    expect(server.requests[1]!.body).toEqual(server.requests[0]!.body);
  });
});

describe("success", () => {
  const message = "3 points are too old";
  test.each<[string, string, Uint8Array | string, ExportResult]>([
    ["empty", PROTOBUF, "", { kind: "accepted", message: "" }],
    ["protobuf", PROTOBUF, codec.encodeResponse(0, ""), { kind: "accepted", message: "" }],
    ["protobuf", PROTOBUF, codec.encodeResponse(3, message), { kind: "partial", rejectedPoints: 3, message }],
    [
      "protobuf",
      PROTOBUF,
      codec.encodeResponse(3_000_000_000, ""),
      { kind: "partial", rejectedPoints: 3e9, message: "" },
    ],
    // A message without refused points is a warning.
    ["protobuf", PROTOBUF, Buffer.of(0x0a, 4, 0x12, 2, 0x68, 0x69), { kind: "accepted", message: "hi" }],
    [
      "protobuf",
      PROTOBUF,
      Buffer.of(0x18, 1, 0x25, 0, 0, 0, 0, 0x29, 0, 0, 0, 0, 0, 0, 0, 0),
      { kind: "accepted", message: "" },
    ],
    ["JSON", "application/json", "{}", { kind: "accepted", message: "" }],
    ["JSON", "application/json; charset=utf-8", '{"partialSuccess":{}}', { kind: "accepted", message: "" }],
    [
      "JSON",
      "application/json",
      `{"partialSuccess":{"rejectedDataPoints":"3","errorMessage":"${message}"}}`,
      { kind: "partial", rejectedPoints: 3, message },
    ],
    [
      "JSON",
      "application/json",
      '{"partialSuccess":{"rejectedDataPoints":3}}',
      { kind: "partial", rejectedPoints: 3, message: "" },
    ],
    [
      "JSON",
      "application/json",
      '{"partialSuccess":{"errorMessage":"hi"}}',
      { kind: "accepted", message: "hi" },
    ],
  ])("in %s (%s) %#", async (_name, type, body, wanted) => {
    answer(200, body, { "content-type": type });
    expect(await post()).toEqual(wanted);
  });

  test.each([
    [204, ""],
    [200, ""],
    [202, PROTOBUF],
    [202, "application/json"],
  ])("is not what a %d of type '%s' says: anything may answer so", async (status, type) => {
    answer(status, "", type === "" ? {} : { "content-type": type });
    expect(await post()).toMatchObject({
      kind: "rejected",
      divisible: false,
      error: { code: "collector_misconfigured" },
    });
  });

  test("a long message is cut", async () => {
    answer(200, codec.encodeResponse(1, "x".repeat(10_000)), { "content-type": PROTOBUF });
    expect(await post()).toMatchObject({ kind: "partial", message: "x".repeat(500) });
  });

  test.each([
    ["a page", "text/html", "<!DOCTYPE html><html>Sign in</html>"],
    ["a page without a type", "", "<html></html>"],
    ["a text", "text/plain", "OK"],
    ["JSON that is none", "application/json", "<html>"],
    ["JSON that is null", "application/json", "null"],
    ["protobuf that is none", PROTOBUF, "<html></html>"],
    ["protobuf that is cut", PROTOBUF, Buffer.of(0x0a, 9, 1)],
  ])("is not what %s says", async (_name, type, body) => {
    answer(200, body, type === "" ? {} : { "content-type": type });
    const result = await post();
    expect(result).toMatchObject({ kind: "rejected", status: 200, divisible: false });
    expect(errorOf(result).code).toBe("collector_misconfigured");
  });
});

describe("a refusal", () => {
  test.each([429, 502, 503, 504])("%d may pass later", async (status) => {
    answer(status, codec.encodeStatus(14, "queue is full"), { "content-type": PROTOBUF });
    const result = await post();
    expect(result).toMatchObject({ kind: "retryable", status });
    expect(result).not.toHaveProperty("retryAfterMs");
    expect(errorOf(result)).toMatchObject({
      code: "collector_unavailable",
      message: `the Collector answered ${status}: queue is full`,
    });
  });

  test.each([400, 402, 406, 408, 409, 410, 413, 422, 431, 500, 501, 505, 507])(
    "%d is for good, a part may pass",
    async (status) => {
      answer(status, codec.encodeStatus(3, "bad point"), { "content-type": PROTOBUF });
      const result = await post();
      expect(result).toMatchObject({ kind: "rejected", status, divisible: true });
      expect(errorOf(result)).toMatchObject({
        code: "collector_refused",
        message: `the Collector answered ${status}: bad point`,
      });
    },
  );

  test.each([301, 302, 303, 304, 307, 308, 401, 403, 404, 405, 415])(
    "%d is about the endpoint, not the data",
    async (status) => {
      answer(status, "", { location: `${server.origin}/elsewhere` });
      const result = await post();
      expect(result).toMatchObject({ kind: "rejected", status, divisible: false });
      expect(errorOf(result).code).toBe("collector_misconfigured");
      expect(errorOf(result).message).toContain(String(status));
      expect(server.requests).toHaveLength(1);
    },
  );

  test.each([
    ["protobuf", PROTOBUF, codec.encodeStatus(3, "text"), ": text"],
    ["JSON", "application/json", '{"code":3,"message":"text"}', ": text"],
    ["JSON without a message", "application/json", '{"code":3}', ""],
    ["JSON with another message", "application/json", '{"message":{"a":1}}', ""],
    ["JSON with a number as message", "application/json", '{"message":7}', ""],
    ["JSON that is none", "application/json", "{", ""],
    ["JSON that is null", "application/json", "null", ""],
    ["protobuf that is none", PROTOBUF, "<html>", ""],
    ["a text", "text/plain; charset=utf-8", " text \n", ": text"],
    ["a page", "text/html", "<html></html>", ""],
    ["a long text", "text/plain", "x".repeat(200_000), `: ${"x".repeat(500)}`],
  ])("keeps the Collector's words in %s", async (_name, type, body, words) => {
    answer(400, body, { "content-type": type });
    const result = await post();
    expect(result.kind).toBe("rejected");
    expect(errorOf(result).message).toBe(`the Collector answered 400${words}`);
  });

  test.each<[string, number | undefined]>([
    ["7", 7_000],
    [" 7 ", 7_000],
    ["0", 0],
    ["86400", 3_600_000],
    [new Date(1_700_000_000_000 + 20_000).toUTCString(), 20_000],
    [new Date(1_700_000_000_000 - 20_000).toUTCString(), 0],
    ["soon", undefined],
    ["", undefined],
  ])("with Retry-After '%s' says when to try again: %d ms", async (header, wanted) => {
    answer(503, "", { "retry-after": header });
    const result = await post();
    expect(result.kind === "retryable" ? result.retryAfterMs : "not retryable").toBe(wanted);
  });
});

describe("what the Collector says", () => {
  const status = (message: string): ExportResult | Promise<ExportResult> => {
    answer(503, codec.encodeStatus(14, message), { "content-type": PROTOBUF });
    return post();
  };

  test.each([
    ["dial tcp: lookup clickhouse.bud-system.svc on 10.96.0.10:53: no such host", /clickhouse|10\.96/],
    ["clickhouse://writer:hunter22@ch-0:9000/metrics refused", /writer|hunter22|ch-0/],
    ["failed to connect to host=ch-0 user=writer", /ch-0|writer/],
    ["code: 516, message: writer: Authentication failed", /writer/],
  ])("shows no address and no user, but to the log: %s", async (words, inside) => {
    const error = errorOf(await status(words));
    expect(error.message).not.toMatch(inside);
    expect((error.cause as Error).message).toMatch(inside);
    answer(200, codec.encodeResponse(1, words), { "content-type": PROTOBUF });
    expect(JSON.stringify(await post())).not.toMatch(inside);
  });

  const secret = TOKEN.slice("Bearer ".length);
  test.each([
    ["base64", Buffer.from(TOKEN).toString("base64")],
    ["base64url without padding", Buffer.from(`x${secret}`).toString("base64url")],
    ["hexadecimal", Buffer.from(secret).toString("hex").toUpperCase()],
    ["a URL", secret.replaceAll("-", "%2D")],
    ["JSON", secret.replaceAll("-", "\\u002d")],
  ])("hides a credential that it echoes in %s", async (_form, echoed) => {
    const error = errorOf(await status(`no: ${echoed}`));
    expect(error.message).toBe("the Collector answered 503: no: [secret]");
    expect((error.cause as Error).message).toBe("no: [secret]");
  });

  test("changes neither a terminal nor the direction of a text", async () => {
    const error = errorOf(await status("a\u001B[31mb\u202Ec\u2066d\u009Be"));
    expect(error.message).toBe("the Collector answered 503: a [31mb c d e");
    expect((error.cause as Error).message).toBe("a [31mb c d e");
  });

  test("is blamed on what is set: a compression that it does not take", async () => {
    answer(415, "unsupported", { "content-type": "text/plain" });
    const error = errorOf(await post(transportTo(undefined, "zstd")));
    expect(error.hint).toContain("OTLP_COMPRESSION=zstd");
    expect(error.code).toBe("collector_misconfigured");
  });
});

describe("a Collector that does not answer", () => {
  test("is unreachable when nothing listens", async () => {
    const result = await post(transportTo(`${await closedOrigin()}/v1/metrics`));
    expect(result.kind).toBe("retryable");
    expect(errorOf(result).code).toBe("collector_unreachable");
    expect(errorOf(result).message).toContain("ECONNREFUSED");
    expect(clock.pending()).toBe(0);
  });

  test.each<[string, ErrorCode, Parameters<typeof startTcpServer>[0]]>([
    ["closes", "collector_unavailable", (socket) => void socket.end()],
    ["resets", "collector_unavailable", (socket) => void socket.resetAndDestroy()],
    [
      "closes within its answer",
      "collector_unavailable",
      (socket) => void socket.end("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc"),
    ],
    [
      "speaks something else",
      "collector_misconfigured",
      (socket) => void socket.end("SSH-2.0-OpenSSH_9.6\r\n"),
    ],
    [
      "sends headers without end",
      "collector_misconfigured",
      (socket) => void socket.write(`HTTP/1.1 200 OK\r\nx: ${"y".repeat(100_000)}`),
    ],
  ])("that %s is %s", async (_name, code, behave) => {
    const broken = await startTcpServer(behave);
    try {
      const result = await post(transportTo(`${broken.origin}/v1/metrics`));
      expect(result.kind).toBe("retryable");
      expect(errorOf(result).code).toBe(code);
    } finally {
      await broken.close();
    }
  });

  test("is late when the headers do not come, and when the body does not end", async () => {
    for (const beginning of ["", "x"]) {
      server.respond = (response) => {
        if (beginning !== "") response.writeHead(200, { "content-type": PROTOBUF }).write(beginning);
      };
      const work = post();
      await server.nextRequest();
      clock.advance(TIMEOUT_MS - 1);
      expect(clock.pending()).toBe(1);
      clock.advance(1);
      const result = await work;
      expect(result).toMatchObject({ kind: "retryable" });
      expect(errorOf(result).code).toBe("collector_timeout");
      expect(errorOf(result).message).toContain("10 s");
      expect(clock.pending()).toBe(0);
    }
  });

  test("is late for those who wait for a connection too", async () => {
    server.respond = () => {};
    const patient = createTransport(
      { clock, dispatcher: agent },
      { url: server.origin, headers: {}, compression: "none", timeoutMs: 2 * TIMEOUT_MS },
    );
    const first = post(patient);
    await server.nextRequest();
    const transport = transportTo();
    const second = transport.send(await transport.encode(BODY), signal);
    clock.advance(TIMEOUT_MS);
    expect(errorOf(await second).code).toBe("collector_timeout");
    clock.advance(TIMEOUT_MS);
    expect(errorOf(await first).code).toBe("collector_timeout");
  });
});

describe("an abort", () => {
  const reason = new BridgeError("shutting_down", "the process is ending");

  test("before, while and after sending throws the signal's own reason", async () => {
    const transport = transportTo();
    const payload = await transport.encode(BODY);
    expect(await bridgeErrorOf(transport.send(payload, AbortSignal.abort(reason)))).toBe(reason);
    expect(server.requests).toHaveLength(0);
    for (const beginning of ["", "x"]) {
      server.respond = (response) => {
        if (beginning !== "") response.writeHead(200).write(beginning);
      };
      const controller = new AbortController();
      const work = bridgeErrorOf(transport.send(payload, controller.signal));
      await server.nextRequest();
      controller.abort(reason);
      expect(await work).toBe(reason);
    }
    expect(clock.pending()).toBe(0);
  });
});

test("the headers' secrets are in no result, whatever happens", async () => {
  const results: ExportResult[] = [];
  for (const status of [200, 302, 400, 401, 429, 500, 503]) {
    answer(status, "<html>", { "content-type": "text/html" });
    results.push(await post());
  }
  // A receiver, or a proxy before it, may say what it was sent.
  answer(400, `refused: authorization: ${TOKEN}`, { "content-type": "text/plain" });
  results.push(await post());
  results.push(await post(transportTo(`${await closedOrigin()}/v1/metrics`)));
  const broken = createTransport(
    { clock, dispatcher: agent },
    {
      url: `${server.origin}/v1/metrics`,
      compression: "none",
      timeoutMs: TIMEOUT_MS,
      headers: { authorization: createSecret(`${TOKEN}\nx: y`) },
    },
  );
  results.push(await post(broken));
  const shown = inspect(results, { depth: 20, showHidden: true }) + JSON.stringify(results);
  expect(results.map(({ kind }) => kind)).not.toContain("accepted");
  expect(shown).not.toContain("s3cr3t");
});
