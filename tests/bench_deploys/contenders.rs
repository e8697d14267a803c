//! Who deploys, and what.

use crate::measure::{Figures, Measured, measure};
use crate::support::charts::charts_dir;
use crate::support::production::{archive_of_version, production, store_secrets};
use crate::support::sandbox::Sandbox;
use crate::support::{tool, tool_cache};
use serde_json::{Value, json};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The chart that is upgraded, its version, and the version after it.
const UPGRADED: (&str, &str, &str) = ("jaeger", "4.11.1", "4.11.2");
/// The value that is changed.
const CHANGED_VALUE: [&str; 2] = ["--set", "loki.retention.audit=9000h"];

/// One way to deploy the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contender {
    /// `helm upgrade --install --wait`, one release after the other.
    Helm {
        /// With what the charts do by themselves where our values make them ready sooner.
        as_shipped: bool,
    },
    /// `helmfile sync`, four releases at once once the operator is there.
    Helmfile,
    /// This program, up to readiness.
    Ours,
    /// The same after its `plan`, which keeps what the charts make of these values.
    Planned,
}

impl fmt::Display for Contender {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Contender::Helm { as_shipped: false } => "helm, equal values",
            Contender::Helm { as_shipped: true } => "helm, as shipped",
            Contender::Helmfile => "helmfile, equal values",
            Contender::Ours => "drivemaster-mon",
            Contender::Planned => "drivemaster-mon, planned before",
        })
    }
}

/// What changed before a deploy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Nothing is there yet.
    Cold,
    /// Nothing.
    Nothing,
    /// One value of one release.
    Value,
    /// The version of one chart.
    Chart,
    /// Nothing, and what was rendered of the charts is not kept any more: only this program keeps it.
    Unkept,
}

impl Change {
    /// In the order in which they are made on one sandbox.
    pub const ALL: &[Change] = &[Change::Cold, Change::Nothing, Change::Value, Change::Chart, Change::Unkept];
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Change::Cold => "cold",
            Change::Nothing => "no change",
            Change::Value => "one value changed",
            Change::Chart => "one chart upgraded",
            Change::Unkept => "no change, nothing kept of the charts",
        })
    }
}

/// The program helmfile, where `make bench-tools` built it.
pub fn helmfile() -> Option<PathBuf> {
    let path = tool_cache().join("bin/helmfile");
    path.is_file().then_some(path)
}

/// A sandbox with what its contender finds: the namespaces and the secrets that a person stores; for the
/// peers also the passwords and the certificate that this program makes itself.
pub struct Ground {
    sandbox: Sandbox,
    /// How long the sandbox took to come up, in seconds.
    pub brought_up: f64,
    charts: PathBuf,
    contender: Contender,
}

impl Ground {
    pub fn new(contender: Contender, pods_start_after: u64) -> Self {
        let after = pods_start_after.to_string();
        let begun = Instant::now();
        let sandbox = Sandbox::up_for(&production(&[], &["--pods-start-after", &after]));
        let brought_up = begun.elapsed().as_secs_f64();
        let ground = Ground { sandbox, brought_up, charts: charts_dir(), contender };
        let rendered = ground.rendered("found", Change::Cold);
        let namespaces = rendered.join("01-namespaces");
        ground.sandbox.kubectl(&["apply", "--server-side", "--field-manager=drivemaster-mon", "-f", text(&namespaces)]);
        store_secrets(&ground.sandbox, text(&ground.charts));
        match contender {
            Contender::Ours => {}
            Contender::Planned => ground.plan(),
            Contender::Helm { .. } | Contender::Helmfile => ground.make_secrets(&rendered),
        }
        ground
    }

    /// Plans the first deploy.
    fn plan(&self) {
        let options = self.options(&["plan"], Change::Cold);
        self.sandbox.run(&options.iter().map(String::as_str).collect::<Vec<_>>()).exits(0);
    }

    /// Runs the lines of the rendered folder that make passwords and certificates.
    fn make_secrets(&self, rendered: &Path) {
        let readme = std::fs::read_to_string(rendered.join("README.md")).unwrap();
        let (_, from) = readme.split_once("## 3. ").unwrap();
        let (sections, _) = from.split_once("## 5. ").unwrap();
        let blocks = sections.split("```sh\n").skip(1).map(|block| block.split_once("```").unwrap().0);
        let output = std::process::Command::new("sh")
            .args(["-ec", &blocks.collect::<String>()])
            .env("KUBECONFIG", self.sandbox.kubeconfig())
            .env("PATH", self.sandbox.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// What `change` costs, after the changes before it.
    pub fn measure(&self, change: Change) -> Figures {
        if change == Change::Unkept {
            std::fs::remove_dir_all(self.folder(".cache/drivemaster-mon/renders")).unwrap();
        }
        let command = match self.contender {
            Contender::Ours | Contender::Planned => self.ours(change),
            Contender::Helm { as_shipped } => self.helm(as_shipped, change),
            Contender::Helmfile => self.helmfile(change),
        };
        measure(&self.sandbox, &command)
    }

    /// The charts of `change`, as a folder and as its lock.
    fn charts(&self, change: Change) -> (PathBuf, PathBuf) {
        let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts.lock.yaml");
        let (name, version, next) = UPGRADED;
        if !matches!(change, Change::Chart | Change::Unkept) {
            return (self.charts.clone(), lock);
        }
        let folder = self.folder("upgraded-charts");
        std::fs::create_dir_all(&folder).unwrap();
        for entry in std::fs::read_dir(&self.charts).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with(format!("{name}-{version}.tgz")) {
                let bytes = archive_of_version(&path, version, next, |_, content| content);
                std::fs::write(folder.join(format!("{name}-{next}.tgz")), bytes).unwrap();
            } else {
                std::fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
            }
        }
        let lock = std::fs::read_to_string(lock).unwrap();
        assert_eq!(lock.matches(version).count(), 1, "`{version}` is not the version of one chart alone");
        (folder, self.sandbox.run.file("upgraded.lock.yaml", &lock.replace(version, next)))
    }

    /// The options of `verb` for `change`.
    fn options(&self, verb: &[&str], change: Change) -> Vec<String> {
        let (charts, lock) = self.charts(change);
        let mut options = vec!["--charts", text(&charts), "--charts-lock", text(&lock)];
        if matches!(change, Change::Value | Change::Chart | Change::Unkept) {
            options.extend(CHANGED_VALUE);
        }
        production(verb, &options).into_iter().map(str::to_owned).collect()
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.sandbox.run.home.path().join(name)
    }

    /// What `change` renders to, in the folder `name`.
    fn rendered(&self, name: &str, change: Change) -> PathBuf {
        let folder = self.folder(name);
        let options = self.options(&["render", "-o", text(&folder)], change);
        self.sandbox.run(&options.iter().map(String::as_str).collect::<Vec<_>>()).exits(0);
        folder
    }

    fn ours(&self, change: Change) -> Measured {
        let options = self.options(&["deploy", "--yes", "--no-verify"], change);
        let command = self.sandbox.command(&options.iter().map(String::as_str).collect::<Vec<_>>());
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let variables = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        let owned = |text: &std::ffi::OsStr| text.to_str().unwrap().to_owned();
        Measured {
            argv: words.map(owned).collect(),
            environment: variables.map(|(name, value)| (owned(name), owned(value))).collect(),
            folder: self.sandbox.run.home.path().to_owned(),
        }
    }

    /// The releases of `change`: name, namespace, archive of the chart, file with the values.
    fn releases(&self, as_shipped: bool, change: Change) -> Vec<[String; 4]> {
        let folder = self.rendered(&format!("rendered-{change}-{as_shipped}"), change);
        let (charts, _) = self.charts(change);
        let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
        let lines = readme.lines().filter_map(|line| line.strip_prefix("helm upgrade --install "));
        let releases = lines.map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let after = |flag: &str| words[words.iter().position(|word| *word == flag).unwrap() + 1];
            let archive = charts.join(format!("{}-{}.tgz", words[1], after("--version")));
            let mut values = folder.join(after("-f"));
            if as_shipped {
                values = without_haste(words[0], &values);
            }
            [words[0].to_owned(), after("--namespace").to_owned(), text(&archive).to_owned(), text(&values).to_owned()]
        });
        releases.collect()
    }

    fn helm(&self, as_shipped: bool, change: Change) -> Measured {
        let helm = tool("helm");
        let lines = self.releases(as_shipped, change).into_iter().map(|[name, namespace, chart, values]| {
            format!(
                "'{}' upgrade --install {name} '{chart}' -n {namespace} -f '{values}' --wait --timeout 10m",
                text(&helm)
            )
        });
        let script = lines.collect::<Vec<_>>().join("\n");
        self.peer(vec!["sh".to_owned(), "-ec".to_owned(), script])
    }

    fn helmfile(&self, change: Change) -> Measured {
        let releases = self.releases(false, change);
        let operator = format!("{}/{}", releases[0].get(1).unwrap(), releases[0][0]);
        let releases: Vec<Value> = releases
            .iter()
            .map(|[name, namespace, chart, values]| {
                let needs = if *name == releases[0][0] { vec![] } else { vec![operator.clone()] };
                json!({ "name": name, "namespace": namespace, "chart": chart, "values": [values], "needs": needs })
            })
            .collect();
        let defaults = json!({ "wait": true, "timeout": 600, "createNamespace": false });
        // It looks for its sections line by line.
        let file = serde_yaml::to_string(&json!({ "helmDefaults": defaults, "releases": releases })).unwrap();
        let file = self.sandbox.run.file("helmfile.yaml", &file);
        let (helmfile, helm) = (helmfile().unwrap(), tool("helm"));
        let words = [text(&helmfile), "--helm-binary", text(&helm), "-f", text(&file), "sync"];
        let options = ["--concurrency", "4", "--skip-deps"];
        self.peer(words.iter().chain(&options).map(|word| (*word).to_owned()).collect())
    }

    fn peer(&self, argv: Vec<String>) -> Measured {
        let (home, kubeconfig) = (self.sandbox.run.home.path(), self.sandbox.kubeconfig());
        let variables = [("KUBECONFIG", text(&kubeconfig)), ("HOME", text(home))];
        Measured {
            argv,
            environment: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            folder: home.to_owned(),
        }
    }
}

/// What stands in our values of a release to have it ready sooner than its chart does.
const HASTE: &[(&str, &str, &str)] = &[
    // Jobs make a certificate and write it into the webhooks.
    ("prometheus", "/prometheusOperator", "admissionWebhooks"),
    // A quarter of a minute until it is called ready.
    ("loki", "/loki", "ingester"),
    ("loki", "/loki", "frontend"),
    ("loki", "/loki", "frontend_worker"),
    ("loki", "/loki/readinessProbe", "initialDelaySeconds"),
    ("loki", "/loki/readinessProbe", "periodSeconds"),
    ("alloy", "/alloy", "initialDelaySeconds"),
    ("alloy", "/controller", "minReadySeconds"),
];

/// The values of `file`, which are those of `release`, without [`HASTE`], in a file beside it.
fn without_haste(release: &str, file: &Path) -> PathBuf {
    let mut values: Value = serde_yaml::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    for (_, place, key) in HASTE.iter().filter(|(of, ..)| *of == release) {
        values.pointer_mut(place).unwrap().as_object_mut().unwrap().remove(*key).unwrap();
    }
    let shipped = file.with_extension("shipped.yaml");
    std::fs::write(&shipped, values.to_string()).unwrap();
    shipped
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
