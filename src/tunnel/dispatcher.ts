import { createHash } from "node:crypto";
import type { Duplex } from "node:stream";
import type { KubeConfig } from "@kubernetes/client-node";
import type { Dispatcher } from "undici";
import { BridgeError } from "#errors/error.ts";
import { deadline, type Clock } from "#lib/clock.ts";
import type { Turns } from "#lib/turns.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { ApiServerGuard } from "./api-server-guard.ts";
import { createKubeClient, type KubeClient } from "./kube-client.ts";
import { listNodeNames } from "./node-names.ts";
import { openPool } from "./pool.ts";
import { openPortForward } from "./port-forward.ts";
import { secure } from "./secure.ts";
import { resolveTarget, type PodTarget, type TunnelTarget } from "./target.ts";

export interface TunnelDeps {
  /** New for every tunnel: client-node keeps TLS settings of the first use. */
  kubeConfig: KubeConfig;
  clock: Clock;
  logger: Logger;
  /** Both as in KubeClientDeps. */
  guard?: ApiServerGuard;
  turns?: Turns;
}

export interface TunnelSettings {
  clusterId: string;
  target: TunnelTarget;
  /** The Pod to prefer while it is ready. */
  pinnedPodUid?: string;
  /** Connections at once; keep no more requests than that in flight. */
  lanes: number;
  /** Each of: one API call, waiting for an answer's headers, silence within a body. Opening one connection gets a little less. */
  timeoutMs: number;
}

/** The connection to one Pod of one cluster's Prometheus, for one round. */
export interface Tunnel {
  /**
   * Takes requests for `origin` alone. Failures of the tunnel are thrown as BridgeError (tunnel_*, cluster_*, prometheus_*), not wrapped;
   * failures of HTTP itself (timeouts, an early end) are undici's own errors.
   */
  dispatcher: Dispatcher;
  /** A host that exists nowhere, different for every cluster. Without a path. */
  origin: string;
  pod: { uid: string; name: string };
  /** The other ready Pods of the Service, by name. */
  otherPods: readonly { uid: string; name: string }[];
  /** Names of the Service's Pods that are not ready. */
  unreadyPods: readonly string[];
  /** Node name by node address (no port) and by the name itself. Empty when the nodes may not be listed. */
  nodeNames: ReadonlyMap<string, string>;
  warnings: string[];
  /** Ends every connection at once; requests in flight fail with `reason` (default: BridgeError tunnel_closed). May be called twice. */
  close(reason?: Error): Promise<void>;
}

const PING_INTERVAL_MS = 15_000;
const KEEP_ALIVE_MS = 60_000;
/** How long a Pod that was found is taken for granted, as long as no connection breaks. */
const RESOLUTION_MS = 10_000;
/** Share of `timeoutMs`: a caller that waits that long for the whole answer must learn before its own timeout that the connection was the reason. */
const CONNECT_SHARE = 0.8;

/**
 * Finds Prometheus' Pod and the node names, and gives a dispatcher whose connections are port-forwards to that Pod, opened when
 * requests need them. Every connection goes to the same Pod: when it is gone, requests fail with tunnel_closed or
 * prometheus_pod_not_ready instead of reaching another replica. Aborting the signal closes the tunnel with the signal's reason.
 * Throws the BridgeErrors of resolveTarget.
 */
export async function openTunnel(
  deps: TunnelDeps,
  settings: TunnelSettings,
  signal: AbortSignal,
): Promise<Tunnel> {
  const { clock, logger } = deps;
  const kube = createKubeClient(deps, { timeoutMs: settings.timeoutMs });
  const { pod, nodes } = await discover(kube, settings, signal);
  const connect = createConnector({ kube, clock, logger, pod }, settings);
  const origin = toOrigin(settings.clusterId);
  const { lanes, timeoutMs } = settings;
  const pool = await openPool(
    logger,
    { origin, lanes, timeoutMs, keepAliveMs: KEEP_ALIVE_MS },
    connect,
    signal,
  );
  return {
    dispatcher: pool.dispatcher,
    origin,
    pod: { uid: pod.podUid, name: pod.podName },
    otherPods: pod.others.map(({ podUid, podName }) => ({ uid: podUid, name: podName })),
    unreadyPods: pod.unready,
    nodeNames: nodes.names,
    warnings: nodes.warning === undefined ? [] : [nodes.warning],
    close: (reason) => pool.close(reason),
  };
}

async function discover(kube: KubeClient, settings: TunnelSettings, signal: AbortSignal) {
  const both = new AbortController();
  const follow = (): void => both.abort(signal.reason);
  signal.addEventListener("abort", follow, { once: true });
  if (signal.aborted) follow();
  const pinned = settings.pinnedPodUid === undefined ? {} : { pinnedPodUid: settings.pinnedPodUid };
  try {
    const [pod, nodes] = await Promise.all([
      resolveTarget(kube, settings.target, { ...pinned, signal: both.signal }),
      listNodeNames(kube, both.signal),
    ]);
    return { pod, nodes };
  } catch (error) {
    both.abort(error);
    throw error;
  } finally {
    signal.removeEventListener("abort", follow);
  }
}

interface ConnectorDeps {
  kube: KubeClient;
  clock: Clock;
  logger: Logger;
  pod: PodTarget;
}

/** Opens connections to the given Pod, which is looked up again when the last look is old or a connection broke. */
function createConnector(
  deps: ConnectorDeps,
  settings: TunnelSettings,
): (signal: AbortSignal) => Promise<Duplex> {
  const { kube, clock, logger } = deps;
  const { target } = settings;
  const timeoutMs = Math.ceil(settings.timeoutMs * CONNECT_SHARE);
  let { port } = deps.pod;
  let validUntil = clock.monotonic() + RESOLUTION_MS;

  const confirmPod = async (signal: AbortSignal): Promise<void> => {
    if (clock.monotonic() < validUntil) return;
    const found = await resolveTarget(kube, target, { pinnedPodUid: deps.pod.podUid, signal });
    if (found.podUid !== deps.pod.podUid) {
      throw new BridgeError("tunnel_closed", `Pod ${deps.pod.podName} was replaced or is not ready any more`);
    }
    port = found.port;
    validUntil = clock.monotonic() + RESOLUTION_MS;
  };

  const open = async (signal: AbortSignal): Promise<Duplex> => {
    await confirmPod(signal);
    const { podName } = deps.pod;
    const request = {
      namespace: target.namespace,
      podName,
      port,
      timeoutMs,
      pingIntervalMs: PING_INTERVAL_MS,
    };
    const stream = await openPortForward({ kube, clock }, request, signal);
    stream.once("error", () => (validUntil = 0));
    return target.scheme === "https" ? await secured(stream, signal) : stream;
  };

  const secured = async (stream: Duplex, signal: AbortSignal): Promise<Duplex> => {
    const serverName = `${target.service}.${target.namespace}.svc`;
    const timeout = (): Error =>
      new BridgeError("tunnel_timeout", `Prometheus did not finish the TLS handshake in ${timeoutMs} ms`);
    const limit = deadline(clock, timeoutMs, timeout, signal);
    try {
      return await secure(
        stream,
        { serverName, ...(target.ca === undefined ? {} : { ca: target.ca }) },
        limit.signal,
      );
    } finally {
      limit.dispose();
    }
  };

  return async (signal) => {
    const started = clock.monotonic();
    try {
      const stream = await open(signal);
      if (stream.destroyed) {
        throw stream.errored ?? new BridgeError("tunnel_closed", "the port-forward closed at once");
      }
      logger.debug(
        { pod: deps.pod.podName, ms: Math.round(clock.monotonic() - started) },
        "port-forward open",
      );
      return stream;
    } catch (error) {
      validUntil = 0;
      throw error;
    }
  };
}

/** RFC 2606: `.invalid` never resolves, so a request that bypasses the dispatcher can't leave. Hashed: ids may hold characters that a host may not. */
function toOrigin(clusterId: string): string {
  const hash = createHash("sha256").update(clusterId).digest("hex").slice(0, 16);
  return `http://prometheus-${hash}.invalid`;
}
