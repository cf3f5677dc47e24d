import type { Cluster } from "#clusters/cluster.ts";
import { createApiServerGuard, type ApiServerGuard, type Resolve } from "#tunnel/api-server-guard.ts";
import type { WorkConfig } from "./work-settings.ts";

type GuardConfig = Pick<WorkConfig, "ALLOW_PRIVATE_API_SERVERS" | "API_SERVER_CIDRS">;

/** Where the API servers of clusters that nobody vouches for may be; undefined: anywhere. */
export function createGuard(config: GuardConfig, resolve?: Resolve): ApiServerGuard | undefined {
  return config.ALLOW_PRIVATE_API_SERVERS
    ? undefined
    : createApiServerGuard({ cidrs: config.API_SERVER_CIDRS }, resolve);
}

/** The guard of one cluster: none where the operator vouches for its kubeconfig. */
export type GuardOf = (cluster: Cluster) => ApiServerGuard | undefined;

export function createGuardOf(config: GuardConfig, resolve?: Resolve): GuardOf {
  const guard = createGuard(config, resolve);
  return ({ credentials }) => (credentials.kind.startsWith("trusted") ? undefined : guard);
}
