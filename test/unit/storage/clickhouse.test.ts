import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, expect, test } from "vitest";
import { createSecret } from "#lib/secret.ts";
import { createClickHouse } from "#storage/clickhouse.ts";
import type { Database } from "#storage/database.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { createSilentLogger } from "../../helpers/silent-logger.ts";

const PASSWORD = "correct-horse-battery";
const open: { server: Server; database: Database }[] = [];

afterEach(async () => {
  for (const { server, database } of open.splice(0)) {
    await database.close();
    server.closeAllConnections();
    server.close();
  }
});

async function serve(listener: RequestListener, path = "", timeoutMs = 5000): Promise<Database> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const database = createClickHouse({
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`,
    user: "bridge",
    password: createSecret(PASSWORD),
    timeoutMs,
    logger: createSilentLogger(),
  });
  open.push({ server, database });
  return database;
}

async function readBody(request: IncomingMessage): Promise<string> {
  let body = "";
  for await (const chunk of request) body += String(chunk);
  return body;
}

test("sends statement, parameters, credentials and the settings that keep 64 bits and NaN", async () => {
  const seen: { url: URL; auth: string | undefined; body: string }[] = [];
  const database = await serve((request, response) => {
    void readBody(request).then((body) => {
      seen.push({ url: new URL(request.url ?? "", "http://x"), auth: request.headers.authorization, body });
      response.end('{"n":"18446744073709551615","v":"nan","text":"日本"}\n{"n":"1","v":1.5,"text":""}\n');
    });
  });
  const rows = await database.query("SELECT {a:String}, {b:Array(String)}, {c:UInt8}", {
    a: "x'\t",
    b: ["p", "q'"],
    c: 7,
  });
  expect(rows).toEqual([
    { n: "18446744073709551615", v: "nan", text: "日本" },
    { n: "1", v: 1.5, text: "" },
  ]);
  await database.command("CREATE TABLE x (a Int8) ENGINE = Memory");
  const parameters = Object.fromEntries(seen[0]!.url.searchParams);
  expect(parameters).toMatchObject({
    param_a: String.raw`x\'\t`,
    param_b: String.raw`['p','q\'']`,
    param_c: "7",
    output_format_json_quote_64bit_integers: "1",
    output_format_json_quote_denormals: "1",
    wait_end_of_query: "1",
    max_execution_time: "5",
  });
  expect(seen[0]!.auth).toBe(`Basic ${Buffer.from(`bridge:${PASSWORD}`).toString("base64")}`);
  expect(seen[1]!.body).toContain("CREATE TABLE x");
});

test("keeps the path of a proxy", async () => {
  const paths: (string | undefined)[] = [];
  const database = await serve((request, response) => {
    paths.push(request.url?.split("?")[0]);
    response.end();
  }, "/clickhouse/a");
  await database.command("SELECT 1");
  expect(paths).toEqual(["/clickhouse/a"]);
});

test.each([
  [
    404,
    "Code: 60. DB::Exception: Table m.secret_table does not exist. (UNKNOWN_TABLE)",
    "storage_failed",
    60,
  ],
  [
    500,
    "Code: 241. DB::Exception: Memory limit exceeded: 1 GiB (total). (MEMORY_LIMIT_EXCEEDED)",
    "storage_unavailable",
    241,
  ],
  [500, "Code: 252. DB::Exception: Too many parts (3000). (TOO_MANY_PARTS)", "storage_unavailable", 252],
  [
    500,
    "Code: 252. DB::Exception: Too many partitions for single INSERT block (more than 100). (TOO_MANY_PARTS)",
    "storage_failed",
    252,
  ],
  [
    403,
    "Code: 516. DB::Exception: bridge: Authentication failed. (AUTHENTICATION_FAILED)",
    "storage_failed",
    516,
  ],
] as const)("maps status %i, %s", async (status, text, code, number) => {
  const database = await serve((_request, response) => {
    response.writeHead(status, { "x-clickhouse-exception-code": String(number) }).end(text);
  });
  const error = await bridgeErrorOf(database.query("SELECT 'private'"));
  expect([error.code, error.details]).toEqual([code, { clickhouse_code: number }]);
  expect(error.message).toContain(`code ${number} ${/\((\w+)\)$/.exec(text)?.[1]}`);
  expect(error.message).not.toMatch(/secret_table|private|127\.0\.0\.1/);
  expect(error.hint.includes("CLICKHOUSE_PASSWORD")).toBe(number === 516);
});

test("an answer that is not ClickHouse's is storage_unavailable", async () => {
  const database = await serve((_request, response) => {
    response.writeHead(502).end("<html>Bad Gateway at 10.0.0.1</html>");
  });
  const error = await bridgeErrorOf(database.command("SELECT 1"));
  expect([error.code, error.message]).toEqual(["storage_unavailable", "ClickHouse does not answer"]);
});

test("nobody listening, a cut answer and a silent server are storage_unavailable, without the address", async () => {
  const gone = await serve(() => {});
  const { server } = open[0]!;
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
  const cut = await serve((_request, response) => {
    response.writeHead(200, { "content-length": "100" });
    response.write('{"a":1}\n');
    response.socket?.destroy();
  });
  const silent = await serve(() => {}, "", 100);
  for (const [database, reason] of [
    [gone, "ECONNREFUSED"],
    [cut, ""],
    [silent, "timeout"],
  ] as const) {
    const error = await bridgeErrorOf(database.query("SELECT 1"));
    expect(error.code).toBe("storage_unavailable");
    expect(error.message).toContain(reason);
    expect(error.message).not.toContain("127.0.0.1");
    expect(JSON.stringify(error)).not.toContain(PASSWORD);
  }
});

test("an abort rejects with the signal's reason, closes the connection and ends the query on the server", async () => {
  const controller = new AbortController();
  const reason = new Error("enough");
  const { promise: closed, resolve: sawClose } = Promise.withResolvers<void>();
  const { promise: killed, resolve: sawKill } = Promise.withResolvers<{ body: string; id: string | null }>();
  let queryId: string | null = null;
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { searchParams } = new URL(request.url ?? "", "http://x");
    const body = await readBody(request);
    if (body.startsWith("KILL QUERY")) {
      sawKill({ body, id: searchParams.get("param_id") });
      response.end();
      return;
    }
    queryId = searchParams.get("query_id");
    request.socket.once("close", () => sawClose());
    controller.abort(reason);
  };
  const database = await serve((request, response) => void answer(request, response));
  await expect(database.query("SELECT 1", {}, controller.signal)).rejects.toBe(reason);
  await closed;
  const kill = await killed;
  expect(kill.body).toContain("query_id = {id:String}");
  expect(kill.id).toBe(queryId);
  expect(queryId).toMatch(/^[0-9a-f-]{36}$/);
});

test.each(["ftp://x", "not a url", "http://user:hunter22@x"])(
  "refuses the URL %s and does not repeat it",
  async (url) => {
    const settings = {
      url,
      user: "",
      password: createSecret(""),
      timeoutMs: 1,
      logger: createSilentLogger(),
    };
    const error = await bridgeErrorOf(() => createClickHouse(settings));
    expect(error.code).toBe("config_invalid");
    expect(error.message).not.toContain("hunter22");
  },
);

test("an answer in the format Native is its bytes, and a refusal ClickHouse's error", async () => {
  const bodies: string[] = [];
  const bytes = Buffer.from([1, 0, 255, 10, 13]);
  const database = await serve((request, response) => {
    void readBody(request).then((body) => {
      bodies.push(body);
      const isRefused = body.includes("refused");
      const refusal = "Code: 396. DB::Exception: Limit for result exceeded. (TOO_MANY_ROWS_OR_BYTES)";
      response.statusCode = isRefused ? 500 : 200;
      response.end(isRefused ? refusal : bytes);
    });
  });
  expect(Buffer.from(await database.queryNative("SELECT {a:UInt8}", { a: 7 }))).toEqual(bytes);
  expect(bodies[0]).toBe("SELECT {a:UInt8} FORMAT Native");
  const error = await bridgeErrorOf(database.queryNative("SELECT refused"));
  expect([error.code, error.details]).toEqual(["storage_failed", { clickhouse_code: 396 }]);
});

test("an aborted statement in the format Native is ended on the server", async () => {
  const abort = new AbortController();
  const { promise: killed, resolve } = Promise.withResolvers<string>();
  const database = await serve((request, response) => {
    void readBody(request).then((body) => {
      if (body.startsWith("KILL")) {
        resolve(new URL(request.url ?? "", "http://x").searchParams.get("param_id") ?? "");
        response.end();
      } else abort.abort(new Error("given up"));
    });
  });
  await expect(database.queryNative("SELECT sleep(3)", {}, abort.signal)).rejects.toThrow("given up");
  expect(await killed).toMatch(/^[0-9a-f-]{36}$/);
});
