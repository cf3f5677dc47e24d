import { globSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { expect, test } from "vitest";
import { CHART, render } from "./helm.ts";

const FOLDER = join(CHART, "files", "dashboards");
const files = globSync("*.json", { cwd: FOLDER }).toSorted();

test("each dashboard is a ConfigMap that Grafana's sidecar finds", async () => {
  const objects = await render({
    grafana: { dashboards: { enabled: true, annotations: { grafana_folder: "budcluster" } } },
  });
  const maps = objects.filter(({ metadata }) => metadata.labels?.["grafana_dashboard"] === "1");
  expect(files.length).toBeGreaterThan(5);
  expect(maps.map(({ kind, metadata }) => `${kind} ${metadata.name}`).toSorted()).toEqual(
    files.map((file) => `ConfigMap bud-${basename(file, ".json").replace("budcluster-", "")}-dashboard`),
  );
  for (const { metadata, data } of maps) {
    expect(metadata.annotations).toEqual({ grafana_folder: "budcluster" });
    // As they are: their legends have {{braces}} of their own.
    const [[file, text]] = Object.entries(data as Record<string, string>) as [[string, string]];
    expect(text).toBe(readFileSync(join(FOLDER, file), "utf8"));
  }
});

test("there are none unless they are asked for", async () => {
  const objects = await render({});
  expect(objects.filter(({ metadata }) => metadata.name.endsWith("-dashboard"))).toEqual([]);
});
