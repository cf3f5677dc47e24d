import type { QuerySpec } from "./query-spec.ts";

/** One query for several metrics, named by their exact names. */
const pack = (group: string, name: string, metrics: string): QuerySpec => ({
  ...selectorOf(metrics.trim().split(/\s+/)),
  name: `dashboards_${name}`,
  group: `dashboards_${group}`,
});

/** The spec's part that reads these metrics, whose names are letters, digits, underscores and colons. */
export function selectorOf(metrics: readonly string[]): Required<Pick<QuerySpec, "promql" | "metrics">> {
  return { promql: `{__name__=~"${metrics.join("|")}"}`, metrics };
}

/**
 * What three public sets of dashboards ask for beyond the base catalogue: NVIDIA's dcgm-exporter (12239), Node Exporter Full (1860) and
 * kubernetes-mixin as kube-prometheus has it. Names with colons are its recording rules. Metrics that one exporter has are one query: a
 * source that lacks some of them, or all, costs nothing more.
 */
export const DASHBOARD_QUERIES: readonly QuerySpec[] = [
  pack(
    "node",
    "node_cpu",
    `
    node_context_switches_total node_cooling_device_cur_state node_cooling_device_max_state
    node_cpu_guest_seconds_total node_cpu_scaling_frequency_hertz node_cpu_scaling_frequency_max_hertz
    node_cpu_scaling_frequency_min_hertz node_entropy_available_bits node_entropy_pool_size_bits
    node_forks_total node_interrupts_total node_intr_total node_kernel_hung_tasks node_power_supply_online
    node_pressure_cpu_waiting_seconds_total node_pressure_io_stalled_seconds_total
    node_pressure_io_waiting_seconds_total node_pressure_irq_stalled_seconds_total
    node_pressure_memory_stalled_seconds_total node_pressure_memory_waiting_seconds_total
    node_processes_max_processes node_processes_max_threads node_processes_pids node_processes_state
    node_processes_threads node_procs_blocked node_procs_running node_schedstat_running_seconds_total
    node_schedstat_timeslices_total node_schedstat_waiting_seconds_total`,
  ),
  pack(
    "node",
    "node_memory",
    `
    node_memory_Active_anon_bytes node_memory_Active_bytes node_memory_Active_file_bytes
    node_memory_AnonHugePages_bytes node_memory_AnonPages_bytes node_memory_CommitLimit_bytes
    node_memory_Committed_AS_bytes node_memory_DirectMap1G_bytes node_memory_DirectMap2M_bytes
    node_memory_DirectMap4k_bytes node_memory_Dirty_bytes node_memory_HardwareCorrupted_bytes
    node_memory_HugePages_Free node_memory_HugePages_Rsvd node_memory_HugePages_Surp
    node_memory_HugePages_Total node_memory_Hugepagesize_bytes node_memory_Inactive_anon_bytes
    node_memory_Inactive_bytes node_memory_Inactive_file_bytes node_memory_KernelStack_bytes
    node_memory_Mapped_bytes node_memory_Mlocked_bytes node_memory_NFS_Unstable_bytes
    node_memory_PageTables_bytes node_memory_Percpu_bytes node_memory_SReclaimable_bytes
    node_memory_SUnreclaim_bytes node_memory_ShmemHugePages_bytes node_memory_ShmemPmdMapped_bytes
    node_memory_Shmem_bytes node_memory_Slab_bytes node_memory_SwapCached_bytes node_memory_SwapFree_bytes
    node_memory_SwapTotal_bytes node_memory_Unevictable_bytes node_memory_VmallocChunk_bytes
    node_memory_VmallocTotal_bytes node_memory_VmallocUsed_bytes node_memory_WritebackTmp_bytes
    node_memory_Writeback_bytes node_memory_Zswap_bytes node_memory_Zswapped_bytes`,
  ),
  pack(
    "node",
    "node_vmstat",
    `
    node_vmstat_oom_kill node_vmstat_pgfault node_vmstat_pgmajfault node_vmstat_pgpgin node_vmstat_pgpgout
    node_vmstat_pswpin node_vmstat_pswpout`,
  ),
  pack(
    "node",
    "node_disk",
    `
    node_disk_discard_time_seconds_total node_disk_discarded_sectors_total
    node_disk_discards_completed_total node_disk_discards_merged_total
    node_disk_flush_requests_time_seconds_total node_disk_flush_requests_total node_disk_io_now
    node_disk_io_time_seconds_total node_disk_io_time_weighted_seconds_total
    node_disk_read_time_seconds_total node_disk_reads_completed_total node_disk_reads_merged_total
    node_disk_write_time_seconds_total node_disk_writes_completed_total node_disk_writes_merged_total
    node_filefd_allocated node_filefd_maximum node_filesystem_device_error node_filesystem_files
    node_filesystem_files_free node_filesystem_free_bytes`,
  ),
  pack(
    "node",
    "node_network",
    `
    node_arp_entries node_network_carrier node_network_mtu_bytes node_network_receive_compressed_total
    node_network_receive_drop_total node_network_receive_errs_total node_network_receive_fifo_total
    node_network_receive_frame_total node_network_receive_multicast_total
    node_network_receive_nohandler_total node_network_receive_packets_total node_network_speed_bytes
    node_network_transmit_carrier_total node_network_transmit_colls_total
    node_network_transmit_compressed_total node_network_transmit_drop_total node_network_transmit_errs_total
    node_network_transmit_fifo_total node_network_transmit_packets_total node_network_up
    node_nf_conntrack_entries node_nf_conntrack_entries_limit node_softnet_dropped_total
    node_softnet_flow_limit_count_total node_softnet_processed_total node_softnet_received_rps_total
    node_softnet_times_squeezed_total node_tcp_connection_states node_udp_queues`,
  ),
  pack(
    "node",
    "node_netstat",
    `
    node_netstat_Icmp_InErrors node_netstat_Icmp_InMsgs node_netstat_Icmp_OutMsgs
    node_netstat_IpExt_InOctets node_netstat_IpExt_OutOctets node_netstat_TcpExt_ListenDrops
    node_netstat_TcpExt_ListenOverflows node_netstat_TcpExt_SyncookiesFailed
    node_netstat_TcpExt_SyncookiesRecv node_netstat_TcpExt_SyncookiesSent node_netstat_TcpExt_TCPOFOQueue
    node_netstat_TcpExt_TCPRcvQDrop node_netstat_TcpExt_TCPSynRetrans node_netstat_TcpExt_TCPTimeouts
    node_netstat_Tcp_ActiveOpens node_netstat_Tcp_CurrEstab node_netstat_Tcp_InErrs node_netstat_Tcp_InSegs
    node_netstat_Tcp_MaxConn node_netstat_Tcp_OutRsts node_netstat_Tcp_OutSegs node_netstat_Tcp_PassiveOpens
    node_netstat_Tcp_RetransSegs node_netstat_UdpLite_InErrors node_netstat_Udp_InDatagrams
    node_netstat_Udp_InErrors node_netstat_Udp_NoPorts node_netstat_Udp_OutDatagrams
    node_netstat_Udp_RcvbufErrors node_netstat_Udp_SndbufErrors`,
  ),
  pack(
    "node",
    "node_sockstat",
    `
    node_sockstat_FRAG_inuse node_sockstat_FRAG_memory node_sockstat_RAW_inuse node_sockstat_TCP_alloc
    node_sockstat_TCP_inuse node_sockstat_TCP_mem node_sockstat_TCP_mem_bytes node_sockstat_TCP_orphan
    node_sockstat_TCP_tw node_sockstat_UDPLITE_inuse node_sockstat_UDP_inuse node_sockstat_UDP_mem
    node_sockstat_UDP_mem_bytes node_sockstat_sockets_used`,
  ),
  pack(
    "node",
    "node_time",
    `
    node_boot_time_seconds node_time_seconds node_timex_estimated_error_seconds
    node_timex_frequency_adjustment_ratio node_timex_loop_time_constant node_timex_maxerror_seconds
    node_timex_offset_seconds node_timex_pps_calibration_total node_timex_pps_error_total
    node_timex_pps_frequency_hertz node_timex_pps_jitter_seconds node_timex_pps_jitter_total
    node_timex_pps_shift_seconds node_timex_pps_stability_exceeded_total node_timex_pps_stability_hertz
    node_timex_sync_status node_timex_tai_offset_seconds node_timex_tick_seconds`,
  ),
  pack(
    "node",
    "node_hwmon",
    `
    node_hwmon_chip_names node_hwmon_fan_min_rpm node_hwmon_fan_rpm node_hwmon_temp_celsius
    node_hwmon_temp_crit_alarm_celsius node_hwmon_temp_crit_celsius node_hwmon_temp_crit_hyst_celsius
    node_hwmon_temp_max_celsius`,
  ),
  pack(
    "node",
    "node_other_systems",
    `
    node_memory_available_bytes node_memory_compressed_bytes node_memory_internal_bytes
    node_memory_purgeable_bytes node_memory_total_bytes node_memory_wired_bytes`,
  ),
  pack(
    "node",
    "node_exporter",
    `
    node_exporter_build_info node_scrape_collector_duration_seconds node_scrape_collector_success
    node_systemd_socket_accepted_connections_total node_systemd_socket_current_connections
    node_systemd_socket_refused_connections_total node_systemd_units node_textfile_scrape_error`,
  ),
  pack(
    "processes",
    "processes",
    `
    go_goroutines process_cpu_seconds_total process_max_fds process_open_fds process_resident_memory_bytes
    process_start_time_seconds process_virtual_memory_bytes process_virtual_memory_max_bytes`,
  ),
  pack(
    "pods",
    "pods",
    `
    kube_pod_owner kube_resourcequota`,
  ),
  pack(
    "pods",
    "containers",
    `
    container_cpu_cfs_periods_total container_cpu_cfs_throttled_periods_total container_memory_cache
    container_memory_rss container_memory_swap`,
  ),
  pack(
    "pods",
    "container_filesystems",
    `
    container_fs_reads_bytes_total container_fs_reads_total container_fs_writes_bytes_total
    container_fs_writes_total`,
  ),
  pack(
    "pods",
    "container_networks",
    `
    container_network_receive_packets_dropped_total container_network_receive_packets_total
    container_network_transmit_packets_dropped_total container_network_transmit_packets_total`,
  ),
  pack(
    "kubelet",
    "kubelet_histograms",
    `
    kubelet_cgroup_manager_duration_seconds_bucket kubelet_cgroup_manager_duration_seconds_count
    kubelet_pleg_relist_duration_seconds_bucket kubelet_pleg_relist_duration_seconds_count
    kubelet_pleg_relist_interval_seconds_bucket kubelet_pod_start_duration_seconds_bucket
    kubelet_pod_start_duration_seconds_count kubelet_pod_worker_duration_seconds_bucket
    kubelet_pod_worker_duration_seconds_count kubelet_runtime_operations_duration_seconds_bucket
    storage_operation_duration_seconds_bucket storage_operation_duration_seconds_count`,
  ),
  pack(
    "kubelet",
    "kubelet",
    `
    kubelet_node_config_error kubelet_node_name kubelet_running_containers kubelet_running_pods
    kubelet_runtime_operations_errors_total kubelet_runtime_operations_total
    kubelet_volume_stats_available_bytes kubelet_volume_stats_capacity_bytes kubelet_volume_stats_inodes
    kubelet_volume_stats_inodes_used storage_operation_errors_total volume_manager_total_volumes`,
  ),
  pack(
    "kubelet",
    "rest_client",
    `
    rest_client_request_duration_seconds_bucket rest_client_requests_total`,
  ),
  pack(
    "control_plane",
    "workqueue",
    `
    workqueue_adds_total workqueue_depth workqueue_queue_duration_seconds_bucket`,
  ),
  pack(
    "control_plane",
    "scheduler",
    `
    scheduler_pod_scheduling_sli_duration_seconds_bucket scheduler_pod_scheduling_sli_duration_seconds_count
    scheduler_scheduling_algorithm_duration_seconds_bucket
    scheduler_scheduling_algorithm_duration_seconds_count
    scheduler_scheduling_attempt_duration_seconds_bucket scheduler_scheduling_attempt_duration_seconds_count
    scheduler_volume_scheduling_duration_seconds_bucket scheduler_volume_scheduling_duration_seconds_count`,
  ),
  pack(
    "control_plane",
    "kube_proxy",
    `
    kubeproxy_network_programming_duration_seconds_bucket
    kubeproxy_network_programming_duration_seconds_count kubeproxy_sync_proxy_rules_duration_seconds_bucket
    kubeproxy_sync_proxy_rules_duration_seconds_count`,
  ),
  pack(
    "control_plane",
    "api_server_rules",
    `
    apiserver_request:availability30d
    cluster_quantile:apiserver_request_sli_duration_seconds:histogram_quantile
    code_resource:apiserver_request_total:rate5m`,
  ),
  pack(
    "windows",
    "windows_rules",
    `
    :windows_node_memory_MemFreeCached_bytes:sum :windows_node_memory_MemTotal_bytes:sum
    namespace_pod_container:windows_container_cpu_usage_seconds_total:sum_rate node:windows_node:sum
    node:windows_node_cpu_utilisation:avg1m node:windows_node_disk_utilisation:avg_irate
    node:windows_node_filesystem_usage: node:windows_node_memory_swap_io_pages:irate
    node:windows_node_memory_totalCached_bytes:sum node:windows_node_memory_utilisation:
    node:windows_node_memory_utilisation:ratio node:windows_node_net_saturation:sum_irate
    node:windows_node_net_utilisation:sum_irate node:windows_node_num_cpu:sum`,
  ),
  pack(
    "windows",
    "windows",
    `
    kube_pod_windows_container_resource_cpu_cores_limit
    kube_pod_windows_container_resource_cpu_cores_request kube_pod_windows_container_resource_memory_limit
    kube_pod_windows_container_resource_memory_request windows_container_network_received_bytes_total
    windows_container_network_transmitted_bytes_total windows_container_private_working_set_usage
    windows_cpu_time_total windows_logical_disk_read_bytes_total windows_logical_disk_read_seconds_total
    windows_logical_disk_write_bytes_total windows_logical_disk_write_seconds_total
    windows_memory_available_bytes windows_os_visible_memory_bytes windows_pod_container_available
    windows_system_boot_time_timestamp_seconds`,
  ),
  pack(
    "rules",
    "node_rules",
    `
    instance:node_cpu_utilisation:rate5m instance:node_load1_per_cpu:ratio
    instance:node_memory_utilisation:ratio instance:node_network_receive_bytes_excluding_lo:rate5m
    instance:node_network_receive_bytes_physical:rate5m
    instance:node_network_receive_drop_excluding_lo:rate5m
    instance:node_network_receive_drop_physical:rate5m
    instance:node_network_transmit_bytes_excluding_lo:rate5m
    instance:node_network_transmit_bytes_physical:rate5m
    instance:node_network_transmit_drop_excluding_lo:rate5m
    instance:node_network_transmit_drop_physical:rate5m instance:node_num_cpu:sum
    instance:node_vmstat_pgmajfault:rate5m instance_device:node_disk_io_time_seconds:rate5m
    instance_device:node_disk_io_time_weighted_seconds:rate5m`,
  ),
  pack(
    "rules",
    "container_rules",
    `
    cluster:namespace:pod_cpu:active:kube_pod_container_resource_limits
    cluster:namespace:pod_cpu:active:kube_pod_container_resource_requests
    cluster:namespace:pod_memory:active:kube_pod_container_resource_limits
    cluster:namespace:pod_memory:active:kube_pod_container_resource_requests
    namespace_workload_pod:kube_pod_owner:relabel
    node_namespace_pod_container:container_cpu_usage_seconds_total:sum_rate5m
    node_namespace_pod_container:container_memory_cache node_namespace_pod_container:container_memory_rss
    node_namespace_pod_container:container_memory_swap
    node_namespace_pod_container:container_memory_working_set_bytes`,
  ),
  pack(
    "rules",
    "cluster_rules",
    `
    :node_memory_MemAvailable_bytes:sum cluster:node_cpu:ratio_rate5m
    namespace_cpu:kube_pod_container_resource_limits:sum
    namespace_cpu:kube_pod_container_resource_requests:sum
    namespace_memory:kube_pod_container_resource_limits:sum
    namespace_memory:kube_pod_container_resource_requests:sum`,
  ),
  pack(
    "prometheus",
    "prometheus_remote_storage",
    `
    prometheus_remote_storage_dropped_samples_total prometheus_remote_storage_enqueue_retries_total
    prometheus_remote_storage_failed_samples_total prometheus_remote_storage_pending_samples
    prometheus_remote_storage_queue_highest_sent_timestamp_seconds
    prometheus_remote_storage_queue_highest_timestamp_seconds
    prometheus_remote_storage_retried_samples_total prometheus_remote_storage_samples_dropped_total
    prometheus_remote_storage_samples_failed_total prometheus_remote_storage_samples_in_total
    prometheus_remote_storage_samples_pending prometheus_remote_storage_samples_retried_total
    prometheus_remote_storage_samples_total prometheus_remote_storage_shard_capacity
    prometheus_remote_storage_shards prometheus_remote_storage_shards_desired
    prometheus_remote_storage_shards_max prometheus_remote_storage_shards_min
    prometheus_remote_storage_succeeded_samples_total`,
  ),
  pack(
    "prometheus",
    "prometheus",
    `
    prometheus_build_info prometheus_engine_query_duration_seconds
    prometheus_engine_query_duration_seconds_count prometheus_sd_discovered_targets
    prometheus_target_interval_length_seconds_count prometheus_target_interval_length_seconds_sum
    prometheus_target_scrapes_exceeded_body_size_limit_total
    prometheus_target_scrapes_exceeded_sample_limit_total
    prometheus_target_scrapes_sample_duplicate_timestamp_total
    prometheus_target_scrapes_sample_out_of_bounds_total prometheus_target_scrapes_sample_out_of_order_total
    prometheus_target_sync_length_seconds_sum prometheus_tsdb_head_chunks
    prometheus_tsdb_head_samples_appended_total prometheus_tsdb_head_series
    prometheus_tsdb_wal_segment_current prometheus_wal_watcher_current_segment`,
  ),
  pack(
    "alertmanager",
    "alertmanager",
    `
    alertmanager_alerts alertmanager_alerts_invalid_total alertmanager_alerts_received_total
    alertmanager_notification_latency_seconds_bucket alertmanager_notification_latency_seconds_count
    alertmanager_notification_latency_seconds_sum alertmanager_notifications_failed_total
    alertmanager_notifications_total`,
  ),
  pack(
    "grafana",
    "grafana",
    `
    grafana_alerting_result_total grafana_build_info grafana_http_request_duration_seconds_bucket
    grafana_http_request_duration_seconds_count grafana_http_request_duration_seconds_sum
    grafana_stat_totals_dashboard`,
  ),
];
