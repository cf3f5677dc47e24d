import { existsSync, globSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { CLUSTER_METRICS } from "#collect/own-samples.ts";
import { parsePromqlTree } from "#lib/promql-tree.ts";
import { DEFAULT_QUERIES } from "#prometheus/catalogue.ts";
import { replaceVariables, toLabelValues, type Dashboard } from "./helpers/grafana.ts";

// grafana/ and helm/files/dashboards: what Grafana, compose.yaml and the chart take.

const root = join(import.meta.dirname, "..");
const read = (path: string): string => readFileSync(join(root, path), "utf8");
const FOLDER = "helm/files/dashboards";
const paths = globSync(`${FOLDER}/*.json`, { cwd: root }).toSorted();
const dashboards = paths.map((path) => ({ path, dashboard: JSON.parse(read(path)) as Dashboard }));

const COLLECTED: ReadonlySet<string> = new Set([
  ...DEFAULT_QUERIES.map(({ name }) => name),
  ...Object.values(CLUSTER_METRICS).map(({ name }) => name),
]);

/** The metrics that an expression names. Throws where it is not PromQL. */
function metricsOf(expression: string): string[] {
  const names: string[] = [];
  parsePromqlTree(expression).iterate({
    enter: ({ node }) => {
      if (node.type.isError) throw new Error(`no PromQL at character ${node.from}: ${expression}`);
      if (node.type.name !== "VectorSelector") return;
      const name = node.getChild("Identifier");
      if (!name) throw new Error(`a selector without a name: ${expression}`);
      names.push(expression.slice(name.from, name.to));
    },
  });
  return names;
}

test("there are dashboards of the fleet, a cluster, nodes, Pods, GPUs and the bridge", () => {
  const names = ["bridge", "cluster", "fleet", "gpus", "nodes", "pods"];
  expect(paths.map((path) => basename(path, ".json"))).toEqual(names.map((name) => `budcluster-${name}`));
});

describe.each(dashboards)("$path", ({ path, dashboard }) => {
  const { panels, templating } = dashboard;
  const targets = panels.flatMap(({ targets: own = [] }) => own);
  const queried = templating.list.filter(({ type }) => type === "query");

  test("is what Grafana 11 and 12 import", () => {
    expect(dashboard).toMatchObject({
      uid: basename(path, ".json"),
      title: expect.stringMatching(/^budcluster \/ /),
      schemaVersion: 39,
      // The newest samples come with the next round: COLLECTION_INTERVAL and COLLECTION_LAG.
      timepicker: { nowDelay: "7m" },
    });
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, i) => `${x + (i % w)} ${y + Math.floor(i / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
    for (const { gridPos } of panels) expect(gridPos.x + gridPos.w).toBeLessThanOrEqual(24);
  });

  test("asks the data source and the clusters that the reader chooses", () => {
    expect(templating.list[0]).toMatchObject({ name: "datasource", type: "datasource", query: "prometheus" });
    expect(templating.list[1]).toMatchObject({
      name: "cluster",
      definition: "label_values(budcluster_cluster_up, cluster)",
    });
    const sources = [...panels.filter(({ type }) => type !== "row"), ...targets, ...queried];
    for (const { datasource } of sources)
      expect(datasource).toEqual({ type: "prometheus", uid: "${datasource}" });
    for (const { expr } of targets) expect(expr).toMatch(/cluster=~?"\$cluster"/);
  });

  test("names metrics of the base catalogue alone", () => {
    expect(targets.length).toBeGreaterThan(5);
    for (const { expr } of targets) {
      const metrics = metricsOf(replaceVariables(expr, {}));
      expect(metrics.length).toBeGreaterThan(0);
      for (const metric of metrics) expect(COLLECTED).toContain(metric);
    }
    for (const { query } of queried) {
      const { selector } = toLabelValues((query as { query: string }).query);
      for (const metric of metricsOf(replaceVariables(selector, {}))) expect(COLLECTED).toContain(metric);
    }
  });

  test("uses variables that it has", () => {
    const known = new Set([...templating.list.map(({ name }) => name), "__rate_interval"]);
    for (const text of [...targets.map(({ expr }) => expr), ...queried.map(({ definition }) => definition!)])
      for (const [, name] of text.matchAll(/\$\{?(\w+)/g)) expect(known).toContain(name);
  });
});

test("compose.yaml gives Grafana what its provisioning needs", () => {
  const { services } = parse(read("compose.yaml"), { merge: true }) as {
    services: Record<string, { environment: Record<string, string>; volumes: string[] }>;
  };
  const { environment, volumes } = services["grafana"]!;
  const source = read("grafana/provisioning/datasources/budcluster.yaml");
  const { datasources } = parse(source) as { datasources: { type: string; jsonData: object }[] };
  expect(datasources).toEqual([
    expect.objectContaining({
      type: "prometheus",
      access: "proxy",
      jsonData: expect.objectContaining({ httpMethod: "POST", httpHeaderName1: "Authorization" }),
    }),
  ]);
  const inUse = source.replaceAll(/^\s*#.*$/gm, "").matchAll(/\$([A-Z_]+)/g);
  for (const [, name] of inUse) expect(environment).toHaveProperty(name!);
  expect(environment["BUDCLUSTER_QUERY_URL"]).toBe("http://query:9081");
  const mounts = new Map(
    volumes.map((volume) => volume.split(":").slice(0, 2).toReversed() as [string, string]),
  );
  const provider = parse(read("grafana/provisioning/dashboards/budcluster.yaml")) as {
    providers: { options: { path: string } }[];
  };
  expect(mounts.get(provider.providers[0]!.options.path)).toBe(`./${FOLDER}`);
  expect(mounts.get("/etc/grafana/provisioning")).toBe("./grafana/provisioning");
  const home = environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]!;
  expect(existsSync(join(root, FOLDER, basename(home)))).toBe(true);
});
