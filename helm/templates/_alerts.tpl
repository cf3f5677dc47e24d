{{/* Increase of a counter in the last 15 minutes. Includes the first count, which creates the series and which increase() alone does not see. */}}
{{- define "bud.counted" -}}
({{ . }} unless {{ . }} offset 15m) or increase({{ . }}[15m])
{{- end }}

{{/* The lag of each cluster. A bridge that is cut off from the state store shows an older one than the owner; many clusters share one series. */}}
{{- define "bud.clusterLag" -}}
{{- $in := printf "namespace=%q" .Release.Namespace -}}
(min by (budcluster_cluster_id) (budcluster_cluster_lag{ {{- $in }},budcluster_cluster_id!=""}) or max(budcluster_cluster_lag{ {{- $in }},budcluster_cluster_id=""}))
{{- end }}

{{/* Alerts on the program's own metrics, the Collector's, and `up`. Each names its remedy. */}}
{{- define "bud.alerts" -}}
{{- $in := printf "namespace=%q" .Release.Namespace }}
{{- $lag := int64 .Values.prometheusRule.clusterLagSeconds }}
{{- if .Values.serviceMonitor.enabled }}
- alert: BudBridgeDown
  expr: absent(up{ {{- $in }},service="{{ include "bud.bridgeService" . }}"} == 1)
  for: 10m
  labels: {severity: critical}
  annotations:
    summary: The bridge does not answer; no cluster is collected.
    description: "Run kubectl -n {{ .Release.Namespace }} get pods,events. When the bridge is back, it reads the missed samples, up to MAX_BACKFILL back."
{{- if .Values.query.enabled }}
- alert: BudQueryDown
  expr: absent(up{ {{- $in }},service="{{ include "bud.queryService" . }}"} == 1)
  for: 10m
  labels: {severity: critical}
  annotations:
    summary: No Pod of the query service answers.
    description: "Run kubectl -n {{ .Release.Namespace }} describe deployment {{ .Values.query.name }}, and check that ClickHouse is reachable."
- alert: BudQueryErrors
  expr: >-
    sum(rate(http_server_request_duration_count{ {{- $in }},service="{{ include "bud.queryService" . }}",http_response_status_code=~"5.."}[5m]))
    / sum(rate(http_server_request_duration_count{ {{- $in }},service="{{ include "bud.queryService" . }}"}[5m])) > 0.05
  for: 10m
  labels: {severity: warning}
  annotations:
    summary: More than 5 % of the query service's answers are server errors.
    description: "{{ `{{ $value | humanizePercentage }}` }}. Its log has the code and the remedy of each error."
{{- end }}
{{- end }}
{{- if .Values.collection.enabled }}
- alert: BudNoRounds
  # The counter does not exist before the first round has finished.
  expr: (sum(increase(budcluster_rounds_total{ {{- $in }}}[{{ $lag }}s])) or sum(process_uptime{ {{- $in }}} > {{ $lag }}) * 0) == 0
  for: 5m
  labels: {severity: critical}
  annotations:
    summary: No collection round has finished for {{ $lag }} s.
    description: "Nothing starts rounds (scheduler {{ .Values.scheduler }}), or the last one hangs. Check GET /metrics/status."
- alert: BudClusterLate
  expr: {{ include "bud.clusterLag" . }} > {{ $lag }}
  for: 5m
  labels: {severity: warning}
  annotations:
    summary: "Cluster {{ `{{ $labels.budcluster_cluster_id }}` }} is {{ `{{ $value | humanizeDuration }}` }} behind."
    description: "GET /metrics/status has its last error with the remedy; POST /clusters/ID/diagnose checks each step."
- alert: BudClusterAboutToLoseData
  expr: {{ include "bud.clusterLag" . }} > {{ int64 .Values.prometheusRule.clusterLagCriticalSeconds }}
  labels: {severity: critical}
  annotations:
    summary: "Cluster {{ `{{ $labels.budcluster_cluster_id }}` }} is {{ `{{ $value | humanizeDuration }}` }} behind: samples older than MAX_BACKFILL are lost."
    description: "Fix the cluster's error, or raise MAX_BACKFILL (bridge.env), at most to the retention of its Prometheus."
{{- end }}
- alert: BudDataRefused
  expr: sum by (error_type) ({{ include "bud.counted" (printf "budcluster_export_requests_total{%s,budcluster_outcome=~\"rejected|partial\"}" $in) }}) > 0
  labels: {severity: warning}
  annotations:
    summary: The Collector permanently refuses data.
    description: "GET /metrics/status lists the refused data with the Collector's message (gaps, state refused)."
- alert: BudSamplesLost
  expr: sum by (budcluster_reason) ({{ include "bud.counted" (printf "budcluster_collection_lost_total{%s}" $in) }}) > 0
  labels: {severity: critical}
  annotations:
    summary: "Samples are lost: they can no longer be collected ({{ `{{ $labels.budcluster_reason }}` }})."
    description: "GET /metrics/status lists the queries and times (gaps, state lost). Prometheus must keep samples longer than the bridge can be away."
- alert: BudDeliveryFailing
  expr: >-
    sum(rate(budcluster_export_requests_total{ {{- $in }},budcluster_outcome="retryable"}[10m]))
    / sum(rate(budcluster_export_requests_total{ {{- $in }}}[10m])) > 0.5
  for: 10m
  labels: {severity: critical}
  annotations:
    summary: More than half of the requests to the Collector fail.
    description: "Nothing is lost as long as Prometheus has the samples. Check the Collector's log and ClickHouse."
- alert: BudCredentialsUnreadable
  expr: sum by (error_type) ({{ include "bud.counted" (printf "budcluster_errors_total{%s,error_type=~\"credentials_.*\"}" $in) }}) > 0
  labels: {severity: warning}
  annotations:
    summary: "Credentials of a cluster can't be opened ({{ `{{ $labels.error_type }}` }})."
    description: "Check that the key that sealed them is still in the Secret {{ .Values.credentials.existingSecret | default (printf "%s-credentials-keys" .Release.Name) }}."
- alert: BudClusterQuarantined
  expr: max(budcluster_cluster_quarantined{ {{- $in }}}) > 0
  labels: {severity: warning}
  annotations:
    summary: "{{ `{{ $value }}` }} clusters are put aside because their collection ended a worker."
    description: "GET /metrics/status names them (cluster_quarantined) and says what they did. Other clusters are not affected."
- alert: BudStateUnavailable
  expr: sum({{ include "bud.counted" (printf "budcluster_errors_total{%s,error_type=\"state_unavailable\"}" $in) }}) > 0
  labels: {severity: critical}
  annotations:
    summary: The bridge can't read or write its state.
    description: "{{ ternary "Check that the Dapr state store is reachable." "Check that its volume is neither full nor read-only." .Values.dapr.stateStore.enabled }}"
{{- if .Values.dapr.stateStore.enabled }}
{{ include "bud.replicaAlerts" . }}
{{- end }}
{{- if .Values.otelCollector.enabled }}
- alert: BudCollectorCannotWrite
  # The suffix depends on the Collector's version.
  expr: sum(rate({__name__=~"otelcol_exporter_send_failed_metric_points(_total)?",{{ $in }},exporter="clickhouse"}[5m])) > 0
  for: 10m
  labels: {severity: critical}
  annotations:
    summary: The Collector can't write to ClickHouse.
    description: "Run kubectl -n {{ .Release.Namespace }} logs deployment/{{ include "bud.collectorName" . }}. Typical causes: a wrong address, missing grants of the user, or a missing table (run the migration)."
{{- end }}
{{- end }}

{{/* Alerts on replicas that share the clusters by leases in Dapr's state store. */}}
{{- define "bud.replicaAlerts" -}}
{{- $in := printf "namespace=%q" .Release.Namespace }}
{{- $interval := include "bud.seconds" .Values.collection.interval | int64 }}
{{- $bridge := .Values.bridge }}
{{- $wanted := ternary $bridge.autoscaling.minReplicas $bridge.replicas $bridge.autoscaling.enabled | int64 }}
- alert: BudReplicaMissing
  expr: max(budcluster_replicas{ {{- $in }}}) < {{ $wanted }}
  for: 10m
  labels: {severity: warning}
  annotations:
    summary: "Only {{ `{{ $value }}` }} of {{ $wanted }} bridges take part."
    description: "The others collect its clusters. Run kubectl -n {{ .Release.Namespace }} get pods,events; GET /metrics/status names the replicas."
- alert: BudReplicaWithoutWork
  # Which replica owns a cluster is decided by a hash: with few clusters a replica may well have none.
  expr: budcluster_owned_clusters{ {{- $in }}} == 0 and on() sum(budcluster_owned_clusters{ {{- $in }}}) > 10 * count(budcluster_owned_clusters{ {{- $in }}})
  for: 15m
  labels: {severity: warning}
  annotations:
    summary: "The bridge {{ `{{ $labels.pod }}` }} owns no cluster, although there are more than ten a replica."
    description: "The other replicas do its share. Its log and its GET /readyz say whether it reaches the state store."
- alert: BudLeasesFlap
  # A replica that comes or goes moves leases for a minute or two.
  expr: sum(rate(budcluster_lease_changes_total{ {{- $in }},kind=~"returned|lost"}[10m])) > 0
  for: 30m
  labels: {severity: warning}
  annotations:
    summary: Clusters keep changing their owner.
    description: "Typical causes: replicas that restart, that are paused (no processor time), or that have one REPLICA_NAME, and a slow state store. The logs name each lease and the reason."
- alert: BudClusterUnowned
  expr: max(budcluster_unowned_clusters{ {{- $in }}}) > 0
  for: {{ mul 2 $interval }}s
  labels: {severity: critical}
  annotations:
    summary: "{{ `{{ $value }}` }} clusters have no owner: nobody collects them."
    description: "GET /metrics/status names them. Check that a replica runs, and that it can write to the state store."
- alert: BudReplicaCannotRenew
  expr: max by (pod) (budcluster_member_record_age_seconds{ {{- $in }}}) > 20
  for: 1m
  labels: {severity: warning}
  annotations:
    summary: "The bridge {{ `{{ $labels.pod }}` }} can't renew its member record: the other replicas collect its clusters."
    description: "Its log and its GET /readyz have the reason. Check its Dapr sidecar, and the state store."
{{- end }}
