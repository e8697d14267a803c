//! The failures: how each is planted, when it can be seen in the API, and what is to be said.

use super::support::sandbox::Sandbox;

/// Where a template of the overlay stands; it becomes a part of the chart.
const TEMPLATE: &str = "templates/charts/prometheus/templates/fault.yaml";

/// One failure.
#[derive(Clone, Copy)]
pub(super) struct Seed {
    /// What is wrong, for the table.
    pub failure: &'static str,
    pub namespace: &'static str,
    /// Options of the deploy.
    pub options: &'static [&'static str],
    /// Settings of the deploy.
    pub sets: &'static [&'static str],
    /// Settings of a deploy before, which must go well.
    pub first: Option<&'static [&'static str]>,
    /// A template that the chart has besides.
    pub template: &'static str,
    /// Objects that stand before, in which `NAMESPACE` is the namespace's name.
    pub manifest: &'static str,
    /// What else is done before.
    pub prepare: fn(&Sandbox, &str),
    /// What undoes it, so that the namespace can go.
    pub undo: fn(&Sandbox, &str),
    /// Done by somebody who may only look.
    pub by_viewer: bool,
    /// The text by which the cause can be seen in the namespace's pods, claims or events; it can be seen from the
    /// start where empty.
    pub mark: &'static str,
    /// What is said, the first of it as soon as the cause is named.
    pub says: &'static [&'static str],
    pub code: i32,
    /// Whether it may heal by itself, so that it is waited for a while.
    pub may_heal: bool,
    /// Whether every run of the tests has it; the others are tested elsewhere.
    pub in_every_run: bool,
}

impl Seed {
    /// The folder of an overlay with the template; none without one.
    pub(super) fn overlay(&self, sandbox: &Sandbox) -> Option<String> {
        if self.template.is_empty() {
            return None;
        }
        let folder = format!("overlay-{}", self.namespace);
        sandbox.run.file(&format!("{folder}/{TEMPLATE}"), self.template);
        Some(sandbox.run.home.path().join(folder).display().to_string())
    }
}

fn nothing(_: &Sandbox, _: &str) {}

const PLAIN: Seed = Seed {
    failure: "",
    namespace: "",
    options: &[],
    sets: &[],
    first: None,
    template: "",
    manifest: "",
    prepare: nothing,
    undo: nothing,
    by_viewer: false,
    mark: "",
    says: &[],
    code: 5,
    may_heal: false,
    in_every_run: false,
};

const NO_NODE: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: picky, namespace: {{ .Release.Namespace }}}
spec:
  selector: {matchLabels: {app: picky}}
  template:
    metadata: {labels: {app: picky}}
    spec:
      nodeSelector: {disk: fast}
      securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: main
          image: registry.invalid/picky
          resources: {requests: {cpu: 10m, memory: 10Mi}, limits: {memory: 10Mi}}
          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
";
const HOOK: &str = "apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-migrate
  namespace: {{ .Release.Namespace }}
  annotations: {helm.sh/hook: pre-install}
spec:
  backoffLimit: 3
  template:
    spec:
      restartPolicy: OnFailure
      securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: migrate
          image: registry.invalid/crash-loop
          resources: {requests: {cpu: 10m, memory: 10Mi}, limits: {memory: 10Mi}}
          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
";
const BAD_PORT: &str = "apiVersion: v1
kind: Service
metadata: {name: bad-port, namespace: {{ .Release.Namespace }}}
spec: {ports: [{name: http, port: 800000}]}
";
const NODE_PORT: &str = "apiVersion: v1
kind: Service
metadata: {name: outside, namespace: {{ .Release.Namespace }}}
spec: {type: NodePort, ports: [{name: http, port: 80, nodePort: 30777}]}
";
const NO_KIND: &str = "apiVersion: example.com/v1
kind: Widget
metadata: {name: one, namespace: {{ .Release.Namespace }}}
";
/// A policy that denies what it names in one namespace.
const POLICY: &str = "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: NAMESPACE}
spec:
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}
    resourceRules: [{apiGroups: [GROUP], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [RESOURCE]}]
  validations: [{expression: 'false', message: every object needs a cost centre}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: NAMESPACE}
spec: {policyName: NAMESPACE, validationActions: [Deny]}
";

fn deny(sandbox: &Sandbox, namespace: &str, group: &str, resource: &str, probe: &str) {
    let manifest = POLICY.replace("NAMESPACE", namespace).replace("GROUP", group).replace("RESOURCE", resource);
    super::apply(sandbox, &manifest);
    let probe = probe.replace("NAMESPACE", namespace);
    super::until("the API server takes the policy up", || {
        super::try_apply(sandbox, &probe, &["--dry-run=server"]).is_err_and(|said| said.contains("denied request"))
    });
}

fn deny_deployments(sandbox: &Sandbox, namespace: &str) {
    const PROBE: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: probe, namespace: NAMESPACE}\n\
                         spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, \
                         spec: {containers: [{name: a, image: b}]}}}\n";
    deny(sandbox, namespace, "apps", "deployments", PROBE);
}

fn deny_pods(sandbox: &Sandbox, namespace: &str) {
    const PROBE: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: probe, namespace: NAMESPACE}\n\
                         spec: {containers: [{name: a, image: b}]}\n";
    deny(sandbox, namespace, "''", "pods", PROBE);
}

fn take_policy_away(sandbox: &Sandbox, namespace: &str) {
    sandbox.kubectl(&["delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", namespace]);
}

fn end_namespace(sandbox: &Sandbox, namespace: &str) {
    sandbox.kubectl(&["create", "configmap", "keeps", "-n", namespace]);
    finalizers(sandbox, namespace, "[\"example.com/test\"]");
    sandbox.kubectl(&["delete", "namespace", namespace, "--wait=false"]);
}

fn let_namespace_end(sandbox: &Sandbox, namespace: &str) {
    finalizers(sandbox, namespace, "null");
}

fn finalizers(sandbox: &Sandbox, namespace: &str, finalizers: &str) {
    let patch = format!("{{\"metadata\":{{\"finalizers\":{finalizers}}}}}");
    sandbox.kubectl(&["patch", "configmap", "keeps", "-n", namespace, "--type=merge", "-p", &patch]);
}

/// All of them.
pub(super) fn seeds() -> Vec<Seed> {
    let mut seeds = refused();
    seeds.extend(unhealthy());
    seeds
}

/// Those that are known before anything is written.
fn refused() -> Vec<Seed> {
    vec![
        Seed {
            failure: "StorageClass that does not exist",
            namespace: "seed-class",
            sets: &["storage.class=slow"],
            says: &["the StorageClass `slow`, which does not exist"],
            ..PLAIN
        },
        Seed {
            failure: "asks for more memory than a node has",
            namespace: "seed-memory",
            sets: &["grafana.resources.requests.memory=9Ti", "grafana.resources.limits.memory=9Ti"],
            says: &["fits on no node"],
            ..PLAIN
        },
        Seed {
            failure: "ResourceQuota is too small",
            namespace: "seed-quota",
            manifest: "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: tight, namespace: NAMESPACE}\n\
                       spec: {hard: {requests.memory: 1Mi}}\n",
            says: &["the ResourceQuota `seed-quota/tight` leaves"],
            ..PLAIN
        },
        Seed {
            failure: "LimitRange forbids a container",
            namespace: "seed-limits",
            manifest: "apiVersion: v1\nkind: LimitRange\nmetadata: {name: small, namespace: NAMESPACE}\n\
                       spec: {limits: [{type: Container, max: {memory: 1Mi}}]}\n",
            says: &["the LimitRange `seed-limits/small` allows a container at most"],
            ..PLAIN
        },
        Seed {
            failure: "policy denies a workload",
            namespace: "seed-denied",
            prepare: deny_deployments,
            undo: take_policy_away,
            says: &["would refuse `Deployment seed-denied/prometheus-grafana`", "every object needs a cost centre"],
            in_every_run: true,
            ..PLAIN
        },
        Seed {
            failure: "webhook without endpoints",
            namespace: "seed-webhook",
            manifest: "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\n\
                       metadata: {name: NAMESPACE}\n\
                       webhooks:\n- {name: gone.example.com, admissionReviewVersions: [v1], sideEffects: None, \
                       failurePolicy: Fail, clientConfig: {service: {namespace: default, name: gone}}, \
                       namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}, \
                       rules: [{apiGroups: [apps], apiVersions: [v1], resources: [deployments], operations: [CREATE]}]}\n",
            undo: |sandbox, namespace| {
                sandbox.kubectl(&["delete", "validatingwebhookconfiguration", namespace]);
            },
            says: &["nothing is ready behind its Service `default/gone`"],
            ..PLAIN
        },
        Seed {
            failure: "object that the API server calls invalid",
            namespace: "seed-invalid",
            template: BAD_PORT,
            says: &["would refuse `Service seed-invalid/bad-port`", "spec.ports[0].port"],
            in_every_run: true,
            ..PLAIN
        },
        Seed {
            failure: "node port that is taken",
            namespace: "seed-port",
            template: NODE_PORT,
            manifest: "apiVersion: v1\nkind: Service\nmetadata: {name: first, namespace: default}\n\
                       spec: {type: NodePort, ports: [{port: 80, nodePort: 30777}]}\n",
            says: &["would refuse `Service seed-port/outside`", "provided port is already allocated"],
            in_every_run: true,
            ..PLAIN
        },
        Seed {
            failure: "kind that the cluster does not know",
            namespace: "seed-kind",
            template: NO_KIND,
            says: &["the cluster does not serve `example.com/v1`", "`Widget seed-kind/one`"],
            in_every_run: true,
            ..PLAIN
        },
        Seed {
            failure: "volume of a StatefulSet made larger",
            namespace: "seed-size",
            first: Some(&["alertmanager.enabled=true", "grafana.enabled=false"]),
            sets: &["alertmanager.enabled=true", "grafana.enabled=false", "alertmanager.storageSize=2Gi"],
            says: &["cannot change the size of the claim", "from 1Gi to 2Gi in place", "--cascade=orphan"],
            in_every_run: true,
            ..PLAIN
        },
        Seed {
            failure: "value that the chart does not know",
            namespace: "seed-value",
            sets: &["helmValues.prometheus.nosuch=1"],
            says: &["does not accept its values", "nosuch"],
            code: 64,
            ..PLAIN
        },
        Seed {
            failure: "rights are missing",
            namespace: "seed-rights",
            by_viewer: true,
            says: &["kubectl auth can-i"],
            ..PLAIN
        },
        Seed {
            failure: "namespace is being deleted",
            namespace: "seed-ending",
            prepare: end_namespace,
            undo: let_namespace_end,
            says: &["the namespace `seed-ending` is being deleted"],
            ..PLAIN
        },
        Seed {
            failure: "release that another helm left pending",
            namespace: "seed-pending",
            manifest: "apiVersion: v1\nkind: Secret\ntype: helm.sh/release.v1\n\
                       metadata: {name: sh.helm.release.v1.prometheus.v1, namespace: NAMESPACE, \
                       labels: {owner: helm, name: prometheus, status: pending-install, version: '1'}}\n",
            says: &["the release `prometheus` is `pending-install`"],
            ..PLAIN
        },
        Seed {
            failure: "object that somebody else made",
            namespace: "seed-taken",
            manifest: "apiVersion: v1\nkind: Service\nmetadata: {name: prometheus-grafana, namespace: NAMESPACE}\n\
                       spec: {ports: [{port: 1}]}\n",
            says: &["`Service seed-taken/prometheus-grafana` is there already, and no Helm release made it"],
            ..PLAIN
        },
    ]
}

/// Those that show once something runs.
fn unhealthy() -> Vec<Seed> {
    let plain = Seed { code: 4, may_heal: true, ..PLAIN };
    vec![
        Seed {
            failure: "image that cannot be pulled",
            namespace: "seed-image",
            sets: &["grafana.image.repository=registry.invalid/does-not-exist"],
            mark: "ImagePullBackOff",
            says: &["ImagePullBackOff", "registry.invalid/does-not-exist"],
            ..plain
        },
        Seed {
            failure: "container that crashes",
            namespace: "seed-crash",
            sets: &["grafana.image.repository=registry.invalid/crash-loop"],
            mark: "CrashLoopBackOff",
            says: &["no such option: --port", "CrashLoopBackOff", "kubectl logs"],
            in_every_run: true,
            ..plain
        },
        Seed {
            failure: "container that is killed for want of memory",
            namespace: "seed-oom",
            sets: &["grafana.image.repository=registry.invalid/oom-killed"],
            mark: "OOMKilled",
            says: &["OOMKilled", "memory limit"],
            in_every_run: true,
            ..plain
        },
        Seed {
            failure: "Secret that a container needs is missing",
            namespace: "seed-secret",
            sets: &["grafana.image.repository=registry.invalid/config-error"],
            mark: "CreateContainerConfigError",
            says: &["CreateContainerConfigError", "not-there"],
            in_every_run: true,
            ..plain
        },
        Seed {
            failure: "readiness probe that fails",
            namespace: "seed-probe",
            options: &["--timeout", "20"],
            sets: &["grafana.image.repository=registry.invalid/never-ready"],
            mark: "Readiness probe failed",
            says: &["Readiness probe failed: HTTP probe failed with statuscode: 503", "Unhealthy"],
            in_every_run: true,
            ..plain
        },
        Seed {
            failure: "no node that a pod may run on",
            namespace: "seed-node",
            template: NO_NODE,
            mark: "node affinity/selector",
            says: &["node affinity/selector", "Unschedulable"],
            in_every_run: true,
            ..plain
        },
        Seed {
            failure: "volume that nobody makes",
            namespace: "seed-volume",
            options: &["--timeout", "20"],
            sets: &["storage.class=nobody"],
            manifest: "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: nobody}\n\
                       provisioner: example.com/nobody\nvolumeBindingMode: Immediate\n",
            mark: "waiting for a volume to be created",
            says: &["no volume of the StorageClass `nobody` is bound to it yet"],
            in_every_run: true,
            ..plain
        },
        Seed {
            failure: "policy denies the pods",
            namespace: "seed-pods",
            prepare: deny_pods,
            undo: take_policy_away,
            mark: "every object needs a cost centre",
            says: &["every object needs a cost centre"],
            may_heal: false,
            in_every_run: true,
            ..plain
        },
        Seed {
            failure: "hook that fails",
            namespace: "seed-hook",
            template: HOOK,
            mark: "CrashLoopBackOff",
            says: &["no such option: --port", "Job seed-hook/prometheus-migrate"],
            in_every_run: true,
            ..plain
        },
        Seed {
            failure: "configuration that the program rejects",
            namespace: "seed-rejected",
            sets: &[
                "alertmanager.enabled=true",
                "grafana.enabled=false",
                "helmValues.prometheus.alertmanager.config.route.receiver=nobody",
            ],
            mark: "undefined receiver",
            says: &["undefined receiver"],
            ..plain
        },
    ]
}
