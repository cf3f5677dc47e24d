import { randomUUID } from "node:crypto";
import { BridgeError } from "#errors/error.ts";
import { abortable, deadline, type Clock } from "#lib/clock.ts";
import { createLimiter } from "#lib/limit.ts";
import { createSecret } from "#lib/secret.ts";
import type { Cluster, CredentialFacts, PrometheusCredentials } from "./cluster.ts";
import {
  invalid,
  patchedCredentials,
  patchLabels,
  patchTarget,
  toText,
  type ClusterInput,
  type ClusterPatch,
} from "./cluster-input.ts";
import { toCluster, type ClusterRecord } from "./cluster-record.ts";
import type { ClusterDefaults } from "./clusters-file.ts";
import { toCredentialFacts } from "./credential-facts.ts";
import type { Envelope, Keyring } from "./envelope.ts";
import { toKubeConfig } from "./kubernetes-client-config.ts";
import { parseKubeconfig, toKubeconfigText } from "./parse-kubeconfig.ts";
import type { StoredClusters } from "./stored-clusters.ts";

/** Can this cluster be collected from? Throws the BridgeError of what is wrong, or the signal's reason. */
type CheckConnection = (cluster: Cluster, signal: AbortSignal) => Promise<void>;

export interface ClusterAdminDeps {
  clusters: StoredClusters;
  /** Clusters of CLUSTERS_FILE and of the command line, which can't be changed here. */
  fixedIds: ReadonlySet<string>;
  /** Without it no credentials are taken. */
  keyring: Keyring | undefined;
  clock: Clock;
  /** May the API server be there? Throws api_server_refused. */
  checkServer: (server: string, signal: AbortSignal) => Promise<void>;
  checkConnection: CheckConnection;
}

export interface ClusterAdminSettings {
  defaults: ClusterDefaults;
  /** Of one connection check, its waiting for others included. */
  checkTimeoutMs: number;
  checksAtOnce: number;
}

interface AdmissionOptions {
  /** Is the cluster to be reached before it is stored? */
  check: boolean;
  signal: AbortSignal;
}

/**
 * Registers, changes and deletes clusters. Whatever is refused is refused as a whole: nothing of it is stored. A failed connection check has
 * the code of what failed and status 422. Everything throws cluster_read_only, cluster_not_found and state_*.
 */
export interface ClusterAdmin {
  /** Throws cluster_exists, cluster_limit_reached, kubeconfig_*, api_server_refused, credentials_keys_missing and the check's errors. */
  create(input: ClusterInput, options: AdmissionOptions): Promise<Cluster>;
  /**
   * As `create`. Changes that meet another one of the same cluster are done again on top of it. Credentials that the patch does not name stay as
   * they are; throws credentials_* when they have to be opened and can't be.
   */
  update(id: string, patch: ClusterPatch, options: AdmissionOptions): Promise<Cluster>;
  /** Resolves when the work on it has ended and its keys and records are gone. */
  remove(id: string): Promise<void>;
}

const ATTEMPTS_MAX = 5;

export function createClusterAdmin(deps: ClusterAdminDeps, settings: ClusterAdminSettings): ClusterAdmin {
  const { clusters, clock } = deps;
  const limit = createLimiter(settings.checksAtOnce);

  const admit = async (record: ClusterRecord, { check, signal }: AdmissionOptions): Promise<void> => {
    if (!check) return;
    const inTime = `in ${settings.checkTimeoutMs / 1000} s`;
    let hasBegun = false;
    const late = (): BridgeError =>
      hasBegun
        ? new BridgeError("cluster_timeout", `the check did not finish ${inTime}`)
        : new BridgeError("cluster_timeout", `the check did not get its turn ${inTime}`, {
            hint: "Checks of other clusters are under way: try again when these are done.",
          });
    const limited = deadline(clock, settings.checkTimeoutMs, late, signal);
    try {
      const turn = limit(async () => {
        limited.signal.throwIfAborted();
        hasBegun = true;
        await deps.checkConnection(toCluster(record, settings.defaults), limited.signal);
      });
      // Who gives up need not wait for the turn.
      await abortable(turn, limited.signal);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw error instanceof BridgeError ? checkFailed(error) : error;
    } finally {
      limited.dispose();
    }
  };

  const seal = async (
    id: string,
    envelope: Envelope,
    validateCerts: boolean,
  ): Promise<Pick<ClusterRecord, "jwe" | "facts">> => {
    const { kubeconfig, prometheus } = envelope;
    const kubeConfig = await toKubeConfig({ kind: "inline", kubeconfig }, validateCerts);
    const facts: CredentialFacts = toCredentialFacts(kubeConfig, prometheus);
    return { jwe: await keyringOf(deps).seal(id, envelope), facts };
  };

  const admitKubeconfig = async (
    given: { kubeconfig: ClusterInput["kubeconfig"]; context?: string },
    validateCerts: boolean,
    signal: AbortSignal,
  ): Promise<Envelope["kubeconfig"]> => {
    keyringOf(deps);
    const { context } = given;
    const parsed = parseKubeconfig(toText(given.kubeconfig).expose(), {
      validateCerts,
      explicitContext: true,
      ...(context === undefined ? {} : { context }),
    });
    await deps.checkServer(parsed.server, signal);
    return createSecret(toKubeconfigText(parsed));
  };

  const create: ClusterAdmin["create"] = async (input, options) => {
    const id = input.id ?? randomUUID();
    if (deps.fixedIds.has(id) || (await clusters.read(id)) !== undefined) {
      throw new BridgeError("cluster_exists", `a cluster has the id "${id}" already`);
    }
    const at = new Date(clock.now()).toISOString();
    const validateCerts = input.validate_certs ?? settings.defaults.validateCerts;
    const target = patchTarget({}, input.prometheus ?? {});
    const prometheus = patchedCredentials(input.prometheus);
    const kubeconfig = await admitKubeconfig(input, validateCerts, options.signal);
    const envelope = { kubeconfig, ...(prometheus ? { prometheus } : {}) };
    const record: ClusterRecord = {
      id,
      name: input.name,
      platform: input.platform,
      enabled: input.enabled ?? true,
      labels: patchLabels({}, input.labels ?? {}),
      prometheus: target,
      validate_certs: input.validate_certs ?? null,
      ...(await seal(id, envelope, validateCerts)),
      created_at: at,
      updated_at: at,
    };
    await admit(record, options);
    options.signal.throwIfAborted();
    return await clusters.create(record);
  };

  /** `hasKubeconfig`: the patch has one, so only Prometheus' credentials are wanted of the old ones. */
  const openOld = async (record: ClusterRecord, hasKubeconfig: boolean): Promise<Envelope> => {
    try {
      return await keyringOf(deps).open(record.id, record.jwe);
    } catch (error) {
      if (!hasKubeconfig || !(error instanceof BridgeError)) throw error;
      throw new BridgeError(error.code, error.message, {
        cause: error,
        hint: "Give `prometheus` with its bearer_token or basic_auth as well (null for none): the stored ones can't be opened.",
        ...(error.details ? { details: error.details } : {}),
      });
    }
  };

  /** The credentials after the patch, or undefined when they stay as they are. */
  const patchedEnvelope = async (
    record: ClusterRecord,
    patch: ClusterPatch,
    validateCerts: boolean,
    signal: AbortSignal,
  ): Promise<Envelope | undefined> => {
    const { kubeconfig, context } = patch;
    if (context !== undefined && kubeconfig === undefined) {
      throw invalid(
        "context chooses from a kubeconfig, of which only the chosen context was kept: give both",
      );
    }
    const given = patchedCredentials(patch.prometheus);
    if (kubeconfig === undefined && given === undefined) return undefined;
    const isNew = { kubeconfig: kubeconfig !== undefined, prometheus: given !== undefined };
    const isOldNeeded = !isNew.kubeconfig || (!isNew.prometheus && record.facts.prometheus_auth !== null);
    const old = isOldNeeded ? await openOld(record, isNew.kubeconfig) : undefined;
    const prometheus: PrometheusCredentials | null | undefined = isNew.prometheus ? given : old?.prometheus;
    const chosen = context === undefined ? {} : { context };
    const text =
      kubeconfig === undefined
        ? old!.kubeconfig
        : await admitKubeconfig({ kubeconfig, ...chosen }, validateCerts, signal);
    return { kubeconfig: text, ...(prometheus ? { prometheus } : {}) };
  };

  const patched = async (
    record: ClusterRecord,
    patch: ClusterPatch,
    signal: AbortSignal,
  ): Promise<ClusterRecord> => {
    const validate = patch.validate_certs === undefined ? record.validate_certs : patch.validate_certs;
    const validateCerts = validate ?? settings.defaults.validateCerts;
    const target =
      patch.prometheus === undefined ? record.prometheus : patchTarget(record.prometheus, patch.prometheus);
    const envelope = await patchedEnvelope(record, patch, validateCerts, signal);
    return {
      ...record,
      name: patch.name ?? record.name,
      platform: patch.platform ?? record.platform,
      enabled: patch.enabled === undefined ? record.enabled : (patch.enabled ?? true),
      labels: patch.labels === undefined ? record.labels : patchLabels(record.labels, patch.labels),
      prometheus: target,
      validate_certs: validate,
      ...(envelope ? await seal(record.id, envelope, validateCerts) : {}),
      updated_at: new Date(clock.now()).toISOString(),
    };
  };

  const refuseFixed = (id: string): void => {
    if (!deps.fixedIds.has(id)) return;
    throw new BridgeError("cluster_read_only", `"${id}" is not registered over the API`);
  };

  return {
    create,
    update: async (id, patch, options) => {
      refuseFixed(id);
      const isOther = ["kubeconfig", "prometheus", "validate_certs"].some((field) => field in patch);
      for (let left = ATTEMPTS_MAX; ; left--) {
        const current = await clusters.read(id);
        if (!current) throw new BridgeError("cluster_not_found", `no cluster has the id "${id}"`);
        const record = await patched(current.record, patch, options.signal);
        if (isOther) await admit(record, options);
        options.signal.throwIfAborted();
        try {
          return await clusters.replace(record, current.etag);
        } catch (error) {
          const isLost = error instanceof BridgeError && error.code === "state_conflict";
          if (!isLost || left <= 1) throw error;
        }
      }
    },
    remove: async (id) => {
      refuseFixed(id);
      await clusters.remove(id);
    },
  };
}

function keyringOf({ keyring }: ClusterAdminDeps): Keyring {
  if (keyring) return keyring;
  throw new BridgeError("credentials_keys_missing", "there is no key to seal credentials with");
}

/** What is wrong is the request's, as far as HTTP goes. */
function checkFailed(error: BridgeError): BridgeError {
  return new BridgeError(error.code, `the connection check failed, nothing was stored: ${error.message}`, {
    cause: error,
    hint: `${error.hint} (?check=false stores without a check.)`,
    httpStatus: 422,
    ...(error.details ? { details: error.details } : {}),
  });
}
