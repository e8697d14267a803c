//! What helm makes of releases, kept in a cache: the same chart, values, versions and helm give the same objects.
//!
//! A cache that is damaged, full or cannot be written is no fault: then helm renders.

use crate::helm::run::Helm;
use crate::object::Manifest;
use crate::plan::change::{Rendered, is_random};
use crate::render::bundle::Release;
use crate::render::digest::{api_digest, chart_digest, document_digest, values_digest};
use anyhow::Result;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::json;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The form of a kept file; another one is another name.
const FORM: u32 = 1;
/// How many files are kept: all releases of several configurations, some 50 kB each.
const KEPT: usize = 128;
/// The most that one file may be unpacked.
const LIMIT: u64 = 64 << 20;

/// Helm, and the folder in which what it renders is kept.
#[derive(Debug, Clone)]
pub struct Renders {
    /// Helm.
    pub helm: Helm,
    /// The folder; `None` keeps nothing.
    pub folder: Option<PathBuf>,
}

/// The cluster that releases are rendered for.
#[derive(Debug, Clone, Copy)]
pub struct RenderedFor<'c> {
    /// Version of the API server, such as `v1.37.2`.
    pub server_version: &'c str,
    /// The API versions and kinds that it serves.
    pub api_versions: &'c BTreeSet<String>,
}

impl Renders {
    /// The objects that `release` would make, hooks among them, each with its namespace.
    ///
    /// # Errors
    /// As [`Helm::render`].
    pub async fn objects(&self, release: &Release, cluster: RenderedFor<'_>) -> Result<Vec<Manifest>> {
        self.nth(release, cluster, 1).await
    }

    /// The same, and a second time where the chart may make something else each time.
    ///
    /// # Errors
    /// As [`Helm::render`].
    pub async fn rendered(&self, release: &Release, cluster: RenderedFor<'_>) -> Result<Rendered> {
        let objects = self.nth(release, cluster, 1).await?;
        let again = if is_random(release) { Some(self.nth(release, cluster, 2).await?) } else { None };
        Ok(Rendered { objects, again })
    }

    async fn nth(&self, release: &Release, cluster: RenderedFor<'_>, number: u8) -> Result<Vec<Manifest>> {
        let file = match &self.folder {
            Some(folder) => Some(folder.join(self.name(release, cluster, number).await?)),
            None => None,
        };
        if let Some(known) = file.as_deref().and_then(read) {
            return Ok(known);
        }
        let mut objects = self.helm.render(release, cluster.server_version, cluster.api_versions).await?;
        objects.iter_mut().for_each(|object| object.place(&release.namespace));
        if let Some(file) = &file {
            // What was rendered is good without it.
            let _ = write(file, &objects);
        }
        Ok(objects)
    }

    /// The name of the file: a digest of everything that the objects depend on.
    async fn name(&self, release: &Release, cluster: RenderedFor<'_>, number: u8) -> Result<String> {
        let digest = document_digest(&json!({
            "form": FORM,
            "helm": self.helm.version().await?.to_string(),
            "release": release.name,
            "namespace": release.namespace,
            "chart": chart_digest(&release.chart),
            "values": values_digest(&release.values),
            "server": cluster.server_version,
            "api": api_digest(cluster.api_versions),
            "number": number,
        }));
        Ok(format!("{}.json.gz", digest.trim_start_matches("sha256:")))
    }
}

/// What was kept in `file`; `None` where that is nothing, or damaged.
fn read(file: &Path) -> Option<Vec<Manifest>> {
    let packed = std::fs::File::open(file).ok()?;
    let mut text = Vec::new();
    // Its own checksum tells a file that was cut or changed.
    GzDecoder::new(packed).take(LIMIT).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Keeps `objects` in `file`, whole or not at all, for its owner alone: a manifest may hold Secrets.
fn write(file: &Path, objects: &[Manifest]) -> Result<()> {
    let Some(folder) = file.parent() else { return Ok(()) };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut gzip = GzEncoder::new(tempfile::NamedTempFile::new_in(folder)?, Compression::fast());
    gzip.write_all(&serde_json::to_vec(objects)?)?;
    gzip.finish()?.persist(file)?;
    forget_oldest(folder)
}

/// Takes the oldest files away beyond [`KEPT`].
fn forget_oldest(folder: &Path) -> Result<()> {
    let mut files: Vec<(SystemTime, PathBuf)> = std::fs::read_dir(folder)?
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    files.sort();
    let more = files.len().saturating_sub(KEPT);
    for (_, file) in files.into_iter().take(more) {
        std::fs::remove_file(file)?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::render::bundle::Chart;
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt;

    /// A helm that renders another number each time.
    fn counting(folder: &Path) -> Helm {
        let program = folder.join("helm");
        let count = folder.join("count").display().to_string();
        let script = format!(
            "#!/bin/sh\nif [ \"$1\" = version ]; then echo v4.0.0; exit; fi\ncat >/dev/null\necho x >> '{count}'\n\
             echo 'apiVersion: v1'\necho 'kind: ConfigMap'\necho 'metadata: {{name: a}}'\necho \"data: {{n: '$(wc -l < '{count}')'}}\"\n"
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Helm::locate(Some(&program), None).unwrap()
    }

    fn release(template: &str) -> Release {
        let chart = Chart {
            name: "a".to_owned(),
            version: "1".to_owned(),
            app_version: "1".to_owned(),
            files: BTreeMap::from([("templates/a.yaml".to_owned(), template.as_bytes().to_vec())]),
        };
        Release { name: "a".to_owned(), namespace: "m".to_owned(), chart, values: json!({"a": 1}), needs: Vec::new() }
    }

    fn number(objects: &[Manifest]) -> String {
        assert_eq!(objects[0].reference().to_string(), "ConfigMap m/a");
        objects[0].0["data"]["n"].to_string().trim_matches(['"', ' ']).to_owned()
    }

    #[tokio::test]
    async fn the_same_is_rendered_once_and_anything_else_anew() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("deep/renders");
        let renders = Renders { helm: counting(home.path()), folder: Some(folder.clone()) };
        let versions = BTreeSet::from(["v1".to_owned()]);
        let one = RenderedFor { server_version: "v1.37.0", api_versions: &versions };
        let first = renders.objects(&release("x"), one).await.unwrap();
        assert_eq!(number(&first), "1");
        assert_eq!(renders.objects(&release("x"), one).await.unwrap(), first);
        assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

        let more = BTreeSet::from(["v1".to_owned(), "apps/v1".to_owned()]);
        let mut other = release("x");
        other.values = json!({"a": 2});
        assert_eq!(number(&renders.objects(&other, one).await.unwrap()), "2");
        assert_eq!(number(&renders.objects(&release("y"), one).await.unwrap()), "3");
        let newer = RenderedFor { server_version: "v1.38.0", ..one };
        assert_eq!(number(&renders.objects(&release("x"), newer).await.unwrap()), "4");
        let wider = RenderedFor { api_versions: &more, ..one };
        assert_eq!(number(&renders.objects(&release("x"), wider).await.unwrap()), "5");
        // A chart that makes passwords is rendered twice, and both are kept.
        let random = release("{{ randAlphaNum 5 }}");
        let twice = renders.rendered(&random, one).await.unwrap();
        assert_eq!((number(&twice.objects), number(twice.again.as_ref().unwrap())), ("6".to_owned(), "7".to_owned()));
        assert_eq!(renders.rendered(&random, one).await.unwrap(), twice);
        assert_eq!(renders.rendered(&release("x"), one).await.unwrap().again, None);
    }

    #[tokio::test]
    async fn a_cache_that_is_of_no_use_is_no_fault() {
        let home = tempfile::tempdir().unwrap();
        let helm = counting(home.path());
        let versions = BTreeSet::new();
        let cluster = RenderedFor { server_version: "v1.37.0", api_versions: &versions };
        let folder = home.path().join("renders");
        let renders = Renders { helm: helm.clone(), folder: Some(folder.clone()) };
        renders.objects(&release("x"), cluster).await.unwrap();
        let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        std::fs::write(&file, &bytes).unwrap();
        assert_eq!(number(&renders.objects(&release("x"), cluster).await.unwrap()), "2", "damaged");
        std::fs::write(&file, &bytes[..5]).unwrap();
        assert_eq!(number(&renders.objects(&release("x"), cluster).await.unwrap()), "3", "cut");
        assert_eq!(number(&renders.objects(&release("x"), cluster).await.unwrap()), "3", "mended");
        // A file stands where the folder is to be.
        let renders = Renders { helm, folder: Some(home.path().join("count/renders")) };
        assert_eq!(number(&renders.objects(&release("x"), cluster).await.unwrap()), "4");
    }

    #[test]
    fn only_the_newest_are_kept() {
        let home = tempfile::tempdir().unwrap();
        for number in 0..KEPT + 3 {
            write(&home.path().join(format!("{number}")), &[]).unwrap();
        }
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), KEPT);
        assert!(read(&home.path().join(format!("{}", KEPT + 2))).is_some());
    }
}
