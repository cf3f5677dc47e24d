import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { assert } from "#lib/assert.ts";

const CHART = join(import.meta.dirname, "../../helm");
const MIB = 1 << 20;
const UNITS: Readonly<Record<string, number>> = { Mi: MIB, Gi: 1024 * MIB };

function bytesOf(quantity: string): number {
  const [, count, unit] = /^(\d+)(Mi|Gi)$/.exec(quantity) ?? [];
  const factor = UNITS[unit ?? ""];
  assert(factor !== undefined, `helm/values.yaml has a memory limit in an unknown form: ${quantity}`);
  return Number(count) * factor;
}

const values = parse(readFileSync(join(CHART, "values.yaml"), "utf8")) as {
  bridge: { resources: { limits: { memory: string } } };
};
const probes = /define "bud\.probes"[^]*?livenessProbe:[^]*?timeoutSeconds: (\d+)/.exec(
  readFileSync(join(CHART, "templates/_helpers.tpl"), "utf8"),
);
assert(probes !== null, "helm/templates/_helpers.tpl has no liveness probe with timeoutSeconds");

/** The memory that the chart gives the bridge: the kernel ends a process that takes more. */
export const MEMORY_BYTES_MAX = bytesOf(values.bridge.resources.limits.memory);
/** In a container Node takes half of the memory for its heap. */
export const HEAP_MIB = MEMORY_BYTES_MAX / MIB / 2;
/** How long the chart's probes wait for an answer. */
export const PROBE_MS = Number(probes[1]) * 1000;
