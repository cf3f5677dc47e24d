import { STATUS_CODES, type IncomingMessage, type RequestOptions } from "node:http";
import { z } from "zod";
import { BridgeError, type ErrorCode, type ErrorOptions } from "#errors/error.ts";
import { toRemoteText } from "#lib/remote-text.ts";
import { readBytes } from "#lib/read-body.ts";
import { hideSecrets, secretsOfHeader } from "#lib/secret.ts";

/** Errors of the X.509 verification, as Node names them (node:tls, "X509 certificate error codes"). */
const UNTRUSTED = new Set([
  "CERT_CHAIN_TOO_LONG",
  "CERT_HAS_EXPIRED",
  "CERT_NOT_YET_VALID",
  "CERT_REJECTED",
  "CERT_REVOKED",
  "CERT_SIGNATURE_FAILURE",
  "CERT_UNTRUSTED",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "ERR_TLS_CERT_ALTNAME_INVALID",
  "HOSTNAME_MISMATCH",
  "INVALID_CA",
  "INVALID_PURPOSE",
  "PATH_LENGTH_EXCEEDED",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
]);

/** TLS alerts with which a server turns a client certificate away. */
export const CLIENT_CERTIFICATE =
  /^ERR_SSL_.*ALERT_(BAD_CERTIFICATE|UNKNOWN_CA|UNSUPPORTED_CERTIFICATE|CERTIFICATE_|ACCESS_DENIED)/;

/** System errors in plain words, without the address that Node puts into its messages. */
const REASONS: Readonly<Record<string, string>> = {
  ENOTFOUND: "its name does not resolve",
  EAI_AGAIN: "the name service does not answer",
  ECONNREFUSED: "the connection was refused",
  ECONNRESET: "the connection was reset",
  EPIPE: "the connection was closed",
  EHOSTUNREACH: "there is no route to it",
  ENETUNREACH: "there is no route to it",
  ETIMEDOUT: "connecting timed out",
};

/** Node's or OpenSSL's code of an error, or "". */
export function errorCode(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "";
}

/** Is this the refusal of a certificate? */
export function isUntrusted(error: unknown): boolean {
  return UNTRUSTED.has(errorCode(error));
}

/** A failure of a TCP connection to `what` ("the API server"): cluster_unreachable. No address gets into the message. */
export function toUnreachable(error: unknown, what: string): BridgeError {
  const code = errorCode(error);
  const reason = REASONS[code] ?? "the connection failed";
  return new BridgeError(
    "cluster_unreachable",
    `${what} is not reachable: ${reason} (${code || "no code"})`,
    {
      cause: error,
      details: { reason: code === "" ? "unknown" : code },
    },
  );
}

/**
 * A failure to connect to the API server, or of the connection, as BridgeError: cluster_tls_untrusted, cluster_unauthorized (client
 * certificate refused), kubeconfig_invalid (client certificate unusable) or cluster_unreachable. No address gets into the message.
 */
export function toConnectError(error: unknown): BridgeError {
  if (error instanceof BridgeError) return error;
  const code = errorCode(error);
  const options = { cause: error, details: { reason: code === "" ? "unknown" : code } };
  if (UNTRUSTED.has(code)) {
    return new BridgeError(
      "cluster_tls_untrusted",
      `the API server's certificate is not trusted (${code})`,
      options,
    );
  }
  if (CLIENT_CERTIFICATE.test(code)) {
    return new BridgeError(
      "cluster_unauthorized",
      `the API server refuses the client certificate (${code})`,
      options,
    );
  }
  if (/^ERR_(OSSL|CRYPTO)_/.test(code)) {
    return new BridgeError(
      "kubeconfig_invalid",
      `the client certificate or key can't be used (${code})`,
      options,
    );
  }
  if (code === "EPROTO" || /^(ERR_SSL_|HPE_)/.test(code)) {
    const text = `what answers at the API server's address does not speak HTTPS (${code})`;
    return new BridgeError("cluster_unreachable", text, options);
  }
  return toUnreachable(error, "the API server");
}

const ERROR_BODY_BYTES_MAX = 64 * 1024;
const TEXT_MAX = 500;

/** A text of the cluster's side, fit for one line of a log or an answer. It keeps the names of users: remedies for missing rights need them. */
export function remoteText(text: string): string {
  const line = toRemoteText(text, { keepUsers: true, charsMax: TEXT_MAX + 1 });
  return line.length > TEXT_MAX ? `${line.slice(0, TEXT_MAX)}...` : line;
}

const statusSchema = z.object({ message: z.string() });

/** The `message` of a Kubernetes Status body, or "" when the body is something else. */
function statusMessage(body: string): string {
  try {
    return remoteText(statusSchema.parse(JSON.parse(body)).message);
  } catch {
    return "";
  }
}

export interface Refusal {
  status: number;
  /** The API server's own words, or the status' standard text. */
  message: string;
}

/**
 * Reads an answer that is not a success: its status and the API server's message, without the credentials of the request that it
 * answers. Never throws.
 */
export async function readRefusal(response: IncomingMessage, sent: RequestOptions): Promise<Refusal> {
  const status = response.statusCode ?? 0;
  let body = "";
  try {
    body = (await readBytes(response, ERROR_BODY_BYTES_MAX))?.toString("utf8") ?? "";
  } catch {
    // The status alone says enough.
  }
  const message = statusMessage(hideSecrets(body, secretsOf(sent)));
  return { status, message: message || (STATUS_CODES[status] ?? "no reason given") };
}

function secretsOf({ headers, auth }: RequestOptions): string[] {
  const authorization = Object.entries(headers ?? {})
    .filter(([name]) => name.toLowerCase() === "authorization")
    .flatMap(([, value]) => secretsOfHeader(String(value)));
  if (typeof auth !== "string") return authorization;
  const password = auth.slice(auth.indexOf(":") + 1);
  return [...authorization, password, Buffer.from(auth).toString("base64")];
}

/**
 * An answer of the API server other than success as BridgeError. `what` names the request: "get service a/b". 404 and whatever else
 * means something special to the caller is given in `special`.
 */
export function toApiError(
  refusal: Refusal,
  what: string,
  special: Partial<Record<number, ErrorCode>> = {},
): BridgeError {
  const { status, message } = refusal;
  const options: ErrorOptions = { details: { status, request: what } };
  const code = special[status];
  if (code) return new BridgeError(code, message, options);
  if (status === 401) {
    return new BridgeError(
      "cluster_unauthorized",
      `the API server does not accept the credentials: ${message}`,
      options,
    );
  }
  if (status === 403) {
    return new BridgeError("cluster_forbidden", `the API server refuses to ${what}: ${message}`, options);
  }
  return new BridgeError(
    "cluster_api_error",
    `the API server answered ${status} to ${what}: ${message}`,
    options,
  );
}
