import { describe, expect, test } from "vitest";
import { DEFAULT_QUERIES } from "#prometheus/catalogue.ts";
import { blankNumberSql, isBlankNumber } from "#query/blank-number.ts";
import { GPU_EXPORTERS } from "#query/gpu-exporters.ts";
import { expectedMetrics, GPU_STATE_METRICS, gpuValueOf } from "#query/gpu-metrics.ts";
import { useEngine } from "../../helpers/engine.ts";

describe("numbers that are no values", () => {
  const engine = useEngine({ migrated: false });
  const BLANK = [
    // dcgm_structs.h: DCGM_INT32_BLANK, _NOT_FOUND, _NOT_SUPPORTED, _NOT_PERMISSIONED; DCGM#136 shows 2147483634 in a sample.
    2_147_483_632,
    2_147_483_633,
    2_147_483_634,
    2_147_483_635,
    // The same of INT64, as a double; gpu-monitoring-tools#92 shows it as used memory.
    Number(0x7ffffffffffffff0n),
    // README of dcgm-exporter: DCGM_FI_DEV_MEMORY_TEMP 9223372036854775794.
    Number(9_223_372_036_854_775_794n),
    // DCGM_FP64_BLANK to _NOT_PERMISSIONED; DCGM#202 shows the power 140737488355328.
    140_737_488_355_328,
    140_737_488_355_331,
    // All bits of 32 and of 64 (amd-smi, device-metrics-exporter#662).
    4_294_967_295,
    Number(18_446_744_073_709_551_615n),
    Number.NaN,
    Infinity,
    -Infinity,
  ];
  const VALUES = [
    0, 1, 100, 81_920, 2_147_483_631, 2_147_483_648, 4_294_967_296, 140_737_488_355_327, 140_737_488_355_344,
    1e18,
  ];

  test.each(BLANK)("%d is none", (value) => expect(isBlankNumber(value)).toBe(true));
  test.each(VALUES)("%d is one", (value) => expect(isBlankNumber(value)).toBe(false));

  test("SQL says the same", async () => {
    const all = [...BLANK, ...VALUES];
    const rows = await engine.database.query<{ blank: number }>(
      `SELECT toUInt8(${blankNumberSql("value")}) AS blank FROM (SELECT arrayJoin([${all.map((value) => `toFloat64('${value}')`).join(", ")}]) AS value)`,
    );
    expect(rows.map(({ blank }) => blank === 1)).toEqual(all.map(isBlankNumber));
  });

  test.each([
    // 16 bits of a driver that leak: device-metrics-exporter#662 ("gpu_clock 65535"). Memory may have this number.
    ["gpu_clock", 65_535, undefined],
    ["gpu_used_vram", 65_535, 65_535],
    // Ratios of profiling metrics are percent in the answers; HAMi's "ratio" is percent already (its docs/metrics: 0-100).
    ["DCGM_FI_PROF_SM_ACTIVE", 0.5, 50],
    ["hami_host_gpu_utilization_ratio", 50, 50],
    // mJ of DCGM and µJ of AMD in J; HAMi's bytes in MiB.
    ["DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", 5000, 5],
    ["gpu_energy_consumed", 5_000_000, 5],
    ["hami_host_gpu_memory_used_bytes", 2 ** 30, 1024],
  ])("%s %d", (metric, value, expected) => {
    expect(gpuValueOf(metric, value)).toBe(expected);
  });
});

describe("the table of exporters", () => {
  test("the built-in catalogue collects what is not optional, and nothing optional", () => {
    const collected = new Set(DEFAULT_QUERIES.map(({ name }) => name));
    const metrics = GPU_EXPORTERS.flatMap((exporter) => Object.values(exporter.metrics).flat());
    const wrong = metrics.filter(({ name, optional }) => collected.has(name) === (optional === true));
    expect(wrong).toEqual([]);
  });

  test("no metric is in it twice", () => {
    expect(new Set(GPU_STATE_METRICS).size).toBe(GPU_STATE_METRICS.length);
  });

  test("a collection lacks the metrics of its own exporters only", () => {
    const amd = ["gpu_gfx_activity", "gpu_used_vram"];
    const lacks = expectedMetrics(["node_load1", ...GPU_STATE_METRICS], (name) => amd.includes(name));
    expect(lacks).toEqual(expect.arrayContaining(["node_load1", "gpu_package_power", ...amd]));
    expect(lacks.filter((name) => /^(DCGM|hami)/.test(name))).toEqual([]);
    // Of none: NVIDIA's.
    expect(expectedMetrics(GPU_STATE_METRICS, () => false)).toContain("DCGM_FI_PROF_SM_ACTIVE");
  });
});
