import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { expect, test } from "vitest";
import { loadConfig } from "#config.ts";
import { CHART, find, GIVEN_KEYS, overlay, render, type KubeObject } from "./helm.ts";
import { environmentOf, workload } from "./pods.ts";

const NAME = "bud-otel-collector";
const source = readFileSync(join(CHART, "files", "otelcol", "config.yaml"), "utf8");

const filesOf = (objects: readonly KubeObject[]) =>
  find(objects, "ConfigMap", NAME)["data"] as Record<string, string>;
const configsOf = (objects: readonly KubeObject[]) =>
  workload(objects, NAME).spec.containers[0]?.args?.map((arg) => arg.replace("--config=/etc/otelcol/", ""));

test("the chart ships the one configuration as it is", async () => {
  const objects = await render(GIVEN_KEYS);
  expect(parse(filesOf(objects)["config.yaml"] ?? "")).toEqual(parse(source));
  expect(configsOf(objects)).toEqual(["config.yaml"]);
});

test("what it names from the environment, the chart sets", async () => {
  const names = [...source.matchAll(/\$\{env:([A-Z_]+)/g)].map(([, name]) => name ?? "");
  const environment = environmentOf(await render({ ...GIVEN_KEYS, clickhouse: { enabled: true } }), NAME);
  expect(new Set(names).size).toBe(7);
  expect(Object.keys(environment)).toEqual(expect.arrayContaining(names));
});

test("its own defaults are the chart's", async () => {
  const defaults = [...source.matchAll(/\$\{env:([A-Z_]+):-([^}]+)\}/g)].map(([, name, value]) => [
    name,
    value,
  ]);
  expect(environmentOf(await render(GIVEN_KEYS), NAME)).toMatchObject(Object.fromEntries(defaults));
});

interface Config {
  exporters: {
    clickhouse: {
      timeout: string;
      create_schema: boolean;
      async_insert: boolean;
      metrics_tables: Record<string, { name: string }>;
      retry_on_failure: { max_elapsed_time: string };
      sending_queue: Record<string, unknown> & { batch: Record<string, unknown> };
    };
  };
  service: { pipelines: { metrics: { processors: string[]; exporters: string[] } } };
}

test("it acknowledges only what is stored, before the bridge loses patience", () => {
  const { exporters, service } = parse(source) as Config;
  const { clickhouse } = exporters;
  expect(clickhouse).toMatchObject({
    create_schema: false,
    async_insert: false,
    sending_queue: {
      enabled: true,
      wait_for_result: true,
      block_on_overflow: true,
      batch: { sizer: "items" },
    },
  });
  expect(Object.keys(clickhouse.metrics_tables)).toHaveLength(5);
  expect(service.pipelines.metrics.processors).toEqual(["memory_limiter"]);
  const seconds = (text: string) => Number(/^(\d+)s$/.exec(text)?.[1]);
  const longest = seconds(clickhouse.retry_on_failure.max_elapsed_time) + seconds(clickhouse.timeout);
  expect(longest).toBeGreaterThan(0);
  expect(longest * 1000).toBeLessThan(loadConfig({}).EXPORT_TIMEOUT / 2);
});

test("debug, resource attributes and more are overlays that keep the rest", async () => {
  const objects = await render(
    overlay(GIVEN_KEYS, {
      otelCollector: {
        debug: true,
        resourceAttributes: { "deployment.environment": "prod", price: "$5" },
        extraConfig: { exporters: { clickhouse: { timeout: "4s" } } },
      },
    }),
  );
  const files = filesOf(objects);
  expect(configsOf(objects)).toEqual(["config.yaml", "debug.yaml", "resource.yaml", "extra.yaml"]);
  expect((parse(files["debug.yaml"] ?? "") as Config).service.pipelines.metrics.exporters).toEqual([
    "clickhouse",
    "debug",
  ]);
  expect(parse(files["resource.yaml"] ?? "")).toEqual({
    processors: {
      resource: {
        attributes: [
          { key: "deployment.environment", value: "prod", action: "insert" },
          { key: "price", value: "$$5", action: "insert" },
        ],
      },
    },
    service: { pipelines: { metrics: { processors: ["memory_limiter", "resource"] } } },
  });
});

test("a changed configuration restarts the Collector", async () => {
  const checksum = async (debug: boolean) => {
    const objects = await render(overlay(GIVEN_KEYS, { otelCollector: { debug } }));
    return workload(objects, NAME).annotations["checksum/config"];
  };
  expect(await checksum(true)).not.toBe(await checksum(false));
});

test.each([
  [{ secure: true, port: 9440 }, "tcp://bud-clickhouse:9440?secure=true"],
  [{ protocol: "http" }, "http://bud-clickhouse:8123?compress=none"],
  [{ protocol: "http", secure: true, httpPort: 8443 }, "https://bud-clickhouse:8443?compress=none"],
])("%j writes to %s", async (clickhouse, endpoint) => {
  const objects = await render(overlay(GIVEN_KEYS, { otelCollector: { clickhouse } }));
  expect(environmentOf(objects, NAME)["CLICKHOUSE_ENDPOINT"]).toBe(endpoint);
});

test.each([
  [512, "512"],
  ["1200Mi", "1200"],
  ["1.5Gi", "1536"],
])("a memory limit of %s is %s MiB", async (memoryLimit, mebibytes) => {
  const environment = environmentOf(
    await render(overlay(GIVEN_KEYS, { otelCollector: { memoryLimit } })),
    NAME,
  );
  expect(environment).toMatchObject({ OTELCOL_MEMORY_LIMIT_MIB: mebibytes, GOMEMLIMIT: `${mebibytes}MiB` });
});
