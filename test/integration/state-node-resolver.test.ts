import { beforeAll, expect, test } from "vitest";
import type { Database } from "#storage/database.ts";
import { limitDatabase } from "#query/limits.ts";
import { toNodeAddresses } from "#query/node-addresses.ts";
import { createNodeResolver, toNodeQuestion } from "#query/node-resolver.ts";
import { useEngine } from "../helpers/engine.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";
import { AS_OF_MS, gauge, now } from "../helpers/state-cases.ts";
import { storeMetrics } from "../helpers/stored-world.ts";

const engine = useEngine({ migrated: true });
const EVIDENCE = {
  addresses: toNodeAddresses([]),
  listed: [{ node: "a", internal_ip: "10.0.0.1" }],
  hosts: [],
};
const OF = { clusterId: "c", fromMs: AS_OF_MS - 60_000, toMs: AS_OF_MS };

/** The engine, and how many statements it ran. */
function counted() {
  let statements = 0;
  const database: Database = {
    ...engine.database,
    query: (...query) => {
      statements++;
      return engine.database.query(...query);
    },
  };
  return { database: limitDatabase(database, QUERY_DEFAULTS.limits), statements: () => statements };
}

const settings = { databaseName: "metrics" };
const pod = (labels: Record<string, string>) => now({ instance: "ksm:8080", job: "ksm", ...labels }, 1);

beforeAll(async () => {
  await storeMetrics(engine.database, "c", [
    gauge("kube_pod_info", [
      pod({ namespace: "mon", pod: "ne-1", node: "a", pod_ip: "10.244.0.5" }),
      // honor_labels is false: the exporter's Pod is in exported_*, and namespace, pod and node are those of kube-state-metrics.
      pod({
        exported_namespace: "mon",
        exported_pod: "ne-2",
        exported_node: "b",
        namespace: "x",
        pod: "ksm",
        node: "a",
        pod_ip: "10.244.1.5",
      }),
    ]),
    gauge("kube_node_info", [pod({ node: "b", internal_ip: "10.0.0.2" })]),
  ]);
});

test("kube_pod_info is read when a target is no node, once a minute", async () => {
  const { database, statements } = counted();
  const clock = createManualClock(AS_OF_MS);
  const resolve = createNodeResolver({ database, clock }, settings);
  const question = (labels: Record<string, string>) => toNodeQuestion(labels, AS_OF_MS);
  const known = question({ instance: "10.0.0.1:9100" });
  const open = [
    question({ instance: "10.244.0.5:9100" }),
    question({ instance: "x:9100", namespace: "mon", pod: "ne-2" }),
  ];

  expect((await resolve(EVIDENCE, [known], OF, undefined))(known)).toEqual({ node: "a", known: true });
  expect(statements()).toBe(0);
  const ask = async () => {
    const names = await resolve(EVIDENCE, [known, ...open], OF, undefined);
    return open.map((each) => names(each).node);
  };
  expect(await ask()).toEqual(["a", "b"]);
  expect(await ask()).toEqual(["a", "b"]);
  expect(statements()).toBe(1);
  clock.advance(61_000);
  expect(await ask()).toEqual(["a", "b"]);
  expect(statements()).toBe(2);
});

test("the nodes that Kubernetes lists are read with it, for answers that do not read them", async () => {
  const { database } = counted();
  const resolve = createNodeResolver({ database, clock: createManualClock(AS_OF_MS) }, settings);
  const question = { names: ["b.example"], instance: "10.244.7.7:9400", pods: [], newestMs: AS_OF_MS };
  const names = await resolve({ ...EVIDENCE, listed: [] }, [question], OF, undefined);
  expect(names(question)).toEqual({ node: "b", known: true });
});
