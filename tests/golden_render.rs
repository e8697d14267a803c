//! The rendered folder, byte for byte. `UPDATE_GOLDEN=1 cargo test --test golden_render` rewrites it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use drivemaster_mon::chart::{Chart, Charts};
use drivemaster_mon::config::{Config, Layer, Profile, resolve};
use drivemaster_mon::render::{Bundle, Sources, files, needed_charts, render, render_from, values_layer};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn config(layers: &[Layer]) -> Config {
    resolve(Some(Profile::Local), layers, &[], &[]).unwrap()
}

/// Charts stand in the repository as they are.
fn is_golden(path: &str) -> bool {
    !path.starts_with("charts/")
}

fn golden_files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path);
            }
        }
    }
    found
}

/// Profile `production` with charts that are empty: what is ours, and nothing of anybody else's.
fn production() -> Bundle {
    let config = resolve(Some(Profile::Production), &[], &[], &[]).unwrap();
    let empty = |name: &str| Chart {
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        app_version: "1.0.0".to_owned(),
        files: BTreeMap::new(),
    };
    let charts: Charts = needed_charts(&config).into_iter().map(|name| (name.to_owned(), empty(name))).collect();
    render_from(&config, &Sources::embedded(), &charts).unwrap()
}

fn compare(name: &str, bundle: &Bundle) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let rendered: BTreeMap<PathBuf, Vec<u8>> = files::files(bundle)
        .into_iter()
        .filter(|(path, _)| is_golden(path))
        .map(|(path, content)| (folder.join(path), content))
        .collect();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        if folder.exists() {
            fs::remove_dir_all(&folder).unwrap();
        }
        for (path, content) in &rendered {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        return;
    }
    assert_eq!(golden_files(&folder), rendered.keys().cloned().collect(), "other files than in {}", folder.display());
    for (path, content) in &rendered {
        let golden = fs::read_to_string(path).unwrap();
        let content = String::from_utf8_lossy(content);
        if golden != content {
            let difference = similar::TextDiff::from_lines(golden.as_str(), &content);
            panic!("{} differs; UPDATE_GOLDEN=1 rewrites it\n{}", path.display(), difference.unified_diff());
        }
    }
}

#[test]
fn profile_local_renders_as_it_did() {
    compare("local", &render(&config(&[])).unwrap());
}

#[test]
fn the_sandbox_layer_renders_as_it_did() {
    let layer = Layer::new("values/sandbox.yaml", values_layer("sandbox").unwrap());
    compare("sandbox", &render(&config(&[layer])).unwrap());
}

#[test]
fn profile_production_renders_as_it_did() {
    compare("production", &production());
}
