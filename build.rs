//! Builds anew when a file is added to a folder that is embedded; changed files are seen anyway.
#![allow(clippy::print_stdout)]

fn main() {
    for folder in ["templates", "values", "alerts", "dashboards"] {
        println!("cargo::rerun-if-changed={folder}");
    }
}
