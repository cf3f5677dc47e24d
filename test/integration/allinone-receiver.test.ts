import { once } from "node:events";
import { connect } from "node:net";
import { gzipSync, zstdCompressSync } from "node:zlib";
import protobuf from "protobufjs";
import { Agent } from "undici";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createOtlpReceiver, type OtlpReceiver, type OtlpReceiverLimits } from "#allinone/otlp-receiver.ts";
import { BridgeError } from "#errors/error.ts";
import { systemClock } from "#lib/clock.ts";
import { createSecret } from "#lib/secret.ts";
import { createTransport } from "#otlp/transport.ts";
import { useEngine } from "../helpers/engine.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { bitsOf, toOtlpRequest, writeOtherKinds, type TestPoint } from "../helpers/otlp-request.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";

const engine = useEngine({ migrated: true });
const logger = createSilentLogger();
const token = createSecret("receiver-6a09e667f3bcc908");
const AUTHORIZATION = { authorization: `Bearer ${token.expose()}` };
const NOW = BigInt(Date.now()) * 1_000_000n;
let clusters = 0;
let cluster = "";
let receivers: OtlpReceiver[] = [];
let url = "";

async function listen(limits?: Partial<OtlpReceiverLimits>): Promise<string> {
  const deps = { database: engine.database, databaseName: "metrics", token, clock: systemClock, logger };
  const receiver = createOtlpReceiver(deps, limits);
  receivers.push(receiver);
  return (await receiver.start("127.0.0.1", 0)).url;
}

beforeEach(async () => {
  cluster = `cluster-${++clusters}`;
  url = await listen();
});

afterEach(async () => {
  await Promise.all(receivers.map((receiver) => receiver.stop()));
  receivers = [];
});

interface Reply {
  status: number;
  headers: Headers;
  /** Message of google.rpc.Status or of the partial success. */
  message: string;
  rejected: number;
}

async function post(body: Uint8Array, headers: Record<string, string> = {}, to = url): Promise<Reply> {
  const response = await fetch(`${to}/v1/metrics`, {
    method: "POST",
    body: new Uint8Array(body),
    headers: { "content-type": "application/x-protobuf", ...AUTHORIZATION, ...headers },
  });
  expect(response.headers.get("content-type")).toBe("application/x-protobuf");
  const bytes = new Uint8Array(await response.arrayBuffer());
  return { status: response.status, headers: response.headers, ...readReply(response.status, bytes) };
}

function readReply(status: number, bytes: Uint8Array): { message: string; rejected: number } {
  const fields = new Map<number, string | number>();
  const read = (reader: protobuf.Reader): void => {
    while (reader.pos < reader.len) {
      const tag = reader.uint32();
      if ((tag & 7) === 0) fields.set(tag >>> 3, Number(reader.int64()));
      else fields.set(tag >>> 3, reader.string());
    }
  };
  if (status !== 200) read(protobuf.Reader.create(bytes));
  else if (bytes.length > 0) {
    const reader = protobuf.Reader.create(bytes);
    reader.uint32();
    read(protobuf.Reader.create(reader.bytes()));
  }
  return { message: String(fields.get(2) ?? ""), rejected: status === 200 ? Number(fields.get(1) ?? 0) : 0 };
}

interface StoredRow {
  labels: Record<string, string>;
  ns: string;
  bits: string;
}

async function readStored(metric: string): Promise<StoredRow[]> {
  return await engine.database.query<StoredRow>(
    `SELECT labels, toUnixTimestamp64Nano(time) AS ns, reinterpretAsUInt64(value) AS bits FROM metrics.samples
     WHERE cluster_id = {cluster:String} AND metric_name = {metric:String} ORDER BY time LIMIT 100000`,
    { cluster, metric },
  );
}

const gauge = (name: string, points: TestPoint[]): Buffer =>
  toOtlpRequest({ cluster_id: cluster, "service.name": "bridge" }, [{ name, kind: "gauge", points }]);

test("stores values bit for bit, times to the ns and labels of any text", async () => {
  const values = [0, -0, 1, 5e-324, -5e-324, 1.7976931348623157e308, 0.1 + 0.2, Infinity, -Infinity, 1 / 3];
  const bits = [...values.map(bitsOf), 0x7ff8000000000000n, 0x7ff8000000000001n, 0xfff8dead00000000n];
  const labels = [
    "",
    "'",
    '"',
    "\\",
    "\n\t\r\u0000",
    "日本語 🚀",
    "x".repeat(5000),
    "{{db}}",
    "\\N",
    "NULL",
    "\u0080é",
  ];
  const points = bits.map((each, index) => ({
    bits: each,
    time: NOW + BigInt(index),
    labels: { text: labels[index % labels.length] ?? "", [`käy${index}`]: "v" },
  }));
  expect(await post(gauge("odd", points))).toMatchObject({ status: 200, message: "", rejected: 0 });
  const expected = points.map((point) => ({
    labels: point.labels,
    ns: String(point.time),
    bits: String(point.bits),
  }));
  expect(await readStored("odd")).toEqual(expected);
});

test("a stale marker is stored with its flag and its own NaN, and is no sample", async () => {
  const points = [{ bits: 0x7ff0000000000002n, time: NOW, labels: { a: "b" }, flags: 1 }];
  expect(await post(gauge("ended", points))).toMatchObject({ status: 200, message: "", rejected: 0 });
  const rows = await engine.database.query(
    "SELECT toString(reinterpretAsUInt64(Value)) AS bits, Flags FROM metrics.otel_metrics_gauge WHERE MetricName = 'ended'",
  );
  expect(rows).toEqual([{ bits: String(0x7ff0000000000002n), Flags: 1 }]);
  const markers = "SELECT cluster_id, labels FROM metrics.stale_markers WHERE metric_name = 'ended'";
  expect(await engine.database.query(markers)).toEqual([{ cluster_id: cluster, labels: { a: "b" } }]);
  expect(await readStored("ended")).toEqual([]);
});

test("fills every column as the Collector's exporter does", async () => {
  const request = toOtlpRequest(
    { cluster_id: cluster, "service.name": "bridge" },
    [
      {
        name: "requests_total",
        unit: "1",
        kind: "sum",
        points: [{ int: 2n ** 53n + 1n, time: NOW, start: NOW - 5n, labels: { a: "b" } }],
      },
    ],
    (scope) => writeOtherKinds(scope, NOW),
  );
  expect((await post(gzipSync(request), { "content-encoding": "gzip" })).status).toBe(200);
  const read = async (kind: string): Promise<unknown> => {
    const rows = await engine.database.query(
      `SELECT * EXCEPT (ResourceAttributes, ScopeName, TimeUnix) FROM metrics.otel_metrics_${kind} WHERE cluster_id = {cluster:String} LIMIT 5`,
      { cluster },
    );
    return rows.length === 1 ? rows[0] : rows;
  };
  const common = {
    ResourceSchemaUrl: "",
    ScopeVersion: "",
    ScopeAttributes: {},
    ScopeDroppedAttrCount: 0,
    ScopeSchemaUrl: "",
    ServiceName: "bridge",
    MetricDescription: "",
    MetricUnit: "",
    Flags: 0,
    Attributes: { le: "x" },
  };
  const unknownStart = { StartTimeUnix: "1970-01-01 00:00:00.000000000" };
  const exemplars = {
    "Exemplars.FilteredAttributes": [{ user: "u" }],
    "Exemplars.TimeUnix": ["2023-11-14 22:13:20.000000007"],
    "Exemplars.Value": [2.5],
    "Exemplars.SpanId": ["0102030405060708"],
    "Exemplars.TraceId": ["000102030405060708090a0b0c0d0e0f"],
  };
  expect(await read("sum")).toMatchObject({
    ...common,
    MetricName: "requests_total",
    MetricUnit: "1",
    Attributes: { a: "b" },
    Value: 2 ** 53,
    AggregationTemporality: 2,
    IsMonotonic: true,
    "Exemplars.Value": [],
  });
  expect(await read("histogram")).toEqual({
    ...common,
    ...unknownStart,
    ...exemplars,
    MetricName: "h",
    Count: "18446744073709551615",
    Sum: 7.5,
    BucketCounts: ["1", "9007199254740993"],
    ExplicitBounds: [0.25],
    Min: -1,
    Max: 9,
    AggregationTemporality: 1,
  });
  expect(await read("exponential_histogram")).toEqual({
    ...common,
    ...unknownStart,
    ...exemplars,
    MetricName: "e",
    Count: "3",
    Sum: 0,
    Scale: -4,
    ZeroCount: "1",
    PositiveOffset: -2,
    PositiveBucketCounts: ["1", "300"],
    NegativeOffset: 0,
    NegativeBucketCounts: [],
    Min: 0,
    Max: 0,
    AggregationTemporality: 2,
  });
  expect(await read("summary")).toEqual({
    ...common,
    ...unknownStart,
    MetricName: "q",
    Count: "4",
    Sum: 8,
    "ValueAtQuantiles.Quantile": [0.5, 0.99],
    "ValueAtQuantiles.Value": [2, "nan"],
  });
});

test("a request sent again is the same rows; a renamed cluster and a node's name do not fork a series", async () => {
  const send = (name: string, node: Record<string, string>) =>
    post(
      toOtlpRequest({ cluster_id: cluster, cluster_name: name }, [
        {
          name: "again",
          kind: "gauge",
          points: [{ bits: 1n, time: NOW, labels: { a: "1", b: "2", ...node } }],
        },
        { name: "again", kind: "gauge", points: [{ bits: 1n, time: NOW, labels: { b: "2", a: "other" } }] },
      ]),
    );
  await send("old", {});
  await send("new", { "k8s.node.name": "node-1" });
  expect(await readStored("again")).toHaveLength(2);
});

test("stores what it can and says what it refused", async () => {
  const points = [
    { bits: bitsOf(1), time: NOW },
    { bits: bitsOf(2) },
    { time: NOW + 1n },
    { bits: bitsOf(3), time: 2n ** 63n },
    { bits: bitsOf(4), time: NOW, start: 2n ** 63n },
  ];
  const reply = await post(gauge("partly", points));
  expect(reply).toMatchObject({ status: 200, rejected: 4 });
  expect(reply.message).toBe(
    "1 points without time_unix_nano, 1 points without a value, 2 points with a time after the year 2262",
  );
  expect(await readStored("partly")).toHaveLength(1);
});

test("an empty request is a full success", async () => {
  expect(await post(new Uint8Array(0))).toMatchObject({ status: 200, rejected: 0 });
});

test("a body cut at any byte, or not protobuf, or not gzip, is 400 or stores nothing", async () => {
  const whole = gauge("cut", [{ bits: 1n, time: NOW, labels: { a: "b" } }]);
  for (let length = 1; length < whole.length; length++) {
    const reply = await post(whole.subarray(0, length));
    expect(reply).toMatchObject({ status: 400, message: "the body is not an ExportMetricsServiceRequest" });
  }
  expect(await post(Buffer.from('{"resourceMetrics":[]}'))).toMatchObject({ status: 400 });
  const gzip = { "content-encoding": "gzip" };
  expect(await post(whole, gzip)).toMatchObject({ status: 400, message: "the body is not gzip" });
  expect(await post(gzipSync(whole).subarray(0, -9), gzip)).toMatchObject({ status: 400 });
  expect(await readStored("cut")).toEqual([]);
});

test("refuses what is no OTLP request by its head", async () => {
  expect((await post(Buffer.from("{}"), { "content-type": "application/json" })).status).toBe(415);
  expect((await post(Buffer.from(""), { "content-encoding": "br" })).status).toBe(415);
  expect((await fetch(`${url}/v1/traces`, { method: "POST", headers: AUTHORIZATION })).status).toBe(404);
  const wrongMethod = await fetch(`${url}/v1/metrics`, { headers: AUTHORIZATION });
  expect([wrongMethod.status, wrongMethod.headers.get("allow")]).toEqual([405, "POST"]);
});

test("413 for a body over a limit, announced, streamed, compressed or of too many points; the next request passes", async () => {
  const small = await listen({ compressedBytesMax: 2000, bytesMax: 5000, pointsMax: 20, rowsBytesMax: 4000 });
  const points = (count: number, labels = {}) =>
    Array.from({ length: count }, (_, index) => ({ bits: 1n, time: NOW + BigInt(index), labels }));
  const large = Buffer.alloc(1_000_000, 1);
  const gzip = { "content-encoding": "gzip" };
  expect((await post(large, {}, small)).status).toBe(413);
  const streamed = await fetch(`${small}/v1/metrics`, {
    method: "POST",
    headers: { "content-type": "application/x-protobuf", ...AUTHORIZATION },
    body: new Blob([large]).stream(),
    duplex: "half",
  });
  expect(streamed.status).toBe(413);
  expect((await post(gzipSync(Buffer.alloc(900_000)), gzip, small)).status).toBe(413);
  expect(await post(gauge("many", points(21)), {}, small)).toMatchObject({
    status: 413,
    message: "21 points in one request; 20 are allowed",
  });
  const wide = gauge("wide", points(20, { text: "x".repeat(200) }));
  expect((await post(gzipSync(wide), gzip, small)).status).toBe(413);
  expect((await post(gauge("fits", points(3)), {}, small)).status).toBe(200);
});

test.each([
  ["storage_unavailable", "1"],
  ["storage_failed", "5"],
] as const)("%s of the engine is 503, to be tried again after %s s", async (code, retryAfter) => {
  const database = { insertRowBinary: () => Promise.reject(new BridgeError(code, "no")) };
  const receiver = createOtlpReceiver({
    database,
    databaseName: "metrics",
    token,
    clock: systemClock,
    logger,
  });
  receivers.push(receiver);
  const failing = (await receiver.start("127.0.0.1", 0)).url;
  const reply = await post(gauge("x", [{ bits: 1n, time: NOW }]), {}, failing);
  expect([reply.status, reply.message, reply.headers.get("retry-after")]).toEqual([503, "no", retryAfter]);
});

test("a table that is missing is 503: the points are not to blame", async () => {
  const deps = { database: engine.database, databaseName: "nowhere", token, clock: systemClock, logger };
  const receiver = createOtlpReceiver(deps);
  receivers.push(receiver);
  const reply = await post(
    gauge("x", [{ bits: 1n, time: NOW }]),
    {},
    (await receiver.start("127.0.0.1", 0)).url,
  );
  expect(reply.status).toBe(503);
});

test("stop lets a request under way finish, and cuts it after 5 s", async () => {
  const clock = createManualClock();
  const started = Promise.withResolvers<void>();
  const database = {
    insertRowBinary: (_table: string, _columns: unknown, _rows: unknown, signal?: AbortSignal) =>
      new Promise<void>((_resolve, reject) => {
        signal?.addEventListener("abort", () => reject(signal.reason as Error));
        started.resolve();
      }),
  };
  const receiver = createOtlpReceiver({ database, databaseName: "metrics", token, clock, logger });
  const to = (await receiver.start("127.0.0.1", 0)).url;
  const request = post(gauge("x", [{ bits: 1n, time: NOW }]), {}, to).catch(() => "cut");
  await started.promise;
  let stopped = false;
  const stopping = receiver.stop().then(() => {
    stopped = true;
  });
  clock.advance(4_999);
  expect(stopped).toBe(false);
  clock.advance(1);
  await stopping;
  expect(await request).toBe("cut");
});

test("a sender that goes away in the middle of a body does no harm", async () => {
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  await once(socket, "connect");
  socket.write(
    "POST /v1/metrics HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\ncontent-length: 1000\r\n\r\nabc",
  );
  socket.resetAndDestroy();
  await once(socket, "close");
  expect((await post(gauge("after", [{ bits: 1n, time: NOW }]))).status).toBe(200);
});

test.each(["gzip", "zstd", "none"] as const)(
  "takes what the program sends with OTLP_COMPRESSION=%s",
  async (compression) => {
    const dispatcher = new Agent();
    try {
      const transport = createTransport(
        { clock: systemClock, dispatcher },
        {
          url: `${url}/v1/metrics`,
          headers: { authorization: createSecret(AUTHORIZATION.authorization) },
          compression,
          timeoutMs: 10_000,
        },
      );
      const payload = await transport.encode(gauge("sent", [{ bits: bitsOf(1), time: NOW }]));
      expect(await transport.send(payload, new AbortController().signal)).toEqual({
        kind: "accepted",
        message: "",
      });
      expect(await readStored("sent")).toHaveLength(1);
    } finally {
      await dispatcher.close();
    }
  },
);

test("what is no zstd, is cut, or needs more memory than allowed is refused", async () => {
  const zstd = { "content-encoding": "zstd" };
  const whole = zstdCompressSync(gauge("z", [{ bits: 1n, time: NOW }]));
  expect(await post(Buffer.from("no zstd at all"), zstd)).toMatchObject({
    status: 400,
    message: "the body is not zstd",
  });
  expect((await post(whole.subarray(0, -3), zstd)).status).toBe(400);
  const bomb = zstdCompressSync(Buffer.alloc(64 << 20));
  expect(bomb.length).toBeLessThan(10_000);
  expect((await post(bomb, zstd)).status).toBe(413);
  expect((await post(gzipSync(Buffer.alloc(64 << 20)), { "content-encoding": "gzip" })).status).toBe(413);
  // A frame's head that asks for a window of 1 GiB (RFC 8878, 3.1.1.1.2).
  const window = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa0, 0x01, 0x00, 0x00]);
  expect((await post(window, zstd)).status).toBe(400);
});

test.each([
  ["no token", {}, 401],
  ["another token", { authorization: "Bearer receiver-0000000000000000" }, 401],
  ["another scheme", { authorization: `Basic ${token.expose()}` }, 401],
  ["a part of the token", { authorization: AUTHORIZATION.authorization.slice(0, -1) }, 401],
  ["the name of a page that was rebound", { ...AUTHORIZATION, host: "evil.example" }, 403],
  ["no port in Host", { ...AUTHORIZATION, host: "127.0.0.1" }, 403],
  ["a page's origin", { ...AUTHORIZATION, origin: "http://127.0.0.1" }, 403],
])("takes nothing from others on this machine: %s", async (_who, headers: Record<string, string>, status) => {
  const body = gauge("foreign", [{ bits: 1n, time: NOW }]);
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  const head = Object.entries({
    host: new URL(url).host,
    "content-type": "application/x-protobuf",
    "content-length": String(body.length),
    ...headers,
  });
  socket.write(`POST /v1/metrics HTTP/1.1\r\n${head.map((pair) => pair.join(": ")).join("\r\n")}\r\n\r\n`);
  socket.write(body);
  const chunks: Buffer[] = [];
  for await (const chunk of socket as AsyncIterable<Buffer>) chunks.push(chunk);
  const answer = Buffer.concat(chunks).toString("latin1");
  expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  expect(answer).toContain("connection: close");
  expect(answer).toMatch(/serves the process that it is a part of/);
  expect(answer).not.toContain(token.expose());
  expect(await readStored("foreign")).toEqual([]);
});

test("a body without a token is not read to its end, and 200 idle connections shut nobody out", async () => {
  const idle = Array.from({ length: 200 }, () => connect(Number(new URL(url).port), "127.0.0.1"));
  for (const socket of idle) socket.on("error", () => {});
  await Promise.all(idle.map((socket) => once(socket, "connect")));
  const huge = await fetch(`${url}/v1/metrics`, { method: "POST", body: Buffer.alloc(8 << 20) }).then(
    ({ status }) => status,
    () => "cut",
  );
  expect([401, "cut"]).toContain(huge);
  expect((await post(gauge("after", [{ bits: 1n, time: NOW }]))).status).toBe(200);
  for (const socket of idle) socket.destroy();
});

test("a port that is taken is config_invalid", async () => {
  const deps = { database: engine.database, databaseName: "metrics", token, clock: systemClock, logger };
  const second = createOtlpReceiver(deps).start("127.0.0.1", Number(new URL(url).port));
  await expect(second).rejects.toMatchObject({ code: "config_invalid" });
});
