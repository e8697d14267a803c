//! `config show | schema`.

use super::session::Session;
use crate::cli::ConfigVerb;
use crate::config::schema;
use anyhow::Context;
use serde_json::json;

pub(super) fn run(session: &Session<'_>, verb: &ConfigVerb) -> anyhow::Result<()> {
    match verb {
        ConfigVerb::Show => {
            let config = session.config()?;
            let text = serde_yaml::to_string(&config).context("cannot write the configuration as YAML")?;
            session.terminal.result("config", json!({ "config": config }), &text);
        }
        ConfigVerb::Schema => {
            session.terminal.stdout(&format!("{:#}\n", schema::of_file()));
        }
    }
    Ok(())
}
