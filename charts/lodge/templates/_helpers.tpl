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
{{- $class := .values.priorityClassName | default (.root.Values.priorityClass.create | ternary .root.Values.priorityClass.name "") }}
{{- with $class }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.topologySpreadConstraints }}
topologySpreadConstraints: {{- toYaml . | nindent 2 }}
{{- else }}
{{- $scope := . }}
topologySpreadConstraints:
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: ScheduleAnyway
  # Of this revision only: pods of the last one must not count while a new one is rolled out.
  matchLabelKeys: [pod-template-hash]
  labelSelector:
    matchLabels: {{- include "lodge.selector" $scope | nindent 6 }}
{{- end }}
{{- end }}
{{- end }}

{{/* Labels and annotations of the component's pods; .values are the component's. */}}
{{- define "lodge.podMetadata" -}}
labels:
  {{- include "lodge.labels" . | nindent 2 }}
  {{- with .values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  kubectl.kubernetes.io/default-container: {{ .component }}
  {{- with .values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* The PodDisruptionBudget of the component; .values are the component's. */}}
{{- define "lodge.podDisruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: lodge-{{ .component }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "lodge.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ .values.podDisruptionBudget.maxUnavailable }}
  # A pod that isn't ready protects nobody, and must not hold up a drain.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels: {{- include "lodge.selector" . | nindent 6 }}
{{- end }}

{{/* Host names in .names, as a JSON list; if there are none, that of gateway.address; if there is none either, .value is to blame. */}}
{{- define "lodge.hosts" -}}
{{- if .names -}}
{{- toJson .names -}}
{{- else -}}
{{- $address := required (printf "set %s or gateway.address" .value) .root.Values.gateway.address -}}
{{- $host := (urlParse $address).hostname -}}
{{- list $host | toJson -}}
{{- end -}}
{{- end }}

{{/* The Secret with the certificate that clients are shown; empty for the operator's own. */}}
{{- define "lodge.servingSecret" -}}
{{- with .Values.gateway.certificate -}}
{{- if .secretName }}{{ .secretName }}{{ else if .create }}lodge-gateway-serving{{ end -}}
{{- end -}}
{{- end }}

{{/* The first of .versions that the cluster serves of .kind in .group; the very first if it serves none, or isn't asked. */}}
{{- define "lodge.apiVersion" -}}
{{- $served := list -}}
{{- range .versions -}}
{{- if $.root.Capabilities.APIVersions.Has (printf "%s/%s/%s" $.group . $.kind) -}}
{{- $served = append $served . -}}
{{- end -}}
{{- end -}}
{{- printf "%s/%s" .group (concat $served .versions | first) -}}
{{- end }}
