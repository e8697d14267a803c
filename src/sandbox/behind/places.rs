//! Where the paths of a container lie on this machine. Pure.

use std::path::{Path, PathBuf};

/// Where Kubernetes puts the token of a pod's ServiceAccount.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// A mount of a container and its folder here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Path in the container; a file's where a `subPath` mounts one.
    pub container: String,
    /// Path here.
    pub local: PathBuf,
}

/// All mounts of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Folder that stands for the container's root.
    pub root: PathBuf,
    /// Its mounts.
    pub mounts: Vec<Place>,
}

impl Places {
    /// Where the container's path `path` lies here; `None` when it is under no mount, such as a
    /// file of the image.
    pub fn local(&self, path: &str) -> Option<String> {
        let path = Path::new(path);
        let under = self.mounts.iter().filter_map(|place| Some((place, path.strip_prefix(&place.container).ok()?)));
        let (place, rest) = under.max_by_key(|(place, _)| place.container.len())?;
        // Joining an empty rest would put a slash after a file.
        let local = if rest.as_os_str().is_empty() { place.local.clone() } else { place.local.join(rest) };
        Some(local.to_string_lossy().into_owned())
    }

    /// Where a path that may lie outside every mount stands here.
    pub fn within_root(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Where the token of the pod's ServiceAccount lies. Nothing lies there when the pod mounts none.
    pub fn token(&self) -> String {
        self.local(TOKEN).unwrap_or_else(|| self.within_root(TOKEN).to_string_lossy().into_owned())
    }

    /// `text` with paths of this machine turned back into the container's, for people.
    pub fn as_in_container(&self, text: &str) -> String {
        let mut mounts: Vec<&Place> = self.mounts.iter().collect();
        mounts.sort_by_key(|place| std::cmp::Reverse(place.local.as_os_str().len()));
        mounts.iter().fold(text.to_owned(), |text, place| {
            text.replace(&*place.local.to_string_lossy(), place.container.trim_end_matches('/'))
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A container with a configuration, a file mounted alone, and data.
    pub(in crate::sandbox::behind) fn places() -> Places {
        let place = |container: &str, local: &str| Place { container: container.into(), local: local.into() };
        Places {
            root: "/run/root".into(),
            mounts: vec![
                place("/etc/prometheus", "/run/root/etc/prometheus"),
                place("/etc/prometheus/secrets/one", "/run/root/etc/prometheus/secrets/one"),
                place("/prometheus", "/run/claims/data"),
                place(
                    "/var/run/secrets/kubernetes.io/serviceaccount",
                    "/run/root/var/run/secrets/kubernetes.io/serviceaccount",
                ),
            ],
        }
    }

    #[test]
    fn a_path_under_a_mount_is_found_under_the_longest_one() {
        for (path, local) in [
            ("/etc/prometheus/rules/*.yml", Some("/run/root/etc/prometheus/rules/*.yml")),
            ("/etc/prometheus/secrets/one", Some("/run/root/etc/prometheus/secrets/one")),
            ("/prometheus", Some("/run/claims/data")),
            ("/prometheus/wal", Some("/run/claims/data/wal")),
            ("/prometheus-other", None),
            ("/etc/ssl/ca.crt", None),
            ("rules/*.yml", None),
            ("", None),
        ] {
            assert_eq!(places().local(path).as_deref(), local, "{path}");
        }
    }

    #[test]
    fn messages_name_the_paths_of_the_container() {
        assert_eq!(
            places().as_in_container("open /run/root/etc/prometheus/a.yml: no such file; /run/claims/data/wal"),
            "open /etc/prometheus/a.yml: no such file; /prometheus/wal"
        );
    }
}
