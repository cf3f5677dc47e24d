import { once } from "node:events";
import { createServer as createHttpServer, type RequestListener } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { toKubeConfig } from "#clusters/kubernetes-client-config.ts";
import { BridgeError, type ErrorCode } from "#errors/error.ts";
import { systemClock, type Clock } from "#lib/clock.ts";
import { createSecret } from "#lib/secret.ts";
import { createKubeClient } from "#tunnel/kube-client.ts";
import type { PortForwardStream } from "#tunnel/port-forward-stream.ts";
import { openPortForward } from "#tunnel/port-forward.ts";
import { openTunnel, type Tunnel, type TunnelSettings } from "#tunnel/dispatcher.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { Certificate } from "./certificates.ts";
import type { FakeKubeApi } from "./kube-api.ts";

const nothing = (): void => {};

const silentLogger: Logger = {
  trace: nothing,
  debug: nothing,
  info: nothing,
  warn: nothing,
  error: nothing,
  fatal: nothing,
  child: () => silentLogger,
};

export interface TunnelOptions extends Partial<TunnelSettings> {
  kubeconfig?: string;
  validateCerts?: boolean;
  clock?: Clock;
  signal?: AbortSignal;
}

export const TARGET = { namespace: "monitoring", service: "prometheus", port: 9090, scheme: "http" as const };

/** A tunnel to the Prometheus of addPrometheus(). */
export async function openTestTunnel(api: FakeKubeApi, options: TunnelOptions = {}): Promise<Tunnel> {
  const { kubeconfig, validateCerts, clock, signal, ...settings } = options;
  const credentials = { kind: "inline" as const, kubeconfig: createSecret(kubeconfig ?? api.kubeconfig()) };
  return openTunnel(
    {
      kubeConfig: await toKubeConfig(credentials, validateCerts ?? true),
      clock: clock ?? systemClock,
      logger: silentLogger,
    },
    { clusterId: "c-1", target: TARGET, lanes: 2, timeoutMs: 10_000, ...settings },
    signal ?? new AbortController().signal,
  );
}

/** One port-forward to Pod `p`, port 9090. */
export async function openTestForward(
  api: FakeKubeApi,
  options: { clock?: Clock; signal?: AbortSignal; kubeconfig?: string } = {},
): Promise<PortForwardStream> {
  const kubeconfig = createSecret(options.kubeconfig ?? api.kubeconfig());
  const kubeConfig = await toKubeConfig({ kind: "inline", kubeconfig }, true);
  const clock = options.clock ?? systemClock;
  return openPortForward(
    { kube: createKubeClient({ kubeConfig, clock }, { timeoutMs: 10_000 }), clock },
    { namespace: "monitoring", podName: "p", port: 9090, timeoutMs: 10_000, pingIntervalMs: 15_000 },
    options.signal ?? new AbortController().signal,
  );
}

export interface TestServer {
  port: number;
  close(): Promise<void>;
}

/** The server that plays Prometheus inside the Pod: https with a certificate, otherwise http. */
export async function startServer(listener: RequestListener, certificate?: Certificate): Promise<TestServer> {
  const server = certificate
    ? createHttpsServer({ cert: certificate.certPem, key: certificate.keyPem }, listener)
    : createHttpServer(listener);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

/** Answers with the Host header and the path. */
export const okay: RequestListener = (request, response) => {
  response.end(`${request.headers.host} ${request.url}`);
};

/** A body that begins and then waits for ever. */
export const halfAnswer: RequestListener = (_request, response) => {
  response.writeHead(200, { "content-length": "1000" });
  response.write("half");
};

/** GET through the tunnel; the body as text. */
export async function get(tunnel: Tunnel, path: string): Promise<{ status: number; body: string }> {
  const { dispatcher, origin } = tunnel;
  const response = await dispatcher.request({ origin, path, method: "GET" });
  return { status: response.statusCode, body: await response.body.text() };
}

/** The BridgeError that a promise is rejected with; fails on anything else, and on another code than `code`. */
export async function expectBridgeError(work: Promise<unknown>, code: ErrorCode): Promise<BridgeError> {
  const error = await work.then(
    () => new Error(`expected ${code}, but it succeeded`),
    (reason: unknown) => reason,
  );
  if (!(error instanceof BridgeError) || error.code !== code) {
    throw new Error(`expected BridgeError ${code}, got ${String(error)}`, { cause: error });
  }
  return error;
}
