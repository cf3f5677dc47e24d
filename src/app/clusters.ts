import { createClusterAdmin, type ClusterAdmin } from "#clusters/cluster-admin.ts";
import type { Cluster, ClusterRegistry } from "#clusters/cluster.ts";
import type { ClusterDefaults } from "#clusters/clusters-file.ts";
import type { DirectoryKeyring } from "#clusters/keyring.ts";
import { createMergedRegistry } from "#clusters/registry.ts";
import { startRewrap } from "#clusters/rewrap.ts";
import { createStoredClusters } from "#clusters/stored-clusters.ts";
import type { Clock } from "#lib/clock.ts";
import type { Lifecycle } from "#lib/lifecycle.ts";
import type { StateStore } from "#state/store.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { Resolve } from "#tunnel/api-server-guard.ts";
import type { ClusterWork } from "#workers/ports.ts";
import { createGuards } from "./guard.ts";
import type { Config } from "#config.ts";

const REWRAP_INTERVAL_MS = 60_000;
const CHECKS_AT_ONCE = 4;
const NO_CLUSTER =
  "no cluster is known: register one (POST /clusters), set CLUSTERS_FILE, or start with --kubeconfig FILE";

export interface Clusters {
  registry: ClusterRegistry;
  /** The API's side: `forget` ends the work on a cluster that is deleted. */
  open(parts: { check: ClusterWork["check"]; forget: (clusterId: string) => Promise<void> }): ClusterAdmin;
}

/**
 * The clusters of `fixed` (CLUSTERS_FILE, the command line) and those of the API, their admission, and the sealing of their credentials with
 * the newest key.
 */
export function createClusters(
  config: Config,
  base: { clock: Clock; logger: Logger; lifecycle: Lifecycle },
  parts: {
    fixed: readonly Cluster[];
    defaults: ClusterDefaults;
    store: StateStore;
    keyring: DirectoryKeyring | undefined;
    resolve?: Resolve;
  },
): Clusters {
  const { clock, logger, lifecycle } = base;
  const { fixed, defaults, store, keyring } = parts;
  const fixedIds = new Set(fixed.map(({ id }) => id));
  let forget: (clusterId: string) => Promise<void> = () => Promise.resolve();
  const stored = createStoredClusters(
    {
      store,
      clock,
      logger,
      // A deletion that was cut off must not end the collection of a cluster that took the id since.
      forget: async (clusterId) => {
        if (!fixedIds.has(clusterId)) await forget(clusterId);
      },
    },
    { defaults },
  );
  const guards = createGuards(config, parts.resolve);
  const registry = createMergedRegistry(fixed, stored, logger);
  const recover = async (): Promise<void> => {
    await stored.recover();
    if ((await registry.list()).length === 0) logger.warn(NO_CLUSTER);
  };
  return {
    registry,
    open: ({ check, forget: end }) => {
      forget = end;
      lifecycle.onStop("deletions", () => stored.idle());
      recover().catch((error: unknown) =>
        logger.warn({ err: error }, "deletions that started before the last restart are not finished yet"),
      );
      if (keyring) {
        const stop = startRewrap({ clusters: stored, keyring, clock, logger }, REWRAP_INTERVAL_MS);
        lifecycle.onStop("sealing anew", stop);
      }
      return createClusterAdmin(
        {
          clusters: stored,
          fixedIds,
          keyring,
          clock,
          checkServer: async (server, signal, of) => await guards?.[of].check(server, signal),
          checkConnection: check,
        },
        {
          defaults,
          checkTimeoutMs: 2 * config.METRICS_COLLECTION_TIMEOUT,
          checksAtOnce: CHECKS_AT_ONCE,
        },
      );
    },
  };
}
