//! Charts for tests: archives at hand, small ones made here, and servers that speak the protocols of a
//! chart repository and of an OCI registry on loopback.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path as Parts, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::runtime::Runtime;

/// The folder with the upstream charts as archives.
pub fn charts_dir() -> PathBuf {
    let folder = std::env::var_os("CHARTS_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/charts"), PathBuf::from);
    assert!(
        folder.is_dir(),
        "the upstream charts are not in `{}`: pull them with `drivemaster-mon charts pull --to DIR` and set CHARTS_DIR=DIR",
        folder.display()
    );
    folder
}

/// The archive of a chart called `name` that makes one ConfigMap.
pub fn archive(name: &str, version: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    let files = [
        ("Chart.yaml", format!("apiVersion: v2\nname: {name}\nversion: {version}\nappVersion: '7'\n")),
        ("templates/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n".to_owned()),
    ];
    for (path, text) in files {
        let mut entry = tar::Header::new_gnu();
        entry.set_size(text.len() as u64);
        entry.set_mode(0o644);
        archive.append_data(&mut entry, format!("{name}/{path}"), text.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

/// `sha256:` and the digest of `bytes`.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// How a server misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    #[default]
    None,
    /// Wants the user `me` with the password `open`.
    Login,
    /// Has the archive no more.
    Gone,
    /// Ends the connection in the middle of an archive.
    Cut,
    /// Takes the connection and says nothing.
    Silence,
}

#[derive(Default)]
struct Shelf {
    /// Name, version, bytes.
    charts: Vec<(String, String, Vec<u8>)>,
    fault: Fault,
    /// Replaces the digests in the index.
    digest: Option<String>,
    /// Paths that were asked for.
    asked: Vec<String>,
}

type Shared = Arc<Mutex<Shelf>>;

/// A server on loopback; gone when dropped.
pub struct Server {
    shelf: Shared,
    pub port: u16,
    _runtime: Runtime,
}

impl Server {
    /// A chart repository: `index.yaml` and archives.
    pub fn repository() -> Self {
        Self::start(|shelf, _| {
            Router::new().route("/index.yaml", get(index)).route("/files/{file}", get(file)).with_state(shelf)
        })
    }

    /// An OCI registry with tokens, whose charts are below `charts/`.
    pub fn registry() -> Self {
        Self::start(|shelf, port| {
            Router::new()
                .route("/token", get(token))
                .route("/v2/", get(base))
                .route("/v2/charts/{name}/manifests/{reference}", get(manifest))
                .route("/v2/charts/{name}/blobs/{digest}", get(blob))
                .route("/v2/charts/{name}/tags/list", get(tags))
                .with_state((shelf, port))
        })
    }

    fn start(router: impl FnOnce(Shared, u16) -> Router) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shelf = Shared::default();
        let app = router(Arc::clone(&shelf), port);
        runtime.spawn(async move { axum::serve(listener, app).await });
        Server { shelf, port, _runtime: runtime }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn publish(&self, name: &str, version: &str, bytes: &[u8]) {
        self.shelf.lock().unwrap().charts.push((name.to_owned(), version.to_owned(), bytes.to_owned()));
    }

    pub fn set(&self, fault: Fault) {
        self.shelf.lock().unwrap().fault = fault;
    }

    /// What the index says of every archive from now on.
    pub fn claim(&self, digest: &str) {
        self.shelf.lock().unwrap().digest = Some(digest.to_owned());
    }

    pub fn asked(&self) -> Vec<String> {
        self.shelf.lock().unwrap().asked.clone()
    }
}

fn logged_in(headers: &HeaderMap) -> bool {
    // me:open
    headers.get(header::AUTHORIZATION).is_some_and(|value| value == "Basic bWU6b3Blbg==")
}

async fn index(State(shelf): State<Shared>, headers: HeaderMap) -> Response {
    if shelf.lock().unwrap().fault == Fault::Silence {
        std::future::pending::<()>().await;
    }
    let mut shelf = shelf.lock().unwrap();
    shelf.asked.push("/index.yaml".to_owned());
    if shelf.fault == Fault::Login && !logged_in(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let mut entries: BTreeMap<&str, String> = BTreeMap::new();
    for (name, version, bytes) in &shelf.charts {
        let digest = shelf.digest.clone().unwrap_or_else(|| digest(bytes));
        let digest = digest.trim_start_matches("sha256:");
        let entry = format!(
            "  - apiVersion: v2\n    name: {name}\n    version: {version}\n    appVersion: '7'\n    digest: {digest}\n    \
             urls: [files/{name}-{version}.tgz]\n"
        );
        entries.entry(name).or_default().push_str(&entry);
    }
    let mut text = "apiVersion: v1\nentries:\n".to_owned();
    for (name, versions) in entries {
        write!(text, "  {name}:\n{versions}").unwrap();
    }
    text.into_response()
}

async fn file(State(shelf): State<Shared>, Parts(file): Parts<String>, headers: HeaderMap) -> Response {
    let mut shelf = shelf.lock().unwrap();
    shelf.asked.push(format!("/files/{file}"));
    if shelf.fault == Fault::Login && !logged_in(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let found = shelf.charts.iter().find(|(name, version, _)| file == format!("{name}-{version}.tgz"));
    match found {
        Some((_, _, bytes)) if shelf.fault != Fault::Gone => archive_answer(bytes, shelf.fault),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn archive_answer(bytes: &[u8], fault: Fault) -> Response {
    let length = [(header::CONTENT_LENGTH, bytes.len().to_string())];
    if fault != Fault::Cut {
        return (length, bytes.to_owned()).into_response();
    }
    let half = bytes[..bytes.len() / 2].to_owned();
    let parts = futures::stream::unfold(Some(half), |left| async move {
        if let Some(half) = left {
            return Some((Ok(half), None));
        }
        // Later, or nothing would be sent at all.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        Some((Err(std::io::Error::other("cut")), None))
    });
    (length, Body::from_stream(parts)).into_response()
}

type Registry = (Shared, u16);

/// The bearer token that `/token` gives.
const TOKEN: &str = "a-token";

/// Refuses a request without a token, and says where one is to be had.
fn challenge(port: u16, headers: &HeaderMap) -> Option<Response> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if given == Some(&format!("Bearer {TOKEN}")) {
        return None;
    }
    let realm =
        format!("Bearer realm=\"http://127.0.0.1:{port}/token\",service=\"charts\",scope=\"repository:charts:pull\"");
    let error = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
    Some((StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, realm)], error).into_response())
}

async fn token(State((shelf, _)): State<Registry>, headers: HeaderMap) -> Response {
    if shelf.lock().unwrap().fault == Fault::Login && !logged_in(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    axum::Json(serde_json::json!({ "token": TOKEN, "expires_in": 300 })).into_response()
}

async fn base(State((_, port)): State<Registry>, headers: HeaderMap) -> Response {
    challenge(port, &headers).unwrap_or_else(|| "{}".into_response())
}

fn unknown(code: &str) -> Response {
    let error = format!(r#"{{"errors":[{{"code":"{code}","message":"unknown"}}]}}"#);
    (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "application/json")], error).into_response()
}

const CONFIG_TYPE: &str = "application/vnd.cncf.helm.config.v1+json";
const CONTENT_TYPE: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

fn config_of(name: &str, version: &str) -> String {
    serde_json::json!({ "apiVersion": "v2", "name": name, "version": version, "appVersion": "7" }).to_string()
}

fn manifest_of(name: &str, version: &str, bytes: &[u8]) -> String {
    let config = config_of(name, version);
    serde_json::json!({
        "schemaVersion": 2, "mediaType": MANIFEST_TYPE,
        "config": { "mediaType": CONFIG_TYPE, "digest": digest(config.as_bytes()), "size": config.len() },
        "layers": [{ "mediaType": CONTENT_TYPE, "digest": digest(bytes), "size": bytes.len() }],
    })
    .to_string()
}

async fn manifest(
    State((shelf, port)): State<Registry>,
    Parts((name, reference)): Parts<(String, String)>,
    headers: HeaderMap,
) -> Response {
    if let Some(refused) = challenge(port, &headers) {
        return refused;
    }
    let shelf = shelf.lock().unwrap();
    let found = shelf.charts.iter().filter(|(chart, _, _)| *chart == name).find_map(|(_, version, bytes)| {
        let text = manifest_of(&name, version, bytes);
        let its = digest(text.as_bytes());
        (*version == reference || its == reference).then_some((text, its))
    });
    match found {
        Some((text, its)) => {
            let digest_header = header::HeaderName::from_static("docker-content-digest");
            ([(header::CONTENT_TYPE, MANIFEST_TYPE.to_owned()), (digest_header, its)], text).into_response()
        }
        None => unknown("MANIFEST_UNKNOWN"),
    }
}

async fn blob(
    State((shelf, port)): State<Registry>,
    Parts((name, wanted)): Parts<(String, String)>,
    headers: HeaderMap,
) -> Response {
    if let Some(refused) = challenge(port, &headers) {
        return refused;
    }
    let shelf = shelf.lock().unwrap();
    for (chart, version, bytes) in &shelf.charts {
        let config = config_of(chart, version);
        if *chart == name && digest(bytes) == wanted && shelf.fault != Fault::Gone {
            return archive_answer(bytes, shelf.fault);
        }
        if *chart == name && digest(config.as_bytes()) == wanted {
            return config.into_response();
        }
    }
    unknown("BLOB_UNKNOWN")
}

async fn tags(State((shelf, port)): State<Registry>, Parts(name): Parts<String>, headers: HeaderMap) -> Response {
    if let Some(refused) = challenge(port, &headers) {
        return refused;
    }
    let shelf = shelf.lock().unwrap();
    let tags: Vec<&String> =
        shelf.charts.iter().filter(|(chart, _, _)| *chart == name).map(|(_, version, _)| version).collect();
    axum::Json(serde_json::json!({ "name": format!("charts/{name}"), "tags": tags })).into_response()
}
