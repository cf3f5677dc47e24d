import { BridgeError } from "#errors/error.ts";
import { assert } from "#lib/assert.ts";
import { createSecret } from "#lib/secret.ts";
import {
  changesCredentials,
  invalid,
  keepsCredentials,
  patchedCredentials,
  toText,
  type ClusterInput,
  type ClusterPatch,
} from "./cluster-input.ts";
import type { ClusterRecord } from "./cluster-record.ts";
import type { Envelope, Keyring } from "./envelope.ts";
import { readCredentialFacts } from "./kubernetes-client-config.ts";
import { parseKubeconfig, toKubeconfigText } from "./parse-kubeconfig.ts";

export interface SealingDeps {
  /** Without it no credentials are taken. */
  keyring: Keyring | undefined;
  /** Throws `api_server_refused` when this API server is not allowed. */
  checkServer: (server: string, signal: AbortSignal) => Promise<void>;
}

type SealedCredentials = Pick<ClusterRecord, "jwe" | "facts">;

/** The credentials of a new cluster. Throws `kubeconfig_*`, `api_server_refused`, `credentials_keys_missing`, `request_invalid`. */
export async function sealNew(
  deps: SealingDeps,
  id: string,
  input: Pick<ClusterInput, "kubeconfig" | "context" | "prometheus">,
  validateCerts: boolean,
  signal: AbortSignal,
): Promise<SealedCredentials> {
  const prometheus = patchedCredentials(input.prometheus, undefined);
  const kubeconfig = await admitKubeconfig(deps, input, validateCerts, signal);
  return await seal(deps, id, { kubeconfig, ...(prometheus ? { prometheus } : {}) }, validateCerts);
}

/**
 * The credentials after a patch, or undefined when they stay as they are. Throws what `sealNew` throws, and `credentials_*` when the stored
 * ones are needed and can't be opened.
 */
export async function sealPatched(
  deps: SealingDeps,
  record: ClusterRecord,
  patch: ClusterPatch,
  validateCerts: boolean,
  signal: AbortSignal,
): Promise<SealedCredentials | undefined> {
  const { kubeconfig, context } = patch;
  if (context !== undefined && kubeconfig === undefined) {
    throw invalid("context chooses from a kubeconfig, of which only the chosen context was kept: give both");
  }
  if (kubeconfig === undefined && !changesCredentials(patch.prometheus)) return undefined;
  const needsStored = kubeconfig === undefined || keepsCredentials(patch.prometheus, record.facts);
  const stored = needsStored ? await openStored(deps, record, kubeconfig !== undefined) : undefined;
  const prometheus = patchedCredentials(patch.prometheus, stored?.prometheus);
  const text =
    kubeconfig === undefined
      ? stored?.kubeconfig
      : await admitKubeconfig(
          deps,
          { kubeconfig, ...(context === undefined ? {} : { context }) },
          validateCerts,
          signal,
        );
  assert(text !== undefined, "the kubeconfig is that of the patch or the stored one");
  const envelope = { kubeconfig: text, ...(prometheus ? { prometheus } : {}) };
  return await seal(deps, record.id, envelope, validateCerts);
}

async function admitKubeconfig(
  deps: SealingDeps,
  { kubeconfig, context }: Pick<ClusterInput, "kubeconfig" | "context">,
  validateCerts: boolean,
  signal: AbortSignal,
): Promise<Envelope["kubeconfig"]> {
  requireKeyring(deps);
  const parsed = parseKubeconfig(toText(kubeconfig).expose(), {
    validateCerts,
    explicitContext: true,
    ...(context === undefined ? {} : { context }),
  });
  await deps.checkServer(parsed.server, signal);
  return createSecret(toKubeconfigText(parsed));
}

async function seal(
  deps: SealingDeps,
  id: string,
  envelope: Envelope,
  validateCerts: boolean,
): Promise<SealedCredentials> {
  const { kubeconfig, prometheus } = envelope;
  const credentials = { kind: "inline" as const, kubeconfig, ...(prometheus ? { prometheus } : {}) };
  const facts = await readCredentialFacts({ id, credentials, validateCerts }, undefined);
  return { jwe: await requireKeyring(deps).seal(id, envelope), facts };
}

/** `hasKubeconfig`: the patch has one, so only the stored credentials of Prometheus are needed. */
async function openStored(
  deps: SealingDeps,
  record: ClusterRecord,
  hasKubeconfig: boolean,
): Promise<Envelope> {
  try {
    return await requireKeyring(deps).open(record.id, record.jwe);
  } catch (error) {
    if (!hasKubeconfig || !(error instanceof BridgeError)) throw error;
    throw new BridgeError(error.code, error.message, {
      cause: error,
      hint: "Give `prometheus` with its bearer_token or basic_auth as well (null for none), and with its headers: the stored ones can't be opened.",
      ...(error.details ? { details: error.details } : {}),
    });
  }
}

function requireKeyring({ keyring }: SealingDeps): Keyring {
  if (keyring) return keyring;
  throw new BridgeError("credentials_keys_missing", "there is no key to seal credentials with");
}
