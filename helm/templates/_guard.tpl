{{/*
What the release is about to make, as a YAML list of apiVersion, kind and name. It is read from the templates themselves, so that a new object
can't be forgotten; only Secrets are listed by name, because their template makes keys.
*/}}
{{- define "bud.objects" -}}
{{- $objects := list }}
{{- range include "bud.secretNames" . | fromYamlArray }}
{{- $objects = append $objects (dict "apiVersion" "v1" "kind" "Secret" "name" .) }}
{{- end }}
{{- range $file := list "accounts-and-budgets" "bridge" "clickhouse" "dapr" "dashboards" "ingress" "migration" "monitoring" "network-policies" "otel-collector" "query" "tests/api" }}
{{- range regexSplit "(?m)^---" (include (printf "%s/%s.yaml" $.Template.BasePath $file) $) -1 }}
{{- $object := fromYaml . }}
{{- if hasKey $object "Error" }}
{{- fail (printf "templates/%s.yaml: %s" $file $object.Error) }}
{{- else if hasKey $object "kind" }}
{{- $objects = append $objects (dict "apiVersion" $object.apiVersion "kind" $object.kind "name" $object.metadata.name) }}
{{- end }}
{{- end }}
{{- end }}
{{- toYaml $objects }}
{{- end }}

{{/* Non-empty where `lookup` sees the cluster. Without one (`helm template`, Argo CD) even a list of everything comes back empty. */}}
{{- define "bud.seesCluster" -}}
{{- if hasKey (lookup "v1" "Secret" .Release.Namespace "") "items" }}true{{ end }}
{{- end }}

{{/* Non-empty when an object is not this release's of this chart, and then says whose it is: (dict "root" $ "object" OBJECT). */}}
{{- define "bud.foreign" -}}
{{- $labels := dig "metadata" "labels" dict .object | default dict }}
{{- $annotations := dig "metadata" "annotations" dict .object | default dict }}
{{- $chart := get $labels "app.kubernetes.io/name" }}
{{- $release := get $annotations "meta.helm.sh/release-name" }}
{{- $namespace := get $annotations "meta.helm.sh/release-namespace" }}
{{- if ne $chart .root.Chart.Name }}
{{- printf "%s %s is not this chart's" .object.kind .object.metadata.name }}
{{- with $release }}{{ printf " (it belongs to the release %s)" . }}{{ end }}
{{- else if and $release (or (ne $release .root.Release.Name) (ne $namespace .root.Release.Namespace)) }}
{{- printf "%s %s belongs to the release %s in the namespace %s" .object.kind .object.metadata.name $release $namespace }}
{{- end }}
{{- end }}

{{- define "bud.ownPlace" -}}
helm upgrade --install {{ .Chart.Name | trimSuffix "-bridge" }} CHART --namespace {{ .Chart.Name | trimSuffix "-bridge" }} --create-namespace
{{- end }}

{{/*
Refuses, before anything changes, to replace what others installed. Helm refuses by itself to install over another release's objects, but not to
upgrade a release that another chart made: it would delete everything that chart installed.
*/}}
{{- define "bud.guard" -}}
{{- if and .Values.guard.enabled (include "bud.seesCluster" .) }}
{{- /* As a part of another chart it is upgraded together with that chart's objects, which stay. */}}
{{- $isRoot := eq .Template.BasePath (printf "%s/templates" .Chart.Name) }}
{{- if and .Release.IsUpgrade $isRoot }}{{ include "bud.guardRelease" . }}{{ end }}
{{- $taken := list }}
{{- range include "bud.objects" . | fromYamlArray }}
{{- if or (hasPrefix "v1" .apiVersion) ($.Capabilities.APIVersions.Has (printf "%s/%s" .apiVersion .kind)) }}
{{- with lookup .apiVersion .kind $.Release.Namespace .name }}
{{- with include "bud.foreign" (dict "root" $ "object" .) }}{{ $taken = append $taken . }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
{{- if $taken }}
{{- fail (printf "\n\nNothing was changed: names that this release needs are in use in the namespace %s:\n  %s\nInstall it into a namespace of its own:\n  %s\nor give it other names: another release name, bridge.name, query.name, and service.name and serviceAccount.name of bridge, query and otelCollector.\n" .Release.Namespace (join "\n  " $taken) (include "bud.ownPlace" .)) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Fails when the release that is upgraded was made by another chart, or holds objects of one. */}}
{{- define "bud.guardRelease" -}}
{{- $foreign := list }}
{{- $isOurs := false }}
{{- range $kind, $api := dict "Deployment" "apps/v1" "StatefulSet" "apps/v1" "Service" "v1" "ServiceAccount" "v1" "Secret" "v1" "ConfigMap" "v1" "PersistentVolumeClaim" "v1" }}
{{- range (lookup $api $kind $.Release.Namespace "").items }}
{{- $labels := .metadata.labels | default dict }}
{{- $annotations := .metadata.annotations | default dict }}
{{- $isReleases := and (eq (get $annotations "meta.helm.sh/release-name") $.Release.Name) (eq (get $annotations "meta.helm.sh/release-namespace") $.Release.Namespace) }}
{{- if eq (get $labels "app.kubernetes.io/name") $.Chart.Name }}
{{- if or $isReleases (eq (get $labels "app.kubernetes.io/instance") $.Release.Name) }}{{ $isOurs = true }}{{ end }}
{{- else if $isReleases }}
{{- $foreign = append $foreign (printf "%s %s" $kind .metadata.name) }}
{{- end }}
{{- end }}
{{- end }}
{{- $why := "" }}
{{- if $foreign }}
{{- $why = printf "it holds another chart's objects, which the upgrade would delete:\n  %s%s" (join "\n  " (slice $foreign 0 (min 20 (len $foreign) | int))) (ternary (printf "\n  and %d more" (sub (len $foreign) 20)) "" (gt (len $foreign) 20)) }}
{{- else if not $isOurs }}
{{- $why = printf "it holds nothing of this chart. If it is this chart's and its first installation failed, remove what is left of it: helm uninstall %s --namespace %s" .Release.Name .Release.Namespace }}
{{- end }}
{{- with $why }}
{{- fail (printf "\n\nNothing was changed: the release %s in the namespace %s is not this chart's: %s\nInstall this chart under a release name and into a namespace of its own:\n  %s\n" $.Release.Name $.Release.Namespace . (include "bud.ownPlace" $)) }}
{{- end }}
{{- end }}
