import type { Cluster } from "#clusters/cluster.ts";
import type { ServerSource } from "#clusters/sealed-credentials.ts";
import {
  createApiServerGuard,
  PROMETHEUS_URL,
  type ApiServerGuard,
  type Resolve,
} from "#tunnel/api-server-guard.ts";
import type { WorkConfig } from "./work-settings.ts";

type GuardConfig = Pick<WorkConfig, "ALLOW_PRIVATE_API_SERVERS" | "API_SERVER_CIDRS">;

/** Where the servers of clusters that nobody vouches for may be, by who names them; undefined: anywhere. */
export function createGuards(
  config: GuardConfig,
  resolve?: Resolve,
): Record<ServerSource, ApiServerGuard> | undefined {
  if (config.ALLOW_PRIVATE_API_SERVERS) return undefined;
  const settings = { cidrs: config.API_SERVER_CIDRS };
  return {
    kubeconfig: createApiServerGuard(settings, resolve),
    url: createApiServerGuard(settings, resolve, PROMETHEUS_URL),
  };
}

/** The guard of one cluster: none where the operator vouches for it. */
export type GuardOf = (cluster: Cluster) => ApiServerGuard | undefined;

export function createGuardOf(config: GuardConfig, resolve?: Resolve): GuardOf {
  const guards = createGuards(config, resolve);
  return ({ credentials, prometheus }) =>
    credentials.kind.startsWith("trusted")
      ? undefined
      : guards?.[prometheus.url === undefined ? "kubeconfig" : "url"];
}
