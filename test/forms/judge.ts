import { openChdb, type EmbeddedDatabase } from "#allinone/chdb.ts";
import { systemClock } from "#lib/clock.ts";
import { createClusterState, type ClusterState } from "#query/state/cluster-state.ts";
import { migrate } from "#storage/migrate.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import type { TestMetric } from "../helpers/otlp-request.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { point, storeMetrics, storeNodes, storeRecord } from "../helpers/stored-world.ts";
import { judgeAnswers } from "./answers.ts";
import type { Form } from "./form.ts";
import type { FormSeries } from "./series.ts";

const MINUTE_MS = 60_000;
/** The whole minute in which the tests began: storage drops what is older than its retention. */
const NOW_MS = Math.floor(Date.now() / MINUTE_MS) * MINUTE_MS;
const AS_OF_MS = NOW_MS - 2 * MINUTE_MS;
/** The window of the answers, and the lookback before it. */
const MINUTES = 21;
const MEMORY_BYTES = 1_000_000_000;

export interface FormEngine {
  /** Stores the form as a cluster of its own and asks for its answers: what is wrong with them. */
  judge: (form: Form) => Promise<string[]>;
  close: () => Promise<void>;
}

/** The embedded engine in an empty folder. */
export async function openFormEngine(path: string): Promise<FormEngine> {
  const logger = createSilentLogger();
  const database = await openChdb({ path, logger, memoryBytesMax: MEMORY_BYTES });
  await migrate(database, {
    parameters: { database: "metrics", retentionDays: 90 },
    clock: systemClock,
    logger,
    signal: new AbortController().signal,
  });
  const state = createClusterState({ database, clock: createManualClock(NOW_MS) }, QUERY_DEFAULTS);
  let clusters = 0;
  return {
    judge: async (form) => {
      const clusterId = `form-${++clusters}`;
      await storeForm(database, clusterId, form);
      return await judgeForm(state, clusterId, form);
    },
    close: () => database.close(),
  };
}

async function storeForm(database: EmbeddedDatabase, clusterId: string, form: Form): Promise<void> {
  const byMetric = Map.groupBy(form.series, ({ metric }) => metric);
  const metrics = [...byMetric].map(([name, all]): TestMetric => ({
    name,
    kind: /_total$|_ENERGY_CONSUMPTION$/.test(name) ? "sum" : "gauge",
    points: all.flatMap(toPoints),
  }));
  await storeMetrics(database, clusterId, metrics);
  if (form.addresses !== undefined) {
    const times = { fromMs: NOW_MS - 10 * MINUTE_MS, toMs: NOW_MS };
    await storeNodes(database, clusterId, new Map(Object.entries(form.addresses)), times);
  }
  const queries = [...byMetric.keys()];
  for (const atMs of [NOW_MS - 2 * 60 * MINUTE_MS, NOW_MS - MINUTE_MS]) {
    await storeRecord(database, clusterId, { atMs, queries, watermarkMs: AS_OF_MS });
  }
}

function toPoints({ labels, value, scrapedSeconds = 1 }: FormSeries): TestMetric["points"] {
  return Array.from({ length: MINUTES }, (_, ago) => {
    const now = typeof value === "number" ? value : value(ago);
    return now === undefined ? [] : [point(labels, AS_OF_MS - ago * MINUTE_MS - scrapedSeconds * 1000, now)];
  }).flat();
}

/** As `judgeAnswers`, without the way through HTTP. */
async function judgeForm(state: ClusterState, clusterId: string, form: Form): Promise<string[]> {
  return await judgeAnswers(form, {
    summary: () => state.summary({ clusterId }),
    nodes: () => state.nodes({ clusterId }),
    pods: () => state.pods({ clusterId, limit: 1000 }),
    gpus: () => state.gpus({ clusterId }),
    health: () => state.health({ clusterId }),
  });
}
