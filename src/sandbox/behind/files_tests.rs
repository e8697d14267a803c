//! Files of a container, as the kubelet makes them.

use super::*;
use serde_json::{Value, json};

fn pod(volumes: Value, mounts: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": "prometheus-0", "namespace": "m" },
        "spec": { "volumes": volumes, "containers": [{ "name": "prometheus", "volumeMounts": mounts }] },
    }))
    .unwrap()
}

fn objects() -> Objects {
    let mut objects = Objects::default();
    let map = json!({ "data": { "a.yml": "A", "b.yml": "B" }, "binaryData": { "c.gz": "AAE=" } });
    objects.config_maps.insert("map".into(), serde_json::from_value(map).unwrap());
    objects.secrets.insert("secret".into(), serde_json::from_value(json!({ "data": { "k": "czNjcmV0" } })).unwrap());
    objects.claims.insert("data".into(), "uid-1".into());
    objects.tokens.insert(TokenNeed { audience: None, seconds: 3607 }, "jwt".into());
    objects
}

fn made(volumes: Value, mounts: Value) -> Result<Files, Missing> {
    let pod = pod(volumes, mounts);
    files_of(&pod, &pod.spec.as_ref().unwrap().containers[0], &objects())
}

fn texts(files: &Files) -> Vec<String> {
    let text = |file: &File| String::from_utf8_lossy(&file.content).into_owned();
    files.contents.iter().map(|(path, file)| format!("{path}={} {:o}", text(file), file.mode)).collect()
}

#[test]
fn objects_become_files_with_their_paths_and_modes() {
    for (volume, mount, expected) in [
        (
            json!({ "configMap": { "name": "map" } }),
            json!({ "mountPath": "/etc/p/" }),
            &["/etc/p/a.yml=A 644", "/etc/p/b.yml=B 644", "/etc/p/c.gz=\u{0}\u{1} 644"] as &[&str],
        ),
        (
            json!({ "configMap": { "name": "map", "defaultMode": 0o400,
                "items": [{ "key": "a.yml", "path": "deep/x.yml", "mode": 0o600 }, { "key": "b.yml", "path": "y.yml" }] } }),
            json!({ "mountPath": "/etc/p" }),
            &["/etc/p/deep/x.yml=A 600", "/etc/p/y.yml=B 400"],
        ),
        (
            json!({ "configMap": { "name": "map" } }),
            json!({ "mountPath": "/etc/one.yml", "subPath": "a.yml" }),
            &["/etc/one.yml=A 644"],
        ),
        (
            json!({ "configMap": { "name": "map", "items": [{ "key": "a.yml", "path": "deep/x.yml" }] } }),
            json!({ "mountPath": "/etc/p", "subPath": "deep" }),
            &["/etc/p/x.yml=A 644"],
        ),
        (json!({ "secret": { "secretName": "secret" } }), json!({ "mountPath": "/s" }), &["/s/k=s3cret 644"]),
        (json!({ "secret": { "secretName": "gone", "optional": true } }), json!({ "mountPath": "/s" }), &[]),
        (
            json!({ "configMap": { "name": "map", "optional": true, "items": [{ "key": "gone", "path": "x" }] } }),
            json!({ "mountPath": "/s" }),
            &[],
        ),
        (
            json!({ "configMap": { "name": "map", "items": [{ "key": "a.yml", "path": "../../escape" }] } }),
            json!({ "mountPath": "/s" }),
            &[],
        ),
        (
            json!({ "projected": { "defaultMode": 0o440, "sources": [
                { "serviceAccountToken": { "path": "token", "expirationSeconds": 3607 } },
                { "configMap": { "name": "map", "items": [{ "key": "a.yml", "path": "ca.crt" }] } },
                { "downwardAPI": { "items": [{ "path": "namespace", "fieldRef": { "fieldPath": "metadata.namespace" } }] } },
            ] } }),
            json!({ "mountPath": "/var/run/sa" }),
            &["/var/run/sa/ca.crt=A 440", "/var/run/sa/namespace=m 440", "/var/run/sa/token=jwt 440"],
        ),
    ] {
        let (mut volume, mut mount) = (volume, mount);
        volume["name"] = json!("v");
        mount["name"] = json!("v");
        let files = made(json!([volume.clone()]), json!([mount])).unwrap();
        assert_eq!(texts(&files), expected, "{volume}");
        assert_eq!(files.mounts[0].storage, Storage::Content, "{volume}");
    }
}

#[test]
fn a_volume_to_write_to_is_a_folder() {
    let files = made(
        json!([{ "name": "d", "persistentVolumeClaim": { "claimName": "data" } }, { "name": "t", "emptyDir": {} }]),
        json!([{ "name": "d", "mountPath": "/prometheus", "subPath": "db" }, { "name": "t", "mountPath": "/tmp" }]),
    )
    .unwrap();
    let mount = |path: &str, storage, sub_path: &str| Mount { path: path.into(), storage, sub_path: sub_path.into() };
    assert_eq!(
        files.mounts,
        [mount("/prometheus", Storage::Claim("uid-1".into()), "db"), mount("/tmp", Storage::Scratch("t".into()), "")]
    );
}

#[test]
fn what_is_missing_is_told_with_its_volume() {
    for (volume, expected) in [
        (json!({ "configMap": { "name": "gone" } }), "configmap \"gone\" not found"),
        (json!({ "secret": { "secretName": "gone" } }), "secret \"gone\" not found"),
        (json!({ "persistentVolumeClaim": { "claimName": "gone" } }), "persistentvolumeclaim \"gone\" not found"),
        (json!({ "projected": { "sources": [{ "secret": { "name": "gone" } }] } }), "secret \"gone\" not found"),
        (
            json!({ "configMap": { "name": "map", "items": [{ "key": "gone", "path": "x" }] } }),
            "references non-existent config key: gone",
        ),
    ] {
        let mut volume = volume;
        volume["name"] = json!("v");
        let missing = made(json!([volume]), json!([{ "name": "v", "mountPath": "/x" }])).unwrap_err();
        assert_eq!(missing, Missing { volume: Some("v".into()), message: expected.into() });
    }
}

#[test]
fn only_what_the_container_mounts_or_names_is_needed() {
    let mut pod = pod(
        json!([
            { "name": "used", "configMap": { "name": "map" } },
            { "name": "other", "secret": { "secretName": "not-mounted" } },
            { "name": "all", "projected": { "sources": [
                { "serviceAccountToken": { "path": "t", "audience": "x" } }, { "secret": { "name": "projected" } }] } },
            { "name": "data", "persistentVolumeClaim": { "claimName": "claim" } },
        ]),
        json!([{ "name": "used", "mountPath": "/a" }, { "name": "all", "mountPath": "/b" }, { "name": "data", "mountPath": "/c" }]),
    );
    let container = &mut pod.spec.as_mut().unwrap().containers[0];
    container.env_from = serde_json::from_value(json!([{ "secretRef": { "name": "from-env" } }])).unwrap();
    let container = pod.spec.as_ref().unwrap().containers[0].clone();
    let needs = needs_of(&pod, &container);
    assert_eq!(needs.config_maps, ["map".to_owned()].into());
    assert_eq!(needs.secrets, ["from-env".to_owned(), "projected".to_owned()].into());
    assert_eq!(needs.claims, ["claim".to_owned()].into());
    assert_eq!(needs.tokens, [TokenNeed { audience: Some("x".into()), seconds: 3600 }].into());
}
