import type { QuerySpec } from "./query-spec.ts";

const pod = (name: string, unit = ""): QuerySpec => ({ name, promql: name, group: "pod", unit });

/** kube-state-metrics' view of namespaces, Deployments and Pods, and cAdvisor's of their containers. */
export const POD_QUERIES: readonly QuerySpec[] = [
  pod("kube_pod_info"),
  pod("kube_pod_status_phase"),
  pod("kube_namespace_status_phase"),
  pod("kube_deployment_status_replicas"),
  pod("kube_deployment_status_replicas_available"),
  pod("kube_deployment_status_replicas_unavailable"),
  pod("kube_pod_container_resource_requests"),
  pod("kube_pod_container_resource_limits"),
  pod("kube_pod_container_status_restarts_total"),
  pod("container_cpu_usage_seconds_total", "s"),
  pod("container_memory_usage_bytes", "By"),
  pod("container_memory_working_set_bytes", "By"),
  pod("container_network_receive_bytes_total", "By"),
  pod("container_network_transmit_bytes_total", "By"),
];
