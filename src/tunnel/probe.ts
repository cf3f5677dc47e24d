import { lookup as systemLookup, type LookupAddress } from "node:dns";
import { connect as connectTcp, isIP, type LookupFunction, type Socket } from "node:net";
import { connect as connectTls, type PeerCertificate, type TLSSocket } from "node:tls";
import { BridgeError } from "#errors/error.ts";
import { abortable, deadline, type Clock } from "#lib/clock.ts";
import { toConnectError } from "./api-error.ts";
import type { ApiServerGuard } from "./api-server-guard.ts";
import { portOf, toDirectConnectError, toSecureOptions, type DirectTarget } from "./direct.ts";
import type { KubeConnection } from "./kube-client.ts";

/** The API server's certificate, as its handshake shows it. */
export interface ServerCertificate {
  /** TLSv1.3 */
  protocol: string;
  /** Node's code of the reason why it is not trusted; absent when it is trusted. */
  problem?: string;
  subject: string;
  /** Names of the issuers that were sent, up to the root. */
  issuers: string[];
  dnsNames: string[];
  /** How many IP addresses it is for. */
  addresses: number;
  /** Ms since the epoch. */
  validUntil: number;
}

/** The connection to a server step by step, with the same name resolution and the same CA as every request. Everything throws cluster_* or the signal's reason. */
export interface ServerProbe {
  host: string;
  port: number;
  /** The number of addresses of the name, and their families. An address itself counts as one. */
  resolve(signal: AbortSignal): Promise<{ addresses: number; families: string[] }>;
  /** Opens a TCP connection and closes it. */
  connect(signal: AbortSignal): Promise<void>;
  /** Does a TLS handshake without sending credentials. An untrusted certificate is no error but the answer. */
  handshake(signal: AbortSignal): Promise<ServerCertificate>;
}

const ISSUERS_MAX = 10;
const NAMES_MAX = 50;

/** `timeoutMs` is for each of the three. Not for a kubeconfig with a proxy: nothing here goes through one. */
export function createServerProbe(
  { url, options }: KubeConnection,
  settings: { clock: Clock; timeoutMs: number; toError?: (error: unknown) => BridgeError },
): ServerProbe {
  const { toError = toConnectError } = settings;
  const host = url.hostname.replace(/^\[|\]$/g, "");
  const port = portOf(url);
  const lookup: LookupFunction = options.lookup ?? systemLookup;
  const attempt = async <T>(
    what: string,
    parent: AbortSignal,
    run: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> => {
    const text = `${what} did not end in ${settings.timeoutMs} ms`;
    const timedOut = (): Error => new BridgeError("cluster_timeout", text);
    const { signal, dispose } = deadline(settings.clock, settings.timeoutMs, timedOut, parent);
    try {
      signal.throwIfAborted();
      return await abortable(run(signal), signal);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw toError(error);
    } finally {
      dispose();
    }
  };
  return {
    host,
    port,
    resolve: async (signal) => {
      if (isIP(host) !== 0) return { addresses: 1, families: [`IPv${isIP(host)}`] };
      const found = await attempt("the name resolution", signal, () => resolveName(host, lookup));
      const families = [...new Set(found.map(({ family }) => `IPv${family}`))].toSorted();
      return { addresses: found.length, families };
    },
    connect: async (signal) => {
      await attempt("the TCP connection", signal, (limited) =>
        opened(connectTcp({ host, port, lookup }), "connect", limited, () => {}),
      );
    },
    handshake: async (signal) => {
      const { ca, servername, cert, key } = options as TlsOptions;
      const start = (): TLSSocket =>
        connectTls({
          host,
          port,
          lookup,
          rejectUnauthorized: false,
          allowPartialTrustChain: true,
          ALPNProtocols: ["http/1.1"],
          ...(ca === undefined ? {} : { ca }),
          ...(servername === undefined ? {} : { servername }),
          ...(cert === undefined || key === undefined ? {} : { cert, key }),
        });
      return await attempt("the TLS handshake", signal, (limited) => {
        const socket = start();
        return opened(socket, "secureConnect", limited, () => toCertificate(socket));
      });
    },
  };
}

interface TlsOptions {
  ca?: string | Buffer;
  servername?: string;
  /** Only of a Prometheus without a tunnel: it is a part of the handshake there. */
  cert?: string;
  key?: string;
}

/** The same for a Prometheus without a tunnel. Everything throws api_server_refused, cluster_unreachable, cluster_timeout or prometheus_*. */
export function createDirectProbe(
  target: DirectTarget,
  guard: ApiServerGuard | undefined,
  settings: { clock: Clock; timeoutMs: number },
): ServerProbe {
  const url = new URL(target.url);
  guard?.checkHost(url.hostname);
  const { ca, clientCertificate } = target;
  const options = {
    ...(guard ? { lookup: guard.lookup } : {}),
    ...(ca === undefined ? {} : { ca }),
    ...clientCertificate,
  };
  const secured = toSecureOptions(target);
  return createServerProbe(
    { url, options },
    { ...settings, toError: (error) => toDirectConnectError(error, secured) },
  );
}

function resolveName(host: string, lookup: LookupFunction): Promise<LookupAddress[]> {
  return new Promise((resolve, reject) => {
    lookup(host, { all: true }, (error, found, family) => {
      if (error) reject(error);
      else resolve(typeof found === "string" ? [{ address: found, family: family ?? 4 }] : found);
    });
  });
}

/** Reads from the socket once it is open, and closes it in every case. */
function opened<T>(
  socket: Socket,
  event: "connect" | "secureConnect",
  signal: AbortSignal,
  read: () => T,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const onAbort = (): void => void socket.destroy(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
    // Stays for good: a late error must not end the process.
    socket.on("error", reject);
    socket.once("close", () => {
      signal.removeEventListener("abort", onAbort);
      reject(Object.assign(new Error("closed"), { code: "ECONNRESET" }));
    });
    socket.once(event, () => {
      resolve(read());
      socket.destroy();
    });
  });
}

function toCertificate(socket: TLSSocket): ServerCertificate {
  const { authorizationError } = socket;
  const problem = authorizationError as Error | string | null | undefined;
  const peer = socket.getPeerCertificate(true);
  const names = (peer.subjectaltname ?? "").split(", ");
  return {
    protocol: socket.getProtocol() ?? "",
    ...(problem ? { problem: problem instanceof Error ? problem.message : problem } : {}),
    subject: nameOf(peer.subject),
    issuers: issuersOf(peer),
    dnsNames: names
      .filter((name) => name.startsWith("DNS:"))
      .slice(0, NAMES_MAX)
      .map((name) => name.slice("DNS:".length)),
    addresses: names.filter((name) => name.startsWith("IP Address:")).length,
    validUntil: Date.parse(peer.valid_to),
  };
}

function issuersOf(peer: ReturnType<TLSSocket["getPeerCertificate"]>): string[] {
  const issuers: string[] = [];
  for (let at: typeof peer | undefined = peer; at && issuers.length < ISSUERS_MAX;) {
    issuers.push(nameOf(at.issuer));
    const next: typeof peer | undefined = (at as typeof peer & { issuerCertificate?: typeof peer })
      .issuerCertificate;
    at = next === at ? undefined : next;
  }
  return [...new Set(issuers)];
}

function nameOf(name: PeerCertificate["subject"] | undefined): string {
  return [name?.CN, name?.O].flat().find((part) => part !== undefined) ?? "";
}
