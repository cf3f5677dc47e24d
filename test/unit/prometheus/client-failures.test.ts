import { getEventListeners } from "node:events";
import { gzipSync } from "node:zlib";
import { Agent } from "undici";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createTurns } from "#lib/turns.ts";
import { BridgeError, type ErrorCode } from "#errors/error.ts";
import { toQueries } from "#prometheus/catalogue.ts";
import { createPrometheusClient, type PrometheusClient } from "#prometheus/client.ts";
import type { ScanResult } from "#prometheus/matrix-scanner.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { closedOrigin, startHttpServer, startTcpServer, type TestServer } from "../../helpers/http-server.ts";
import { createLatch } from "../../helpers/latch.ts";
import { createManualClock, type ManualClock } from "../../helpers/manual-clock.ts";
import { MATRIX_NOW_MS as NOW, toMatrixAnswer } from "../../helpers/matrix-answer.ts";

type ReadHooks = Parameters<PrometheusClient["read"]>[2];

const TIMEOUT_MS = 30_000;
const WINDOW = { fromMs: NOW - 300_000, toMs: NOW };
const UP = toQueries([{ name: "up", promql: "up", group: "g" }])[0]!;
const ANSWER = toMatrixAnswer([{ labels: ['"a":"b"'], samples: [`[${NOW / 1000},"1"]`] }]);
const { signal } = new AbortController();

let server: TestServer;
let agent: Agent;
let clock: ManualClock;
let client: PrometheusClient;

const clientOf = (origin: string): PrometheusClient =>
  createPrometheusClient(
    { dispatcher: agent, clock, turns: createTurns() },
    { origin, pathPrefix: "", timeoutMs: TIMEOUT_MS },
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

const read = (
  options: {
    client?: PrometheusClient;
    pause?: ReadHooks["pause"];
    signal?: AbortSignal;
    series?: () => void;
  } = {},
): Promise<ScanResult> =>
  (options.client ?? client).read(
    UP,
    WINDOW,
    { sink: { series: options.series ?? (() => {}) }, pause: options.pause ?? (() => undefined) },
    options.signal ?? signal,
  );

describe("an answer that is an error", () => {
  const api = (errorType: string, error: string): string =>
    JSON.stringify({ status: "error", errorType, error });
  const wordsOf = (body: string): string => {
    if (body === page) return "HTML page";
    return body.includes('"status"') ? ((JSON.parse(body) as { error?: string }).error ?? "") : body.trim();
  };
  const page = "<html><head><title>502 Bad Gateway</title></head></html>";
  test.each<[number, string, ErrorCode]>([
    [400, api("bad_data", "1:4: parse error: unexpected end of input"), "prometheus_query_failed"],
    [
      400,
      api("bad_data", "exceeded maximum resolution of 11,000 points per timeseries."),
      "prometheus_too_many_samples",
    ],
    [
      422,
      api("execution", "query processing would load too many samples into memory in query execution"),
      "prometheus_too_many_samples",
    ],
    [422, api("execution", "found duplicate series for the match group"), "prometheus_query_failed"],
    [422, api("execution", "query timed out in expression evaluation"), "prometheus_overloaded"],
    [503, api("execution", "too many concurrent queries"), "prometheus_overloaded"],
    [503, api("timeout", "query timed out in query queue"), "prometheus_overloaded"],
    [503, api("canceled", "query was canceled"), "prometheus_overloaded"],
    [429, api("too_many_requests", "slow down"), "prometheus_overloaded"],
    [429, api("whatever", "slow down"), "prometheus_overloaded"],
    [503, api("whatever", "no"), "prometheus_overloaded"],
    [503, api("unavailable", "TSDB not ready"), "prometheus_not_ready"],
    [401, api("unauthorized", "who are you?"), "prometheus_unauthorized"],
    [403, api("forbidden", "not you"), "prometheus_unauthorized"],
    [404, api("not_found", "no such tenant"), "prometheus_query_failed"],
    [500, api("internal", "expanding series: corruption"), "prometheus_query_failed"],
    [400, '{"status":"error"}', "prometheus_query_failed"],
    [400, "Bad Request", "prometheus_unexpected_answer"],
    [401, "Unauthorized\n", "prometheus_unauthorized"],
    [401, '{"error":"unauthorized"}', "prometheus_unauthorized"],
    [403, "", "prometheus_unauthorized"],
    [404, "404 page not found\n", "prometheus_unexpected_answer"],
    [404, page, "prometheus_unexpected_answer"],
    [405, "Method Not Allowed", "prometheus_unexpected_answer"],
    [429, "Too Many Requests", "prometheus_overloaded"],
    [500, "oops", "prometheus_unexpected_answer"],
    [502, page, "prometheus_overloaded"],
    [503, "Service Unavailable", "prometheus_not_ready"],
    [503, page, "prometheus_overloaded"],
    [504, page, "prometheus_overloaded"],
    [302, "", "prometheus_unexpected_answer"],
    [204, "", "prometheus_unexpected_answer"],
  ])("%d %.60s", async (status, body, code) => {
    server.respond = (response) => void response.writeHead(status, { location: "/graph" }).end(body);
    for (const work of [read(), client.now(signal)]) {
      const error = await bridgeErrorOf(work);
      expect(error.code).toBe(code);
      expect(error.message).toContain(String(status));
      expect(error.details).toMatchObject({ status });
      expect(error.message).toContain(wordsOf(body));
    }
    // A refusal of POST is tried by GET.
    expect(server.requests).toHaveLength(status === 403 || status === 405 ? 4 : 2);
    expect(clock.pending()).toBe(0);
  });

  test("a page is known by its content type too", async () => {
    server.respond = (response) => void response.writeHead(503, { "content-type": "text/html" }).end("Sorry");
    expect((await bridgeErrorOf(read())).code).toBe("prometheus_overloaded");
  });

  test.each(["br", "zstd", "deflate", "gzip, gzip"])(
    "an answer that is compressed unasked (%s) is named as such",
    async (encoding) => {
      server.respond = (response) =>
        void response.writeHead(200, { "content-encoding": encoding }).end(gzipSync(" ".repeat(1 << 20)));
      for (const work of [read(), client.now(signal), client.metadata(signal)]) {
        const error = await bridgeErrorOf(work);
        expect(error.code).toBe("prometheus_unexpected_answer");
        expect(error.message).toContain(`is compressed (${encoding})`);
      }
      expect(server.requests.every(({ headers }) => headers["accept-encoding"] === undefined)).toBe(true);
    },
  );

  test("an encoding that compresses nothing is none", async () => {
    server.respond = (response) => void response.writeHead(200, { "content-encoding": "utf-8" }).end(ANSWER);
    expect(await read()).toMatchObject({ samples: 1 });
  });

  test("long words are cut", async () => {
    server.respond = (response) =>
      void response.writeHead(422).end(api("e".repeat(9_000), "x".repeat(9_000)));
    const error = await bridgeErrorOf(read());
    expect(error.message.length).toBeLessThanOrEqual(500);
    expect(JSON.stringify(error.details).length).toBeLessThan(200);
  });

  test.each([
    ["an error of the API", api("execution", "WORDS"), "Prometheus answered 422 execution: SHOWN"],
    ["a text", "WORDS", 'Prometheus answered 422 with "SHOWN"'],
  ])(
    "words are shown without what harms a terminal and without addresses: %s",
    async (_what, body, message) => {
      const words = "a\u202Eb\u001B[31mc\u2067d\u009Be: dial tcp 10.1.2.3:9090, clickhouse.bud.svc";
      const shown = "a b [31mc d e: dial tcp (address):9090, (address)";
      server.respond = (response) =>
        void response
          .writeHead(422)
          .end(body.replace("WORDS", body === "WORDS" ? words : JSON.stringify(words).slice(1, -1)));
      const error = await bridgeErrorOf(read());
      expect(error.message).toBe(message.replace("SHOWN", shown));
    },
  );

  test("warnings are shown so too", async () => {
    const answer = {
      status: "success",
      warnings: ["a\u202Eb\u001B[1mc 10.1.2.3:9090"],
      data: { resultType: "matrix", result: [] },
    };
    server.respond = (response) => void response.writeHead(200).end(JSON.stringify(answer));
    expect((await bridgeErrorOf(read())).message).toMatch(/: a b \[1mc \(address\):9090$/);
  });

  test("a body that hangs is a timeout", async () => {
    server.respond = (response) => {
      response.writeHead(500);
      response.write("oo");
    };
    const work = bridgeErrorOf(read());
    await server.nextRequest();
    clock.advance(TIMEOUT_MS);
    expect((await work).code).toBe("prometheus_timeout");
  });
});

describe("time", () => {
  test("headers that do not come are a timeout", async () => {
    server.respond = () => {};
    for (const begin of [() => read(), () => client.now(signal), () => client.metadata(signal)]) {
      const work = bridgeErrorOf(begin());
      await server.nextRequest();
      clock.advance(TIMEOUT_MS - 1);
      clock.advance(1);
      const error = await work;
      expect(error.code).toBe("prometheus_timeout");
      expect(error.message).toContain("30 s");
    }
    expect(clock.pending()).toBe(0);
  });

  test("a body that stops is a timeout", async () => {
    server.respond = (response) => void response.write(ANSWER.slice(0, 80));
    const chunk = createLatch();
    const work = bridgeErrorOf(read({ pause: chunk.open }));
    await chunk.opened;
    clock.advance(TIMEOUT_MS);
    expect((await work).code).toBe("prometheus_timeout");
    expect(clock.pending()).toBe(0);
  });

  test("our own reading counts, although no timer fires meanwhile", async () => {
    server.respond = (response) => void response.end(ANSWER);
    let workedMs = 0;
    const busy = createPrometheusClient(
      {
        dispatcher: agent,
        clock: { ...clock, monotonic: () => clock.monotonic() + workedMs },
        turns: createTurns(),
      },
      { origin: server.origin, pathPrefix: "", timeoutMs: TIMEOUT_MS },
    );
    const error = await bridgeErrorOf(read({ client: busy, series: () => void (workedMs += TIMEOUT_MS) }));
    expect(error.code).toBe("prometheus_timeout");
    expect(clock.pending()).toBe(0);
  });

  test("one large chunk is read in turns, and the wait for a turn does not count", async () => {
    const series = Array.from({ length: 10_000 }, (_, i) => ({
      labels: [`"i":"${i}"`],
      samples: [`[${NOW / 1000},"1"]`],
    }));
    const answer = toMatrixAnswer(series);
    server.respond = (response) => void response.end(answer);
    let asked = 0;
    const pause = async (): Promise<void> => {
      await Promise.resolve();
      clock.advance(TIMEOUT_MS);
    };
    const sharing = createPrometheusClient(
      { dispatcher: agent, clock, turns: { pause: () => (++asked % 2 === 0 ? pause() : undefined) } },
      { origin: server.origin, pathPrefix: "", timeoutMs: TIMEOUT_MS },
    );
    expect((await read({ client: sharing })).series).toBe(10_000);
    expect(asked).toBeGreaterThan(answer.length / (32 << 10));
  });

  test("our own pauses do not count", async () => {
    const more = createLatch();
    server.respond = (response) => {
      response.write(ANSWER.slice(0, 80));
      void more.opened.then(() => response.end(ANSWER.slice(80)));
    };
    const paused = createLatch();
    const goOn = createLatch();
    const work = read({
      pause: () => {
        paused.open();
        return goOn.opened;
      },
    });
    await paused.opened;
    expect(clock.pending()).toBe(0);
    clock.advance(100 * TIMEOUT_MS);
    goOn.open();
    more.open();
    expect(await work).toMatchObject({ series: 1 });
  });

  test("what we wait for adds up", async () => {
    const received = server.nextRequest();
    const more = createLatch();
    server.respond = (response) => {
      void more.opened.then(() => response.write(ANSWER.slice(0, 80)));
    };
    const chunk = createLatch();
    const work = bridgeErrorOf(read({ pause: chunk.open }));
    await received;
    clock.advance(TIMEOUT_MS - 1_000);
    more.open();
    await chunk.opened;
    clock.advance(999);
    expect(clock.pending()).toBe(1);
    clock.advance(1);
    expect((await work).code).toBe("prometheus_timeout");
  });

  test("a request that waits for a free connection is a timeout too", async () => {
    server.respond = () => {};
    const first = bridgeErrorOf(read());
    await server.nextRequest();
    const second = bridgeErrorOf(client.now(signal));
    clock.advance(TIMEOUT_MS);
    expect((await first).code).toBe("prometheus_timeout");
    expect((await second).code).toBe("prometheus_timeout");
  });
});

describe("an abort", () => {
  const reason = new BridgeError("shutting_down", "the process is ending");

  test("before the request sends nothing", async () => {
    const aborted = AbortSignal.abort(reason);
    expect(await bridgeErrorOf(read({ signal: aborted }))).toBe(reason);
    expect(await bridgeErrorOf(client.now(aborted))).toBe(reason);
    expect(server.requests).toHaveLength(0);
    expect(clock.pending()).toBe(0);
  });

  test("while the headers are awaited ends the request", async () => {
    server.respond = () => {};
    for (const begin of [
      (own: AbortSignal) => read({ signal: own }),
      (own: AbortSignal) => client.now(own),
    ]) {
      const controller = new AbortController();
      const work = bridgeErrorOf(begin(controller.signal));
      await server.nextRequest();
      controller.abort(reason);
      expect(await work).toBe(reason);
    }
    expect(clock.pending()).toBe(0);
  });

  test("in the middle of the body ends it, and the connection", async () => {
    const closed = createLatch();
    server.respond = (response) => {
      response.write(ANSWER.slice(0, 80));
      response.on("close", closed.open);
    };
    const controller = new AbortController();
    const chunk = createLatch();
    const work = bridgeErrorOf(read({ signal: controller.signal, pause: chunk.open }));
    await chunk.opened;
    controller.abort(reason);
    expect(await work).toBe(reason);
    await closed.opened;
  });

  test("while paused ends the pause", async () => {
    server.respond = (response) => void response.end(ANSWER);
    const controller = new AbortController();
    const paused = createLatch();
    const work = bridgeErrorOf(
      read({
        signal: controller.signal,
        pause: () => {
          paused.open();
          return new Promise(() => {});
        },
      }),
    );
    await paused.opened;
    controller.abort(reason);
    expect(await work).toBe(reason);
  });

  test("leaves no listener on the signal, nor does a success", async () => {
    const controller = new AbortController();
    server.respond = (response) => void response.end(ANSWER);
    await read({ signal: controller.signal });
    await bridgeErrorOf(client.now(controller.signal));
    server.respond = (response) => void response.writeHead(500).end();
    await bridgeErrorOf(read({ signal: controller.signal }));
    expect(getEventListeners(controller.signal, "abort")).toEqual([]);
  });

  test("by a pause that throws ends the connection", async () => {
    const closed = createLatch();
    server.respond = (response) => {
      response.write(ANSWER.slice(0, 80));
      response.on("close", closed.open);
    };
    const stop = new BridgeError("collector_unavailable", "stop");
    const work = read({
      pause: () => {
        throw stop;
      },
    });
    expect(await bridgeErrorOf(work)).toBe(stop);
    await closed.opened;
    expect(clock.pending()).toBe(0);
  });
});

describe("an answer that is cut", () => {
  const head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
  const half = ANSWER.slice(0, 100);
  test.each([
    ["by its content length", `${head}content-length: ${ANSWER.length}\r\n\r\n${half}`],
    ["in the middle of chunks", `${head}transfer-encoding: chunked\r\n\r\n64\r\n${half}\r\n`],
    ["by a clean close", `${head}connection: close\r\n\r\n${half}`],
    ["by a clean end of chunks", `${head}transfer-encoding: chunked\r\n\r\n64\r\n${half}\r\n0\r\n\r\n`],
    ["by a wrong content length", `${head}content-length: 100\r\n\r\n${half}`],
    ["in its headers", head],
  ])("%s is truncated", async (_name, bytes) => {
    const cutting = await startTcpServer((socket) => void socket.end(bytes));
    try {
      const other = clientOf(cutting.origin);
      expect((await bridgeErrorOf(read({ client: other }))).code).toBe("prometheus_answer_truncated");
      expect((await bridgeErrorOf(other.now(signal))).code).toBe("prometheus_answer_truncated");
    } finally {
      await cutting.close();
    }
  });
});

describe("what is not Prometheus", () => {
  test.each(["SSH-2.0-OpenSSH_9.6\r\n", "\u0016\u0003\u0001\u0000\u0002\u0002\n", "HTTP/9.9 200\r\n\r\n"])(
    "a server that says %j does not speak HTTP",
    async (bytes) => {
      const other = await startTcpServer((socket) => void socket.end(bytes));
      try {
        expect((await bridgeErrorOf(read({ client: clientOf(other.origin) }))).code).toBe(
          "prometheus_unexpected_answer",
        );
      } finally {
        await other.close();
      }
    },
  );

  test("an address where nothing listens is unreachable", async () => {
    const other = clientOf(await closedOrigin());
    for (const work of [read({ client: other }), other.now(signal)]) {
      const error = await bridgeErrorOf(work);
      expect(error.code).toBe("prometheus_unreachable");
      expect(error.message).toContain("ECONNREFUSED");
    }
  });

  test("a connection that is reset is unreachable", async () => {
    const resetting = await startTcpServer((socket) => void socket.resetAndDestroy());
    try {
      expect((await bridgeErrorOf(read({ client: clientOf(resetting.origin) }))).code).toBe(
        "prometheus_unreachable",
      );
    } finally {
      await resetting.close();
    }
  });
});

describe("errors of other parts", () => {
  test("of the tunnel pass as they are", async () => {
    const own = new BridgeError("tunnel_closed", "the port-forward ended");
    const broken = new Agent({
      connect: (_options, callback) => callback(Object.assign(new Error("connect", { cause: own })), null),
    });
    try {
      const other = createPrometheusClient(
        { dispatcher: broken, clock, turns: createTurns() },
        { origin: "http://prometheus.invalid", pathPrefix: "", timeoutMs: TIMEOUT_MS },
      );
      expect(await bridgeErrorOf(read({ client: other }))).toBe(own);
      expect(await bridgeErrorOf(other.now(signal))).toBe(own);
    } finally {
      await broken.destroy();
    }
  });

  test("of the sink are not Prometheus' fault", async () => {
    server.respond = (response) => void response.end(ANSWER);
    const series = (): void => {
      throw new TypeError("a defect");
    };
    expect((await bridgeErrorOf(read({ series }))).code).toBe("internal");
    const own = new BridgeError("prometheus_label_too_large", "x");
    const refusing = (): void => {
      throw own;
    };
    expect(await bridgeErrorOf(read({ series: refusing }))).toBe(own);
  });
});
