import { expect, test } from "vitest";
import { expositionText } from "#simulator/exposition.ts";
import { createWorld } from "#simulator/world.ts";
import { createManualClock } from "../../helpers/manual-clock.ts";

const NOW_MS = 1_700_000_000_000;

test("every family has its HELP and TYPE once, before its samples", () => {
  const world = createWorld({ clock: createManualClock(NOW_MS) }).cluster("sim-1");
  const lines = expositionText(world, NOW_MS).trimEnd().split("\n");
  const types = lines.filter((line) => line.startsWith("# TYPE ")).map((line) => line.split(" ")[2]);
  expect(new Set(types).size).toBe(types.length);
  expect(types).toHaveLength(world.families.length);
  expect(lines).toContain("# TYPE prometheus_http_request_duration_seconds histogram");
  let family = "";
  for (const line of lines) {
    if (line.startsWith("# TYPE ")) family = line.split(" ")[2] ?? "";
    expect(line.startsWith(line.startsWith("#") ? "# " : family)).toBe(true);
  }
});

test("label values are escaped, odd values written as Prometheus reads them, late samples carry their time", () => {
  const world = createWorld({ clock: createManualClock(NOW_MS) }).cluster("sim-1");
  const text = expositionText(world, NOW_MS);
  expect(text).toContain('created_by_name="say \\"hi\\""');
  expect(text).toContain('created_by_name="back\\\\slash\\\\"');
  expect(text).toContain('created_by_name="two\\nlines\r\\n"');
  expect(text).toMatch(/^node_load15\{case="nan",.*\} NaN$/m);
  expect(text).toMatch(/^node_load15\{case="minus-inf",.*\} -Inf$/m);
  const late = [...text.matchAll(/^container_cpu_usage_seconds_total\{.*\} \S+ (\d+)$/gm)].map(([, at]) =>
    Number(at),
  );
  expect(late).toHaveLength(12);
  expect(Math.max(...late)).toBeLessThan(NOW_MS);
  expect(text).not.toMatch(/^up\{/m);
});
