//! What differs between Loki's deployed and run configuration, and that nothing else does.

use crate::sandbox::behind::rewrite::rewrite;
use crate::sandbox::behind::rewrite::tests::{differences, rewritten, sorted, sprinkle, surroundings};
use crate::sandbox::network::program::Program;
use serde_yaml::Value;

/// Where the deployed paths of the tests are mounted: `/prometheus` is a claim.
const LOKI: &str = r#"
auth_enabled: false
server: { http_listen_port: 3100, http_listen_address: 0.0.0.0, log_level: info, http_path_prefix: /prometheus }
common:
  path_prefix: /prometheus
  replication_factor: 3
  compactor_grpc_address: loki.monitoring.svc.cluster.local:9095
  ring: { kvstore: { store: memberlist, prefix: a/ }, instance_interface_names: [eth0] }
  storage: { filesystem: { chunks_directory: /prometheus/chunks, rules_directory: /var/elsewhere/rules } }
memberlist: { join_members: [loki-memberlist], bind_port: 7946 }
ingester: { lifecycler: { ring: { kvstore: { store: consul }, replication_factor: 3 } } }
runtime_config: { file: /etc/prometheus/runtime.yaml }
chunk_store_config: { chunk_cache_config: { memcached_client: { host: memcached, service: m, timeout: 1s } } }
ruler: { alertmanager_url: "http://alertmanager:9093", alertmanager_client: { tls_ca_path: /etc/prometheus/ca } }
storage_config: { aws: ~, hedging: { at: 250ms } }
limits_config: { retention_period: 720h, retention_stream: [{ selector: '{a="/prometheus/x"}', period: 24h }] }
schema_config: { configs: [{ from: "2024-04-01", store: tsdb }] }
"#;

fn expected() -> Vec<String> {
    let expected = [
        "server.http_listen_port = 13100",
        "server.http_listen_address = 127.0.0.1",
        "server.grpc_listen_port = 19095",
        "server.grpc_listen_address = 127.0.0.1",
        "common.path_prefix = /run/claims/data",
        "common.replication_factor = 1",
        "common.instance_addr = 127.0.0.1",
        "common.ring.instance_addr = 127.0.0.1",
        "common.ring.kvstore.store = inmemory",
        "-common.ring.kvstore.prefix",
        "common.storage.filesystem.chunks_directory = /run/claims/data/chunks",
        "common.storage.filesystem.rules_directory = /run/root/var/elsewhere/rules",
        "-memberlist.join_members[0]",
        "-memberlist.bind_port",
        "ingester.lifecycler.ring.kvstore.store = inmemory",
        "ingester.lifecycler.ring.replication_factor = 1",
        "ingester.lifecycler.min_ready_duration = 0s",
        "frontend.address = 127.0.0.1",
        "runtime_config.file = /run/root/etc/prometheus/runtime.yaml",
        "-chunk_store_config.chunk_cache_config.memcached_client.host",
        "chunk_store_config.chunk_cache_config.memcached_client.addresses = 127.0.0.1:1",
        "ruler.alertmanager_client.tls_ca_path = /run/root/etc/prometheus/ca",
    ];
    sorted(expected.map(str::to_owned).to_vec())
}

#[test]
fn the_closed_list_is_rewritten_and_nothing_else() {
    let before: Value = serde_yaml::from_str(LOKI).unwrap();
    assert_eq!(sorted(differences(&before, &rewritten(Program::Loki, LOKI))), expected());
    for seed in 0..200 {
        let mut before = before.clone();
        // What stands in these goes whole, so nothing is put into them.
        let gone = before.as_mapping_mut().unwrap().remove("memberlist").unwrap();
        let kept: Vec<Value> =
            ["common", "ingester"].map(|key| before.as_mapping_mut().unwrap().remove(key).unwrap()).into();
        sprinkle(&mut before, &mut seed.clone());
        let root = before.as_mapping_mut().unwrap();
        root.insert("memberlist".into(), gone);
        for (key, value) in ["common", "ingester"].into_iter().zip(kept) {
            root.insert(key.into(), value);
        }
        let after = rewritten(Program::Loki, &serde_yaml::to_string(&before).unwrap());
        assert_eq!(sorted(differences(&before, &after)), expected(), "seed {seed}");
    }
}

#[test]
fn an_object_store_and_an_unknown_port_are_refused_by_name() {
    for (text, expected) in [
        ("common: { storage: { s3: { bucketnames: a } } }", "`common.storage.s3` would leave"),
        ("storage_config: { aws: { s3: 's3://a' } }", "`storage_config.aws` would leave"),
        (
            "storage_config: { object_store: { gcs: { bucket_name: a } } }",
            "`storage_config.object_store.gcs` would leave",
        ),
        ("ruler: { storage: { azure: { container_name: a } } }", "`ruler.storage.azure` would leave"),
        ("server: { http_listen_port: 80 }", "it is to listen on port 80, which"),
    ] {
        let told = rewrite(Program::Loki, text, &surroundings()).unwrap_err();
        assert!(told.starts_with(expected), "{told}");
    }
}

#[test]
fn strange_shapes_go_to_the_program_as_they_are() {
    for text in ["", "[]", "server: 7", "common: []", "common: { ring: x }", "server: { http_listen_port: x }"] {
        assert!(rewrite(Program::Loki, text, &surroundings()).is_ok(), "{text}");
    }
}
