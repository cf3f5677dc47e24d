import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemClock, type Clock } from "#lib/clock.ts";
import { createClusterState } from "#query/state/cluster-state.ts";
import { createMetricLookup } from "#query/series/lookup.ts";
import { createSeriesQuery } from "#query/series/series.ts";
import { createWorld } from "#simulator/world.ts";
import { refreshRollups } from "#storage/rollups.ts";
import { useEngine } from "../helpers/engine.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { storeRecord, storeWorld } from "../helpers/stored-world.ts";
import { startHarness, type Harness } from "./http-harness.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";

// Everything in docs/querying.md that can be run, on a simulated cluster as the demo has it.

const TEXT = readFileSync(join(import.meta.dirname, "../../docs/querying.md"), "utf8");
const blocksOf = (language: string): string[] =>
  [...TEXT.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, "gms"))].map(([, block]) => block!);

const STATEMENTS = blocksOf("sql");
const END_MS = Date.now() - 60_000;
const HOUR_MS = 3_600_000;
const NOW_SECONDS = Math.floor(END_MS / 1000);

interface Example {
  path: string;
  body: string | undefined;
  answer: Record<string, unknown>;
}

/** Each curl with the answer printed below it; `now` of the shell filled in. */
const EXAMPLES: Example[] = [...TEXT.matchAll(/^```sh\n(curl .*?)^```\n\n```json\n(.*?)^```/gms)].map(
  ([, call, answer]) => {
    const shell = call!
      .replaceAll(/'?\$\(\(now-(\d+)\)\)'?/g, (_all, ago: string) => String(NOW_SECONDS - Number(ago)))
      .replaceAll("'$now'", String(NOW_SECONDS));
    return {
      path: /"\$URL([^"]*)"/.exec(shell)![1]!,
      body: /-d '([^']*)'/.exec(shell)?.[1],
      answer: JSON.parse(answer!) as Record<string, unknown>,
    };
  },
);

const engine = useEngine({ migrated: true });
let harness: Harness;

beforeAll(async () => {
  const { database } = engine;
  const world = createWorld(
    { clock: createManualClock(END_MS + 600_000) },
    { shape: { pods: 8, cpus: 1, gpus: 1, scrapeIntervalMs: 60_000 } },
  ).cluster("sim-1");
  const metrics = world.metrics
    .map(({ name }) => name)
    .filter((name) => /^(node_(load|cpu|memory|filesystem)|kube_(node|pod)|container_|DCGM)/.test(name));
  await storeWorld(database, world, { fromMs: END_MS - 3 * HOUR_MS, toMs: END_MS, metrics });
  await storeRecord(database, "sim-1", { atMs: END_MS + 1000, watermarkMs: END_MS, queries: metrics });
  const impatient: Clock = { ...systemClock, sleep: (_ms, signal) => systemClock.sleep(1, signal) };
  await refreshRollups(database, {
    databaseName: "metrics",
    settleMs: -1000,
    clock: impatient,
    logger: createSilentLogger(),
    signal: new AbortController().signal,
  });
  const deps = { database, clock: systemClock };
  const settings = QUERY_DEFAULTS;
  const lookup = createMetricLookup(deps, settings);
  harness = await startHarness({
    deps: {
      metricQueries: { ...lookup, series: createSeriesQuery(deps, settings) },
      latest: lookup.latest,
      clusterState: createClusterState(deps, settings),
    },
  });
}, 300_000);
afterAll(() => harness.server.stop());

test("no example is overlooked", () => {
  expect(STATEMENTS.length).toBeGreaterThan(7);
  expect(EXAMPLES).toHaveLength(TEXT.match(/^curl /gm)!.length);
  expect(EXAMPLES.filter(({ body }) => body !== undefined)).toHaveLength(4);
});

describe("the SQL", () => {
  test.each(STATEMENTS.map((sql) => [sql.split("\n")[0]!, sql]))("%s", async (_title, sql) => {
    expect((await engine.database.query(sql)).length).toBeGreaterThan(0);
  });
});

test("the SQL for rates gives the API's numbers", async () => {
  const sql = STATEMENTS.find((each) => each.includes("timeSeriesRateToGrid"))!;
  const rows = await engine.database.query<{ mode: string; rate: number }>(
    sql.replaceAll("now()", `toDateTime(${NOW_SECONDS})`),
  );
  const lastMs = Math.floor(NOW_SECONDS / 300) * 300_000;
  const query = createSeriesQuery({ database: engine.database, clock: systemClock }, QUERY_DEFAULTS);
  const { series } = await query({
    clusterId: "sim-1",
    metric: "node_cpu_seconds_total",
    startMs: lastMs - HOUR_MS - 1000,
    endMs: lastMs,
    stepMs: 300_000,
    aggregation: "rate",
    groupBy: ["mode"],
  });
  const expected = series.flatMap(({ labels, points }) =>
    points.map(({ value }) => [labels["mode"], expect.closeTo(Number(value), 9) as number]),
  );
  expect(expected.length).toBeGreaterThan(20);
  expect(rows.map(({ mode, rate }) => [mode, rate])).toEqual(expected);
});

describe("the calls", () => {
  test.each(EXAMPLES.map((example) => [example.path, example] as const))("%s", async (path, example) => {
    const { body } = example;
    const post = { method: "POST", headers: { "content-type": "application/json" } };
    const answer = await fetch(`${harness.url}${path}`, body === undefined ? {} : { ...post, body });
    const json = (await answer.json()) as Record<string, unknown>;
    expect([answer.status, json["error"]]).toEqual([200, undefined]);
    expect(missingIn(json, example.answer, "")).toEqual([]);
    expect(json["promql"]).toBe(example.answer["promql"]);
  });
});

interface Operation {
  parameters?: {
    name: string;
    in: string;
    required?: boolean;
    example?: string | number;
    examples?: Record<string, { value: string | number }>;
  }[];
  requestBody?: { content: Record<string, { schema: { $ref: string } }> };
}
interface OpenApi {
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, { examples?: unknown[] }> };
}

/** What /docs fills in for "Try it out": the example of each parameter, also of those that may be left out, and the first example of the body. */
test("each operation answers 200 to its own example, on a cluster of the demo", async () => {
  const { paths, components } = (await (await fetch(`${harness.url}/docs/json`)).json()) as OpenApi;
  const operations = Object.entries(paths).filter(([path]) => path.startsWith("/cluster-metrics"));
  expect(operations.length).toBeGreaterThan(9);
  for (const [path, methods] of operations) {
    for (const [method, { parameters = [], requestBody }] of Object.entries(methods)) {
      const filled = parameters.flatMap(({ name, in: place, example, examples }) => {
        const value = example ?? Object.values(examples ?? {})[0]?.value;
        return value === undefined ? [] : [{ name, place, value: encodeURIComponent(value) }];
      });
      const of = (place: string) => filled.filter((each) => each.place === place);
      const url = of("path").reduce((text, { name, value }) => text.replace(`{${name}}`, value), path);
      const query = of("query").map(({ name, value }) => `${name}=${value}`);
      const schema = requestBody?.content["application/json"]?.schema.$ref.split("/").at(-1);
      const body =
        schema === undefined ? {} : { body: JSON.stringify(components.schemas[schema]!.examples![0]) };
      const headers = { "content-type": "application/json" };
      const answer = await fetch(`${harness.url}${url}?${query.join("&")}`, {
        method: method.toUpperCase(),
        ...body,
        ...(schema ? { headers } : {}),
      });
      expect([method, url, query, answer.status]).toEqual([method, url, query, 200]);
    }
  }
});

/** Places of fields and list entries that the printed answer has and the real one has not. */
function missingIn(real: unknown, printed: unknown, place: string): string[] {
  if (typeof printed !== "object" || printed === null || real === null) return [];
  if (Array.isArray(printed)) {
    const [first] = real as unknown[];
    if (first !== undefined) return missingIn(first, printed[0], `${place}[0]`);
    // A simulated cluster sometimes has none of these.
    return printed.length === 0 || /issues|recommendations|pods/.test(place) ? [] : [`${place}[0]`];
  }
  return Object.entries(printed).flatMap(([name, value]) => {
    const inside = (real as Record<string, unknown>)[name];
    return inside === undefined ? [`${place}.${name}`] : missingIn(inside, value, `${place}.${name}`);
  });
}
