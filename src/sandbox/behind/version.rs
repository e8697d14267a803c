//! Which version of a program runs, and which one was deployed. Pure.

/// Annotation of a pod with the version of the program that really runs behind it.
pub const ANNOTATION: &str = "drivemaster-mon/program-version";

/// The version in what a program says about itself: the first word of numbers with two dots.
pub fn said_version(text: &str) -> Option<String> {
    let words = text.split(|character: char| !(character.is_ascii_alphanumeric() || ".+-".contains(character)));
    let bare = words.map(|word| word.strip_prefix('v').unwrap_or(word));
    bare.into_iter().find(|word| is_version(word)).map(str::to_owned)
}

/// The version that the tag of an image names; none of an image without a tag, or with one that
/// names no version.
pub fn image_version(image: &str) -> Option<String> {
    let name = image.split('@').next().unwrap_or_default();
    let (_, tag) = name.rsplit('/').next()?.split_once(':')?;
    let version = tag.strip_prefix('v').unwrap_or(tag);
    is_version(version).then(|| version.to_owned())
}

/// Whether `run` is the version of `deployed`, which may name a flavour after it (`3.14.0-distroless`).
pub fn is_same(deployed: &str, run: &str) -> bool {
    deployed == run || deployed.strip_prefix(run).is_some_and(|flavour| flavour.starts_with('-'))
}

/// Whether it begins with three numbers joined by dots.
fn is_version(word: &str) -> bool {
    let core = word.split(['-', '+']).next().unwrap_or_default();
    let parts: Vec<&str> = core.split('.').collect();
    parts.len() == 3 && parts.iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_program_says_its_version_in_its_own_way() {
        for (text, expected) in [
            ("loki, version 3.7.6 (branch: , revision: unknown)\n  go version: go1.26.8", Some("3.7.6")),
            ("2026/11/24 23:21:16 application version: git-commit=, git-version=v2.13.0, build-date=", Some("2.13.0")),
            ("otelcol version 0.158.0", Some("0.158.0")),
            (
                "Controller manager Version: version.Info{GitVersion:\"v0.9.1-0.20260902003049-47411975a8cb\"}",
                Some("0.9.1-0.20260902003049-47411975a8cb"),
            ),
            ("usage: x [-h] 127.0.0.1", None),
            ("", None),
        ] {
            assert_eq!(said_version(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_version_is_compared_with_the_tag_of_the_image() {
        for (image, run, expected) in [
            ("quay.io/prometheus/prometheus:v3.14.0-distroless", "3.14.0", Some(true)),
            ("localhost:5000/jaegertracing/jaeger:2.19.0", "2.13.0", Some(false)),
            ("grafana/loki:3.7.6@sha256:00", "3.7.6", Some(true)),
            ("grafana/loki:3.7.60", "3.7.6", Some(false)),
            ("localhost:5000/loki", "3.7.6", None),
            ("loki:latest", "3.7.6", None),
            ("loki@sha256:00", "3.7.6", None),
        ] {
            assert_eq!(image_version(image).map(|deployed| is_same(&deployed, run)), expected, "{image}");
        }
    }
}
