import { describe, expect, test } from "vitest";
import {
  CONFIG_BYTES_MAX,
  LabelsContradict,
  readExternalLabels,
  withoutLabels,
} from "#prometheus/external-labels.ts";
import { createSeriesKeeper, toScanned } from "../../helpers/scanned-series.ts";

const CONFIG = `global:
  scrape_interval: 30s
  external_labels:
    cluster: prod
    prometheus: monitoring/k8s
    prometheus_replica: "0"
    empty: ""
    "with.dot": 'it''s'
  metric_name_validation_scheme: utf8
scrape_configs:
- job_name: &anchors_are_not_read a
`;

describe("the configuration", () => {
  test("gives its external labels, whatever follows the part global", () => {
    const labels = [
      { name: "cluster", value: "prod" },
      { name: "prometheus", value: "monitoring/k8s" },
      { name: "prometheus_replica", value: "0" },
      { name: "with.dot", value: "it's" },
    ];
    expect(readExternalLabels(CONFIG)).toEqual(labels);
    expect(readExternalLabels(CONFIG + "#".repeat(CONFIG_BYTES_MAX))).toEqual(labels);
  });

  test.each([
    ["global:\n  scrape_interval: 30s\n", []],
    ["", undefined],
    ["not: it\n", undefined],
    ["global: 5\n", undefined],
    ["global:\n  external_labels:\n    a: 1_0\n    b: 5\n", undefined],
    ["global:\n  external_labels:\n    a: [b]\n", undefined],
    ["global:\n  external_labels: &x\n    a: b\n", undefined],
    ["global:\n  external_labels:\n    __name__: b\n", undefined],
    [`global:\n  external_labels:\n    a: "${"x".repeat(CONFIG_BYTES_MAX)}`, undefined],
    [`global:\n  external_labels:\n    a: "${"x".repeat(20_000)}"\n`, undefined],
    [`global:\n  x: ${"[".repeat(10_000)}\n`, undefined],
  ])("%#: what can't be read for sure is not read", (text, expected) => {
    expect(readExternalLabels(text)).toEqual(expected);
  });
});

describe("a series", () => {
  const added = [
    { name: "cluster", value: "prod" },
    { name: "replica", value: "0" },
  ];
  const read = (...labels: [string, string][]) => {
    const keeper = createSeriesKeeper();
    const sink = withoutLabels(keeper, added);
    const series = toScanned({ name: "up", labels, samples: [[1, 2]] });
    // A long series comes in several calls with the same labels.
    sink.series(series);
    sink.series(series);
    return keeper.kept.map((each) => each.labels);
  };

  test("loses the labels that were added, and keeps its own", () => {
    const own: [string, string][] = [["job", "a"]];
    expect(read(["cluster", "prod"], ...own, ["replica", "0"])).toEqual([own, own]);
  });

  test("that does not have them contradicts", () => {
    expect(() => read(["cluster", "prod"], ["job", "a"])).toThrow(LabelsContradict);
    expect(() => read(["cluster", "other"], ["job", "a"], ["replica", "0"])).toThrow(LabelsContradict);
  });
});
