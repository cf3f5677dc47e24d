import type { Duplex } from "node:stream";
import { connect, type TLSSocket } from "node:tls";
import { BridgeError } from "#errors/error.ts";
import { errorCode, isUntrusted } from "./api-error.ts";

export interface SecureOptions {
  /** The name that the certificate must have. */
  serverName: string;
  /** PEM, instead of the system's CAs. */
  ca?: string;
}

/**
 * TLS over a port-forward, always verified. The TLS socket owns `raw` from here on, also when this fails.
 * Throws BridgeError prometheus_tls_untrusted, prometheus_unexpected_answer (no TLS there), prometheus_unreachable, what `raw`
 * failed with, or the signal's reason.
 */
export async function secure(raw: Duplex, options: SecureOptions, signal: AbortSignal): Promise<TLSSocket> {
  try {
    signal.throwIfAborted();
    return await handshake(raw, options, signal);
  } catch (error) {
    raw.destroy();
    if (signal.aborted) throw signal.reason;
    throw toTlsError(error, options.serverName);
  }
}

function handshake(raw: Duplex, options: SecureOptions, signal: AbortSignal): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      socket: raw,
      servername: options.serverName,
      rejectUnauthorized: true,
      // As towards the API server: every certificate of the bundle is trusted.
      allowPartialTrustChain: true,
      ALPNProtocols: ["http/1.1"],
      ...(options.ca === undefined ? {} : { ca: options.ca }),
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

function toTlsError(error: unknown, serverName: string): BridgeError {
  if (error instanceof BridgeError) return error;
  const code = errorCode(error);
  const options = { cause: error, details: { reason: code, server_name: serverName } };
  if (isUntrusted(error)) {
    const text = `Prometheus' certificate is not trusted for ${serverName} (${code})`;
    return new BridgeError("prometheus_tls_untrusted", text, options);
  }
  if (code.startsWith("ERR_SSL_") || code === "EPROTO") {
    return new BridgeError(
      "prometheus_unexpected_answer",
      `what answers there does not speak TLS (${code})`,
      {
        ...options,
        hint: "Set prometheus.scheme to http, or prometheus.port to the port that speaks https.",
      },
    );
  }
  const text = `Prometheus closed the connection during the TLS handshake (${code || "no code"})`;
  return new BridgeError("prometheus_unreachable", text, options);
}
