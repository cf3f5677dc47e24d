import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import type { RoundResult } from "#collect/status.ts";
import { startSimulator } from "#simulator/simulator.ts";
import { startBridgeChild } from "../helpers/bridge-child.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { SMALL } from "../helpers/test-bridge.ts";

// The whole program as all-in-one: queries and collection share one engine.

const READ = "read-token-0123456789";
const COLLECT = "collect-token-0123456789";
const PARALLEL = 330;

const digest = (token: string): string => createHash("sha256").update(token).digest("hex");
const bearer = (token: string): Record<string, string> => ({ authorization: `Bearer ${token}` });

test("330 parallel queries of one token, again and again, stop neither the rounds nor another caller", async () => {
  const folder = createTemporaryFolder();
  const simulator = await startSimulator({ clusters: 2, shape: SMALL });
  onTestFinished(() => simulator.stop());
  const files = {
    clusters: join(folder, "c.yaml"),
    queries: join(folder, "q.yaml"),
    tokens: join(folder, "t.yaml"),
  };
  writeFileSync(files.clusters, simulator.clustersFile());
  const metrics = ["up", "node_load15", "node_cpu_seconds_total"];
  const queries = metrics.map((name) => ({ name, group: "test" }));
  writeFileSync(files.queries, JSON.stringify({ extends: "none", queries }));
  const tokens = [
    { name: "dashboard", sha256: digest(READ), scopes: ["read"] },
    { name: "operator", sha256: digest(COLLECT), scopes: ["read", "collect"] },
  ];
  writeFileSync(files.tokens, JSON.stringify(tokens), { mode: 0o600 });
  const child = startBridgeChild({
    ROLE: "all-in-one",
    PORT: "0",
    SCHEDULER: "dapr",
    DATA_DIR: join(folder, "data"),
    CLUSTERS_FILE: files.clusters,
    QUERIES_FILE: files.queries,
    API_TOKENS_FILE: files.tokens,
    ALLOW_PRIVATE_API_SERVERS: "true",
    OWN_METRICS_INTERVAL: "0",
    // On a busy machine an answer may take long; how long is not what this is about.
    QUERY_TIMEOUT: "100s",
    METRICS_COLLECTION_TIMEOUT: "60",
    EXPORT_TIMEOUT: "60",
  });
  const url = await child.url;
  const collect = async (): Promise<RoundResult> => {
    const answer = await fetch(`${url}/metrics/collect-all?wait=true`, {
      method: "POST",
      headers: bearer(COLLECT),
    });
    expect(answer.status).toBe(200);
    return ((await answer.json()) as { round: RoundResult }).round;
  };
  expect(await collect()).toMatchObject({ successful: 2 });

  const now = Math.floor(Date.now() / 1000);
  const body = JSON.stringify({
    cluster_id: "sim-1",
    metric_name: "node_load15",
    aggregation: "avg",
    start_time: now - 3600,
    end_time: now,
  });
  const ask = async (token: string): Promise<{ status: number; retryAfter: string | null }> => {
    const headers = { ...bearer(token), "content-type": "application/json" };
    const answer = await fetch(`${url}/cluster-metrics/query`, { method: "POST", headers, body });
    await answer.arrayBuffer();
    return { status: answer.status, retryAfter: answer.headers.get("retry-after") };
  };
  const seen = new Map<string, number>();
  const state = { isOver: false };
  const wave = async (): Promise<void> => {
    const answers = await Promise.all(Array.from({ length: PARALLEL }, () => ask(READ)));
    for (const { status, retryAfter } of answers) {
      const key = `${status} ${retryAfter}`;
      seen.set(key, (seen.get(key) ?? 0) + 1);
    }
    if (!state.isOver) await wave();
  };
  const waves = wave();
  expect(await collect()).toMatchObject({ successful: 2 });
  expect((await ask(COLLECT)).status).toBe(200);
  state.isOver = true;
  await waves;
  expect([...seen.keys()].sort()).toEqual(["200 null", "429 5"]);
}, 120_000);
