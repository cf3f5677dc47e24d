import { inspect } from "node:util";
import { Agent } from "undici";
import { afterEach, beforeEach, expect, test } from "vitest";
import { toAuthorization } from "#clusters/prometheus-credentials.ts";
import { createSecret } from "#lib/secret.ts";
import { createTurns } from "#lib/turns.ts";
import { toQueries } from "#prometheus/catalogue.ts";
import { createPrometheusClient, type PrometheusClient } from "#prometheus/client.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { startHttpServer, type TestServer } from "../../helpers/http-server.ts";
import { createManualClock } from "../../helpers/manual-clock.ts";
import { MATRIX_NOW_MS as NOW, toMatrixAnswer } from "../../helpers/matrix-answer.ts";

const TOKEN = 'prom-"token"\\0123456789';
const PASSWORD = "pässword-0123456789";
const WINDOW = { fromMs: NOW - 300_000, toMs: NOW };
const [UP] = toQueries([{ name: "up", promql: "up", group: "g" }]);
const { signal } = new AbortController();
const BEARER = toAuthorization({ kind: "bearer", token: createSecret(TOKEN) });
const BASIC = toAuthorization({ kind: "basic", username: "né", password: createSecret(PASSWORD) });
const PACKED = Buffer.from(`né:${PASSWORD}`).toString("base64");

let server: TestServer;
let agent: Agent;

beforeEach(async () => {
  server = await startHttpServer();
  agent = new Agent();
});
afterEach(async () => {
  await agent.destroy();
  await server.close();
});

const clientOf = (authorization?: typeof BEARER): PrometheusClient =>
  createPrometheusClient(
    { dispatcher: agent, clock: createManualClock(), turns: createTurns() },
    {
      origin: server.origin,
      pathPrefix: "",
      timeoutMs: 30_000,
      ...(authorization ? { authorization } : {}),
    },
  );

const readUp = (client: PrometheusClient) =>
  client.read(UP!, WINDOW, { sink: { series: () => {} }, pause: () => undefined }, signal);

test.each([
  ["bearer", BEARER, `Bearer ${TOKEN}`],
  ["basic", BASIC, `Basic ${PACKED}`],
  ["none", undefined, undefined],
] as const)("%s: each request has it", async (_scheme, authorization, header) => {
  server.respond = (response) => void response.end(toMatrixAnswer([]));
  const client = clientOf(authorization);
  await readUp(client);
  await client.metadata(signal);
  await client.hasSamplesAt(NOW, signal);
  await client.oldestSample(WINDOW, signal);
  expect(server.requests.length).toBeGreaterThanOrEqual(4);
  for (const { headers } of server.requests) expect(headers["authorization"]).toBe(header);
});

test.each([
  [
    "none",
    undefined,
    /; it was sent no authentication$/,
    /prometheus\.bearer_token or prometheus\.basic_auth/,
  ],
  ["bearer", BEARER, /; it was sent this cluster's token \(bearer\)$/, /cluster-monitoring-view/],
  ["basic", BASIC, /; it was sent this cluster's user name and password \(basic\)$/, /basic_auth/],
] as const)(
  "%s: a refusal names what was sent, and the remedy",
  async (scheme, authorization, what, hint) => {
    const body = JSON.stringify({ status: "error", errorType: "unauthorized", error: "no" });
    for (const [status, text] of [
      [401, "Unauthorized\n"],
      [403, "Forbidden"],
      [403, "<html></html>"],
      [401, body],
    ] as const) {
      server.respond = (response) => void response.writeHead(status).end(text);
      for (const work of [readUp(clientOf(authorization)), clientOf(authorization).now(signal)]) {
        const error = await bridgeErrorOf(work);
        expect(error.code).toBe("prometheus_unauthorized");
        expect(error.message).toMatch(what);
        expect(error.hint).toMatch(hint);
        expect(error.details).toMatchObject({ status, sent: scheme });
      }
    }
  },
);

const TENANT = "tenant-0123456789";
const HEADERS = [
  { name: "X-Scope-OrgID", value: createSecret(TENANT) },
  { name: "X-Api-Key", value: createSecret("Key k3y-0123456789") },
];

test.each([
  ["alone", toAuthorization({ kind: "none", headers: HEADERS }), undefined],
  [
    "beside a token",
    toAuthorization({ kind: "bearer", token: createSecret(TOKEN), headers: HEADERS }),
    `Bearer ${TOKEN}`,
  ],
] as const)("the cluster's own headers %s: each request has them, no error shows them", async (...row) => {
  const [, authorization, header] = row;
  server.respond = (response) => void response.end(toMatrixAnswer([]));
  const client = clientOf(authorization);
  await readUp(client);
  await client.metadata(signal);
  for (const { headers } of server.requests) {
    expect(headers).toMatchObject({ "x-scope-orgid": TENANT, "x-api-key": "Key k3y-0123456789" });
    expect(headers["authorization"]).toBe(header);
  }
  server.respond = (response) => void response.writeHead(401).end(`no: ${TENANT} k3y-0123456789`);
  const error = await bridgeErrorOf(readUp(clientOf(authorization)));
  expect(error.message).toMatch(/"no: \[secret\] \[secret\]"; .* and the headers X-Scope-OrgID, X-Api-Key$/);
  expect(inspect(authorization, { depth: 9 }) + JSON.stringify(authorization)).not.toContain(TENANT);
});

test("Mimir without a tenant: the remedy is its header", async () => {
  server.respond = (response) => void response.writeHead(401).end("no org id\n");
  const error = await bridgeErrorOf(clientOf().now(signal));
  expect(error.code).toBe("prometheus_unauthorized");
  expect(error.hint).toMatch(/prometheus\.headers, for example X-Scope-OrgID/);
});

test("what Prometheus says back of it is hidden, in each form", async () => {
  const says = [TOKEN, PASSWORD, PACKED].map((secret) => `"${secret}"`).join(" and ");
  const error = (errorType: string, words: string): string =>
    JSON.stringify({ status: "error", errorType, error: words });
  for (const [status, text] of [
    [401, says],
    [500, says],
    [400, error("bad_data", says)],
    [401, error("unauthorized", says)],
    [422, error(says, says)],
    [422, error("execution", `${"x".repeat(440)} ${says}`)],
  ] as const) {
    server.respond = (response) => void response.writeHead(status).end(text);
    for (const authorization of [BEARER, BASIC]) {
      const thrown = await bridgeErrorOf(readUp(clientOf(authorization)));
      const shown = [thrown.message, thrown.hint, ...Object.values(thrown.details ?? {}), inspect(thrown)];
      // Not even the beginning of one that is cut.
      const parts =
        authorization === BEARER ? [TOKEN.slice(0, 12)] : [PASSWORD.slice(0, 12), PACKED.slice(0, 12)];
      for (const each of shown) for (const part of parts) expect(String(each)).not.toContain(part);
    }
  }
});

test("warnings beside a result don't show it either, whole or cut", async () => {
  const answer = (warning: string): string =>
    JSON.stringify({ status: "success", data: { resultType: "matrix", result: [] }, warnings: [warning] });
  for (const [authorization, secret] of [
    [BEARER, TOKEN],
    [BASIC, PASSWORD],
  ] as const) {
    const says = `PromQL info: ${"x".repeat(280)} ${secret}`;
    server.respond = (response) => void response.end(answer(says));
    const { warnings } = await readUp(clientOf(authorization));
    expect(warnings).toEqual([expect.stringMatching(/^PromQL info: x/)]);
    expect(warnings[0]).not.toContain(secret.slice(0, 4));
    server.respond = (response) => void response.end(answer(`remote read with ${secret} failed`));
    const error = await bridgeErrorOf(readUp(clientOf(authorization)));
    expect(error).toMatchObject({ code: "prometheus_answer_partial" });
    expect(error.message).toContain("remote read with [secret] failed");
  }
});

test("no settings show it", () => {
  for (const authorization of [BEARER, BASIC]) {
    const shown = `${inspect(authorization, { depth: 9 })}${JSON.stringify(authorization)}`;
    for (const secret of [TOKEN, PASSWORD, PACKED]) expect(shown).not.toContain(secret);
  }
});
