{{/* Labels of an object of the component in .component. */}}
{{- define "lodge.labels" -}}
app.kubernetes.io/name: lodge-{{ .component }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/part-of: lodge
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{/* Labels that select the pods of the component in .component. */}}
{{- define "lodge.selector" -}}
app.kubernetes.io/name: lodge-{{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{/* The reference of the image that .image of the values describes. */}}
{{- define "lodge.image" -}}
{{- if .image.reference }}{{ .image.reference }}{{ else -}}
{{ .root.Values.image.registry }}/{{ .image.name }}:{{ .image.tag | default .root.Chart.AppVersion }}{{ end }}
{{- end }}

{{/* Who a pod is. */}}
{{- define "lodge.identity" -}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- end }}

{{/* Ports of health and metrics. */}}
{{- define "lodge.statusPorts" -}}
- {name: health, containerPort: 8081}
- {name: metrics, containerPort: 9090}
{{- end }}

{{/* Probes on the health port. */}}
{{- define "lodge.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: health}
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: health}
  periodSeconds: 10
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: health}
  periodSeconds: 2
  failureThreshold: 2
{{- end }}

{{/* The pod's security context: Pod Security level restricted. */}}
{{- define "lodge.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* The container's security context: Pod Security level restricted. */}}
{{- define "lodge.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* What both Deployments' pods say in the same way; .values are the component's. */}}
{{- define "lodge.placement" -}}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- include "lodge.selector" . | nindent 6 }}
{{- end }}
