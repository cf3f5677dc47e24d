import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { setScene } from "../helpers/scene.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";

// Everybody could call everything, and errors told stacks and internal addresses.

const TOKEN = "reader-3f8e2b1a";

it("without a token nothing but health is answered, and a token gives its scopes only", async () => {
  const file = join(createTemporaryFolder(), "tokens.yaml");
  const sha256 = createHash("sha256").update(TOKEN).digest("hex");
  writeFileSync(file, JSON.stringify([{ name: "reader", sha256, scopes: ["read"] }]));
  const { bridge } = await setScene({ environment: { API_TOKENS_FILE: file } });
  const statusOf = async (path: string, method = "GET", token?: string): Promise<number> => {
    const headers: Record<string, string> = token ? { authorization: `Bearer ${token}` } : {};
    return (await fetch(`${bridge.url}${path}`, { method, headers })).status;
  };
  for (const path of ["/metrics/status", "/clusters", "/clusters/sim-1", "/metrics"]) {
    expect([path, await statusOf(path)]).toEqual([path, 401]);
    expect([path, await statusOf(path, "GET", "wrong-token")]).toEqual([path, 401]);
    expect([path, await statusOf(path, "GET", TOKEN)]).toEqual([path, 200]);
  }
  expect(await statusOf("/metrics/collect-all", "POST")).toBe(401);
  expect(await statusOf("/metrics/collect-all", "POST", TOKEN)).toBe(403);
  expect(await statusOf("/healthz")).toBe(200);
});

it("errors have a code and a remedy, no stack and no address", async () => {
  const { bridge, collector, simulator } = await setScene({ clusters: 3 });
  await simulator.faults.set("sim-1", { layer: "api", kind: "refuse" });
  await simulator.faults.set("sim-2", {
    layer: "tunnel",
    kind: "error-text",
    text: "dial tcp4 10.1.2.3:9090: refused",
  });
  await bridge.collect();
  await collector.stop();
  const round = await bridge.collect();
  const missing = await (await fetch(`${bridge.url}/clusters/nobody`)).json();
  expect(missing).toEqual({
    error: { code: "cluster_not_found", message: expect.any(String), hint: expect.any(String) },
  });
  const errors = round.clusters.map(({ error }) => error);
  expect(new Set(errors.map((error) => error?.code))).toEqual(
    new Set(["cluster_unreachable", "collector_unreachable", "tunnel_refused"]),
  );
  const text = JSON.stringify([errors, await bridge.status()]);
  expect(text).not.toMatch(/127\.0\.0\.1|10\.1\.2\.3|\.ts:\d+|node_modules|stack/);
});
