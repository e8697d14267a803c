//! Whether a value has the form of what it should be.

use crate::render::bundle::SecretForm;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Judges `value` by `form`.
///
/// # Errors
/// What is wrong, in words that hold nothing of the value.
pub fn judge_form(form: SecretForm, value: &[u8]) -> Result<(), &'static str> {
    let text = std::str::from_utf8(value).map_err(|_| "it is not UTF-8 text")?;
    if text.trim().is_empty() {
        return Err("it is empty");
    }
    match form {
        SecretForm::Any => Ok(()),
        SecretForm::Line => line(text),
        SecretForm::HttpsUrl => line(text).and_then(|()| https_url(text)),
        SecretForm::PagerdutyKey => line(text).and_then(|()| pagerduty_key(text)),
        SecretForm::PostgresqlDsn => line(text).and_then(|()| dsn(text)),
        SecretForm::Htpasswd => htpasswd(text),
        SecretForm::Certificate => certificates(value),
        SecretForm::PrivateKey => PrivateKeyDer::from_pem_slice(value)
            .map(|_| ())
            .map_err(|_| "it is no private key in PEM: PKCS #8, PKCS #1 or SEC 1, without a passphrase"),
        SecretForm::DockerConfig => docker_config(text),
    }
}

/// What the form is called for people.
pub fn form_name(form: SecretForm) -> &'static str {
    match form {
        SecretForm::Any => "text",
        SecretForm::Line => "one line",
        SecretForm::HttpsUrl => "https:// URL",
        SecretForm::PagerdutyKey => "32 letters and digits",
        SecretForm::PostgresqlDsn => "connection string",
        SecretForm::Htpasswd => "htpasswd lines",
        SecretForm::Certificate => "PEM certificates",
        SecretForm::PrivateKey => "PEM private key",
        SecretForm::DockerConfig => "Docker configuration",
    }
}

fn line(text: &str) -> Result<(), &'static str> {
    if text.contains(['\n', '\r']) {
        Err("it has more than one line")
    } else if text != text.trim() {
        Err("it begins or ends with a space")
    } else if text.chars().any(char::is_control) {
        Err("it holds a control character")
    } else {
        Ok(())
    }
}

fn https_url(text: &str) -> Result<(), &'static str> {
    let rest = text.strip_prefix("https://").ok_or("it does not begin with `https://`")?;
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err("it names no host");
    }
    if text.contains(char::is_whitespace) { Err("it holds a space") } else { Ok(()) }
}

fn pagerduty_key(text: &str) -> Result<(), &'static str> {
    let fine = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if fine { Ok(()) } else { Err("it is not 32 letters and digits") }
}

/// A URL of libpq, or its words `key=value`.
fn dsn(text: &str) -> Result<(), &'static str> {
    for scheme in ["postgresql://", "postgres://"] {
        if let Some(rest) = text.strip_prefix(scheme) {
            let authority = rest.split(['/', '?']).next().unwrap_or_default();
            let host = authority.rsplit('@').next().unwrap_or_default();
            return if host.is_empty() { Err("it names no host") } else { Ok(()) };
        }
    }
    let first = text.split_whitespace().next().unwrap_or_default();
    let keyword = first.split_once('=').map(|(keyword, _)| keyword).unwrap_or_default();
    let fine = !keyword.is_empty() && keyword.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if fine { Ok(()) } else { Err("it is neither a `postgresql://` URL nor words `key=value`") }
}

/// The hashes that ingress controllers read: bcrypt, MD5 of Apache, SHA-1, SHA-256 and SHA-512 crypt.
const HASHES: &[&str] = &["$2a$", "$2b$", "$2y$", "$apr1$", "{SHA}", "$5$", "$6$"];

fn htpasswd(text: &str) -> Result<(), &'static str> {
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let (user, hash) = line.split_once(':').ok_or("a line of it is not `user:hash`")?;
        if user.is_empty() {
            return Err("a line of it names no user");
        }
        if !HASHES.iter().any(|mark| hash.starts_with(mark)) {
            return Err("a line of it holds no hash of a password; `htpasswd -B` makes one");
        }
    }
    Ok(())
}

fn certificates(pem: &[u8]) -> Result<(), &'static str> {
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| "it holds broken PEM")?;
        // A certificate is a SEQUENCE; PEM says nothing of what stands inside.
        if certificate.first() != Some(&0x30) {
            return Err("it holds PEM that is no certificate");
        }
        count += 1;
    }
    if count == 0 { Err("it holds no PEM certificate") } else { Ok(()) }
}

fn docker_config(text: &str) -> Result<(), &'static str> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|_| "it is no JSON")?;
    let auths = value.get("auths").and_then(serde_json::Value::as_object);
    if auths.is_some_and(|auths| !auths.is_empty()) { Ok(()) } else { Err("it has no registry under `auths`") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const FORMS: &[SecretForm] = &[
        SecretForm::Any,
        SecretForm::Line,
        SecretForm::HttpsUrl,
        SecretForm::PagerdutyKey,
        SecretForm::PostgresqlDsn,
        SecretForm::Htpasswd,
        SecretForm::Certificate,
        SecretForm::PrivateKey,
        SecretForm::DockerConfig,
    ];

    #[test]
    fn what_has_its_form_is_fine_and_what_has_not_is_told() {
        let key = "a".repeat(32);
        let fine: &[(SecretForm, &str)] = &[
            (SecretForm::Any, "a\nb"),
            (SecretForm::Line, "p@ss w0rd"),
            (SecretForm::HttpsUrl, "https://hooks.slack.com/services/T/B/x"),
            (SecretForm::PagerdutyKey, &key),
            (SecretForm::PostgresqlDsn, "postgresql://u:p%40@db.example.com:5432/x?sslmode=require"),
            (SecretForm::PostgresqlDsn, "host=db user=u password='a b'"),
            (SecretForm::Htpasswd, "anna:$2y$05$abc\nbob:$apr1$x$y\n"),
            (SecretForm::DockerConfig, r#"{"auths":{"r.example.com":{"auth":"eA=="}}}"#),
        ];
        for (form, value) in fine {
            assert_eq!(judge_form(*form, value.as_bytes()), Ok(()), "{form:?}");
        }
        let wrong: &[(SecretForm, &str, &str)] = &[
            (SecretForm::Any, " \n", "empty"),
            (SecretForm::Line, "a\nb", "more than one line"),
            (SecretForm::Line, "a ", "space"),
            (SecretForm::Line, "a\u{7}b", "control"),
            (SecretForm::HttpsUrl, "http://hooks.slack.com/x", "https://"),
            (SecretForm::HttpsUrl, "https:///x", "host"),
            (SecretForm::HttpsUrl, "https://a.b/c d", "space"),
            (SecretForm::PagerdutyKey, "short", "32"),
            (SecretForm::PostgresqlDsn, "db.example.com", "key=value"),
            (SecretForm::PostgresqlDsn, "postgresql://u:p@/x", "host"),
            (SecretForm::Htpasswd, "anna", "user:hash"),
            (SecretForm::Htpasswd, ":$2y$", "no user"),
            (SecretForm::Htpasswd, "anna:plain", "htpasswd -B"),
            (SecretForm::Certificate, "hello", "no PEM"),
            (SecretForm::PrivateKey, "hello", "private key"),
            (SecretForm::DockerConfig, "{}", "auths"),
            (SecretForm::DockerConfig, "x", "JSON"),
        ];
        for (form, value, told) in wrong {
            let why = judge_form(*form, value.as_bytes()).unwrap_err();
            assert!(why.contains(told), "{form:?}: {why}");
        }
    }

    #[test]
    fn certificates_and_keys_are_read_and_not_mistaken_for_each_other() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["a".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
        let (certificate, key) = (certificate.as_bytes(), key.serialize_pem());
        assert!(judge_form(SecretForm::Certificate, certificate).is_ok());
        assert!(judge_form(SecretForm::PrivateKey, key.as_bytes()).is_ok());
        assert!(judge_form(SecretForm::Certificate, key.as_bytes()).is_err());
        assert!(judge_form(SecretForm::PrivateKey, certificate).is_err());
    }

    #[test]
    fn no_word_of_the_value_is_in_what_is_told() {
        let value = "zx81secret\nzx81secret";
        for form in FORMS {
            if let Err(why) = judge_form(*form, value.as_bytes()) {
                assert!(!why.contains("zx81"), "{form:?}");
            }
            assert!(judge_form(*form, &[0xff]).is_err() && judge_form(*form, b"").is_err(), "{form:?}");
            assert!(!form_name(*form).is_empty());
        }
    }
}
