import type { ClusterAdmin } from "#clusters/cluster-admin.ts";
import { toText } from "#clusters/cluster-input.ts";
import { createClusterCalls } from "#clusters/connection-checks.ts";
import { inspectKubeconfig } from "#clusters/inspect-kubeconfig.ts";
import type { Onboarding } from "#http/routes/onboard.ts";
import type { Clock } from "#lib/clock.ts";
import type { Resolve } from "#tunnel/api-server-guard.ts";
import type { ClusterWork } from "#workers/ports.ts";
import { createGuards } from "./guard.ts";
import type { Config } from "#config.ts";

const SEARCHES_AT_ONCE = 4;

/** What is tried before a cluster is registered. Nothing of it is stored. */
export function createOnboarding(
  config: Config,
  parts: {
    clock: Clock;
    clusterAdmin: Pick<ClusterAdmin, "draft">;
    work: Pick<ClusterWork, "diagnose" | "findServices">;
    resolve?: Resolve;
  },
): Onboarding {
  const { clock, clusterAdmin, work } = parts;
  const guard = createGuards(config, parts.resolve)?.kubeconfig;
  return {
    prometheusNamespace: config.PROMETHEUS_NAMESPACE,
    inspect: (kubeconfig, validateCerts = config.VALIDATE_CERTS) =>
      inspectKubeconfig(toText(kubeconfig).expose(), {
        validateCerts,
        checkHost: (hostname) => guard?.checkHost(hostname),
      }),
    draft: (input, signal) => clusterAdmin.draft(input, signal),
    diagnose: work.diagnose,
    findServices: createClusterCalls(
      { clock, call: (cluster, signal) => work.findServices(cluster, signal) },
      { checkTimeoutMs: 2 * config.METRICS_COLLECTION_TIMEOUT, checksAtOnce: SEARCHES_AT_ONCE },
      { what: "the search", failed: "the Services can't be searched" },
    ),
  };
}
