//! What the kubelet would put into a container's file system, from the pod's volumes. Pure.

use super::container::field_of;
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, Volume, VolumeProjection,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

/// Permissions of a file when its volume says nothing.
const DEFAULT_MODE: i32 = 0o644;

/// A token that a pod asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenNeed {
    /// Its audience; that of the API server if `None`.
    pub audience: Option<String>,
    /// How long it is to be valid, in seconds.
    pub seconds: i64,
}

/// The objects that the files of a container come from, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    /// ConfigMaps.
    pub config_maps: BTreeSet<String>,
    /// Secrets.
    pub secrets: BTreeSet<String>,
    /// PersistentVolumeClaims.
    pub claims: BTreeSet<String>,
    /// Tokens of the pod's ServiceAccount.
    pub tokens: BTreeSet<TokenNeed>,
}

impl Needs {
    /// Adds what `other` needs.
    pub fn add(&mut self, other: Needs) {
        self.config_maps.extend(other.config_maps);
        self.secrets.extend(other.secrets);
        self.claims.extend(other.claims);
        self.tokens.extend(other.tokens);
    }
}

/// Those objects as they are; a missing one is absent.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    /// ConfigMaps by name.
    pub config_maps: BTreeMap<String, ConfigMap>,
    /// Secrets by name.
    pub secrets: BTreeMap<String, Secret>,
    /// UIDs of the claims by name.
    pub claims: BTreeMap<String, String>,
    /// Tokens.
    pub tokens: BTreeMap<TokenNeed, String>,
}

/// What a container waits for, in the kubelet's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The volume that cannot be made; `None` when it is a variable of the environment.
    pub volume: Option<String>,
    /// Such as `configmap "x" not found`.
    pub message: String,
}

impl Objects {
    /// The content of a ConfigMap by key; none of an optional one that is missing.
    ///
    /// # Errors
    /// When it is missing and not optional.
    pub fn config_map(&self, name: &str, optional: Option<bool>) -> Result<BTreeMap<String, Vec<u8>>, Missing> {
        let Some(map) = self.config_maps.get(name) else { return absent("configmap", name, optional) };
        let text = map.data.iter().flatten().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
        let binary = map.binary_data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone()));
        Ok(text.chain(binary).collect())
    }

    /// The content of a Secret by key; none of an optional one that is missing.
    ///
    /// # Errors
    /// When it is missing and not optional.
    pub fn secret(&self, name: &str, optional: Option<bool>) -> Result<BTreeMap<String, Vec<u8>>, Missing> {
        let Some(secret) = self.secrets.get(name) else { return absent("secret", name, optional) };
        Ok(secret.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())).collect())
    }
}

fn absent(kind: &str, name: &str, optional: Option<bool>) -> Result<BTreeMap<String, Vec<u8>>, Missing> {
    if optional == Some(true) {
        return Ok(BTreeMap::new());
    }
    Err(Missing { volume: None, message: format!("{kind} \"{name}\" not found") })
}

/// One file of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its content.
    pub content: Vec<u8>,
    /// Its permissions.
    pub mode: u32,
    /// True for a token, which changes by itself and is read anew on each use.
    pub token: bool,
}

/// What a mount of a container holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// Files that come from objects.
    Content,
    /// A claim, by its UID: a new claim of the same name is a new volume.
    Claim(String),
    /// A folder that lives as long as the pod, by the volume's name.
    Scratch(String),
}

/// One mount of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Path in the container.
    pub path: String,
    /// What it holds.
    pub storage: Storage,
    /// Folder within the storage; mostly empty.
    pub sub_path: String,
}

/// The files and mounts of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Files {
    /// Files that come from objects, by their path in the container.
    pub contents: BTreeMap<String, File>,
    /// Mounts.
    pub mounts: Vec<Mount>,
}

/// What the files and the environment of `container` come from.
pub fn needs_of(pod: &Pod, container: &Container) -> Needs {
    let mut needs = Needs::default();
    for source in container.env_from.iter().flatten() {
        needs.config_maps.extend(source.config_map_ref.iter().map(|reference| reference.name.clone()));
        needs.secrets.extend(source.secret_ref.iter().map(|reference| reference.name.clone()));
    }
    for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
        needs.config_maps.extend(source.config_map_key_ref.iter().map(|reference| reference.name.clone()));
        needs.secrets.extend(source.secret_key_ref.iter().map(|reference| reference.name.clone()));
    }
    for mount in container.volume_mounts.iter().flatten() {
        let Some(volume) = volume_of(pod, &mount.name) else { continue };
        needs.config_maps.extend(volume.config_map.iter().map(|source| source.name.clone()));
        needs.secrets.extend(volume.secret.iter().filter_map(|source| source.secret_name.clone()));
        needs.claims.extend(volume.persistent_volume_claim.iter().map(|source| source.claim_name.clone()));
        for projection in volume.projected.iter().flat_map(|source| source.sources.iter().flatten()) {
            needs.config_maps.extend(projection.config_map.iter().map(|source| source.name.clone()));
            needs.secrets.extend(projection.secret.iter().map(|source| source.name.clone()));
            needs.tokens.extend(token_need(projection));
        }
    }
    needs
}

/// The files and mounts of `container`.
///
/// # Errors
/// When an object that is not optional, or a key of one, is missing.
pub fn files_of(pod: &Pod, container: &Container, objects: &Objects) -> Result<Files, Missing> {
    let mut files = Files::default();
    for mount in container.volume_mounts.iter().flatten() {
        let Some(volume) = volume_of(pod, &mount.name) else { continue };
        let in_volume = |missing: Missing| Missing { volume: Some(volume.name.clone()), ..missing };
        let path = mount.mount_path.trim_end_matches('/').to_owned();
        let sub_path = mount.sub_path.clone().unwrap_or_default();
        let storage = match &volume.persistent_volume_claim {
            Some(claim) => {
                let uid = objects.claims.get(&claim.claim_name).cloned().ok_or_else(|| {
                    let message = format!("persistentvolumeclaim \"{}\" not found", claim.claim_name);
                    in_volume(Missing { volume: None, message })
                })?;
                Storage::Claim(uid)
            }
            None => match contents_of(pod, volume, objects).map_err(in_volume)? {
                None => Storage::Scratch(volume.name.clone()),
                Some(contents) => {
                    files.contents.extend(mounted(contents, &path, &sub_path));
                    Storage::Content
                }
            },
        };
        files.mounts.push(Mount {
            path,
            storage,
            sub_path: if is_within(&sub_path) { sub_path } else { String::new() },
        });
    }
    Ok(files)
}

/// The files of a volume at the paths that a mount gives them.
fn mounted(contents: BTreeMap<String, File>, path: &str, sub_path: &str) -> BTreeMap<String, File> {
    let place = |(name, file): (String, File)| {
        if sub_path.is_empty() {
            return Some((format!("{path}/{name}"), file));
        }
        match name.strip_prefix(sub_path)? {
            "" => Some((path.to_owned(), file)),
            rest => Some((format!("{path}/{}", rest.strip_prefix('/')?), file)),
        }
    };
    contents.into_iter().filter_map(place).collect()
}

/// The files of a volume by their path in it; `None` when it is a folder to write to.
fn contents_of(pod: &Pod, volume: &Volume, objects: &Objects) -> Result<Option<BTreeMap<String, File>>, Missing> {
    if let Some(source) = &volume.config_map {
        let data = objects.config_map(&source.name, source.optional)?;
        return pick(data, source.items.as_deref(), source.optional, source.default_mode).map(Some);
    }
    if let Some(source) = &volume.secret {
        let data = objects.secret(source.secret_name.as_deref().unwrap_or_default(), source.optional)?;
        return pick(data, source.items.as_deref(), source.optional, source.default_mode).map(Some);
    }
    if let Some(source) = &volume.downward_api {
        return Ok(Some(downward(pod, source.items.as_deref(), source.default_mode)));
    }
    let Some(projected) = &volume.projected else { return Ok(None) };
    let mode = projected.default_mode;
    let mut contents = BTreeMap::new();
    for projection in projected.sources.iter().flatten() {
        if let Some(source) = &projection.config_map {
            let data = objects.config_map(&source.name, source.optional)?;
            contents.extend(pick(data, source.items.as_deref(), source.optional, mode)?);
        }
        if let Some(source) = &projection.secret {
            let data = objects.secret(&source.name, source.optional)?;
            contents.extend(pick(data, source.items.as_deref(), source.optional, mode)?);
        }
        if let Some(source) = &projection.downward_api {
            contents.extend(downward(pod, source.items.as_deref(), mode));
        }
        if let (Some(source), Some(need)) = (&projection.service_account_token, token_need(projection)) {
            let token = objects.tokens.get(&need).ok_or_else(|| Missing {
                volume: None,
                message: "failed to fetch token: the API server gave none".to_owned(),
            })?;
            let file = File { token: true, ..file(token.clone().into_bytes(), mode, None) };
            contents.extend(is_within(&source.path).then(|| (source.path.clone(), file)));
        }
    }
    Ok(Some(contents))
}

/// The chosen keys at their paths, or all keys by their own names.
fn pick(
    mut data: BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    default_mode: Option<i32>,
) -> Result<BTreeMap<String, File>, Missing> {
    let Some(items) = items else {
        return Ok(data.into_iter().map(|(key, content)| (key, file(content, default_mode, None))).collect());
    };
    let mut picked = BTreeMap::new();
    for item in items.iter().filter(|item| is_within(&item.path)) {
        match data.remove(&item.key) {
            Some(content) => drop(picked.insert(item.path.clone(), file(content, default_mode, item.mode))),
            None if optional == Some(true) => {}
            None => {
                let message = format!("references non-existent config key: {}", item.key);
                return Err(Missing { volume: None, message });
            }
        }
    }
    Ok(picked)
}

fn downward(pod: &Pod, items: Option<&[DownwardAPIVolumeFile]>, mode: Option<i32>) -> BTreeMap<String, File> {
    let items = items.unwrap_or_default().iter().filter(|item| is_within(&item.path));
    items
        .filter_map(|item| {
            let value = field_of(pod, &item.field_ref.as_ref()?.field_path)?;
            Some((item.path.clone(), file(value.into_bytes(), mode, item.mode)))
        })
        .collect()
}

fn file(content: Vec<u8>, default_mode: Option<i32>, mode: Option<i32>) -> File {
    let mode = mode.or(default_mode).unwrap_or(DEFAULT_MODE);
    File { content, mode: u32::try_from(mode & 0o777).unwrap_or_default(), token: false }
}

fn token_need(projection: &VolumeProjection) -> Option<TokenNeed> {
    let source = projection.service_account_token.as_ref()?;
    // One hour is what the API server takes an unset value for.
    Some(TokenNeed { audience: source.audience.clone(), seconds: source.expiration_seconds.unwrap_or(3600) })
}

fn volume_of<'a>(pod: &'a Pod, name: &str) -> Option<&'a Volume> {
    pod.spec.as_ref()?.volumes.as_ref()?.iter().find(|volume| volume.name == name)
}

/// Whether `path` leads nowhere but down. The API server checks the same; these become paths of
/// this machine, so it is checked here too.
fn is_within(path: &str) -> bool {
    Path::new(path).components().all(|component| matches!(component, Component::Normal(_) | Component::CurDir))
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
