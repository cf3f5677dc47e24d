{{/* A duration as the program reads it (300, 90s, 5m, 1.5h), in whole seconds. */}}
{{- define "bud.seconds" -}}
{{- $text := include "bud.text" . }}
{{- $factor := dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0 "" 1.0 | dig (regexFind "[a-z]*$" $text) 1.0 }}
{{- round (mulf (regexFind "^[0-9.]+" $text | float64) $factor) 0 | int64 }}
{{- end }}

{{/* The cron schedule: the given one, else every collection.interval, by the wall clock where the interval divides a minute, an hour or a day. */}}
{{- define "bud.schedule" -}}
{{- $seconds := include "bud.seconds" .Values.collection.interval | int }}
{{- $minutes := div $seconds 60 | int }}
{{- $hours := div $seconds 3600 | int }}
{{- if .Values.collection.schedule }}{{ .Values.collection.schedule }}
{{- else if le $seconds 0 }}{{ fail "collection.interval: must be at least one second" }}
{{- else if and (lt $seconds 60) (eq (mod 60 $seconds) 0) }}*/{{ $seconds }} * * * * *
{{- else if and (lt $seconds 3600) (eq (mod 3600 $seconds) 0) (eq (mod $seconds 60) 0) }}0 */{{ $minutes }} * * * *
{{- else if and (lt $seconds 86400) (eq (mod 86400 $seconds) 0) (eq (mod $seconds 3600) 0) }}0 0 */{{ $hours }} * * *
{{- else if eq $seconds 86400 }}0 0 0 * * *
{{- else }}@every {{ $seconds }}s
{{- end }}
{{- end }}

{{/* The seconds between two calls of a cron schedule (a text) of a common form; empty for any other form. */}}
{{- define "bud.scheduleSeconds" -}}
{{- $step := regexFind "/[0-9]+" . | trimPrefix "/" | int }}
{{- if regexMatch "^@every ([0-9]+[hms])+$" . }}
{{- $sum := 0 }}
{{- range regexFindAll "[0-9]+[hms]" . -1 }}{{ $sum = add $sum (include "bud.seconds" .) }}{{ end }}
{{- $sum }}
{{- else if regexMatch "^\\*( \\*){5}$" . }}1
{{- else if regexMatch "^[0-9]+( \\*){5}$" . }}60
{{- else if regexMatch "^[0-9]+ [0-9]+( \\*){4}$" . }}3600
{{- else if regexMatch "^[0-9]+ [0-9]+ [0-9]+( \\*){3}$" . }}86400
{{- else if regexMatch "^(\\*|0)/([1-9]|[1-5][0-9])( \\*){5}$" . }}{{ $step }}
{{- else if regexMatch "^[0-9]+ (\\*|[0-9]+)/([1-9]|[1-5][0-9])( \\*){4}$" . }}{{ mul $step 60 }}
{{- else if regexMatch "^[0-9]+ [0-9]+ (\\*|[0-9]+)/([1-9]|1[0-9]|2[0-3])( \\*){3}$" . }}{{ mul $step 3600 }}
{{- end }}
{{- end }}
