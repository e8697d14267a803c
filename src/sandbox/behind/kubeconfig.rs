//! How a program that expects to run in a cluster finds the API server from here. Pure.
//!
//! In a pod, a program reads its token and the address of the API server from fixed places of its
//! file system and its environment. What runs here has neither, so it gets a kubeconfig that says the
//! same: the token of the pod's own ServiceAccount, whose permissions are those that were deployed.

use super::rewrite::Surroundings;
use serde_json::json;

/// Variable of the environment that names a kubeconfig.
pub const VARIABLE: &str = "KUBECONFIG";
/// Where it stands under the folder that is the container's root.
pub const PLACE: &str = "/kubeconfig";

/// The kubeconfig of a program.
pub fn kubeconfig(surroundings: &Surroundings) -> String {
    let name = "sandbox";
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": name, "cluster": {
            "server": surroundings.api_server,
            "certificate-authority": surroundings.ca_file,
        } }],
        // A file, for the token is renewed while the program runs.
        "users": [{ "name": name, "user": { "tokenFile": surroundings.places.token() } }],
        "contexts": [{ "name": name, "context": { "cluster": name, "user": name } }],
        "current-context": name,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::behind::listen::Listen;
    use crate::sandbox::behind::places::tests::places;

    #[test]
    fn the_program_acts_as_the_pods_own_service_account() {
        let surroundings = Surroundings {
            places: places(),
            api_server: "https://127.0.0.1:6443".into(),
            ca_file: "/run/ca.crt".into(),
            proxy_url: String::new(),
            listen: Listen::default(),
        };
        let read: kube::config::Kubeconfig = serde_yaml::from_str(&kubeconfig(&surroundings)).unwrap();
        assert_eq!(
            read.auth_infos[0].auth_info.as_ref().unwrap().token_file.as_deref(),
            Some("/run/root/var/run/secrets/kubernetes.io/serviceaccount/token")
        );
        assert_eq!(read.clusters[0].cluster.as_ref().unwrap().server.as_deref(), Some("https://127.0.0.1:6443"));
    }
}
