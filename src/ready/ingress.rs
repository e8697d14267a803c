//! Ingresses.

use super::Ready;
use crate::object::ObjectRef;
use serde_json::Value;
use std::collections::BTreeMap;

/// The Services, as `(namespace, name)`, that `object` of `namespace` leads to.
pub fn services(namespace: &str, object: &Value) -> Vec<(String, String)> {
    let rules = object.pointer("/spec/rules").and_then(Value::as_array).into_iter().flatten();
    let paths = rules.filter_map(|rule| rule.pointer("/http/paths")?.as_array()).flatten();
    let backends = paths.filter_map(|path| path.get("backend")).chain(object.pointer("/spec/defaultBackend"));
    let names = backends.filter_map(|backend| backend.pointer("/service/name")?.as_str());
    let mut found: Vec<(String, String)> = names.map(|name| (namespace.to_owned(), name.to_owned())).collect();
    found.sort();
    found.dedup();
    found
}

/// Whether there is somebody behind `object`: each of its Services has a ready endpoint, which `endpoints`
/// counts. An address is not asked for: not every controller tells one.
pub fn judge(reference: &ObjectRef, object: &Value, endpoints: &BTreeMap<(String, String), usize>) -> Ready {
    let namespace = reference.namespace.as_deref().unwrap_or_default();
    let silent = services(namespace, object).into_iter().find(|service| endpoints.get(service).copied() == Some(0));
    match silent {
        Some((_, name)) => {
            let message = format!("its Service `{name}` has no ready endpoint");
            Ready::waiting(reference.clone(), "Progressing", message)
        }
        None => Ready::Ready,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_ingress_is_ready_when_somebody_answers_behind_it() {
        let reference = ObjectRef::namespaced("networking.k8s.io/v1", "Ingress", "m", "grafana");
        let backend = |name: &str| json!({"service": {"name": name, "port": {"number": 80}}});
        let object = json!({"spec": {"defaultBackend": backend("other"),
            "rules": [{"host": "a", "http": {"paths": [{"backend": backend("grafana")}, {"backend": {"resource": {}}}]}}, {}]}});
        let key = |name: &str| ("m".to_owned(), name.to_owned());
        assert_eq!(services("m", &object), [key("grafana"), key("other")]);
        let said = |grafana: usize| {
            let endpoints = BTreeMap::from([(key("grafana"), grafana), (key("other"), 1)]);
            judge(&reference, &object, &endpoints).cause().map(|cause| cause.message.clone())
        };
        assert_eq!(said(2), None);
        assert_eq!(said(0).as_deref(), Some("its Service `grafana` has no ready endpoint"));
        assert_eq!(judge(&reference, &json!({}), &BTreeMap::new()), Ready::Ready);
    }
}
