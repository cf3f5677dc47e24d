{{/* Labels that select the Pods of a component: (dict "root" $ "component" "bridge"). */}}
{{- define "bud.selectorLabels" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Labels of an object: (dict "root" $ "component" "bridge"). */}}
{{- define "bud.labels" -}}
{{- $own := dict "helm.sh/chart" (printf "%s-%s" .root.Chart.Name (replace "+" "_" .root.Chart.Version)) "app.kubernetes.io/version" .root.Chart.AppVersion "app.kubernetes.io/managed-by" .root.Release.Service "app.kubernetes.io/part-of" "bud" }}
{{- toYaml (merge (include "bud.selectorLabels" . | fromYaml) $own .root.Values.commonLabels) }}
{{- end }}

{{/* Labels of a Pod: (dict "root" $ "component" "bridge" "values" .Values.bridge). */}}
{{- define "bud.podLabels" -}}
{{- toYaml (merge (include "bud.selectorLabels" . | fromYaml) .values.podLabels .root.Values.commonLabels) }}
{{- end }}

{{- define "bud.collectorName" -}}{{ .Release.Name }}-otel-collector{{- end }}
{{/* Name of a component's Service: (dict "values" .Values.bridge "name" "budcluster"). */}}
{{- define "bud.serviceName" -}}
{{ .values.service.name | default .name }}
{{- end }}
{{- define "bud.bridgeService" -}}{{ include "bud.serviceName" (dict "values" .Values.bridge "name" .Values.bridge.name) }}{{- end }}
{{- define "bud.queryService" -}}{{ include "bud.serviceName" (dict "values" .Values.query "name" .Values.query.name) }}{{- end }}
{{- define "bud.collectorService" -}}{{ include "bud.serviceName" (dict "values" .Values.otelCollector "name" (include "bud.collectorName" .)) }}{{- end }}
{{- define "bud.clickhouseName" -}}{{ .Release.Name }}-clickhouse{{- end }}

{{/* An image, by digest where there is one: .Values.otelCollector.image. */}}
{{- define "bud.imageReference" -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag }}{{ end }}
{{- end }}

{{/* Image of bridge, query and migration. */}}
{{- define "bud.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{- include "bud.imageReference" (mergeOverwrite (deepCopy .Values.image) (dict "tag" $tag)) }}
{{- end }}

{{/* Name of a component's ServiceAccount: (dict "values" .Values.bridge "name" "budcluster"). */}}
{{- define "bud.serviceAccountName" -}}
{{ .values.serviceAccount.name | default .name }}
{{- end }}

{{/* What every Pod has: (dict "root" $ "component" "bridge" "values" .Values.bridge "account" NAME). */}}
{{- define "bud.pod" -}}
{{- $selector := include "bud.selectorLabels" . | fromYaml -}}
serviceAccountName: {{ .account }}
automountServiceAccountToken: {{ .mountsToken | default false }}
# A Service named prometheus in the namespace would set PROMETHEUS_PORT.
enableServiceLinks: false
{{- with .values.terminationGracePeriodSeconds }}
terminationGracePeriodSeconds: {{ . }}
{{- end }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.topologySpreadConstraints }}
topologySpreadConstraints:
{{- range . }}
  - {{ toYaml (merge (deepCopy .) (dict "labelSelector" (dict "matchLabels" $selector))) | nindent 4 | trim }}
{{- end }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext: {{- toYaml .values.podSecurityContext | nindent 2 }}
{{- end }}

{{/* A value as text: numbers of a values file are floating-point and would become 1.5e+06. */}}
{{- define "bud.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- end }}

{{/*
The environment of a workload of the program: (dict "root" $ "workload" "bridge" "own" DICT). `own` holds what the chart sets; the
workload's `env` adds what files/variables.yaml allows it, and `extraEnv` anything else. Values are texts, numbers, or {valueFrom: ...}.
*/}}
{{- define "bud.env" -}}
{{- $known := .root.Files.Get "files/variables.yaml" | fromYaml }}
{{- $values := index .root.Values .workload }}
{{- $env := deepCopy .own }}
{{- $place := printf "%s.env" .workload }}
{{- range $name, $value := $values.env }}
{{- $variable := index $known $name }}
{{- if not $variable }}
{{- fail (printf "%s.%s: the program has no such variable (.env.example lists them); use %s.extraEnv for variables of other programs" $place $name $.workload) }}
{{- else if and (eq $.workload "bridge") (hasPrefix "CLICKHOUSE_" $name) }}
{{- fail (printf "%s.%s: the bridge never connects to ClickHouse" $place $name) }}
{{- else if $variable.by }}
{{- fail (printf "%s.%s: set %s instead" $place $name $variable.by) }}
{{- else if not (has $.workload $variable.in) }}
{{- fail (printf "%s.%s: has no effect here; it belongs to %s.env" $place $name (join ".env, " $variable.in)) }}
{{- end }}
{{- $_ := set $env $name $value }}
{{- end }}
{{- range $values.extraEnv }}
{{- if hasKey $known .name }}
{{- fail (printf "%s.extraEnv: %s is a variable of the program: use %s.env (secrets: {valueFrom: ...}) or the chart value that sets it" $.workload .name $.workload) }}
{{- end }}
{{- end }}
{{- range $name, $value := $env }}
- name: {{ $name }}
{{- if kindIs "map" $value }}
  {{- toYaml $value | nindent 2 }}
{{- else }}
  value: {{ include "bud.text" $value | quote }}
{{- end }}
{{- end }}
{{- with $values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Where OTLP/HTTP goes. */}}
{{- define "bud.collectorEndpoint" -}}
{{- if .Values.bridge.collectorEndpoint }}{{ tpl .Values.bridge.collectorEndpoint . }}{{ else }}http://{{ include "bud.collectorService" . }}:{{ .Values.otelCollector.service.httpPort }}{{ end }}
{{- end }}

{{- define "bud.clickhouseHost" -}}{{ tpl .Values.otelCollector.clickhouse.host . }}{{- end }}

{{- define "bud.clickhouseUrl" -}}
{{- with .Values.otelCollector.clickhouse }}http{{ if .secure }}s{{ end }}://{{ include "bud.clickhouseHost" $ }}:{{ .httpPort }}{{ end }}
{{- end }}

{{/* secretKeyRef of a ClickHouse password, or nothing: (dict "root" $ "clickhouse" .Values.query.clickhouse). */}}
{{- define "bud.clickhousePassword" -}}
{{- $shared := .root.Values.otelCollector.clickhouse }}
{{- if .clickhouse.existingSecret }}
{{- dict "name" .clickhouse.existingSecret "key" .clickhouse.existingSecretKey | toYaml }}
{{- else if $shared.existingSecret }}
{{- dict "name" $shared.existingSecret "key" $shared.existingSecretKey | toYaml }}
{{- else if .root.Values.clickhouse.enabled }}
{{- dict "name" (include "bud.clickhouseName" .root) "key" "password" | toYaml }}
{{- end }}
{{- end }}

{{/* The CLICKHOUSE_* variables of query and migration, as YAML: (dict "root" $ "clickhouse" .Values.query.clickhouse). */}}
{{- define "bud.clickhouseEnv" -}}
{{- $shared := .root.Values.otelCollector.clickhouse }}
CLICKHOUSE_URL: {{ include "bud.clickhouseUrl" .root | quote }}
CLICKHOUSE_USER: {{ .clickhouse.user | default $shared.user | quote }}
CLICKHOUSE_DATABASE: {{ $shared.database | quote }}
{{- if $shared.shards.urls }}
CLICKHOUSE_SHARD_URLS: {{ join "," $shared.shards.urls | quote }}
CLICKHOUSE_DISTRIBUTED_DATABASE: {{ $shared.shards.database | quote }}
CLICKHOUSE_DISTRIBUTED_CLUSTER: {{ $shared.shards.cluster | quote }}
{{- end }}
{{- with include "bud.clickhousePassword" . }}
CLICKHOUSE_PASSWORD:
  valueFrom:
    secretKeyRef: {{- . | nindent 6 }}
{{- end }}
{{- end }}

{{/* Non-empty when the bridge has a Dapr sidecar. */}}
{{- define "bud.dapr" -}}
{{- if or (eq .Values.scheduler "dapr") .Values.dapr.stateStore.enabled }}true{{ end }}
{{- end }}

{{- define "bud.daprAppTokenSecret" -}}{{ .Values.dapr.appToken.existingSecret | default (printf "%s-dapr-app-token" .Release.Name) }}{{- end }}
{{- define "bud.daprApiTokenSecret" -}}{{ .Values.dapr.apiToken.existingSecret | default (printf "%s-dapr-api-token" .Release.Name) }}{{- end }}

{{/* Secrets of generated tokens, as a YAML list. */}}
{{- define "bud.tokenSecretNames" -}}
{{- $names := list }}
{{- if and .Values.auth.enabled (not .Values.auth.existingSecret) }}
{{- $names = concat $names (list (printf "%s-admin-token" .Release.Name) (printf "%s-metrics-token" .Release.Name)) }}
{{- end }}
{{- if include "bud.dapr" . }}
{{- if not .Values.dapr.appToken.existingSecret }}{{- $names = append $names (include "bud.daprAppTokenSecret" .) }}{{- end }}
{{- if not .Values.dapr.apiToken.existingSecret }}{{- $names = append $names (include "bud.daprApiTokenSecret" .) }}{{- end }}
{{- end }}
{{- toYaml $names }}
{{- end }}

{{/* Every Secret of secrets.yaml, as a YAML list. */}}
{{- define "bud.secretNames" -}}
{{- $names := include "bud.tokenSecretNames" . | fromYamlArray }}
{{- if and .Values.auth.enabled (not .Values.auth.existingSecret) }}{{ $names = append $names (printf "%s-api-tokens" .Release.Name) }}{{ end }}
{{- if not .Values.credentials.existingSecret }}{{ $names = append $names (printf "%s-credentials-keys" .Release.Name) }}{{ end }}
{{- if and .Values.clickhouse.enabled (not .Values.otelCollector.clickhouse.existingSecret) }}{{ $names = append $names (include "bud.clickhouseName" .) }}{{ end }}
{{- if .Values.clusters.list }}{{ $names = append $names (printf "%s-clusters" .Release.Name) }}{{ end }}
{{- toYaml $names }}
{{- end }}

{{/* The volume and variables that both bridge and query need for tokens. */}}
{{- define "bud.tokensVolume" -}}
- name: api-tokens
  secret:
    secretName: {{ .Values.auth.existingSecret | default (printf "%s-api-tokens" .Release.Name) }}
    items:
      - key: {{ if .Values.auth.existingSecret }}{{ .Values.auth.existingSecretKey }}{{ else }}tokens.yaml{{ end }}
        path: tokens.yaml
{{- end }}

{{/* Probes of the program; readiness of the bridge must not depend on Dapr's sidecar: (dict "readiness" "/readyz"). */}}
{{- define "bud.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: {{ .readiness }}, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
{{- end }}

{{/*
The paths that an Ingress or HTTPRoute routes, by service: (dict "root" $ "route" .Values.ingress). The page is that of the query service, or of
the bridge if only this one is routed. /metrics, the program's own metrics, is not among them.
*/}}
{{- define "bud.routedPaths" -}}
{{- $page := and .route.page .root.Values.page.enabled -}}
{{- $shared := list (dict "path" "/whoami") -}}
{{- if $page }}{{ $shared = concat $shared (list (dict "path" "/" "exact" true) (dict "path" "/page") (dict "path" "/docs")) }}{{ end -}}
{{- $bridge := list -}}
{{- range list "/clusters" "/onboard" "/metrics/collect-all" "/metrics/status" "/metrics/events" "/metrics/completeness" }}{{ $bridge = append $bridge (dict "path" .) }}{{ end -}}
{{- $query := list (dict "path" "/cluster-metrics") -}}
{{- if .route.query }}{{ $query = concat $query $shared }}{{ else }}{{ $bridge = concat $bridge $shared }}{{ end -}}
{{- dict "query" (ternary $query list .route.query) "bridge" (ternary $bridge list .route.bridge) | toYaml }}
{{- end }}
