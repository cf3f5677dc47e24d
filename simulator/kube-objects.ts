import { hashText, uuidOf } from "./noise.ts";
import { podsOf, targetPortIn } from "./kube-state.ts";
import type { KubeNode, KubePod, KubeService, KubeState } from "./kube-state.ts";

/** A Kubernetes object as the API server writes it inside of a list: without kind and apiVersion. */
export type KubeObject = Record<string, unknown> & {
  metadata: { name: string; namespace?: string; labels?: Record<string, string> } & Record<string, unknown>;
};

const CREATED = "2026-01-01T00:00:00Z";

function metadata(
  kind: string,
  namespace: string | undefined,
  name: string,
  uid?: string,
): KubeObject["metadata"] {
  return {
    name,
    ...(namespace === undefined ? {} : { namespace }),
    uid: uid ?? uuidOf(hashText(`${kind}/${namespace}/${name}`)),
    resourceVersion: "1",
    creationTimestamp: CREATED,
  };
}

export function namespaceObject(name: string): KubeObject {
  return {
    metadata: { ...metadata("Namespace", undefined, name), labels: { "kubernetes.io/metadata.name": name } },
    spec: { finalizers: ["kubernetes"] },
    status: { phase: "Active" },
  };
}

export function nodeObject(node: KubeNode): KubeObject {
  return {
    metadata: { ...metadata("Node", undefined, node.name), labels: { "kubernetes.io/hostname": node.name } },
    spec: {},
    status: {
      addresses: node.addresses,
      conditions: [
        { type: "Ready", status: "True", reason: "KubeletReady", message: "kubelet is posting ready status" },
      ],
      daemonEndpoints: { kubeletEndpoint: { Port: 10_250 } },
    },
  };
}

export function serviceObject(service: KubeService): KubeObject {
  const type = service.type ?? "ClusterIP";
  const hash = hashText(`${service.namespace}/${service.name}`);
  const clusterIp = service.headless ? "None" : `10.96.${(hash >> 8) & 255}.${hash & 255}`;
  return {
    metadata: {
      ...metadata("Service", service.namespace, service.name),
      ...(service.labels ? { labels: service.labels } : {}),
    },
    spec: {
      ports: service.ports.map(({ name, port, targetPort = port, protocol = "TCP" }) => ({
        ...(name === undefined ? {} : { name }),
        protocol,
        port,
        targetPort,
      })),
      ...(service.selector ? { selector: service.selector } : {}),
      ...(type === "ExternalName"
        ? { externalName: service.externalName ?? "prometheus.example.com" }
        : { clusterIP: clusterIp, clusterIPs: [clusterIp] }),
      type,
      sessionAffinity: "None",
    },
    status: { loadBalancer: {} },
  };
}

export function podObject(pod: KubePod): KubeObject {
  return {
    metadata: {
      ...metadata("Pod", pod.namespace, pod.name, pod.uid),
      labels: pod.labels,
      ...(pod.terminating ? { deletionTimestamp: CREATED, deletionGracePeriodSeconds: 30 } : {}),
    },
    spec: {
      nodeName: pod.nodeName,
      containers: [
        {
          name: "prometheus",
          image: "quay.io/prometheus/prometheus:v3.15.0",
          ports: pod.ports.map((port) => ({ ...port, protocol: "TCP" })),
        },
      ],
    },
    status: {
      phase: "Running",
      conditions: [{ type: "Ready", status: pod.ready ? "True" : "False" }],
      podIP: pod.address,
    },
  };
}

/**
 * The EndpointSlices that Kubernetes' controller would write for a Service: one for every set of resolved
 * ports.
 */
export function endpointSlices(state: KubeState, service: KubeService): KubeObject[] {
  if (service.type === "ExternalName") return [];
  const bySet = new Map<string, { ports: unknown[]; pods: KubePod[] }>();
  for (const pod of podsOf(state, service)) {
    const ports = service.ports.flatMap((port) => {
      const number = targetPortIn(pod, port);
      return number === undefined
        ? []
        : [{ name: port.name ?? "", protocol: port.protocol ?? "TCP", port: number }];
    });
    const key = JSON.stringify(ports);
    const slice = bySet.get(key) ?? { ports, pods: [] };
    slice.pods.push(pod);
    bySet.set(key, slice);
  }
  return [...bySet.values()].map(({ ports, pods }, i) => ({
    metadata: {
      ...metadata("EndpointSlice", service.namespace, `${service.name}-${i}`),
      labels: {
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        "kubernetes.io/service-name": service.name,
        ...(service.headless ? { "service.kubernetes.io/headless": "" } : {}),
      },
    },
    addressType: "IPv4",
    endpoints: pods.map((pod) => ({
      addresses: [pod.address],
      conditions: {
        ready: pod.ready && !pod.terminating,
        serving: pod.ready,
        terminating: pod.terminating,
      },
      targetRef: { kind: "Pod", namespace: pod.namespace, name: pod.name, uid: pod.uid },
      nodeName: pod.nodeName,
    })),
    ports,
  }));
}
