{{- define "dualkv.name" -}}
{{- if contains "dualkv" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-dualkv{{ end -}}
{{- end }}

{{- define "dualkv.selector" -}}
app.kubernetes.io/name: dualkv
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "dualkv.labels" -}}
{{ include "dualkv.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /* A pod that keeps a journal of its own needs a name of its own. */ -}}
{{- define "dualkv.workload" -}}
{{ if eq .Values.journal.kind "claim" }}StatefulSet{{ else }}Deployment{{ end }}
{{- end }}

{{- /* The phases of the shutdown, one after the other; Sentry is flushed for at most 2 seconds. */ -}}
{{- define "dualkv.gracePeriod" -}}
{{- with .Values.shutdown -}}
{{ add .preStopSeconds .lameDuckSeconds (mul 3 .drainSeconds) 2 .spareSeconds }}
{{- end }}
{{- end }}

{{- /* Whoever can reach it from another machine must say a token. */ -}}
{{- define "dualkv.checkAdmin" -}}
{{- if and .Values.admin.exposed (not (has "admin_token" (include "dualkv.secretNames" . | splitList "\n"))) }}
{{- fail "admin.exposed needs the secret admin_token (secrets.names or secrets.values)" }}
{{- end }}
{{- end }}

{{- define "dualkv.scheme" -}}
{{ if eq (.Values.config.metrics_tls | default "off") "off" }}HTTP{{ else }}HTTPS{{ end }}
{{- end }}

{{- define "dualkv.secretName" -}}
{{ .Values.secrets.existing | default (include "dualkv.name" .) }}
{{- end }}

{{- /* The settings that are secrets, one a line. */ -}}
{{- define "dualkv.secretNames" -}}
{{- if .Values.secrets.existing }}{{ join "\n" .Values.secrets.names }}
{{- else }}{{ keys .Values.secrets.values | sortAlpha | join "\n" }}{{ end -}}
{{- end }}

{{- /* TOML writes texts, numbers, truths and lists of texts as JSON does. */ -}}
{{- define "dualkv.toml" -}}
listen = ":6479"
metrics = ":9191"
admin = "{{ if .Values.admin.exposed }}:9192{{ else }}127.0.0.1:9192{{ end }}"
lame_duck = "{{ .Values.shutdown.lameDuckSeconds }}s"
drain = "{{ .Values.shutdown.drainSeconds }}s"
{{- if ne .Values.journal.kind "none" }}
journal_dir = "/var/lib/dualkv/journal"
{{- end }}
{{- range include "dualkv.secretNames" . | splitList "\n" | compact }}
{{ . }}_file = "/run/secrets/dualkv/{{ . }}"
{{- end }}
{{- range $name, $value := .Values.config }}
{{ $name }} = {{ $value | toJson }}
{{- end }}
{{- end }}
