//! What a release has to wait for of the definitions in the plan, once it is known what it makes. Pure.
//!
//! The API server takes seconds for the definitions of the operators; most charts use none of them.

use super::asked::{asks, is_definition, is_packed};
use super::model::{Plan, Step, Target};
use crate::object::{Manifest, ObjectRef};
use crate::render::Bundle;
use crate::render::bundle::Chart;
use std::collections::{BTreeMap, BTreeSet};

/// A definition of the bundle.
struct Definition {
    id: String,
    /// Its name, such as `probes.monitoring.coreos.com`.
    name: String,
    group: String,
    kind: String,
}

/// How a chart has to do with a definition.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// It brings it: its controllers expect it, and act on the objects of its kind.
    Brings,
    /// It makes objects of the kind, or asks whether the cluster serves the group.
    Uses,
}

/// Takes the definitions that a release does not use from what its step needs, and the objects of their kinds;
/// `rendered` has the objects of releases by their names. Of a release that is not in it everything is kept.
pub fn narrow(plan: &mut Plan, bundle: &Bundle, rendered: &BTreeMap<String, Vec<Manifest>>) {
    let definitions: Vec<Definition> = bundle.crds.iter().filter_map(definition).collect();
    if definitions.is_empty() {
        return;
    }
    for step in &mut plan.steps {
        let Step { needs, target: Target::Release { release }, .. } = step else { continue };
        let Some(objects) = rendered.get(&release.name) else { continue };
        let uses = uses(&release.chart, objects, &definitions);
        let is_idle = |id: &str, definition: &Definition| match uses.get(definition.id.as_str()) {
            None => true,
            // Its objects are read by somebody else.
            Some(Use::Uses) => id != definition.id,
            Some(Use::Brings) => false,
        };
        let mut idle: BTreeSet<String> = BTreeSet::new();
        for definition in &definitions {
            let of_its_kind = bundle.objects.iter().map(Manifest::reference).filter(|object| is_of(object, definition));
            let ids = of_its_kind.map(|object| object.to_string()).chain([definition.id.clone()]);
            idle.extend(ids.filter(|id| is_idle(id, definition)));
        }
        needs.retain(|need| !idle.contains(need));
    }
}

fn definition(crd: &Manifest) -> Option<Definition> {
    let text = |pointer: &str| Some(crd.0.pointer(pointer)?.as_str()?.to_owned());
    let reference = crd.reference();
    let (group, kind) = (text("/spec/group")?, text("/spec/names/kind")?);
    Some(Definition { id: reference.to_string(), name: reference.name, group, kind })
}

fn is_of(object: &ObjectRef, definition: &Definition) -> bool {
    let group = object.api_version.split_once('/').map(|(group, _)| group);
    group == Some(&definition.group) && object.kind == definition.kind
}

/// The ids of the definitions that `chart` has to do with.
fn uses<'d>(chart: &Chart, objects: &[Manifest], definitions: &'d [Definition]) -> BTreeMap<&'d str, Use> {
    let files = || chart.files.iter().map(|(path, content)| (path, String::from_utf8_lossy(content)));
    let is_packed = is_packed(chart);
    let mut brought: BTreeSet<String> = BTreeSet::new();
    for (_, text) in files().filter(|(path, _)| is_definition(path)) {
        let names = text.lines().filter_map(|line| line.trim().strip_prefix("name:"));
        brought.extend(names.map(|name| name.trim().trim_matches(['"', '\'']).to_owned()));
    }
    let asking: Vec<_> = files().map(|(_, text)| text).filter(|text| asks(text)).collect();
    let made: Vec<ObjectRef> = objects.iter().map(Manifest::reference).collect();
    let judged = definitions.iter().filter_map(|definition| {
        let asks_for = || asking.iter().any(|text| text.contains(&definition.group));
        let makes = || made.iter().any(|object| is_of(object, definition));
        let found = if is_packed || brought.contains(&definition.name) {
            Use::Brings
        } else if makes() || asks_for() {
            Use::Uses
        } else {
            return None;
        };
        Some((definition.id.as_str(), found))
    });
    judged.collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::plan::{Observed, plan};
    use crate::render::bundle::Release;
    use serde_json::json;

    const DEFINITION: &str = "CustomResourceDefinition probes.example.org";
    const OBJECT: &str = "Probe m/ours";
    const POLICY: &str = "NetworkPolicy m/closed";

    fn object(api_version: &str, kind: &str, name: &str) -> Manifest {
        Manifest(json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "m"}}))
    }

    /// What the release of a chart with these files needs once it is known that it makes `objects`.
    fn needed(files: &[(&str, &str)], objects: Option<Vec<Manifest>>) -> Vec<String> {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
        let chart = Chart { name: "a".into(), version: "1".into(), app_version: "1".into(), files };
        let release = Release { name: "a".into(), namespace: "m".into(), chart, values: json!({}), needs: Vec::new() };
        let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "probes.example.org"},
            "spec": {"group": "example.org", "names": {"kind": "Probe"}, "versions": []}});
        let bundle = Bundle {
            crds: vec![Manifest(crd)],
            objects: vec![
                object("example.org/v1", "Probe", "ours"),
                object("networking.k8s.io/v1", "NetworkPolicy", "closed"),
            ],
            releases: vec![release],
            ..Bundle::default()
        };
        let mut plan = plan(&bundle, &Observed::default());
        let rendered = objects.map(|objects| ("a".to_owned(), objects)).into_iter().collect();
        narrow(&mut plan, &bundle, &rendered);
        plan.steps.pop().unwrap().needs
    }

    #[test]
    fn a_chart_that_uses_no_definition_waits_for_none() {
        let text = "{{ if .Values.monitor }}apiVersion: example.org/v1{{ end }}";
        assert_eq!(needed(&[("templates/a.yaml", text)], Some(Vec::new())), [POLICY]);
    }

    #[test]
    fn a_release_that_is_not_rendered_waits_for_everything() {
        assert_eq!(needed(&[], None), [OBJECT, POLICY, DEFINITION]);
    }

    #[test]
    fn whoever_makes_the_kind_waits_for_its_definition_alone() {
        let made = vec![object("example.org/v1", "Probe", "theirs")];
        assert_eq!(needed(&[], Some(made)), [POLICY, DEFINITION]);
        let other = vec![object("example.com/v1", "Probe", "theirs")];
        assert_eq!(needed(&[], Some(other)), [POLICY]);
    }

    #[test]
    fn whoever_asks_for_the_group_waits_for_its_definitions() {
        let text = "{{ if .Capabilities.APIVersions.Has \"example.org/v1\" }}x{{ end }}";
        assert_eq!(needed(&[("templates/a.yaml", text)], Some(Vec::new())), [POLICY, DEFINITION]);
    }

    #[test]
    fn whoever_brings_the_definition_comes_after_the_objects_of_its_kind() {
        let text = "metadata:\n  name: \"probes.example.org\"\n";
        for path in ["crds/a.yaml", "charts/inner/crds/a.yaml"] {
            assert_eq!(needed(&[(path, text)], Some(Vec::new())), [OBJECT, POLICY, DEFINITION]);
        }
        assert_eq!(needed(&[("charts/inner-1.tgz", "packed")], Some(Vec::new())), [OBJECT, POLICY, DEFINITION]);
    }
}
