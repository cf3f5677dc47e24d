import { isIP } from "node:net";
import type { Duplex } from "node:stream";
import { connect, type TLSSocket } from "node:tls";
import { BridgeError } from "#errors/error.ts";
import { CLIENT_CERTIFICATE, errorCode, isUntrusted } from "./api-error.ts";

export interface SecureOptions {
  /** The name, or the address, that the certificate must have. */
  serverName: string;
  /** PEM, instead of the system's CAs. */
  ca?: string;
  /** PEM, for a server that asks for one. */
  clientCertificate?: { cert: string; key: string };
  /** Default true. */
  isVerified?: boolean;
  /** The remedy where something else than TLS answers. */
  plainHint?: string;
}

const PLAIN_HINT = "Set prometheus.scheme to http, or prometheus.port to the port that speaks https.";

/**
 * TLS over a port-forward or a TCP connection. The TLS socket owns `raw` from here on, also when this fails.
 * Throws BridgeError prometheus_tls_untrusted, prometheus_unauthorized (the client certificate), prometheus_unexpected_answer (no TLS
 * there), prometheus_unreachable, what `raw` failed with, or the signal's reason.
 */
export async function secure(raw: Duplex, options: SecureOptions, signal: AbortSignal): Promise<TLSSocket> {
  try {
    signal.throwIfAborted();
    return await handshake(raw, options, signal);
  } catch (error) {
    raw.destroy();
    if (signal.aborted) throw signal.reason;
    throw toTlsError(error, options);
  }
}

function handshake(raw: Duplex, options: SecureOptions, signal: AbortSignal): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const { serverName, isVerified = true, clientCertificate: client } = options;
    const socket = connect({
      socket: raw,
      // RFC 6066 section 3: an address is no server name; it is only what the certificate must be for.
      ...(isIP(serverName) === 0 ? { servername: serverName } : { host: serverName }),
      rejectUnauthorized: isVerified,
      // As towards the API server: every certificate of the bundle is trusted.
      allowPartialTrustChain: true,
      ALPNProtocols: ["http/1.1"],
      ...(options.ca === undefined ? {} : { ca: options.ca }),
      ...client,
    });
    const onAbort = (): void => void socket.destroy(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
    raw.once("error", (error) => socket.destroy(error));
    // Both stay for good: a late error must not end the process, and the end of one is the end of the other.
    socket.on("error", reject);
    socket.once("close", () => {
      signal.removeEventListener("abort", onAbort);
      raw.destroy();
      reject(new Error("closed"));
    });
    socket.once("secureConnect", () => {
      signal.removeEventListener("abort", onAbort);
      resolve(socket);
    });
  });
}

/**
 * The refusal of a client certificate, or of there being none; undefined for any other error. With TLS 1.3 it comes after the handshake, in
 * place of an answer.
 */
export function toClientCertificateError(error: unknown, isSent: boolean): BridgeError | undefined {
  const code = errorCode(error);
  if (!CLIENT_CERTIFICATE.test(code)) return undefined;
  const sent = isSent ? "it was sent this cluster's client certificate" : "it was sent no client certificate";
  return new BridgeError(
    "prometheus_unauthorized",
    `Prometheus ended the TLS connection (${code}); ${sent}`,
    {
      cause: error,
      details: { reason: code },
      hint: isSent
        ? "This cluster's client certificate may have expired, been revoked, or be issued by another CA than the one that this Prometheus trusts. Give a new prometheus.client_certificate."
        : "Give this cluster the client certificate that its Prometheus asks for (prometheus.client_certificate, with prometheus.url).",
    },
  );
}

/** A failure of the handshake as BridgeError. */
export function toTlsError(error: unknown, options: SecureOptions): BridgeError {
  if (error instanceof BridgeError) return error;
  const refusal = toClientCertificateError(error, options.clientCertificate !== undefined);
  return refusal ?? toHandshakeError(error, options);
}

function toHandshakeError(
  error: unknown,
  { serverName, plainHint = PLAIN_HINT }: SecureOptions,
): BridgeError {
  const code = errorCode(error);
  const rest = { cause: error, details: { reason: code, server_name: serverName } };
  if (isUntrusted(error)) {
    const text = `Prometheus' certificate is not trusted for ${serverName} (${code})`;
    return new BridgeError("prometheus_tls_untrusted", text, rest);
  }
  if (code.includes("_ALERT_")) {
    const text = `Prometheus refused the TLS handshake (${code})`;
    return new BridgeError("prometheus_unreachable", text, rest);
  }
  if (code.startsWith("ERR_SSL_") || code === "EPROTO") {
    return new BridgeError(
      "prometheus_unexpected_answer",
      `what answers there does not speak TLS (${code})`,
      {
        ...rest,
        hint: plainHint,
      },
    );
  }
  const text = `Prometheus closed the connection during the TLS handshake (${code || "no code"})`;
  return new BridgeError("prometheus_unreachable", text, rest);
}
