//! Loki's part of the closed list of what differs between the deployed and the run configuration.
//! Pure.
//!
//! 1. Every file path under a mount of the container becomes its local copy (the values of keys that
//!    end in `_file`, `_path`, `_dir` or `_directory`, of `file` and of Loki's folders), and a folder
//!    that is under no mount lies in the folder that stands for the container's root;
//! 2. `server` listens on loopback, on the ports that its deployed ports lead to;
//! 3. it is alone: every ring and other key-value store is kept in memory, every replication factor
//!    is 1, every instance address is loopback, `memberlist` goes, and a memcached refuses;
//! 4. `ingester.lifecycler.min_ready_duration` is 0 where it is not set: with nobody to hand over
//!    to, waiting 15 s for others proves nothing.
//!
//! An object store is refused: it would leave this machine. What Loki sends by HTTP or gRPC to a
//! Service goes through the sandbox's proxy by its environment.

use super::rewrite::{REFUSING, Surroundings, child, leaves_the_machine, set};
use serde_yaml::{Mapping, Value};

/// Where it is alone.
const SELF: &str = "127.0.0.1";
/// Ports that it listens on when its configuration names none.
const HTTP_PORT: u16 = 3100;
const GRPC_PORT: u16 = 9095;
/// Keys of folders that Loki makes when they are not there.
const FOLDERS: [&str; 8] = [
    "path_prefix",
    "working_directory",
    "chunks_directory",
    "rules_directory",
    "active_index_directory",
    "cache_location",
    "directory",
    "dir",
];
/// Object stores, by their keys in `common.storage`, `storage_config` and `ruler.storage`.
const OBJECT_STORES: [&str; 11] =
    ["s3", "aws", "gcs", "azure", "swift", "cos", "alibabacloud", "bos", "bigtable", "cassandra", "grpc_store"];

/// Rewrites Loki's configuration.
///
/// # Errors
/// One line for people when it would leave this machine or listen where nobody is led to.
pub(super) fn rewrite(root: &mut Mapping, surroundings: &Surroundings) -> Result<(), String> {
    for (key, value) in root.iter() {
        let section = key.as_str().unwrap_or_default();
        if ["common", "storage_config", "ruler"].contains(&section) {
            refuse_object_stores(value, section)?;
        }
    }
    root.remove("memberlist");
    everywhere(root, surroundings);
    let server = child(root, "server");
    for (kind, default) in [("http", HTTP_PORT), ("grpc", GRPC_PORT)] {
        let key = format!("{kind}_listen_port");
        let deployed = match server.get(&key) {
            None => default,
            // As text it may name a variable; anything but a port is Loki's to complain about.
            Some(value) => match text_of(value, surroundings).parse() {
                Ok(port) => port,
                Err(_) => continue,
            },
        };
        let address = surroundings.listen.port(deployed)?;
        set(server, &format!("{kind}_listen_address"), SELF);
        server.insert(Value::from(key), Value::from(address.port()));
    }
    let common = child(root, "common");
    set(common, "instance_addr", SELF);
    if !common.contains_key("path_prefix") {
        set(common, "path_prefix", &surroundings.places.within_root("/loki").to_string_lossy());
    }
    let ring = child(common, "ring");
    set(ring, "instance_addr", SELF);
    set(child(ring, "kvstore"), "store", "inmemory");
    set(child(root, "frontend"), "address", SELF);
    let lifecycler = child(child(root, "ingester"), "lifecycler");
    if !lifecycler.contains_key("min_ready_duration") {
        set(lifecycler, "min_ready_duration", "0s");
    }
    Ok(())
}

fn text_of(value: &Value, surroundings: &Surroundings) -> String {
    match value {
        Value::String(text) => surroundings.listen.expand(text),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

fn refuse_object_stores(value: &Value, path: &str) -> Result<(), String> {
    let Value::Mapping(entries) = value else { return Ok(()) };
    for (key, value) in entries {
        let key = key.as_str().unwrap_or_default();
        let path = format!("{path}.{key}");
        let empty = value.is_null() || value.as_mapping().is_some_and(Mapping::is_empty);
        if OBJECT_STORES.contains(&key) && !empty {
            return Err(leaves_the_machine(&path));
        }
        refuse_object_stores(value, &path)?;
    }
    Ok(())
}

fn names_path(key: &str) -> bool {
    let ends = ["_file", "_path", "_dir", "_directory"];
    key == "file" || FOLDERS.contains(&key) || ends.iter().any(|end| key.ends_with(end))
}

/// What holds at any depth.
fn everywhere(entries: &mut Mapping, surroundings: &Surroundings) {
    for (key, value) in entries.iter_mut() {
        let key = key.as_str().unwrap_or_default();
        match (key, &mut *value) {
            ("kvstore", kvstore) => {
                *kvstore = Value::Mapping(Mapping::new());
                if let Value::Mapping(kvstore) = kvstore {
                    set(kvstore, "store", "inmemory");
                }
            }
            ("memcached_client", Value::Mapping(client)) => {
                client.remove("host");
                set(client, "addresses", REFUSING);
            }
            ("instance_addr", value) => *value = Value::from(SELF),
            ("replication_factor", value) => *value = Value::from(1),
            (key, Value::String(text)) if names_path(key) => {
                let places = &surroundings.places;
                if let Some(local) = places.local(text) {
                    *text = local;
                } else if FOLDERS.contains(&key) && text.starts_with('/') {
                    *text = places.within_root(text).to_string_lossy().into_owned();
                }
            }
            (_, Value::Mapping(inner)) => everywhere(inner, surroundings),
            (_, Value::Sequence(values)) => {
                values.iter_mut().filter_map(Value::as_mapping_mut).for_each(|inner| everywhere(inner, surroundings));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "rewrite_loki_tests.rs"]
mod tests;
