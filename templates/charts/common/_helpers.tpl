{{/* Labels that select the pods of one component. Argument: (dict "root" $ "component" NAME). */}}
{{- define "selectorLabels" -}}
app.kubernetes.io/name: {{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{/* Labels of everything that belongs to one component. Arguments as above, and "version". */}}
{{- define "labels" -}}
{{ include "selectorLabels" . }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/part-of: drivemaster-monitoring
app.kubernetes.io/version: {{ .version | trunc 63 | trimAll "-_." | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* Security context of every container: what Pod Security `restricted` asks for, and a read-only root. */}}
{{- define "containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Security context of a pod that runs as user and group id of the argument. */}}
{{- define "podSecurityContext" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* Spec of a volume claim. Argument: (dict "class" NAME "size" QUANTITY); no class is the cluster's default. */}}
{{- define "claimSpec" -}}
accessModes: [ReadWriteOnce]
{{- with .class }}
storageClassName: {{ . | quote }}
{{- end }}
resources:
  requests:
    storage: {{ .size | quote }}
{{- end }}

{{/* An image reference. */}}
{{- define "image" -}}
{{ printf "%s:%s" .repository .tag | quote }}
{{- end }}

{{/* The three probes on one path. Argument: (dict "ready" PATH "live" PATH "port" NAME "startSeconds" N). */}}
{{- define "probes" -}}
startupProbe:
  httpGet: { path: {{ .ready | quote }}, port: {{ .port }} }
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: {{ div .startSeconds 5 }}
livenessProbe:
  httpGet: { path: {{ .live | quote }}, port: {{ .port }} }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: { path: {{ .ready | quote }}, port: {{ .port }} }
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 3
{{- end }}

{{/* An Ingress of one host. Argument: (dict "root" $ "component" NAME "version" V "ingress" VALUES "name" N "service" S). */}}
{{- define "ingress" -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "labels" . | nindent 4 }}
spec:
  {{- with .ingress.className }}
  ingressClassName: {{ . | quote }}
  {{- end }}
  rules:
    - host: {{ .ingress.host | quote }}
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: {{ .service }}
                port:
                  name: {{ .port }}
  {{- with .ingress.tlsSecret }}
  tls:
    - hosts: [{{ $.ingress.host | quote }}]
      secretName: {{ . | quote }}
  {{- end }}
{{- end }}
