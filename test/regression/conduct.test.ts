import { createHash } from "node:crypto";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { getActiveResourcesInfo } from "node:process";
import { describe, expect, it } from "vitest";
import { startSimulator } from "#simulator/simulator.ts";
import { startBridgeChild } from "../helpers/bridge-child.ts";
import { ACCEPT, refusal, startOtlpCollector } from "../helpers/otlp-collector.ts";
import { startTestSystem } from "../helpers/test-system.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { SMALL, bridgeEnvironment } from "../helpers/test-bridge.ts";
import { noDifferences } from "../helpers/expected-samples.ts";

// Defects of the system that this one replaces: each must stay out.

describe("Everything is a gauge; NaN makes invalid JSON; one unnamed series fails the cluster", () => {
  const queriesFile = join(createTemporaryFolder(), "queries.yaml");
  const queries = [
    { name: "node_cpu_seconds_total", unit: "s" },
    { name: "node_memory_MemTotal_bytes" },
    { name: "node_load15" },
    { name: "load_of_all", promql: "sum(node_load1)", step: 30 },
  ];

  it("kinds, units, NaN, infinities and series without a name arrive as they are", async () => {
    writeFileSync(queriesFile, JSON.stringify({ extends: "none", queries }));
    const { bridge, collector } = await startTestSystem({ environment: { QUERIES_FILE: queriesFile } });
    expect(await bridge.collect()).toMatchObject({ successful: 1 });
    const points = [...collector.acknowledged.values()];
    const of = (metric: string) => points.filter((point) => point.metric === metric);
    const described = queries.map(({ name }) => [
      name,
      [...new Set(of(name).map(({ kind, unit }) => `${kind} ${unit}`))],
    ]);
    expect(Object.fromEntries(described)).toEqual({
      node_cpu_seconds_total: ["counter s"],
      node_memory_MemTotal_bytes: ["gauge By"],
      node_load15: ["gauge "],
      load_of_all: ["gauge "],
    });
    // Not by a Set, which takes -0 for 0.
    const odd = (name: string): (number | undefined)[] => {
      const [first, ...others] = of("node_load15").filter(({ labels }) => labels["case"] === name);
      return [
        first?.value,
        ...others.map(({ value }) => value).filter((value) => !Object.is(value, first?.value)),
      ];
    };
    expect(odd("nan")).toEqual([Number.NaN]);
    expect(odd("plus-inf")).toEqual([Number.POSITIVE_INFINITY]);
    expect(odd("minus-inf")).toEqual([Number.NEGATIVE_INFINITY]);
    // Remote read's form SAMPLES leaves the sign of a zero out (docs/decisions/0032-remote-read.md).
    expect(odd("minus-zero").map((value) => Math.abs(value ?? NaN))).toEqual([0]);
    expect(odd("smallest")).toEqual([5e-324]);
    expect(
      of("load_of_all").every(
        ({ labels, timestampMs }) => Object.keys(labels).length === 0 && timestampMs % 30_000 === 0,
      ),
    ).toBe(true);
    expect(of("load_of_all")).toHaveLength(4);
  });
});

describe("The concurrency cap is check-then-act, and port-forwards leak", () => {
  it("never more clusters at once than MAX_CONCURRENT_CLUSTERS", async () => {
    const environment = { MAX_CONCURRENT_CLUSTERS: "3", EXPORT_TIMEOUT: "30" };
    const { bridge, collector } = await startTestSystem({ clusters: 9, metrics: ["up"], environment });
    const working = new Map<string, () => void>();
    let most = 0;
    // Holds the first request of each cluster; when as many wait as may, others get their chance to come too early.
    collector.onRequest = async ({ clusterIds }) => {
      const [id] = [...clusterIds];
      if (!first.delete(id!)) return ACCEPT;
      const released = new Promise<void>((resolve) => working.set(id!, resolve));
      most = Math.max(most, working.size);
      if (working.size >= 3) {
        await bridge.status();
        await bridge.status();
        for (const [held, release] of working) {
          working.delete(held);
          release();
        }
      }
      await released;
      return ACCEPT;
    };
    const first = new Set(Array.from({ length: 9 }, (_, i) => `sim-${i + 1}`));
    expect(await bridge.collect()).toMatchObject({ successful: 9 });
    expect(most).toBe(3);
  });

  it("nothing is left open by rounds, good or bad", async () => {
    const { bridge, clock, simulator } = await startTestSystem({ clusters: 3, metrics: ["up"] });
    const open = (): number =>
      getActiveResourcesInfo().filter((kind) => /TCP|TLS|Process|Pipe/.test(kind)).length;
    await bridge.collect();
    await bridge.status();
    const before = open();
    for (let round = 0; round < 8; round++) {
      const fault = { layer: "tunnel", kind: "cut", afterBytes: 200 * round } as const;
      await simulator.faults.set("sim-2", fault);
      await simulator.faults.set("sim-3", { layer: "tunnel", kind: "refuse", status: 500 });
      clock.jump(15_000);
      await bridge.collect();
    }
    const metrics = await fetch(`${bridge.url}/metrics`).then((answer) => answer.text());
    expect(metrics).toMatch(/^budcluster_tunnel_active(\{.*\})? 0$/m);
    // Connections of the last round may still be closing.
    expect(open()).toBeLessThan(before + 8);
    expect(getActiveResourcesInfo().filter((kind) => kind === "ProcessWrap")).toEqual([]);
  });
});

describe("Temporary kubeconfig, CA and private key stay on disk", () => {
  const directory = createTemporaryFolder();
  const temporary = createTemporaryFolder();

  it("neither during a round nor after it is there any file but the state", async () => {
    const simulator = await startSimulator({ shape: SMALL });
    const collector = await startOtlpCollector();
    const files = (): string[] => [
      ...readdirSync(temporary),
      ...readdirSync(join(directory, "data")).filter(
        (name) => !/^(state|registry-copy)\.sqlite(-wal)?$/.test(name),
      ),
    ];
    const during: string[] = [];
    collector.onRequest = () => {
      during.push(...files());
      return ACCEPT;
    };
    try {
      const environment = bridgeEnvironment(directory, { simulator, collector });
      const child = startBridgeChild({ ...environment, TMPDIR: temporary, HOME: temporary });
      expect(await child.collect()).toMatchObject({ successful: 1 });
      expect(collector.requests.length).toBeGreaterThan(0);
      expect(during).toEqual([]);
      expect(files()).toEqual([]);
      child.signal("SIGKILL");
      await child.ended;
      expect(files()).toEqual([]);
    } finally {
      await collector.stop();
      await simulator.stop();
    }
  });
});

describe("A missing namespace is swallowed", () => {
  it("a missing namespace is an error that names it and the variables to set", async () => {
    const { bridge, simulator } = await startTestSystem();
    const { kube } = simulator.cluster("sim-1");
    kube.services.splice(0);
    kube.namespaces.delete("bud-system");
    const { clusters, failed } = await bridge.collect();
    expect(failed).toBe(1);
    expect(clusters[0]!.error).toMatchObject({
      code: "prometheus_service_not_found",
      message: expect.stringContaining("bud-system/"),
      hint: expect.stringContaining("PROMETHEUS_NAMESPACE"),
    });
    expect(await bridge.statusOf("sim-1")).toMatchObject({
      state: "failing",
      last_error: { code: "prometheus_service_not_found" },
    });
  });
});

describe("Blocking calls in the event loop", () => {
  it("while clusters and the Collector hang, every request is answered", async () => {
    const { bridge, collector, simulator } = await startTestSystem({ clusters: 3 });
    await simulator.faults.set("sim-1", { layer: "api", kind: "mute" });
    await simulator.faults.set("sim-2", { layer: "tunnel", kind: "hang" });
    const reached = new Promise<void>((resolve) => {
      collector.onRequest = () => {
        resolve();
        return { kind: "hang" };
      };
    });
    let isOver = false;
    const round = bridge.collect().finally(() => (isOver = true));
    await reached;
    for (const path of ["/healthz", "/readyz", "/metrics/status", "/metrics", "/clusters"]) {
      const answer = await fetch(`${bridge.url}${path}`);
      expect({ path, status: answer.status, isOver }).toEqual({ path, status: 200, isOver: false });
    }
    expect(await round).toMatchObject({ failed: 3 });
  });
});

describe("No authentication; errors leak internals", () => {
  const TOKEN = "reader-3f8e2b1a";
  const file = join(createTemporaryFolder(), "tokens.yaml");

  it("without a token nothing but health is answered, and a token gives its scopes only", async () => {
    const sha256 = createHash("sha256").update(TOKEN).digest("hex");
    writeFileSync(file, JSON.stringify([{ name: "reader", sha256, scopes: ["read"] }]));
    const { bridge } = await startTestSystem({ environment: { API_TOKENS_FILE: file } });
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
    const { bridge, collector, simulator } = await startTestSystem({ clusters: 3 });
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
});

describe("Certificates are not checked by default, and no queue outlives the process", () => {
  it("an API server with a foreign certificate never sees the token, by default", async () => {
    const { bridge, clock, simulator } = await startTestSystem();
    await simulator.faults.set("sim-1", { layer: "api", kind: "tls", problem: "untrusted" });
    const { clusters } = await bridge.collect();
    expect(clusters[0]!.error).toMatchObject({
      code: "cluster_tls_untrusted",
      hint: expect.stringContaining("VALIDATE_CERTS=false"),
    });
    expect(simulator.faults.traffic("sim-1")).toMatchObject({ api: 0, tunnel: 0, prometheus: 0 });
    await bridge.restart({ VALIDATE_CERTS: "false" });
    clock.jump(60_000);
    expect(await bridge.collect()).toMatchObject({ successful: 1 });
    const { warnings } = await bridge.status();
    expect(warnings.join()).toMatch(/sim-1.*certificate is not verified/);
  });

  it("a Collector's outage over restarts loses nothing", async () => {
    const { bridge, clock, collector, compareAll } = await startTestSystem();
    await bridge.collect();
    collector.onRequest = () => refusal(503);
    for (let hour = 0; hour < 3; hour++) {
      clock.jump(3_600_000);
      expect(await bridge.collect()).toMatchObject({ failed: 1 });
      await bridge.restart();
    }
    collector.onRequest = () => ACCEPT;
    expect(await bridge.collect()).toMatchObject({ successful: 1 });
    const compared = await compareAll();
    expect(compared).toEqual(noDifferences(compared.samples));
    expect(compared.samples).toBeGreaterThan(20_000);
    expect(collector.repeats).toBe(0);
  });
});
