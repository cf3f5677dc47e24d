import { describe, expect, test } from "vitest";
import { metricTypeOf, type FamilyMetadata } from "#prometheus/metadata.ts";

const family = (type: string, help = "", unit = ""): FamilyMetadata => ({ type, help, unit });

const METADATA = new Map([
  ["node_cpu_seconds_total", family("counter", "Seconds the CPUs spent in each mode.")],
  ["requests", family("counter", "Requests.", "")],
  ["node_memory_MemFree_bytes", family("gauge", "Free memory.")],
  ["odd_total", family("gauge", "A gauge with a counter's name.")],
  ["duration_seconds", family("histogram", "How long.")],
  ["rpc_seconds", family("summary", "How long.")],
  ["sizes_bytes", family("gaugehistogram", "How large.")],
  ["pods_count", family("gauge", "Pods.")],
  ["jobs", family("gauge", "Jobs.")],
  ["build_info", family("info", "Build.")],
  ["state", family("stateset", "State.")],
  ["strange", family("unknown", "?")],
  ["power", family("gauge", "Power.", "watts")],
]);

describe("the kind of a metric", () => {
  test.each([
    ["node_cpu_seconds_total", "counter", "s"],
    ["node_memory_MemFree_bytes", "gauge", "By"],
    ["requests_total", "counter", ""],
    ["odd_total", "gauge", ""],
    ["duration_seconds_bucket", "counter", ""],
    ["duration_seconds_count", "counter", ""],
    ["duration_seconds_sum", "counter", "s"],
    ["rpc_seconds", "gauge", "s"],
    ["rpc_seconds_sum", "counter", "s"],
    ["rpc_seconds_count", "counter", ""],
    ["sizes_bytes_bucket", "gauge", ""],
    ["pods_count", "gauge", ""],
    ["jobs_count", "gauge", ""],
    ["build_info", "gauge", ""],
    ["state", "gauge", ""],
    ["strange", "gauge", ""],
    ["power", "gauge", "W"],
    ["unheard_of_total", "counter", ""],
    ["unheard_of_bytes_total", "counter", "By"],
    ["unheard_of_bucket", "counter", ""],
    ["unheard_of_sum", "counter", ""],
    ["unheard_of_count", "counter", ""],
    ["unheard_of", "gauge", ""],
    ["_total", "gauge", ""],
    ["", "gauge", ""],
  ])("of %s is %s, its unit '%s'", (name, kind, unit) => {
    expect(metricTypeOf(name, METADATA)).toMatchObject({ kind, unit });
  });

  test.each(["unknown", "", "untyped", "Counter?", "constructor", "__proto__"])(
    "is by its name where the metadata says '%s'",
    (type) => {
      const kindOf = (name: string, listed = name): string =>
        metricTypeOf(name, new Map([[listed, family(type, "Words.")]])).kind;
      expect(kindOf("node_cpu_seconds_total")).toBe("counter");
      expect(kindOf("http_seconds_bucket")).toBe("counter");
      expect(kindOf("http_seconds_sum")).toBe("counter");
      expect(kindOf("http_seconds_count")).toBe("counter");
      expect(kindOf("node_load1")).toBe("gauge");
      expect(kindOf("foo_info")).toBe("gauge");
      expect(kindOf("foo_created")).toBe("gauge");
      // The family's entry, as OpenMetrics names it.
      expect(kindOf("http_seconds_bucket", "http_seconds")).toBe("counter");
      expect(kindOf("http_seconds_sum", "http_seconds")).toBe("counter");
      expect(kindOf("requests_total", "requests")).toBe("counter");
    },
  );

  test("without a type the metadata still has words and a unit", () => {
    const known = new Map([["x_total", family("unknown", "How much.", "bytes")]]);
    expect(metricTypeOf("x_total", known)).toEqual({
      kind: "counter",
      unit: "By",
      description: "How much.",
    });
  });

  test.each([
    ["target_info", { target: "info" }, "gauge"],
    ["build_info", { build_info: "info" }, "gauge"],
    ["state", { state: "stateset" }, "gauge"],
    ["sizes_bucket", { sizes: "gaugehistogram" }, "gauge"],
    ["sizes_gcount", { sizes: "gaugehistogram" }, "gauge"],
    ["sizes_gsum", { sizes: "gaugehistogram" }, "gauge"],
    ["requests_total", { requests: "counter" }, "counter"],
    ["requests_created", { requests: "counter" }, "gauge"],
    ["rpc_count", { rpc: "summary" }, "counter"],
    ["rpc", { rpc: "summary" }, "gauge"],
    // The metric's own entry says nothing, its family's does.
    ["sizes_bucket", { sizes_bucket: "unknown", sizes: "gaugehistogram" }, "gauge"],
  ])("%s of OpenMetrics with the metadata %j is a %s", (name, types, kind) => {
    const known = new Map(Object.entries(types).map(([key, type]) => [key, family(type)]));
    expect(metricTypeOf(name, known).kind).toBe(kind);
  });

  test.each([
    ["x_celsius", "Cel"],
    ["x_ratio", "1"],
    ["x_percent", "%"],
    ["x_volts", "V"],
    ["x_amperes", "A"],
    ["x_joules_total", "J"],
    ["x_meters", "m"],
    ["x_grams", "g"],
    ["x_hertz", "Hz"],
    ["bytes", "By"],
    ["x_bytes_per_second", ""],
    ["x_constructor", ""],
    ["x___proto__", ""],
    ["toString", ""],
    ["__proto__", ""],
  ])("%s has the unit '%s'", (name, unit) => {
    expect(metricTypeOf(name, new Map()).unit).toBe(unit);
    expect(metricTypeOf("y", new Map([["y", family("gauge", "", name)]])).unit).toBe(UNITS.get(name) ?? "");
  });

  test("a unit of the metadata goes before the name's ending", () => {
    expect(metricTypeOf("x_bytes", new Map([["x_bytes", family("gauge", "", "seconds")]])).unit).toBe("s");
    expect(metricTypeOf("x_bytes", new Map([["x_bytes", family("gauge", "", "parsecs")]])).unit).toBe("By");
  });

  test("the help text is the description, not longer than 300 characters", () => {
    expect(metricTypeOf("requests_total", METADATA).description).toBe("Requests.");
    expect(metricTypeOf("duration_seconds_bucket", METADATA).description).toBe("How long.");
    expect(metricTypeOf("unheard_of", METADATA).description).toBe("");
    const long = new Map([
      ["x", family("gauge", "h".repeat(1_000))],
      ["y", family("histogram", "h".repeat(1_000))],
    ]);
    expect(metricTypeOf("x", long).description).toHaveLength(300);
    expect(metricTypeOf("y_sum", long).description).toHaveLength(300);
  });
});

const UNITS = new Map([["bytes", "By"]]);
