import type { Clock } from "#lib/clock.ts";
import { createTurns } from "#lib/turns.ts";
import type { BudgetLimits } from "#promql/budget.ts";
import { createEngine, type Engine } from "#promql/engine.ts";
import type { SampleSource } from "#promql/source.ts";
import type { QueryLimits } from "#query/limits.ts";
import type { Database } from "#storage/database.ts";
import type { ChunkSettings } from "./chunks.ts";
import type { Lookup } from "./lookup.ts";
import { createSamplePool, type SamplePool } from "./sample-pool.ts";
import { createPromqlSource } from "./source.ts";

export interface PromqlSettings extends Pick<ChunkSettings, "computedSamplesMin" | "hoursSamplesMin"> {
  /** Of one query. */
  limits: BudgetLimits;
  lookbackMs: number;
  /** The longest time of a query, waiting included. */
  timeoutMs: number;
}

/** PromQL over ClickHouse. */
export interface Promql {
  readonly settings: PromqlSettings;
  /** What all queries hold together. */
  readonly pool: SamplePool;
  /** Everything is of the clusters for which `sees` is true. */
  forCaller(sees: (clusterId: string) => boolean): { engine: Engine; lookup: Lookup; source: SampleSource };
}

/** All queries together may hold a half more than one of them. */
const POOL_SHARE = 1.5;

export function createPromql(
  deps: { database: Database; clock: Clock },
  {
    databaseName,
    queryLimits,
    ...settings
  }: PromqlSettings & { databaseName: string; queryLimits: QueryLimits },
): Promql {
  const { limits, lookbackMs } = settings;
  const source = createPromqlSource(deps, { ...settings, databaseName, ...limits, limits: queryLimits });
  const turns = createTurns();
  return {
    settings,
    pool: createSamplePool(limits.samplesMax * POOL_SHARE),
    forCaller: (sees) => {
      const own = source.sourceFor(sees);
      return {
        engine: createEngine({ source: own, turns }, { limits, lookbackMs }),
        lookup: own.lookup,
        source: own,
      };
    },
  };
}
