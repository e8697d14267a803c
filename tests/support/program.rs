//! A real program on loopback, ended when it is dropped.

use super::tool;
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Program {
    /// Starts the program `name` in `folder`, which gets what it writes as `NAME.log`.
    pub fn start(name: &str, arguments: &[String], folder: &Path) -> Self {
        let log = std::fs::File::create(folder.join(format!("{name}.log"))).unwrap();
        let child = Command::new(tool(name))
            .args(arguments)
            .current_dir(folder)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Program(child)
    }

    /// Starts Alertmanager with the `alertmanager.yaml` in `folder`.
    pub fn alertmanager(folder: &Path, port: u16) -> Self {
        let arguments = ["--config.file=alertmanager.yaml", "--storage.path=data", "--cluster.listen-address="];
        let mut arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        arguments.push(format!("--web.listen-address=127.0.0.1:{port}"));
        Self::start("alertmanager", &arguments, folder)
    }
}
