import type { QuerySpec } from "./query-spec.ts";

const node = (name: string, unit = ""): QuerySpec => ({ name, promql: name, group: "node", unit });

/** node_exporter, and kube-state-metrics' view of the nodes. */
export const NODE_QUERIES: readonly QuerySpec[] = [
  { name: "up", promql: "up", group: "node", unit: "" },
  node("node_cpu_seconds_total", "s"),
  node("node_memory_MemTotal_bytes", "By"),
  node("node_memory_MemAvailable_bytes", "By"),
  node("node_memory_MemFree_bytes", "By"),
  node("node_memory_Buffers_bytes", "By"),
  node("node_memory_Cached_bytes", "By"),
  node("node_filesystem_size_bytes", "By"),
  node("node_filesystem_avail_bytes", "By"),
  node("node_filesystem_readonly"),
  node("node_load1"),
  node("node_load5"),
  node("node_load15"),
  node("node_network_receive_bytes_total", "By"),
  node("node_network_transmit_bytes_total", "By"),
  node("node_disk_read_bytes_total", "By"),
  node("node_disk_written_bytes_total", "By"),
  node("node_uname_info"),
  node("kube_node_info"),
  node("kube_node_status_condition"),
  node("kube_node_status_capacity"),
  node("kube_node_status_allocatable"),
];
