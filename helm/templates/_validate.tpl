{{/* What values.schema.json can't say, or not with a reason. */}}
{{- define "bud.validate" -}}
{{- $collector := .Values.otelCollector }}
{{- if and $collector.enabled (regexMatch "^v?[0-9]+\\.[0-9]+\\.[0-9]+" $collector.image.tag) }}
{{- $version := regexFind "[0-9]+\\.[0-9]+\\.[0-9]+" $collector.image.tag }}
{{- if semverCompare "<0.102.0" $version }}
{{- fail (printf "otelCollector.image.tag: %s is too old: its ClickHouse exporter has no create_schema (new in 0.102.0), so it would create tables with another layout; 0.130.0 is the oldest that works, 0.161.0 is tested" $collector.image.tag) }}
{{- else if semverCompare "<0.130.0" $version }}
{{- fail (printf "otelCollector.image.tag: %s is too old: it has no sending_queue.batch.sizer, which the shipped configuration needs; 0.130.0 is the oldest that works, 0.161.0 is tested" $collector.image.tag) }}
{{- end }}
{{- end }}
{{- if and (not $collector.enabled) (not .Values.bridge.collectorEndpoint) }}
{{- fail "otelCollector.enabled=false: set bridge.collectorEndpoint to your own Collector, for example http://collector:4318" }}
{{- end }}
{{- if $collector.enabled }}
{{- $limit := include "bud.mebibytes" (dict "place" "otelCollector.memoryLimit" "value" $collector.memoryLimit) | int }}
{{- with dig "limits" "memory" "" $collector.resources }}
{{- if ge $limit (include "bud.mebibytes" (dict "place" "otelCollector.resources.limits.memory" "value" .) | int) }}
{{- fail (printf "otelCollector.memoryLimit: %d MiB must be below otelCollector.resources.limits.memory (%s): otherwise the Pod is killed before the Collector refuses data" $limit .) }}
{{- end }}
{{- end }}
{{- if hasKey $collector.resourceAttributes "cluster_id" }}
{{- fail "otelCollector.resourceAttributes: cluster_id tells the managed clusters apart; the bridge sets it" }}
{{- end }}
{{- end }}
{{- if and .Values.clickhouse.enabled (ne (include "bud.clickhouseHost" .) (include "bud.clickhouseName" .)) }}
{{- fail (printf "clickhouse.enabled=true installs its own ClickHouse (%s), but otelCollector.clickhouse.host names another one (%s): remove one of them" (include "bud.clickhouseName" .) (include "bud.clickhouseHost" .)) }}
{{- end }}
{{- if and .Values.clickhouse.enabled $collector.clickhouse.secure }}
{{- fail "otelCollector.clickhouse.secure=true: the ClickHouse of clickhouse.enabled has no TLS" }}
{{- end }}
{{- if and .Values.clusters.list .Values.clusters.existingSecret }}
{{- fail "clusters.list and clusters.existingSecret: set only one of them" }}
{{- end }}
{{- if and .Values.queries.file .Values.queries.existingConfigMap }}
{{- fail "queries.file and queries.existingConfigMap: set only one of them" }}
{{- end }}
{{- if and .Values.auth.tokens (or .Values.auth.existingSecret (not .Values.auth.enabled)) }}
{{- fail "auth.tokens has no effect with auth.existingSecret or auth.enabled=false" }}
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
{{- fail "httpRoute.enabled=true: name the Gateway in httpRoute.parentRefs" }}
{{- end }}
{{- range $kind := list "ingress" "httpRoute" }}
{{- with index $.Values $kind }}
{{- if and .enabled (not .query) (not .bridge) }}
{{- fail (printf "%s.enabled=true: there is nothing to route to; set %s.query or %s.bridge" $kind $kind $kind) }}
{{- end }}
{{- if and .enabled .query (not $.Values.query.enabled) }}
{{- fail (printf "%s.query=true needs query.enabled=true" $kind) }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.otelCollector.clickhouse }}
{{- if .shards.urls }}
{{- if $.Values.clickhouse.enabled }}
{{- fail "otelCollector.clickhouse.shards.urls: the chart's own ClickHouse (clickhouse.enabled) is one server; set clickhouse.enabled=false" }}
{{- end }}
{{- if not .shards.cluster }}
{{- fail "otelCollector.clickhouse.shards.urls need otelCollector.clickhouse.shards.cluster" }}
{{- end }}
{{- if eq .shards.database .database }}
{{- fail "otelCollector.clickhouse.shards.database must not be otelCollector.clickhouse.database" }}
{{- end }}
{{- end }}
{{- end }}
{{- include "bud.validateReplicas" . }}
{{- range .Values.bridge.extraEnv }}
{{- if hasPrefix "CLICKHOUSE_" .name }}
{{- fail (printf "bridge.extraEnv: %s: the bridge never connects to ClickHouse" .name) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Several bridges share the clusters by leases in one state store, which all of them reach. */}}
{{- define "bud.validateReplicas" -}}
{{- $bridge := .Values.bridge }}
{{- $store := .Values.dapr.stateStore }}
{{- $scales := $bridge.autoscaling.enabled }}
{{- if or $scales (gt (int $bridge.replicas) 1) }}
{{- $asked := ternary "bridge.autoscaling.enabled=true" (printf "bridge.replicas: %d" (int $bridge.replicas)) $scales }}
{{- if not $store.enabled }}
{{- fail (printf "%s needs dapr.stateStore.enabled=true: replicas share the clusters by leases in Dapr's state store; SQLite on a volume belongs to one process. Without it, set bridge.replicas=1 and bridge.autoscaling.enabled=false" $asked) }}
{{- end }}
{{- if and $store.create (has $store.type (list "state.in-memory" "state.sqlite")) }}
{{- fail (printf "%s: dapr.stateStore.type=%s keeps the state in each Pod, but replicas share the clusters by leases in one store: use state.postgresql or state.redis" $asked $store.type) }}
{{- end }}
{{- if lt (int $bridge.terminationGracePeriodSeconds) 20 }}
{{- fail (printf "bridge.terminationGracePeriodSeconds: %d is too short for several replicas: one that ends needs 10 s to give its leases back, and its sidecar 7 s more; set at least 20" (int $bridge.terminationGracePeriodSeconds)) }}
{{- end }}
{{- end }}
{{- if and $scales (gt (int $bridge.autoscaling.minReplicas) (int $bridge.autoscaling.maxReplicas)) }}
{{- fail (printf "bridge.autoscaling: minReplicas (%d) is more than maxReplicas (%d)" (int $bridge.autoscaling.minReplicas) (int $bridge.autoscaling.maxReplicas)) }}
{{- end }}
{{- end }}

{{/* A number of MiB, or a quantity in Mi or Gi, as MiB: (dict "place" "otelCollector.memoryLimit" "value" VALUE). */}}
{{- define "bud.mebibytes" -}}
{{- $text := include "bud.text" .value }}
{{- if regexMatch "^[0-9]+$" $text }}
{{- if contains "resources" .place }}{{ div (int64 $text) 1048576 }}{{ else }}{{ $text }}{{ end }}
{{- else if regexMatch "^[0-9]+(Mi|MiB)$" $text }}
{{- regexFind "^[0-9]+" $text }}
{{- else if regexMatch "^[0-9]+(\\.[0-9]+)?(Gi|GiB)$" $text }}
{{- mulf (regexFind "^[0-9.]+" $text | float64) 1024 | int64 }}
{{- else }}
{{- fail (printf "%s: %s: must be a quantity such as 1600Mi or 2Gi" .place $text) }}
{{- end }}
{{- end }}
