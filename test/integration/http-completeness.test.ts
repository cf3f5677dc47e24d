import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createClusterCompleteness } from "#collect/completeness.ts";
import { addGap, lose, newQueryProgress } from "#collect/progress.ts";
import { openProgress } from "#collect/progress-store.ts";
import { createTurns } from "#lib/turns.ts";
import { toQueries } from "#prometheus/catalogue.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { createMemoryStore } from "../helpers/memory-store.ts";
import { CLUSTER, errorOf, startHarness, type Harness } from "./http-harness.ts";

// GET /metrics/completeness over HTTP, of a cluster with a thousand queries.

const HOUR = 3_600_000;
const NOW = 480_000 * HOUR;
const LONG_REASON = "x".repeat(5000);
const QUERIES = toQueries(
  Array.from({ length: 1000 }, (_, i) => ({ name: `metric_${i}`, promql: `metric_${i}`, group: "test" })),
);

interface Answer {
  totals: { refused: number; stretches: Record<string, number> };
  hours: { from: string; state: string | null }[];
  stretches: { query: string; from: string; state: string; reason: string; message: string }[];
}

let harness: Harness;
beforeAll(async () => {
  const store = createMemoryStore();
  const file = await openProgress(store, CLUSTER.id);
  for (const { name, promql } of QUERIES) {
    const progress = newQueryProgress(promql, NOW - 24 * HOUR);
    progress.attempted = NOW;
    progress.committed = [[NOW - 24 * HOUR, NOW - HOUR]];
    const last = { from: NOW - 2 * HOUR, to: NOW - 2 * HOUR + 1, points: 3 };
    addGap(progress, { ...last, state: "refused", reason: LONG_REASON });
    lose(name, progress, [NOW - HOUR, NOW], "no_pod_has_it");
    file.progress.queries[name] = progress;
  }
  await file.save();
  harness = await startHarness({
    deps: {
      clock: createManualClock(NOW),
      completeness: createClusterCompleteness(
        { registry: { list: async () => [CLUSTER] }, store, turns: createTurns() },
        { queries: QUERIES, stretchMs: HOUR },
      ),
    },
  });
});
afterAll(() => harness.server.stop());

const ask = (query: string): Promise<Response> => fetch(`${harness.url}/metrics/completeness?${query}`);

describe("GET /metrics/completeness", () => {
  test("answers ten thousand stretches, each with its state, reason and message", async () => {
    const answer = await ask(`cluster=edge-1&from=${NOW / 1000 - 36_000}`);
    expect(answer.status).toBe(200);
    const { totals, hours, stretches } = (await answer.json()) as Answer;
    expect(stretches).toHaveLength(10_000);
    expect(totals.stretches).toMatchObject({ lost: 1000, unproved: 8000, refused: 1000 });
    expect(hours.map(({ state }) => state).slice(-3)).toEqual(["unproved", "refused", "lost"]);
    expect(stretches[0]).toMatchObject({ query: "metric_0", state: "unproved", reason: "not_counted" });
    expect(stretches.at(-1)).toMatchObject({
      query: "metric_999",
      from: new Date(NOW - HOUR).toISOString(),
      state: "lost",
      reason: "no_pod_has_it",
      message: "no ready Prometheus Pod has samples of that time any more",
    });
    const refused = stretches.find(({ state }) => state === "refused")!;
    expect(refused.message).toMatch(/^x{1000,1024}\.\.\.$/);
  });

  test("refuses a range with more, and says what to do", async () => {
    const answer = await ask("cluster=edge-1");
    expect(answer.status).toBe(400);
    expect(await errorOf(answer)).toMatchObject({
      code: "query_too_large",
      message: "from: the range may have 24000 stretches of queries, more than 10000",
      hint: "Send a later from, an earlier to, or the name of one query.",
      details: { limit: "stretches" },
    });
    const one = await ask("cluster=edge-1&query=metric_7");
    expect(((await one.json()) as Answer).stretches).toHaveLength(24);
  });

  test.each([
    ["", 400, "request_invalid", "cluster"],
    ["cluster=edge-9&query=metric_1", 404, "cluster_not_found", "edge-9"],
    ["cluster=edge-1&query=metric_x", 400, "request_invalid", "query"],
    ["cluster=edge-1&from=yesterday", 400, "request_invalid", "from"],
    ["cluster=edge-1&from=2024-10-05T00:00:00Z&to=2024-10-04T00:00:00Z", 400, "request_invalid", "from"],
    ["cluster=edge-1&from=0", 400, "query_too_large", "744 h"],
    ["cluster=edge-1&to=2200-01-01T00:00:00Z", 400, "request_invalid", "to"],
    ["cluster=edge-1&limit=3", 400, "request_invalid", "limit"],
  ])("refuses %j with %d", async (query, status, code, part) => {
    const answer = await ask(query);
    const error = await errorOf(answer);
    expect([answer.status, error.code]).toEqual([status, code]);
    expect(JSON.stringify(error)).toContain(part);
  });
});
