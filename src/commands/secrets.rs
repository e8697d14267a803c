//! `secrets`: the credentials that the stack reads. Values come in and are never shown.

use super::session::Session;
use crate::cli::{SecretsSetArgs, SecretsVerb};
use crate::cluster::secret::{ensure_namespace, secret_content, secret_keys, store_secret};
use crate::config::Config;
use crate::error::{Failure, Kind};
use crate::render::bundle::{RequiredKey, RequiredSecret};
use crate::render::{namespaces, required_secrets};
use crate::report::table::aligned;
use crate::secrets::form::form_name;
use crate::secrets::select::every;
use crate::secrets::{Chosen, choose, judge_form};
use console::style;
use serde_json::{Value, json};
use std::io::Read;

/// Bytes in the longest value: what a Secret can hold.
const LONGEST: u64 = 1 << 20;

pub(super) async fn run(session: &Session<'_>, verb: &SecretsVerb) -> anyhow::Result<u8> {
    let config = session.config()?;
    let required = required_secrets(&config);
    match verb {
        SecretsVerb::List => list(session, &config, &required).await.map(|()| 0),
        SecretsVerb::Set(arguments) => set(session, &config, &required, arguments).await.map(|()| 0),
        SecretsVerb::Check => check(session, &config, &required).await,
    }
}

/// One key and what became of it.
struct Row<'r> {
    secret: &'r RequiredSecret,
    key: &'r RequiredKey,
    /// `present`, `missing`, or what is wrong.
    state: String,
}

async fn list(session: &Session<'_>, config: &Config, required: &[RequiredSecret]) -> anyhow::Result<()> {
    let read = async {
        let target = session.target(config).await?;
        let mut rows = Vec::new();
        for secret in required {
            let keys = secret_keys(&target.cluster.client, &secret.namespace, &secret.name).await?.unwrap_or_default();
            rows.extend(secret.keys.iter().map(|key| {
                let state = if keys.contains(&key.key) { "present" } else { "missing" };
                Row { secret, key, state: state.to_owned() }
            }));
        }
        Ok(rows)
    };
    let rows = session.unless_interrupted(read).await?;
    let missing = rows.iter().filter(|row| row.state == "missing").count();
    session.terminal.result(
        "secrets-list",
        json!({ "secrets": values(&rows), "missing": missing }),
        &text(&rows, session),
    );
    Ok(())
}

async fn check(session: &Session<'_>, config: &Config, required: &[RequiredSecret]) -> anyhow::Result<u8> {
    let read = async {
        let target = session.target(config).await?;
        let mut rows = Vec::new();
        for secret in required {
            let content = secret_content(&target.cluster.client, &secret.namespace, &secret.name).await?;
            let content = content.unwrap_or_default();
            rows.extend(secret.keys.iter().map(|key| {
                let state = match content.get(&key.key) {
                    None => "missing".to_owned(),
                    Some(value) => judge_form(key.form, value).err().map_or_else(|| "fine".to_owned(), str::to_owned),
                };
                Row { secret, key, state }
            }));
        }
        Ok(rows)
    };
    let rows = session.unless_interrupted(read).await?;
    let wrong = rows.iter().filter(|row| row.state != "fine").count();
    session.terminal.result(
        "secrets-check",
        json!({ "secrets": values(&rows), "wrong": wrong }),
        &text(&rows, session),
    );
    Ok(if wrong == 0 { 0 } else { Kind::Negative.exit_code() })
}

fn values(rows: &[Row<'_>]) -> Vec<Value> {
    let value = |row: &Row<'_>| {
        json!({
            "namespace": row.secret.namespace,
            "secret": row.secret.name,
            "key": row.key.key,
            "meaning": row.key.meaning,
            "form": row.key.form,
            "usedBy": row.key.used_by,
            "state": row.state,
        })
    };
    rows.iter().map(value).collect()
}

fn text(rows: &[Row<'_>], session: &Session<'_>) -> String {
    if rows.is_empty() {
        return "this configuration needs no Secret of somebody else's\n".to_owned();
    }
    let heads = ["SECRET", "KEY", "STATE", "FORM", "WHAT IT IS"];
    let mut table = vec![heads.iter().map(|head| style(head).bold().to_string()).collect::<Vec<_>>()];
    for row in rows {
        let state = match row.state.as_str() {
            "present" | "fine" => style(&row.state).green().to_string(),
            other => style(other).red().to_string(),
        };
        let secret = format!("{}/{}", row.secret.namespace, row.secret.name);
        table.push(vec![
            secret,
            row.key.key.clone(),
            state,
            form_name(row.key.form).to_owned(),
            row.key.meaning.clone(),
        ]);
    }
    let mut text = aligned(&table);
    if let Some(row) = rows.iter().find(|row| !matches!(row.state.as_str(), "present" | "fine")) {
        let option = session.sandbox_option();
        text.push_str(&format!(
            "\nStore one: drivemaster-mon secrets set{option} {}/{}\n",
            row.secret.name, row.key.key
        ));
    }
    text
}

async fn set(
    session: &Session<'_>,
    config: &Config,
    required: &[RequiredSecret],
    arguments: &SecretsSetArgs,
) -> anyhow::Result<()> {
    let chosen = choose(required, &arguments.names).map_err(|message| {
        let all: Vec<String> = every(required).iter().map(|one| format!("{}/{}", one.secret, one.key.key)).collect();
        Failure::new(Kind::Usage, message).hint(match all.as_slice() {
            [] => "`--profile production` or `-f FILE` may be missing".to_owned(),
            all => format!("known: {}", all.join(", ")),
        })
    })?;
    let read = read_values(session, &chosen, arguments);
    let given = session.unless_interrupted(read).await?;
    // Every form is judged before anything is stored.
    for (one, value) in chosen.iter().zip(&given) {
        judge_form(one.key.form, value).map_err(|why| {
            Failure::new(Kind::Usage, format!("the value for `{}/{}` is refused: {why}", one.secret, one.key.key))
                .hint(format!("it is to be {}: {}", one.key.meaning, form_name(one.key.form)))
        })?;
    }
    let store = async {
        let target = session.target(config).await?;
        let client = &target.cluster.client;
        let all = namespaces(config);
        let mut stored = Vec::new();
        for (one, value) in chosen.iter().zip(&given) {
            for name in &one.namespaces {
                if let Some(namespace) = all.iter().find(|namespace| namespace.reference().name == **name) {
                    ensure_namespace(client, namespace).await?;
                }
                store_secret(client, name, one.secret, &one.key.key, value).await?;
                stored.push((*name, one));
            }
        }
        Ok(stored)
    };
    let stored = session.or_interrupted(store, "what was stored stays").await?;
    let value: Vec<Value> = stored
        .iter()
        .map(|(namespace, one)| json!({ "namespace": namespace, "secret": one.secret, "key": one.key.key }))
        .collect();
    let text: String = stored
        .iter()
        .map(|(namespace, one)| format!("stored `{}` in Secret `{namespace}/{}`\n", one.key.key, one.secret))
        .collect();
    session.terminal.result("secrets-set", json!({ "stored": value }), &text);
    Ok(())
}

/// The values for `chosen`, in their order.
async fn read_values(
    session: &Session<'_>,
    chosen: &[Chosen<'_>],
    arguments: &SecretsSetArgs,
) -> anyhow::Result<Vec<Vec<u8>>> {
    let one_only = || {
        let names: Vec<String> = chosen.iter().map(|one| format!("{}/{}", one.secret, one.key.key)).collect();
        Failure::new(Kind::Usage, format!("one value is given for {} keys: {}", names.len(), names.join(", ")))
            .hint("name one key, or leave the value out to be asked for each")
    };
    if let Some(variable) = &arguments.from_env {
        if chosen.len() != 1 {
            return Err(one_only().into());
        }
        let value = std::env::var_os(variable).ok_or_else(|| {
            Failure::new(Kind::Usage, format!("the environment variable `{variable}` is not set"))
                .hint("export it, or use --from-file")
        })?;
        return Ok(vec![without_line_end(std::os::unix::ffi::OsStringExt::into_vec(value))]);
    }
    if let Some(file) = &arguments.from_file {
        if chosen.len() != 1 {
            return Err(one_only().into());
        }
        let opened = std::fs::File::open(file).map_err(anyhow::Error::from);
        let value = opened.and_then(read_all).map_err(|error| {
            Failure::new(Kind::Usage, format!("cannot read the value from `{}`", file.display())).caused_by(error)
        })?;
        return Ok(vec![value]);
    }
    let mut values = Vec::new();
    for one in chosen {
        let question = format!("{}/{} ({})", one.secret, one.key.key, one.key.meaning);
        match session.terminal.ask_secret(&question).await {
            Some(value) => values.push(value.into_bytes()),
            None if chosen.len() != 1 => return Err(one_only().into()),
            None => {
                let read = tokio::task::spawn_blocking(|| read_all(std::io::stdin()));
                let value = read.await?.map_err(|error| {
                    Failure::new(Kind::Usage, "cannot read the value from standard input").caused_by(error)
                })?;
                values.push(value);
            }
        }
    }
    Ok(values)
}

fn read_all(source: impl Read) -> anyhow::Result<Vec<u8>> {
    let mut value = Vec::new();
    source.take(LONGEST + 1).read_to_end(&mut value)?;
    if value.len() as u64 > LONGEST {
        anyhow::bail!("it is longer than 1 MiB");
    }
    Ok(without_line_end(value))
}

/// `value` without the end of its last line, which editors and `echo` add.
fn without_line_end(mut value: Vec<u8>) -> Vec<u8> {
    if value.last() == Some(&b'\n') {
        value.pop();
        if value.last() == Some(&b'\r') {
            value.pop();
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_end_of_line_goes_and_the_rest_stays() {
        for (given, kept) in [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a", "a"), ("", "")] {
            assert_eq!(without_line_end(given.into()), kept.as_bytes());
        }
        assert!(read_all(std::io::repeat(b'a')).is_err());
    }
}
