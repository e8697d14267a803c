//! What no schema can say of the objectives.

use super::document::Document;
use super::model::Config;

/// The problems, each by the pointer of its key. Services that the built-in layers name count only where
/// the platform has them; who names one in a file of the `user` means it. Pure.
pub(super) fn judge_objectives(config: &Config, user: &[Document]) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    let known: Vec<&str> = config.platform.services.iter().map(|service| service.name.as_str()).collect();
    for (name, objective) in &config.slo.objectives {
        let key = format!("/slo/objectives/{name}");
        if objective.target <= 0.0 {
            problems.push((format!("{key}/target"), "must be more than 0: a share such as 0.999".to_owned()));
        }
        if let Some(threshold) = &objective.threshold {
            let value = threshold.as_f64().unwrap_or_default();
            let wrong = match name.as_str() {
                "availability" | "error-rate" | "database-availability" | "cache-hit-ratio" => {
                    Some("is read by nothing: this objective is held against no value")
                }
                _ if value <= 0.0 => Some("must be more than 0"),
                "learning-effectiveness" if value > 1.0 => Some("is a score from 0 to 1, such as 0.75"),
                _ => None,
            };
            problems.extend(wrong.map(|wrong| (format!("{key}/threshold"), wrong.to_owned())));
        }
        let services = format!("{key}/services");
        if !user.iter().any(|document| document.value.pointer(&services).is_some()) {
            continue;
        }
        for (index, service) in objective.services.iter().enumerate() {
            if !known.contains(&service.as_str()) {
                let message = format!("`{service}` is not a service of the platform; known: {}", known.join(", "));
                problems.push((format!("{services}/{index}"), message));
            }
        }
    }
    problems
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::config::{Layer, Profile, resolve};

    #[test]
    fn a_service_that_a_person_names_must_be_one_of_the_platform() {
        let told = |text: &str| {
            resolve(Some(Profile::Local), &[], &[Layer::new("my.yaml", text)], &[]).map_err(|error| error.to_string())
        };
        let refused = told("slo: {objectives: {latency: {services: [user-servic]}}}").unwrap_err();
        assert!(refused.contains("my.yaml:1:") && refused.contains("`user-servic` is not a service"), "{refused}");
        assert!(told("slo: {objectives: {latency: {target: 0}}}").unwrap_err().contains("must be more than 0"));
        for (name, threshold, expected) in [
            ("learning-effectiveness", "75", "a score from 0 to 1"),
            ("latency", "0", "must be more than 0"),
            ("availability", "0.5", "is read by nothing"),
            ("latency", "fast", "expected a number"),
        ] {
            let refused = told(&format!("slo: {{objectives: {{{name}: {{threshold: {threshold}}}}}}}")).unwrap_err();
            assert!(refused.contains(expected) && refused.contains("threshold"), "{refused}");
        }
        // The built-in objectives name services that this platform does not have.
        told("platform: {services: [{name: shop, port: 1}]}").unwrap();
    }
}
