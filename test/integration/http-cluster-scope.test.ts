import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { CollectionStatus } from "#collect/status.ts";
import { createReadClusterCompleteness } from "#query/cluster-completeness.ts";
import { createClusterState } from "#query/state/cluster-state.ts";
import { createPromql } from "#query/promql/promql.ts";
import { createMetricLookup } from "#query/series/lookup.ts";
import { createSeriesQuery } from "#query/series/series.ts";
import { useEngine } from "../helpers/engine.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { point, storeMetrics, storeRecord } from "../helpers/stored-world.ts";
import {
  ACCESS,
  CLUSTER,
  completenessOf,
  type Harness,
  startHarness,
  STATUS,
  TOKENS,
} from "./http-harness.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";

// Two clusters with the same metrics, everything wired as in all-in-one, and a token for one of the two.

const OWN = "edge-1";
const FOREIGN = "edge-2";
const UNKNOWN = "edge-9";
const FEW = "few-token-0123456789";
/** In every name and label of the foreign cluster. */
const FOREIGN_MARK = /edge-2|other-mark/;
const NOW_MS = Math.floor(Date.now() / 60_000) * 60_000;

interface Operation {
  method: string;
  path: string;
  query: string;
  body: Record<string, unknown> | undefined;
}
interface Described {
  parameters?: { name: string; in: string; required?: boolean }[];
  requestBody?: { content: Record<string, { schema: { $ref?: string } }> };
}
interface Document {
  paths: Record<string, Record<string, Described>>;
  components: { schemas: Record<string, { examples?: Record<string, unknown>[] }> };
}

const engine = useEngine({ migrated: true });
let harness: Harness;
let operations: Operation[];

beforeAll(async () => {
  const { database } = engine;
  for (const [id, mark] of [
    [OWN, "own-mark"],
    [FOREIGN, "other-mark"],
  ] as const) {
    const points = [point({ instance: `${mark}:9100` }, NOW_MS - 61_000, 1.5)];
    await storeMetrics(database, id, [{ name: "node_load1", kind: "gauge", points }]);
    await storeRecord(database, id, {
      atMs: NOW_MS - 30_000,
      watermarkMs: NOW_MS - 60_000,
      queries: ["node_load1"],
    });
  }
  const deps = { database, clock: createManualClock(NOW_MS) };
  const settings = QUERY_DEFAULTS;
  const lookup = createMetricLookup(deps, settings);
  const never = (): Promise<never> => Promise.reject(new Error(`called with ${FOREIGN}`));
  const both = [CLUSTER, { ...CLUSTER, id: FOREIGN, name: "other-mark" }];
  harness = await startHarness({
    access: {
      ...ACCESS,
      tokens: [
        ...ACCESS.tokens,
        {
          name: "few",
          sha256: createHash("sha256").update(FEW).digest("hex"),
          scopes: ["read"],
          clusters: [OWN],
        },
      ],
    },
    deps: {
      clusters: { list: async () => both },
      clusterAdmin: { create: never, draft: never, update: never, remove: never },
      onboarding: {
        prometheusNamespace: "monitoring",
        inspect: () => ({ contexts: [], currentContext: null }),
        draft: never,
        findServices: never,
        diagnose: never,
      },
      diagnoseCluster: never,
      diagnoseStorage: never,
      completeness: completenessOf(both),
      collection: { start: never, status: async () => statusOfBoth() },
      clusterState: createClusterState(deps, settings),
      clusterCompleteness: createReadClusterCompleteness(deps, settings),
      latest: lookup.latest,
      promql: createPromql(deps, {
        ...settings.promql,
        databaseName: settings.databaseName,
        queryLimits: settings.limits,
      }),
      metricQueries: { ...lookup, series: createSeriesQuery(deps, settings) },
    },
  });
  operations = toOperations((await (await fetch(`${harness.url}/docs/json`)).json()) as Document);
});
afterAll(() => harness.server.stop());

function statusOfBoth(): CollectionStatus {
  const text = JSON.stringify(STATUS);
  const other = JSON.parse(
    text.replaceAll("edge-1", FOREIGN).replaceAll("Edge 1", "other-mark"),
  ) as CollectionStatus;
  const round = STATUS.last_round!;
  return {
    ...STATUS,
    last_round: { ...round, clusters: [...round.clusters, ...other.last_round!.clusters] },
    clusters: [...STATUS.clusters, ...other.clusters],
    warnings: [`${FOREIGN}: its certificate is not verified`],
  };
}

/** A well-formed request for each operation; `{id}` stands for the cluster. */
function toOperations({ paths, components }: Document): Operation[] {
  const values: Record<string, string> = { metric: "node_load1", cluster: "{id}" };
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { parameters = [], requestBody }]) => {
      const query = parameters
        .filter((parameter) => parameter.in === "query" && parameter.required)
        .map(({ name }) => `${name}=${values[name]}`);
      const reference = requestBody?.content["application/json"]?.schema.$ref?.replace(/^.*\//, "");
      const example = components.schemas[reference ?? ""]?.examples?.[0];
      return {
        method: method.toUpperCase(),
        path: path.replaceAll(/\{(id|cluster_id)\}/g, "{id}"),
        query: query.length === 0 ? "" : `?${query.join("&")}`,
        body: example && { ...example, ...queryBody() },
      };
    }),
  );
}

function queryBody(): Record<string, unknown> {
  return {
    cluster_id: "{id}",
    metric_name: "node_load1",
    start_time: (NOW_MS - 600_000) / 1000,
    end_time: NOW_MS / 1000,
    aggregation: "avg",
    step: "1m",
    group_by: ["*"],
    filters: [],
  };
}

async function call(
  operation: Operation,
  id: string,
  token: string,
): Promise<{ status: number; text: string; headers: string[] }> {
  const path = (operation.path + operation.query).replaceAll("{id}", id);
  const answer = await fetch(harness.url + path, {
    method: operation.method,
    headers: {
      authorization: `Bearer ${token}`,
      ...(operation.body ? { "content-type": "application/json" } : {}),
    },
    ...(operation.body ? { body: JSON.stringify(operation.body).replaceAll("{id}", id) } : {}),
  });
  const headers = [...answer.headers]
    .filter(([name]) => name !== "x-request-id" && name !== "date")
    .map(([name, value]) => `${name}: ${value}`);
  // Of /api/v1/status/runtimeinfo.
  const text = (await answer.text()).replace(/"serverTime":"[^"]*"/, "");
  return { status: answer.status, text, headers };
}

const isAboutOne = ({ path, query, body }: Operation): boolean =>
  (path + query).includes("{id}") || JSON.stringify(body ?? {}).includes("{id}");

describe("a token for some clusters", () => {
  it("is tried on every route, and the requests are such as are answered", async () => {
    expect(operations.length).toBeGreaterThan(20);
    const reading = operations.filter((each) => isAboutOne(each) && (each.method === "GET" || each.body));
    expect(reading.length).toBeGreaterThan(8);
    for (const operation of reading.filter(({ path }) => path.startsWith("/cluster-metrics"))) {
      const answer = await call(operation, FOREIGN, TOKENS.read);
      expect([operation.path, answer.status]).toEqual([operation.path, 200]);
      expect(answer.text).toMatch(FOREIGN_MARK);
    }
  });

  it("gets the same answer for another cluster as for one that does not exist", async () => {
    for (const operation of operations) {
      const foreign = await call(operation, FOREIGN, FEW);
      const unknown = await call(operation, UNKNOWN, FEW);
      const name = `${operation.method} ${operation.path}`;
      expect([name, foreign.text.replaceAll(FOREIGN, UNKNOWN), foreign.status, foreign.headers]).toEqual([
        name,
        unknown.text,
        unknown.status,
        unknown.headers,
      ]);
    }
    for (const operation of operations.filter(isAboutOne)) {
      const { status } = await call(operation, FOREIGN, FEW);
      const name = `${operation.method} ${operation.path}`;
      expect(["404", "403"].map((expected) => `${expected} ${name}`)).toContain(`${status} ${name}`);
    }
  });

  it("gets its own cluster's data, and nothing of another one from any route", async () => {
    const statuses: [name: string, status: number][] = [];
    for (const operation of operations) {
      const { status, text } = await call(operation, OWN, FEW);
      const name = `${operation.method} ${operation.path}`;
      expect([name, FOREIGN_MARK.exec(text)]).toEqual([name, null]);
      statuses.push([name, status]);
    }
    const own = statuses.filter(([name]) => name.includes(" /cluster-metrics/"));
    expect(own.map(([, status]) => status)).toEqual(own.map(() => 200));
  });

  it("sees its clusters in GET /clusters, /whoami and /metrics/status, with totals that fit", async () => {
    const get = async (path: string): Promise<Record<string, unknown>> =>
      JSON.parse((await call({ method: "GET", path, query: "", body: undefined }, "", FEW)).text);
    expect((await get("/clusters"))["clusters"]).toMatchObject([{ id: OWN }]);
    expect(await get("/whoami")).toEqual({
      name: "few",
      access: "tokens",
      scopes: ["read"],
      clusters: [OWN],
    });
    expect(await get("/metrics/status")).toMatchObject({
      clusters: [{ cluster_id: OWN }],
      last_round: { total: 1, failed: 1, clusters: [{ cluster_id: OWN }] },
      warnings: [],
    });
  });

  it("may not read the program's own metrics, nor change or start anything", async () => {
    for (const operation of operations.filter(({ method }) => method !== "GET" && method !== "OPTIONS")) {
      const isQuery = /^\/(cluster-metrics\/query$|api\/v1\/)/.test(operation.path);
      if (isQuery) continue;
      const { status } = await call(operation, OWN, FEW);
      expect([operation.path, status]).toEqual([operation.path, 403]);
    }
    const metrics = await call({ method: "GET", path: "/metrics", query: "", body: undefined }, "", FEW);
    expect(metrics.status).toBe(403);
    expect(JSON.parse(metrics.text)).toMatchObject({
      error: { code: "forbidden", hint: expect.stringContaining("without `clusters`") },
    });
  });

  it("finds nothing by a wrong body, a second id or another case of the id", async () => {
    const query = operations.find(({ path }) => path === "/cluster-metrics/query")!;
    const bodies = [[], "edge-2", null, {}, { ...queryBody(), cluster_id: [FOREIGN] }];
    for (const body of bodies) {
      const { status, text } = await call({ ...query, body: body as Record<string, unknown> }, FOREIGN, FEW);
      expect([400, 404]).toContain(status);
      expect(text).not.toContain("other-mark");
    }
    const twice = `{"cluster_id":"${OWN}",${JSON.stringify({ ...queryBody(), cluster_id: FOREIGN }).slice(1)}`;
    const answer = await fetch(`${harness.url}/cluster-metrics/query`, {
      method: "POST",
      headers: { authorization: `Bearer ${FEW}`, "content-type": "application/json" },
      body: twice,
    });
    expect(answer.status).toBe(404);
    for (const path of ["/clusters/EDGE-1", "/clusters/edge-1%2F..%2Fedge-2", "/clusters/edge%2D2"]) {
      const { status } = await call({ method: "GET", path, query: "", body: undefined }, "", FEW);
      expect([400, 404]).toContain(status);
    }
  });
});
