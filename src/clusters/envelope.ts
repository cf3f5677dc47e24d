import type { PrometheusCredentials } from "./cluster.ts";
import type { Secret } from "#lib/secret.ts";

/** The clear text of a sealed cluster: everything secret about it. */
export interface Envelope {
  kubeconfig: Secret;
  prometheus?: PrometheusCredentials;
}

/** Seals and opens envelopes with the keys of CREDENTIALS_KEYS_DIR. */
export interface Keyring {
  /** A compact JWE for this cluster and no other, made with the newest key. */
  seal(clusterId: string, envelope: Envelope): Promise<string>;
  /** Throws BridgeError credentials_invalid (damaged, of another cluster, not a JWE of ours) or credentials_key_unknown. */
  open(clusterId: string, jwe: string): Promise<Envelope>;
  /** Was it made with the newest key? A JWE that is not is to be sealed anew. */
  isNewest(jwe: string): boolean;
}
