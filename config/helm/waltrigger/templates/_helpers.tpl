{{- define "waltrigger.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "waltrigger.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "waltrigger.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "waltrigger.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "waltrigger.selectorLabels" -}}
app.kubernetes.io/name: {{ include "waltrigger.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "waltrigger.labels" -}}
{{ include "waltrigger.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "waltrigger.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "waltrigger.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "waltrigger.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{/* The file: the values' config, and the folder of trigger files if there are any. */}}
{{- define "waltrigger.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if .Values.triggers -}}
{{- $_ := set $config "triggers" (append (default (list) $config.triggers) "/etc/waltrigger/triggers/*.yaml") -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* A configuration that reads /run/secrets/waltrigger while nothing is mounted there
     would only fail in the pod. */}}
{{- define "waltrigger.checkSecret" -}}
{{- if and (not .Values.existingSecret) (contains "/run/secrets/waltrigger/" (toJson .Values.config)) -}}
{{- fail "config reads files below /run/secrets/waltrigger, so existingSecret must name a Secret (keys: source-url, admin-token), or write config.sources and config.admin without them" -}}
{{- end -}}
{{- end -}}

{{- define "waltrigger.sqlite" -}}
{{- if hasPrefix "sqlite:" .Values.config.store.url -}}yes{{- end -}}
{{- end -}}

{{- define "waltrigger.checkReplicas" -}}
{{- if and (gt (int .Values.replicas) 1) (include "waltrigger.sqlite" .) -}}
{{- fail "replicas: several instances need a store that they share: set config.store.url to postgres://… or mysql://…, and persistence.enabled to false" -}}
{{- end -}}
{{- end -}}

{{- define "waltrigger.volumeMounts" -}}
- name: config
  mountPath: /etc/waltrigger
  readOnly: true
{{- if .Values.triggers }}
- name: triggers
  mountPath: /etc/waltrigger/triggers
  readOnly: true
{{- end }}
{{- if .Values.existingSecret }}
- name: secret
  mountPath: /run/secrets/waltrigger
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "waltrigger.volumes" -}}
- name: config
  configMap:
    name: {{ include "waltrigger.fullname" . }}
{{- if .Values.triggers }}
- name: triggers
  configMap:
    name: {{ include "waltrigger.fullname" . }}-triggers
{{- end }}
{{- if .Values.existingSecret }}
- name: secret
  secret:
    secretName: {{ .Values.existingSecret }}
    defaultMode: 0440
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "waltrigger.env" -}}
{{- with .Values.extraEnv }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
