//! The namespaces with their Pod Security labels. Pure.

use super::labelled;
use crate::config::model::{Config, ExporterMode};
use crate::object::Manifest;
use crate::stack;
use serde_json::json;

/// The annotation that lets Chaos Mesh work in a namespace while it is filtered by namespaces.
const CHAOS_ALLOWED: &str = "chaos-mesh.org/inject";

/// What Pod Security does in a namespace: (mode, level).
type Modes<'m> = &'m [(&'m str, &'m str)];

/// Nothing but `restricted` runs.
const RESTRICTED: Modes<'_> = &[("enforce", "restricted"), ("warn", "restricted"), ("audit", "restricted")];
/// Everything runs; what needs more than `restricted` is told.
const PRIVILEGED: Modes<'_> = &[("enforce", "privileged"), ("warn", "restricted"), ("audit", "restricted")];
/// The workloads are not ours: what needs more is told and nothing is refused.
const TOLD: Modes<'_> = &[("warn", "restricted"), ("audit", "restricted")];

/// The namespaces that `config` uses. Only the node exporter and Chaos Mesh's daemon may do more than
/// Pod Security `restricted` grants, each in a namespace of its own.
pub fn namespaces(config: &Config) -> Vec<Manifest> {
    let names = &config.namespaces;
    let mut platform = namespace(&names.platform, TOLD);
    if config.chaos_mesh.enabled {
        platform.0["metadata"]["annotations"] = json!({ CHAOS_ALLOWED: "enabled" });
    }
    let mut all = vec![platform, namespace(&names.monitoring, RESTRICTED)];
    let node = stack::exporter("node").filter(|node| config.exporter_mode(node.key) == ExporterMode::Deployed);
    if node.is_some() {
        all.push(namespace(&names.node_exporter, PRIVILEGED));
    }
    if config.chaos_mesh.enabled {
        all.push(namespace(&names.chaos_mesh, PRIVILEGED));
    }
    all
}

fn namespace(name: &str, pod_security: Modes<'_>) -> Manifest {
    let mut manifest = labelled(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }));
    for (mode, level) in pod_security {
        manifest.0["metadata"]["labels"][format!("pod-security.kubernetes.io/{mode}")] = json!(level);
    }
    manifest
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{Layer, Profile, resolve};
    use serde_json::Value;

    fn rendered(profile: Profile, text: &str) -> Vec<(String, Value, Value)> {
        let config = resolve(Some(profile), &[], &[Layer::new("my.yaml", text)], &[]).unwrap();
        let of = |manifest: &Manifest| {
            let labels = &manifest.0["metadata"]["labels"];
            let enforced = labels["pod-security.kubernetes.io/enforce"].clone();
            assert_eq!(labels["pod-security.kubernetes.io/warn"], "restricted");
            assert_eq!(labels["pod-security.kubernetes.io/audit"], "restricted");
            (manifest.reference().name, enforced, manifest.0["metadata"]["annotations"][CHAOS_ALLOWED].clone())
        };
        namespaces(&config).iter().map(of).collect()
    }

    fn row(name: &str, enforced: Option<&str>, chaos: Option<&str>) -> (String, Value, Value) {
        (name.to_owned(), json!(enforced), json!(chaos))
    }

    #[test]
    fn only_two_namespaces_may_do_more_than_restricted() {
        assert_eq!(
            rendered(Profile::Production, ""),
            [
                row("drivemaster", None, Some("enabled")),
                row("drivemaster-monitoring", Some("restricted"), None),
                row("drivemaster-node-exporter", Some("privileged"), None),
                row("chaos-mesh", Some("privileged"), None),
            ]
        );
    }

    #[test]
    fn a_namespace_that_nothing_uses_is_not_made() {
        let text = "chaosMesh: {enabled: false}\nplatform: {exporters: {node: existing}}";
        assert_eq!(
            rendered(Profile::Production, text),
            [row("drivemaster", None, None), row("drivemaster-monitoring", Some("restricted"), None)]
        );
        assert_eq!(rendered(Profile::Local, "").len(), 2);
    }
}
