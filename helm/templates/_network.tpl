{{/* Of a NetworkPolicy for a component's Pods, up to its rules: (dict "root" $ "component" "bridge" "name" NAME "annotations" DICT). */}}
{{- define "bud.policyHead" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ .name }}
  labels: {{- include "bud.labels" . | nindent 4 }}
  {{- with .annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  podSelector:
    matchLabels: {{- include "bud.selectorLabels" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
{{- end }}

{{/* Names are resolved by whatever listens on port 53: kube-dns, or a cache on the node; OpenShift's DNS Pods listen on 5353. */}}
{{- define "bud.dnsEgress" -}}
- ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
    - {protocol: UDP, port: 5353}
    - {protocol: TCP, port: 5353}
{{- end }}

{{/* (dict "root" $ "component" "bridge") */}}
{{- define "bud.podPeer" -}}
- podSelector:
    matchLabels: {{- include "bud.selectorLabels" . | nindent 6 }}
{{- end }}

{{/* The rule that leads to ClickHouse. */}}
{{- define "bud.clickhouseEgress" -}}
{{- if .Values.clickhouse.enabled }}
- to: {{- include "bud.podPeer" (dict "root" . "component" "clickhouse") | nindent 4 }}
  ports:
    - {protocol: TCP, port: 8123}
    - {protocol: TCP, port: 9000}
{{- else if .Values.networkPolicy.clickhouseEgress }}
{{- toYaml .Values.networkPolicy.clickhouseEgress | nindent 0 }}
{{- else }}
- ports:
    - {protocol: TCP, port: {{ .Values.otelCollector.clickhouse.httpPort }}}
    - {protocol: TCP, port: {{ .Values.otelCollector.clickhouse.port }}}
{{- end }}
{{- end }}
