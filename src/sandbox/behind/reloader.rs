//! What a configuration reloader beside a program would write before the program starts, and again
//! at each change: the configuration, unpacked and with the environment put in. Pure.
//!
//! prometheus-operator gives Prometheus and Alertmanager their configuration in this way: a Secret
//! holds it compressed, an init container (`prometheus-config-reloader`) expands `$(NAME)` from its
//! environment and writes it into an `emptyDir` that the program reads.

use super::container::environment_of;
use super::files::{File, Files, Missing, Needs, Objects, files_of, needs_of};
use flate2::read::GzDecoder;
use k8s_openapi::api::core::v1::{Container, Pod};
use std::collections::BTreeMap;
use std::io::Read;

/// Flag with the file to read.
const SOURCE: &str = "--config-file";
/// Flag with the file to write.
const TARGET: &str = "--config-envsubst-file";
/// What a gzip file begins with (RFC 1952, section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// The largest configuration that is unpacked, in bytes.
const LIMIT: u64 = 64 << 20;
/// Permissions of a written file.
const MODE: u32 = 0o644;

/// Why there is no configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unwritten {
    /// An object that the reloader needs is missing.
    Missing(Missing),
    /// The reloader cannot use what there is; one line for people.
    Refused(String),
}

/// A reloader of a pod.
struct Reloader<'a> {
    container: &'a Container,
    source: String,
    target: String,
}

/// The init containers of `pod` that write a configuration.
fn reloaders(pod: &Pod) -> impl Iterator<Item = Reloader<'_>> {
    let containers = pod.spec.as_ref().and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
    containers.iter().filter_map(|container| {
        let arguments = arguments_of_init(container);
        let value = |flag: &str| {
            arguments.iter().find_map(|argument| Some(argument.strip_prefix(flag)?.strip_prefix('=')?.to_owned()))
        };
        Some(Reloader { container, source: value(SOURCE)?, target: value(TARGET)? })
    })
}

/// The container's own arguments; its paths name no variables.
fn arguments_of_init(container: &Container) -> Vec<String> {
    container.command.iter().chain(&container.args).flatten().cloned().collect()
}

/// What the reloaders of `pod` read, besides what its program does.
pub fn reloader_needs(pod: &Pod) -> Needs {
    let mut needs = Needs::default();
    for reloader in reloaders(pod) {
        needs.add(needs_of(pod, reloader.container));
    }
    needs
}

/// The files that the reloaders of `pod` write, by their path in `container`.
///
/// # Errors
/// When a reloader lacks something or cannot read its configuration.
pub fn written_files(pod: &Pod, container: &Container, objects: &Objects) -> Result<BTreeMap<String, File>, Unwritten> {
    let mut written = BTreeMap::new();
    for reloader in reloaders(pod) {
        let Some(path) = seen_from(container, reloader.container, &reloader.target) else { continue };
        let name = &reloader.container.name;
        let files = files_of(pod, reloader.container, objects).map_err(Unwritten::Missing)?;
        let environment = environment_of(pod, reloader.container, objects).map_err(Unwritten::Missing)?;
        let source = source_of(&files, &reloader.source, name)?;
        let refused = |why: String| Unwritten::Refused(format!("{}: init container `{name}`: {why}", reloader.source));
        let text = expand(&unpack(source).map_err(refused)?, &environment).map_err(refused)?;
        written.insert(path, File { content: text.into_bytes(), mode: MODE, token: false });
    }
    Ok(written)
}

fn source_of<'a>(files: &'a Files, path: &str, container: &str) -> Result<&'a [u8], Unwritten> {
    let file = files.contents.get(path).ok_or_else(|| {
        let message = format!("init container `{container}`: there is no file `{path}`");
        Unwritten::Missing(Missing { volume: None, message })
    })?;
    Ok(&file.content)
}

/// The path that `container` has for the file that `other` knows as `path`: both mount its volume.
fn seen_from(container: &Container, other: &Container, path: &str) -> Option<String> {
    let below = |mounted: &str| {
        let rest = path.strip_prefix(mounted.trim_end_matches('/'))?;
        rest.strip_prefix('/').map(str::to_owned)
    };
    let theirs = other.volume_mounts.iter().flatten();
    let (mount, rest) = theirs
        .filter(|mount| mount.sub_path.as_deref().unwrap_or_default().is_empty())
        .filter_map(|mount| Some((mount, below(&mount.mount_path)?)))
        .min_by_key(|(_, rest)| rest.len())?;
    let mut ours = container.volume_mounts.iter().flatten();
    let ours = ours.find(|own| own.name == mount.name && own.sub_path.as_deref().unwrap_or_default().is_empty())?;
    Some(format!("{}/{rest}", ours.mount_path.trim_end_matches('/')))
}

/// The text of a file that may be compressed.
fn unpack(content: &[u8]) -> Result<String, String> {
    let bytes = if content.starts_with(&GZIP) {
        let mut unpacked = Vec::new();
        let mut reader = GzDecoder::new(content).take(LIMIT + 1);
        reader.read_to_end(&mut unpacked).map_err(|error| format!("it cannot be unpacked: {error}"))?;
        if unpacked.len() as u64 > LIMIT {
            return Err(format!("it is larger than {} MiB unpacked", LIMIT >> 20));
        }
        unpacked
    } else {
        content.to_vec()
    };
    String::from_utf8(bytes).map_err(|_| "it is no text in UTF-8".to_owned())
}

/// Replaces each `$(NAME)` by the variable of that name, which must be set.
fn expand(text: &str, environment: &BTreeMap<String, String>) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("$(") {
        expanded.push_str(before);
        let is_name =
            |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        match after.split_once(')').filter(|(name, _)| is_name(name)) {
            Some((name, after)) => {
                let value = environment.get(name);
                expanded.push_str(value.ok_or_else(|| format!("the variable {name} is not set"))?);
                rest = after;
            }
            None => {
                expanded.push_str("$(");
                rest = after;
            }
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use serde_json::json;
    use std::io::Write;

    /// A pod as prometheus-operator makes one.
    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": "prometheus-main-0", "namespace": "monitoring" },
            "spec": {
                "initContainers": [
                    { "name": "other", "args": ["--config-file=/x"] },
                    {
                        "name": "init-config-reloader", "command": ["/bin/prometheus-config-reloader"],
                        "args": [
                            "--watch-interval=0", "--config-file=/etc/prometheus/config/prometheus.yaml.gz",
                            "--config-envsubst-file=/etc/prometheus/config_out/prometheus.env.yaml",
                        ],
                        "env": [
                            { "name": "POD_NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
                            { "name": "SHARD", "value": "0" },
                        ],
                        "volumeMounts": [
                            { "name": "config", "mountPath": "/etc/prometheus/config" },
                            { "name": "config-out", "mountPath": "/etc/prometheus/config_out" },
                        ],
                    },
                ],
                "containers": [{
                    "name": "prometheus",
                    "volumeMounts": [{ "name": "config-out", "mountPath": "/etc/prometheus/out", "readOnly": true }],
                }],
                "volumes": [
                    { "name": "config", "secret": { "secretName": "prometheus-main" } },
                    { "name": "config-out", "emptyDir": { "medium": "Memory" } },
                ],
            },
        }))
        .unwrap()
    }

    fn packed(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn written(content: &[u8]) -> Result<BTreeMap<String, File>, Unwritten> {
        let pod = pod();
        let secret = json!({ "data": { "prometheus.yaml.gz": BASE64_STANDARD.encode(content) } });
        let mut objects = Objects::default();
        objects.secrets.insert("prometheus-main".into(), serde_json::from_value(secret).unwrap());
        let container = pod.spec.as_ref().unwrap().containers[0].clone();
        written_files(&pod, &container, &objects)
    }

    #[test]
    fn the_program_finds_the_configuration_unpacked_and_expanded_at_its_own_path() {
        for content in [
            packed("replica: $(POD_NAME)/$(SHARD) $(a b) $x $("),
            b"replica: $(POD_NAME)/$(SHARD) $(a b) $x $(".to_vec(),
        ] {
            let files = written(&content).unwrap();
            let [(path, file)] = files.iter().collect::<Vec<_>>()[..] else { panic!("{files:?}") };
            assert_eq!(path, "/etc/prometheus/out/prometheus.env.yaml");
            assert_eq!(String::from_utf8_lossy(&file.content), "replica: prometheus-main-0/0 $(a b) $x $(");
        }
    }

    #[test]
    fn what_the_reloader_cannot_use_is_told() {
        let refused = |content: &[u8]| match written(content).unwrap_err() {
            Unwritten::Refused(why) => why,
            other => panic!("{other:?}"),
        };
        let place = "/etc/prometheus/config/prometheus.yaml.gz: init container `init-config-reloader`: ";
        assert_eq!(refused(b"a: $(NOPE)"), format!("{place}the variable NOPE is not set"));
        assert!(refused(&packed("a: 1")[..12]).starts_with(&format!("{place}it cannot be unpacked: ")));
        assert_eq!(refused(&[0xff, 0xfe]), format!("{place}it is no text in UTF-8"));
    }

    #[test]
    fn a_missing_secret_or_key_is_waited_for() {
        let pod = pod();
        assert_eq!(reloader_needs(&pod).secrets, ["prometheus-main".to_owned()].into());
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let missing = |objects: &Objects| match written_files(&pod, container, objects).unwrap_err() {
            Unwritten::Missing(missing) => missing.message,
            other => panic!("{other:?}"),
        };
        let mut objects = Objects::default();
        assert_eq!(missing(&objects), "secret \"prometheus-main\" not found");
        objects.secrets.insert("prometheus-main".into(), serde_json::from_value(json!({})).unwrap());
        assert_eq!(
            missing(&objects),
            "init container `init-config-reloader`: there is no file `/etc/prometheus/config/prometheus.yaml.gz`"
        );
    }
}
