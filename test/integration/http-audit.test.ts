import { afterEach, describe, expect, it } from "vitest";
import { z } from "zod";
import { BridgeError } from "#errors/error.ts";
import type { RouteModule } from "#http/app-types.ts";
import { createLogger } from "#telemetry/logger.ts";
import { ACCESS, type Harness, type HarnessOptions, SECRETS, startHarness, TOKENS } from "./http-harness.ts";

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

/** Routes that change something, as others of the program do. */
const changing: RouteModule = (app) => {
  app.route({
    method: "PATCH",
    url: "/things/:id",
    config: { scope: "admin", audit: "thing.update" },
    schema: { body: z.object({ outcome: z.enum(["ok", "absent", "broken", "defect"]) }) },
    handler: ({ body, params }) => {
      const { id } = params as { id: string };
      if (body.outcome === "absent")
        throw new BridgeError("cluster_not_found", `no cluster has the id "${id}"`);
      if (body.outcome === "broken") throw new BridgeError("state_unavailable", "the disk is full");
      if (body.outcome === "defect") throw new Error(`token: ${TOKENS.admin}`);
      return { kubeconfig: TOKENS.read };
    },
  });
  app.route({
    method: "POST",
    url: "/things",
    config: { scope: "admin", audit: "thing.create" },
    handler: (request) => {
      request.auditCluster = "made-1";
      return {};
    },
  });
};

async function start(options: HarnessOptions = {}): Promise<Harness> {
  const harness = await startHarness({
    access: ACCESS,
    ...options,
    deps: { routes: [changing], ...options.deps },
  });
  ends.push(() => harness.server.stop());
  return harness;
}

function auditOf(lines: readonly string[]): Record<string, unknown>[] {
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>).filter(({ audit }) => audit);
}

const as = (token: string): Record<string, string> => ({ authorization: `Bearer ${token}` });

async function patch(harness: Harness, id: string, body: string, headers: Record<string, string>) {
  const answer = await fetch(`${harness.url}/things/${id}`, {
    method: "PATCH",
    headers: { "content-type": "application/json", ...headers },
    body,
  });
  await answer.arrayBuffer();
  return answer;
}

describe("the audit log", () => {
  it("has a line for a change that was made: who, what, which cluster, by which request", async () => {
    const harness = await start();
    const answer = await patch(harness, "edge-1", '{"outcome":"ok"}', as(TOKENS.admin));
    expect(auditOf(harness.lines)).toEqual([
      {
        level: "info",
        time: expect.any(String),
        msg: "audit",
        request_id: answer.headers.get("x-request-id"),
        audit: {
          action: "thing.update",
          actor: "adminer",
          address: "127.0.0.1",
          cluster_id: "edge-1",
          result: "ok",
        },
      },
    ]);
  });

  it.each([
    ["no token", {}, "{}", null, "refused", "unauthenticated"],
    ["an unknown token", as("nobody-0123456789"), "{}", null, "refused", "unauthenticated"],
    ["a token without the scope", as(TOKENS.read), "{}", "reader", "refused", "forbidden"],
    ["a wrong body", as(TOKENS.admin), '{"outcome":"?"}', "adminer", "refused", "request_invalid"],
    ["a body that is not JSON", as(TOKENS.admin), "{", "adminer", "refused", "request_invalid"],
    [
      "another type",
      { ...as(TOKENS.admin), "content-type": "image/png" },
      "x",
      "adminer",
      "refused",
      "unsupported_media_type",
    ],
    ["too large a body", as(TOKENS.admin), `"${"x".repeat(2000)}"`, "adminer", "refused", "body_too_large"],
    [
      "nothing to change",
      as(TOKENS.admin),
      '{"outcome":"absent"}',
      "adminer",
      "refused",
      "cluster_not_found",
    ],
    ["a failure behind", as(TOKENS.admin), '{"outcome":"broken"}', "adminer", "failed", "state_unavailable"],
    ["a defect", as(TOKENS.admin), '{"outcome":"defect"}', "adminer", "failed", "internal"],
  ])("has a line for one that was not: %s", async (_name, headers, body, actor, result, code) => {
    const harness = await start({ settings: { limits: { bodyBytesMax: 1000 } } });
    await patch(harness, "edge-1", body, headers);
    expect(auditOf(harness.lines).map(({ audit }) => audit)).toEqual([
      { action: "thing.update", actor, address: "127.0.0.1", cluster_id: "edge-1", result, code },
    ]);
    for (const secret of SECRETS) expect(harness.lines.join("")).not.toContain(secret);
  });

  it("names the cluster that the route names, and nothing that can't be an id", async () => {
    const harness = await start();
    await fetch(`${harness.url}/things`, { method: "POST", headers: as(TOKENS.admin) });
    await patch(harness, "no%20id%0a", '{"outcome":"ok"}', as(TOKENS.admin));
    const clusters = auditOf(harness.lines).map(({ audit }) => (audit as { cluster_id: unknown }).cluster_id);
    expect(clusters).toEqual(["made-1", null]);
  });

  it("has rounds that were started, by whom; also when the client did not wait for the end", async () => {
    const harness = await start();
    const url = `${harness.url}/metrics/collect-all`;
    await fetch(url, { method: "POST", headers: { "dapr-api-token": TOKENS.dapr } });
    const begun = harness.started();
    const client = new AbortController();
    const waiting = fetch(`${url}?wait=true`, {
      method: "POST",
      headers: as(TOKENS.collect),
      signal: client.signal,
    });
    await begun;
    const line = harness.nextLine((fields) => "audit" in fields);
    client.abort();
    await expect(waiting).rejects.toThrow("abort");
    await line;
    expect(auditOf(harness.lines).map(({ audit }) => audit)).toMatchObject([
      { action: "collection.start", actor: "dapr", cluster_id: null, result: "ok" },
      { action: "collection.start", actor: "collecter", cluster_id: null, result: "ok", aborted: true },
    ]);
  });

  it("is written whatever the log's level is, and has nothing of requests that change nothing", async () => {
    const lines: string[] = [];
    const logger = createLogger({ level: "error", destination: { write: (line) => void lines.push(line) } });
    const harness = await start({ deps: { logger } });
    for (const path of ["/clusters", "/metrics/status", "/healthz", "/nothing"]) {
      await fetch(harness.url + path, { headers: as(TOKENS.admin) });
    }
    await fetch(`${harness.url}/things/edge-1`, { method: "OPTIONS" });
    expect(lines).toEqual([]);
    await patch(harness, "edge-1", '{"outcome":"ok"}', as(TOKENS.admin));
    expect(auditOf(lines)).toHaveLength(1);
    expect(lines).toHaveLength(1);
  });

  it("says how a caller without a token is called", async () => {
    for (const [access, actor] of [
      [{ tokens: [] }, "local"],
      [{ enabled: false, tokens: [] }, "anonymous"],
    ] as const) {
      const harness = await start({ access });
      await patch(harness, "edge-1", '{"outcome":"ok"}', {});
      expect(auditOf(harness.lines)).toMatchObject([{ audit: { actor, result: "ok" } }]);
    }
  });
});
