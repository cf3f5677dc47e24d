import { generateKeyPairSync } from "node:crypto";
import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { BridgeError } from "#errors/error.ts";
import { createSecret } from "#lib/secret.ts";
import { createLogger, type LogLevel } from "#telemetry/logger.ts";

function capture(level: LogLevel = "trace", secrets: string[] = []) {
  const lines: string[] = [];
  const logger = createLogger({
    level,
    destination: { write: (line) => lines.push(line) },
    secrets: secrets.map(createSecret),
  });
  const last = (): Record<string, unknown> => JSON.parse(lines.at(-1) ?? "{}") as Record<string, unknown>;
  return { logger, lines, last };
}

const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const pem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
const pemBody = pem.split("\n")[1] ?? "";
const jwt = `eyJhbGciOiJSUzI1NiJ9.${Buffer.from('{"sub":"system:admin"}').toString("base64url")}.c2lnbmF0dXJlc2lnbmF0dXJl`;
const opaque = "s3cr3t-0paque-value";
const base64Pem = Buffer.from(pem).toString("base64");
const kubeconfig = `apiVersion: v1
kind: Config
users:
- name: admin
  user:
    client-key-data: ${base64Pem}
    token: ${opaque}
    password: "${opaque} with spaces"
    id-token: |
      ${opaque}
clusters:
- cluster:
    server: https://admin:${opaque}@api.example.com:6443
`;

/** Every secret, and every text a secret comes in. */
const hidden = [pemBody, jwt, opaque, base64Pem.slice(0, 40), base64Pem.slice(-40, -2)];
const carriers: Record<string, string> = {
  pem,
  "a PEM block in one line": pem.replaceAll("\n", "\\n"),
  "a PEM block cut off": pem.slice(0, 120),
  jwt,
  "a bearer header": `Authorization: Bearer ${opaque}`,
  "a bearer token in a sentence": `sent bearer ${opaque} to the server`,
  "a basic header": `authorization: Basic ${Buffer.from(`admin:${opaque}`).toString("base64")}`,
  kubeconfig,
  "kubeconfig as JSON": JSON.stringify({
    users: [{ user: { token: opaque, "client-key-data": base64Pem } }],
  }),
  "JSON in JSON": JSON.stringify(JSON.stringify({ token: opaque })),
  "URL user info": `connect to https://user:${opaque}@host:8123/db failed`,
  "a query string": `GET /?user=default&password=${opaque}&x=1`,
  "an environment line": `CLICKHOUSE_PASSWORD=${opaque}`,
};
const traces = [...hidden, Buffer.from(`admin:${opaque}`).toString("base64")];

describe.each(Object.entries(carriers))("a log never shows %s", (_name, carrier) => {
  it("wherever it comes in", () => {
    const { logger, lines } = capture();
    const cause = new Error(`cause ${carrier}`);
    logger.info(carrier);
    logger.info({ note: carrier }, "x");
    logger.info({ deep: { list: [{ note: carrier }] } }, "x");
    logger.info("formatted %s %o", carrier, { note: carrier });
    logger.error({ err: new Error(carrier, { cause }) }, "x");
    logger.error({
      problem: new BridgeError("internal", carrier, { cause, details: { carrier }, hint: carrier }),
    });
    logger.error(new Error(carrier));
    logger.error({ err: new AggregateError([cause], carrier) });
    logger.child({ bound: carrier }).warn("x");
    logger
      .child({ [carrier.slice(0, 300)]: 1 })
      .child({ more: { carrier } })
      .debug("x");
    expect(lines).toHaveLength(10);
    for (const line of lines) {
      expect(line.endsWith("\n")).toBe(true);
      expect(line.trimEnd()).not.toContain("\n");
      for (const trace of traces) expect(line).not.toContain(trace);
      expect(() => JSON.parse(line) as unknown).not.toThrow();
    }
  });
});

describe("secret fields", () => {
  it.each([
    "token",
    "accessToken",
    "dapr-api-token",
    "authorization",
    "Authorization",
    "password",
    "CLICKHOUSE_PASSWORD",
    "kubeconfig",
    "client-key-data",
    "client_key",
    "set-cookie",
    "api_key",
    "credentials",
  ])("%s is hidden whatever its value", (name) => {
    const { logger, lines } = capture();
    logger.info({ headers: { [name]: opaque } }, "x");
    logger.info({ [name]: { value: opaque } }, "x");
    logger.info({ [name]: [opaque] }, "x");
    for (const line of lines) expect(line).not.toContain(opaque);
  });

  it("keeps what only sounds like one", () => {
    const { logger, last } = capture();
    const fields = { token_name: "grafana", tokens: 3, has_token: true, token: null, cluster_id: "c1" };
    logger.info(fields, "round 1.250000: 12 points in 0.5 s from https://api.example.com:6443");
    expect(last()).toMatchObject({
      ...fields,
      msg: "round 1.250000: 12 points in 0.5 s from https://api.example.com:6443",
    });
  });

  it("hides a secret of the configuration by its exact text, and a Secret in a field", () => {
    const { logger, lines } = capture("info", ["correct horse battery"]);
    logger.info(
      { secret: createSecret("abc"), held: { it: createSecret("abcdef") } },
      "as correct horse battery staple",
    );
    expect(lines[0]).not.toContain("correct horse");
    expect(lines[0]).not.toContain("abcdef");
    expect(inspect(createSecret("abcdef"))).not.toContain("abcdef");
  });
});

describe("the shape of a line", () => {
  it("is JSON with an ISO time and the level as a word", () => {
    const { logger, last } = capture();
    logger.warn({ points: 3 }, "hello");
    expect(last()).toEqual({
      level: "warn",
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      points: 3,
      msg: "hello",
    });
  });

  it("gives an error's code, hint, message, details and causes", () => {
    const { logger, last } = capture();
    const root = Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" });
    const error = new BridgeError("cluster_unreachable", "no answer", {
      cause: new Error("fetch failed", { cause: root }),
      details: { attempt: 2 },
    });
    logger.warn({ err: error }, "cluster failed");
    expect(last()["err"]).toEqual({
      name: "BridgeError",
      code: "cluster_unreachable",
      message: "no answer",
      hint: error.hint,
      details: { attempt: 2 },
      cause: {
        name: "Error",
        message: "fetch failed",
        cause: { name: "Error", code: "ECONNREFUSED", message: "connect ECONNREFUSED" },
      },
    });
  });

  it("has a stack at error, and at info and warn only for internal", () => {
    const { logger, last } = capture();
    const stackOf = (): unknown => (last()["err"] as { stack?: unknown }).stack;
    logger.error({ err: new Error("x") });
    expect(stackOf()).toContain("logger.test.ts");
    logger.info({ err: new Error("x") });
    expect(stackOf()).toBeUndefined();
    logger.warn({ err: new BridgeError("internal", "x") });
    expect(stackOf()).toContain("logger.test.ts");
  });

  it("survives cycles, deep causes, huge texts, strange values", () => {
    const { logger, lines } = capture();
    const cyclic: Record<string, unknown> = { name: "a" };
    cyclic["self"] = cyclic;
    let error = new Error("bottom");
    for (let i = 0; i < 100; i++) error = new Error(`level ${i}`, { cause: error });
    const looped = new Error("loop");
    looped.cause = looped;
    logger.info({ cyclic, big: 10n, nothing: undefined, fn: () => 1, s: Symbol("s") }, "x");
    logger.error({ err: error });
    logger.error({ err: looped });
    logger.error({ err: new Error("odd", { cause: { headers: { authorization: opaque } } }) });
    logger.info("x".repeat(1_000_000));
    expect(lines).toHaveLength(5);
    for (const line of lines) expect(line.length).toBeLessThan(40_000);
    expect(lines.join("")).not.toContain(opaque);
  });

  it("takes little time for a hostile text", () => {
    const { logger } = capture();
    const hostile = [
      "token".repeat(20_000),
      "a.".repeat(50_000),
      "eyJaaaa".repeat(10_000),
      '"'.repeat(100_000),
    ];
    const begin = performance.now();
    for (const text of hostile) logger.info({ text }, text);
    expect(performance.now() - begin).toBeLessThan(1000);
  });
});
