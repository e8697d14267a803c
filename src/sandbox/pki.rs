//! The certificates and keys of one sandbox, made in this process and thrown away with it.

use anyhow::{Context, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Who a certificate speaks for.
struct Identity {
    /// Base name of its files.
    file: &'static str,
    /// User name.
    common_name: &'static str,
    /// Group.
    organization: Option<&'static str>,
    /// Names under which it is reached; none for a mere client.
    names: &'static [&'static str],
}

/// Names and addresses of servers on this machine.
const LOOPBACK: &[&str] = &["localhost", "127.0.0.1"];

const IDENTITIES: &[Identity] = &[
    Identity {
        file: "apiserver",
        common_name: "kube-apiserver",
        organization: None,
        names: &[
            "localhost",
            "127.0.0.1",
            // The first address of the Service network, where clients inside the cluster expect it.
            "10.96.0.1",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ],
    },
    Identity { file: "etcd", common_name: "etcd", organization: None, names: LOOPBACK },
    // The person. `system:masters` passes every permission check of the API server.
    Identity { file: "admin", common_name: "admin", organization: Some("system:masters"), names: &[] },
    // Ourselves, so that the audit log tells what the sandbox does from what the person does.
    Identity {
        file: "supervisor",
        common_name: "drivemaster-mon-sandbox",
        organization: Some("system:masters"),
        names: &[],
    },
    Identity { file: "kwok", common_name: "kwok", organization: Some("system:masters"), names: LOOPBACK },
    // What scrapes of the node meet; the address is the one that KWOK gives it.
    Identity {
        file: "kubelet",
        common_name: "system:node:sandbox-0",
        organization: None,
        names: &["localhost", "127.0.0.1", super::objects::NODE, super::objects::NODE_ADDRESS],
    },
    Identity {
        file: "controller-manager",
        common_name: "system:kube-controller-manager",
        organization: None,
        names: &[],
    },
    Identity { file: "scheduler", common_name: "system:kube-scheduler", organization: None, names: &[] },
];

/// Clients of the API server: each has a kubeconfig beside its certificate.
const CLIENTS: &[&str] = &["admin", "supervisor", "kwok", "controller-manager", "scheduler"];

/// The folder with the certificates and keys of one sandbox.
#[derive(Debug, Clone)]
pub struct Pki {
    directory: PathBuf,
}

impl Pki {
    /// Makes every certificate and key in `directory`. Keys can be read by their owner alone.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn create(directory: &Path) -> Result<Self> {
        let pki = Pki::at(directory);
        let mut parameters = certificate_parameters("drivemaster-mon sandbox", None)?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let authority = CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)?;
        write(&pki.authority(), &authority.pem())?;
        for identity in IDENTITIES {
            let mut parameters = certificate_parameters(identity.common_name, identity.organization)?;
            parameters.subject_alt_names =
                CertificateParams::new(identity.names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?
                    .subject_alt_names;
            parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            if !identity.names.is_empty() {
                parameters.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
            }
            let key = KeyPair::generate()?;
            write(&pki.certificate(identity.file), &parameters.signed_by(&key, &authority)?.pem())?;
            write(&pki.key(identity.file), &key.serialize_pem())?;
        }
        // Service account tokens are signed by a key of their own, not by a certificate.
        let key = KeyPair::generate()?;
        write(&pki.key("service-account"), &key.serialize_pem())?;
        write(&pki.service_account_public_key(), &key.public_key_pem())?;
        Ok(pki)
    }

    /// The certificates and keys that were made in `directory`.
    pub fn at(directory: &Path) -> Self {
        Pki { directory: directory.to_owned() }
    }

    /// Certificate of the authority that signs all others.
    pub fn authority(&self) -> PathBuf {
        self.directory.join("ca.crt")
    }

    /// Certificate of `identity`.
    pub fn certificate(&self, identity: &str) -> PathBuf {
        self.directory.join(format!("{identity}.crt"))
    }

    /// Private key of `identity`.
    pub fn key(&self, identity: &str) -> PathBuf {
        self.directory.join(format!("{identity}.key"))
    }

    /// Public key that service account tokens are checked with.
    pub fn service_account_public_key(&self) -> PathBuf {
        self.directory.join("service-account.pub")
    }

    /// Kubeconfig of the client `identity`.
    pub fn kubeconfig(&self, identity: &str) -> PathBuf {
        self.directory.join(format!("{identity}.kubeconfig"))
    }

    /// Writes the kubeconfig of each client of the API server at `address`.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn write_kubeconfigs(&self, context: &str, address: SocketAddr) -> Result<()> {
        for client in CLIENTS {
            let kubeconfig = kubeconfig(
                context,
                client,
                address,
                &read(&self.authority())?,
                &read(&self.certificate(client))?,
                &read(&self.key(client))?,
            );
            write(&self.kubeconfig(client), &serde_yaml::to_string(&kubeconfig)?)?;
        }
        Ok(())
    }
}

/// A kubeconfig that needs no other file, so that it can be copied.
fn kubeconfig(
    context: &str,
    user: &str,
    address: SocketAddr,
    authority: &[u8],
    certificate: &[u8],
    key: &[u8],
) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": context, "cluster": {
            "server": format!("https://{address}"),
            "certificate-authority-data": BASE64_STANDARD.encode(authority),
        }}],
        "users": [{"name": format!("{context}-{user}"), "user": {
            "client-certificate-data": BASE64_STANDARD.encode(certificate),
            "client-key-data": BASE64_STANDARD.encode(key),
        }}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": format!("{context}-{user}")}}],
        "current-context": context,
    })
}

fn certificate_parameters(common_name: &str, organization: Option<&str>) -> Result<CertificateParams> {
    let mut parameters = CertificateParams::new(Vec::new())?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    parameters.distinguished_name = name;
    // A machine whose clock is wrong still gets a working sandbox; the keys go with its folder.
    parameters.not_before = date_time_ymd(2020, 1, 1);
    parameters.not_after = date_time_ymd(2099, 12, 31);
    Ok(parameters)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    super::state::write_private(path, text.as_bytes())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn every_file_is_readable_by_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let pki = Pki::create(folder.path()).unwrap();
        pki.write_kubeconfigs("sandbox", "127.0.0.1:6443".parse().unwrap()).unwrap();
        let mut files = 0;
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{}", entry.path().display());
            files += 1;
        }
        assert_eq!(files, 1 + 2 * IDENTITIES.len() + 2 + CLIENTS.len());
    }

    #[test]
    fn a_kubeconfig_needs_no_other_file() {
        let address = "127.0.0.1:6443".parse().unwrap();
        let text = serde_yaml::to_string(&kubeconfig("sandbox", "admin", address, b"ca", b"crt", b"key")).unwrap();
        let parsed: kube::config::Kubeconfig = serde_yaml::from_str(&text).unwrap();
        assert_eq!(parsed.current_context.as_deref(), Some("sandbox"));
        let cluster = parsed.clusters[0].cluster.as_ref().unwrap();
        assert_eq!(cluster.server.as_deref(), Some("https://127.0.0.1:6443"));
        assert_eq!(cluster.certificate_authority_data.as_deref(), Some("Y2E="));
        assert_eq!(cluster.certificate_authority, None);
    }
}
