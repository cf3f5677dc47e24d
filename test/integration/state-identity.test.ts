import { assert, asyncProperty, constantFrom, dictionary } from "fast-check";
import { expect, test } from "vitest";
import { ownLabel, ownLabelOf } from "#query/state/identity.ts";
import { useEngine } from "../helpers/engine.ts";

const engine = useEngine({ migrated: false });
const NAMES = ["namespace", "pod", "container", "node", "phase"];
const LABELS = [
  ...NAMES.flatMap((name) => [name, `exported_${name}`]),
  "pod_name",
  "pod_namespace",
  "container_name",
  "node",
  "exported_node",
  "uid",
  "id",
  "interface",
  "k8s.node.name",
  "k8s.node.name",
  "job",
  "instance",
  "service",
  "phase",
  "device",
  "mountpoint",
  "cpu",
  "mode",
];
const METRICS = [
  "kube_pod_info",
  "kube_pod_status_phase",
  "kube_node_info",
  "container_network_receive_bytes_total",
  "node_cpu_seconds_total",
  "node_filesystem_size_bytes",
  "node_load1",
];
const SERIES = `(SELECT name AS metric_name, CAST((keys, values), 'Map(LowCardinality(String), String)') AS labels
  FROM (SELECT {metric:String} AS name, {keys:Array(String)} AS keys, {values:Array(String)} AS values))`;

const labelsOf = dictionary(constantFrom(...LABELS), constantFrom("", "a", "b", "c=1", "d'"));

test("SQL and TypeScript find the same own labels of any series", async () => {
  await assert(
    asyncProperty(labelsOf, constantFrom(...METRICS), async (labels, metric) => {
      const own = NAMES.map((name) => ownLabel("labels", name)).join(", ");
      const [row] = await engine.database.query<{ own: string[] }>(`SELECT [${own}] AS own FROM ${SERIES}`, {
        metric,
        keys: Object.keys(labels),
        values: Object.values(labels),
      });
      expect(row).toEqual({ own: NAMES.map((name) => ownLabelOf(labels, name, metric)) });
    }),
    { numRuns: 200 },
  );
});
