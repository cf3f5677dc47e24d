import { z } from "zod";
import { BridgeError } from "#errors/error.ts";
import { kubePath, type KubeClient } from "./kube-client.ts";
import { listByPages } from "./kube-pages.ts";

/** A Service's port inside of a cluster. */
export interface TunnelTarget {
  namespace: string;
  service: string;
  /** The Service's port. */
  port: number;
  /** The port inside of the Pod, whatever ports the Service has. */
  podPort?: number;
  scheme: "http" | "https";
  /** PEM of the CA that an https server is verified with, instead of the system's. */
  ca?: string;
}

export interface PodTarget {
  podName: string;
  /** `namespace/name` when the EndpointSlice does not say. */
  podUid: string;
  /** The port inside of the Pod. */
  port: number;
}

const servicePort = z.object({
  name: z.string().nullish(),
  port: z.number(),
  protocol: z.string().nullish(),
});
type ServicePort = z.infer<typeof servicePort>;

const serviceSchema = z.object({
  spec: z
    .object({
      type: z.string().nullish(),
      clusterIP: z.string().nullish(),
      selector: z.record(z.string(), z.string()).nullish(),
      ports: z.array(servicePort).nullish(),
    })
    .nullish(),
});
type ServiceSpec = NonNullable<z.infer<typeof serviceSchema>["spec"]>;

const serviceNameSchema = z.object({ metadata: z.object({ name: z.string(), namespace: z.string() }) });

/** A DNS subdomain, as Kubernetes has it. */
const NAME_CHARS_MAX = 253;

const endpointSchema = z.object({
  conditions: z.object({ ready: z.boolean().nullish(), terminating: z.boolean().nullish() }).nullish(),
  targetRef: z
    .object({
      kind: z.string().nullish(),
      name: z.string().max(NAME_CHARS_MAX).nullish(),
      namespace: z.string().max(NAME_CHARS_MAX).nullish(),
      uid: z.string().max(NAME_CHARS_MAX).nullish(),
    })
    .nullish(),
});

const sliceSchema = z.object({
  endpoints: z.array(endpointSchema).nullish(),
  ports: z
    .array(
      z.object({ name: z.string().nullish(), port: z.number().nullish(), protocol: z.string().nullish() }),
    )
    .nullish(),
});
type Slice = z.infer<typeof sliceSchema>;

/** A slice has up to 1,000 endpoints, of up to half a kilobyte each. */
const PAGE_SLICES = 16;
const SLICES_MAX = 2000;
/** Names of Services are only a help. */
const PAGE_SERVICES = 500;
const SERVICES_MAX = 5000;
const CANDIDATES_MAX = 20;
/** Ports that an error tells of. */
const PORTS_SHOWN_MAX = 50;
/** Pods that are kept, the first by name: far more than one Prometheus has. */
const PODS_MAX = 1000;

/**
 * Finds a Pod behind a Service: ready, not terminating, the pinned one if it is among them, else the first by name. Ports are those
 * of the EndpointSlices, where named target ports are already numbers; a headless Service's port is taken as it is (as kubectl does).
 * `others`: the other ready Pods, by name. `unready`: the names of Pods that are not ready or terminating.
 *
 * Throws BridgeError prometheus_service_not_found, prometheus_service_unsupported, prometheus_port_not_found,
 * prometheus_pod_not_ready, and the client's cluster_* errors.
 */
export async function resolveTarget(
  kube: KubeClient,
  target: TunnelTarget,
  options: { pinnedPodUid?: string; signal: AbortSignal },
): Promise<PodTarget & { others: PodTarget[]; unready: string[] }> {
  const service = await findService(kube, target, options.signal);
  const { pods, pinned, unready } = await listReadyPods(kube, target, service, options);
  const chosen = pinned ?? pods[0]!;
  return { ...chosen, others: pods.filter(({ podUid }) => podUid !== chosen.podUid), unready };
}

/** A Service with the port that was asked for. */
export interface FoundService {
  port: ServicePort;
  isHeadless: boolean;
}

/** The first half of `resolveTarget`: needs the right to get services. */
export async function findService(
  kube: KubeClient,
  target: TunnelTarget,
  signal: AbortSignal,
): Promise<FoundService> {
  const spec = await readService(kube, target, signal);
  return { port: findServicePort(spec, target), isHeadless: spec.clusterIP === "None" };
}

/** The second half: the ready Pods by name, from one to 1,000. Needs the right to list endpointslices. */
export async function findReadyPods(
  kube: KubeClient,
  target: TunnelTarget,
  service: FoundService,
  signal: AbortSignal,
): Promise<PodTarget[]> {
  return (await listReadyPods(kube, target, service, { signal })).pods;
}

async function listReadyPods(
  kube: KubeClient,
  target: TunnelTarget,
  service: FoundService,
  { pinnedPodUid, signal }: { pinnedPodUid?: string; signal: AbortSignal },
): Promise<ReadyPods> {
  const list = {
    path: kubePath("/apis/discovery.k8s.io/v1/namespaces", target.namespace, "endpointslices"),
    query: { labelSelector: `kubernetes.io/service-name=${target.service}` },
    what: `list endpointslices in namespace ${JSON.stringify(target.namespace)}`,
    schema: sliceSchema,
    pageItems: PAGE_SLICES,
    itemsMax: SLICES_MAX,
  };
  let collector = createPodCollector(target, service, pinnedPodUid);
  const begin = (): ((slice: Slice) => void) => {
    collector = createPodCollector(target, service, pinnedPodUid);
    return collector.add;
  };
  await listByPages(kube, list, begin, signal);
  return collector.result();
}

function label(target: TunnelTarget): string {
  return `${target.namespace}/${target.service}`;
}

async function readService(
  kube: KubeClient,
  target: TunnelTarget,
  signal: AbortSignal,
): Promise<ServiceSpec> {
  const what = `get services ${JSON.stringify(target.service)} in namespace ${JSON.stringify(target.namespace)}`;
  const path = kubePath("/api/v1/namespaces", target.namespace, "services", target.service);
  const special = { 404: "prometheus_service_not_found" as const };
  let spec: ServiceSpec | null | undefined;
  try {
    ({ spec } = await kube.get({ path, what, schema: serviceSchema, special }, signal));
  } catch (error) {
    if (error instanceof BridgeError && error.code === "prometheus_service_not_found") {
      throw await notFound(kube, target, error, signal);
    }
    throw error;
  }
  if (spec?.type === "ExternalName") {
    throw new BridgeError(
      "prometheus_service_unsupported",
      `Service ${label(target)} is an ExternalName: it has no Pods`,
    );
  }
  if (!spec || Object.keys(spec.selector ?? {}).length === 0) {
    throw new BridgeError(
      "prometheus_service_unsupported",
      `Service ${label(target)} has no selector, so no Pods of its own`,
    );
  }
  return spec;
}

/** Suggests Services with a similar name, as far as the credentials may list Services. */
async function notFound(
  kube: KubeClient,
  target: TunnelTarget,
  cause: BridgeError,
  signal: AbortSignal,
): Promise<BridgeError> {
  const message = `there is no Service ${label(target)}`;
  const paths = ["/api/v1/services", kubePath("/api/v1/namespaces", target.namespace, "services")];
  for (const path of paths) {
    let candidates: string[] = [];
    const begin = (): ((item: z.infer<typeof serviceNameSchema>) => void) => {
      candidates = [];
      return ({ metadata: { namespace, name } }) => {
        const isMeant = `${namespace}/${name}`.includes("prometheus");
        if (isMeant && candidates.length < CANDIDATES_MAX) candidates.push(`${namespace}/${name}`);
      };
    };
    const list = {
      path,
      what: "list services",
      schema: serviceNameSchema,
      pageItems: PAGE_SERVICES,
      itemsMax: SERVICES_MAX,
    };
    try {
      await listByPages(kube, list, begin, signal);
      if (candidates.length === 0) continue;
      return new BridgeError("prometheus_service_not_found", message, {
        cause,
        hint: `${cause.hint} Services of this cluster that may be meant: ${candidates.join(", ")}.`,
        details: { candidates },
      });
    } catch {
      // Only a help: the right to list is not one that the bridge needs.
      if (signal.aborted) throw signal.reason;
    }
  }
  return new BridgeError("prometheus_service_not_found", message, { cause });
}

function findServicePort(spec: ServiceSpec, target: TunnelTarget): ServicePort {
  if (target.podPort !== undefined) return { port: target.podPort };
  const ports = (spec.ports ?? []).filter((port) => isTcp(port.protocol));
  const port = ports.find((each) => each.port === target.port);
  if (port) return port;
  throw new BridgeError(
    "prometheus_port_not_found",
    `Service ${label(target)} has no TCP port ${target.port}`,
    {
      details: { ports: ports.map((each) => ({ name: each.name ?? "", port: each.port })) },
    },
  );
}

function isTcp(protocol: string | null | undefined): boolean {
  return (protocol ?? "TCP") === "TCP";
}

interface ReadyPods {
  /** By name. */
  pods: PodTarget[];
  /** If it is ready. */
  pinned: PodTarget | undefined;
  /** Names of the others: up to 1,000. */
  unready: string[];
}

interface PodCollector {
  add: (slice: Slice) => void;
  /** Throws when no Pod is ready; the error lists the Pods that are not ready. */
  result(): ReadyPods;
}

/** The ready Pods and their ports. */
function createPodCollector(
  target: TunnelTarget,
  { port, isHeadless }: FoundService,
  pinnedPodUid: string | undefined,
): PodCollector {
  let pods = new Map<string, PodTarget>();
  let pinned: PodTarget | undefined;
  const counts = { not_ready: 0, terminating: 0, without_pod: 0 };
  const unready = new Set<string>();
  let withoutPort = 0;
  const ports: { name: string; port: number | null }[] = [];

  const byName = (): PodTarget[] => [...pods.values()].sort((a, b) => (a.podName < b.podName ? -1 : 1));

  const addPod = (pod: PodTarget): void => {
    pods.set(pod.podUid, pod);
    if (pod.podUid === pinnedPodUid) pinned = pod;
    if (pods.size < 2 * PODS_MAX) return;
    pods = new Map(
      byName()
        .slice(0, PODS_MAX)
        .map((each) => [each.podUid, each]),
    );
  };

  const noteUnready = (name: string): void => void (unready.size < PODS_MAX && unready.add(name));

  return {
    add: (slice) => {
      const podPort = target.podPort ?? (isHeadless ? port.port : slicePort(slice, port.name ?? ""));
      for (const each of slice.ports ?? []) {
        if (ports.length < PORTS_SHOWN_MAX) ports.push({ name: each.name ?? "", port: each.port ?? null });
      }
      for (const { conditions, targetRef } of slice.endpoints ?? []) {
        const isHere = (targetRef?.namespace ?? target.namespace) === target.namespace;
        if (targetRef?.kind !== "Pod" || !targetRef.name || !isHere) counts.without_pod++;
        else if (conditions?.terminating === true || conditions?.ready === false) {
          // The API reference: interpret an absent `ready` as true.
          counts[conditions.terminating === true ? "terminating" : "not_ready"]++;
          noteUnready(targetRef.name);
        } else if (podPort === undefined) withoutPort++;
        else {
          const podUid = targetRef.uid ?? `${target.namespace}/${targetRef.name}`;
          addPod({ podName: targetRef.name, podUid, port: podPort });
        }
      }
    },
    result: () => {
      if (pods.size > 0) return { pods: byName().slice(0, PODS_MAX), pinned, unready: [...unready].sort() };
      if (withoutPort > 0) {
        const text = `the ready Pods of Service ${label(target)} have no container port for its port ${target.port}`;
        throw new BridgeError("prometheus_port_not_found", text, { details: { ports } });
      }
      const { not_ready, terminating, without_pod } = counts;
      const text = `no Pod of Service ${label(target)} is ready (${not_ready} not ready, ${terminating} terminating)`;
      throw new BridgeError("prometheus_pod_not_ready", text, {
        details: { ready: 0, not_ready, terminating, without_pod },
      });
    },
  };
}

function slicePort(slice: Slice, name: string): number | undefined {
  const found = (slice.ports ?? []).find((port) => (port.name ?? "") === name && isTcp(port.protocol));
  return found?.port ?? undefined;
}
