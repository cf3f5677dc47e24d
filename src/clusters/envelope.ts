import type { PrometheusCredentials } from "./cluster.ts";
import type { Secret } from "#lib/secret.ts";

/**
 * The clear text of a sealed cluster: everything secret about it. `origin` (scheme, host and port of prometheus.url) in place of a kubeconfig:
 * the credentials are for this server, and are not sent to another one, whoever changes the URL.
 */
export type Envelope = ({ kubeconfig: Secret } | { origin: string }) & { prometheus?: PrometheusCredentials };

/** Seals and opens envelopes with the keys of CREDENTIALS_KEYS_DIR. */
export interface Keyring {
  /** A compact JWE for this cluster and no other, made with the newest key. */
  seal(clusterId: string, envelope: Envelope): Promise<string>;
  /** Throws BridgeError credentials_invalid (damaged, of another cluster, not a JWE of this program) or credentials_key_unknown. */
  open(clusterId: string, jwe: string): Promise<Envelope>;
  /** True when it was made with the newest key; any other JWE must be re-sealed. */
  isNewest(jwe: string): boolean;
}

/** What opens envelopes only. */
export type CredentialOpener = Pick<Keyring, "open">;
