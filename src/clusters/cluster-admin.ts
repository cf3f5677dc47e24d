import { randomUUID } from "node:crypto";
import { BridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import { retryOnConflict } from "#state/retry-on-conflict.ts";
import type { Cluster } from "./cluster.ts";
import { patchLabels, patchTarget, type ClusterInput, type ClusterPatch } from "./cluster-input.ts";
import { toCluster, type ClusterRecord } from "./cluster-record.ts";
import type { ClusterDefaults } from "./clusters-file.ts";
import {
  createConnectionChecks,
  type CheckConnection,
  type ConnectionCheckSettings,
} from "./connection-checks.ts";
import { toTarget } from "./prometheus-target.ts";
import {
  admitNew,
  sealNew,
  sealPatched,
  toClearCredentials,
  type SealingDeps,
  type SealingTarget,
} from "./sealed-credentials.ts";
import type { StoredClusters } from "./stored-clusters.ts";

export interface ClusterAdminDeps extends SealingDeps {
  clusters: StoredClusters;
  /** Clusters of CLUSTERS_FILE and of the command line, which can't be changed here. */
  fixedIds: ReadonlySet<string>;
  clock: Clock;
  checkConnection: CheckConnection;
}

export interface ClusterAdminSettings extends ConnectionCheckSettings {
  defaults: ClusterDefaults;
}

interface AdmissionOptions {
  /** Check the connection to the cluster before it is stored. */
  check: boolean;
  signal: AbortSignal;
}

/**
 * Registers, changes and deletes clusters. A refused request stores nothing. A failed connection check has the
 * code of what failed and the status 422. Every function throws cluster_read_only, cluster_not_found and state_*.
 */
export interface ClusterAdmin {
  /** Throws cluster_exists, cluster_limit_reached, kubeconfig_*, api_server_refused, credentials_keys_missing and the check's errors. */
  create(input: ClusterInput, options: AdmissionOptions): Promise<Cluster>;
  /**
   * The cluster as `create` would register it, under an id of its own, with its credentials in clear text. Nothing is stored, and the connection is
   * not checked. Throws as `create` does up to there.
   */
  draft(input: ClusterInput, signal: AbortSignal): Promise<Cluster>;
  /**
   * As `create`. When another change of the same cluster is faster, the patch is applied again on top of it. Credentials that the patch does
   * not name stay as they are; throws credentials_* when the stored ones are needed and can't be opened.
   */
  update(id: string, patch: ClusterPatch, options: AdmissionOptions): Promise<Cluster>;
  /** Resolves when the work on the cluster has ended and its keys and records are deleted. */
  remove(id: string): Promise<void>;
}

const ATTEMPTS_MAX = 5;
/** A patch with one of these fields is checked against the cluster. */
const CONNECTION_FIELDS = ["kubeconfig", "prometheus", "validate_certs"];

export function createClusterAdmin(deps: ClusterAdminDeps, settings: ClusterAdminSettings): ClusterAdmin {
  const { clusters, clock } = deps;
  const { defaults } = settings;
  const checkConnection = createConnectionChecks(deps, settings);
  const nowText = (): string => new Date(clock.now()).toISOString();

  const admit = async (record: ClusterRecord, { check, signal }: AdmissionOptions): Promise<void> => {
    if (check) await checkConnection(toCluster(record, defaults), signal);
    signal.throwIfAborted();
  };

  const refuseFixed = (id: string): void => {
    if (!deps.fixedIds.has(id)) return;
    throw new BridgeError("cluster_read_only", `"${id}" is not registered over the API`);
  };

  const refuseKnown = async (id: string): Promise<void> => {
    if (!deps.fixedIds.has(id) && (await clusters.read(id)) === undefined) return;
    throw new BridgeError("cluster_exists", `a cluster has the id "${id}" already`);
  };

  return {
    create: async (input, options) => {
      const id = input.id ?? randomUUID();
      await refuseKnown(id);
      const described = describe(id, input, nowText());
      const sealed = await sealNew(deps, id, input, sealingTarget(described, defaults), options.signal);
      const record = { ...described, ...sealed };
      await admit(record, options);
      return await clusters.create(record);
    },
    draft: async (input, signal) => {
      if (input.id !== undefined) await refuseKnown(input.id);
      // What goes wrong with it must not count against a registered cluster.
      const id = randomUUID();
      const described = describe(id, input, nowText());
      const target = sealingTarget(described, defaults);
      const { envelope, facts } = await admitNew(deps, id, input, target, signal);
      const cluster = toCluster({ ...described, jwe: "", facts }, defaults);
      return { ...cluster, credentials: toClearCredentials(envelope) };
    },
    update: async (id, patch, options) => {
      refuseFixed(id);
      const check = options.check && CONNECTION_FIELDS.some((field) => field in patch);
      return await retryOnConflict(ATTEMPTS_MAX, async () => {
        const current = await clusters.read(id);
        if (!current) throw new BridgeError("cluster_not_found", `no cluster has the id "${id}"`);
        const described = patched(current.record, patch, nowText());
        const target = sealingTarget(described, defaults);
        const sealed = await sealPatched(deps, current.record, patch, target, options.signal);
        const record = { ...described, ...sealed };
        await admit(record, { ...options, check });
        return await clusters.replace(record, current.etag);
      });
    },
    remove: async (id) => {
      refuseFixed(id);
      await clusters.remove(id);
    },
  };
}

function sealingTarget(
  { prometheus, validate_certs: validateCerts }: Pick<ClusterRecord, "prometheus" | "validate_certs">,
  defaults: ClusterDefaults,
): SealingTarget {
  return {
    prometheus: toTarget(prometheus, defaults.prometheus),
    validateCerts: validateCerts ?? defaults.validateCerts,
  };
}

/** The record of a new cluster without its credentials. Throws `request_invalid`. */
function describe(id: string, input: ClusterInput, at: string): Omit<ClusterRecord, "jwe" | "facts"> {
  return {
    id,
    name: input.name,
    platform: input.platform,
    enabled: input.enabled ?? true,
    labels: patchLabels({}, input.labels ?? {}),
    prometheus: patchTarget({}, input.prometheus ?? {}),
    validate_certs: input.validate_certs ?? null,
    created_at: at,
    updated_at: at,
  };
}

/** The record with the patch's fields, its credentials aside. Throws `request_invalid`. */
function patched(record: ClusterRecord, patch: ClusterPatch, at: string): ClusterRecord {
  const { enabled, labels, prometheus, validate_certs: validateCerts } = patch;
  return {
    ...record,
    name: patch.name ?? record.name,
    platform: patch.platform ?? record.platform,
    enabled: enabled === undefined ? record.enabled : (enabled ?? true),
    labels: labels === undefined ? record.labels : patchLabels(record.labels, labels),
    prometheus: prometheus === undefined ? record.prometheus : patchTarget(record.prometheus, prometheus),
    validate_certs: validateCerts === undefined ? record.validate_certs : validateCerts,
    updated_at: at,
  };
}
