//! What fields are called that hold secrets.

/// What the names of secrets have in them, in small letters without `-` and `_`.
const NAMES: &[&str] = &[
    "accountkey",
    "apikey",
    "authorization",
    "credential",
    "dsn",
    "encryptionkey",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "routingkey",
    "secret",
    "token",
    "webhookurl",
];
/// Those of [`NAMES`] that end as the name of a place does.
const KEYS: &[&str] = &["accesskey", "accountkey", "apikey", "encryptionkey", "privatekey", "routingkey"];
/// Names that only tell where a secret stands.
const PLACES: &[&str] = &["file", "key", "keys", "name", "namespace", "ref", "refs", "path"];

/// Whether a field called `name` may hold a secret.
pub fn is_secret_name(name: &str) -> bool {
    let lower = name.to_lowercase();
    let plain: String = lower.chars().filter(|letter| letter.is_alphanumeric()).collect();
    // Quotes, brackets and spaces around it are not of the name.
    let bare = lower.trim_matches(|letter: char| !letter.is_alphanumeric());
    let says_so = NAMES.iter().any(|word| plain.contains(word)) || bare == "pass" || bare.ends_with("_pass");
    // As Grafana and Thanos call a secret; `secretKey` is the name of a key in many charts.
    let is_key = bare.ends_with("secret_key") || KEYS.iter().any(|key| plain.ends_with(key));
    says_so && (is_key || !PLACES.iter().any(|end| plain.ends_with(end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_known_and_those_that_tell_where_one_stands_are_not() {
        for name in [
            "adminPassword",
            "api_key",
            "slack-webhook-url",
            "bearerToken",
            "secretKey2",
            "privateKey",
            "DSN",
            "secretAccessKey",
            "secret_key",
            "secret_key ",
            "env[GF_SECURITY_SECRET_KEY]",
            "DATA_SOURCE_PASS",
            "encryption_key",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["passwordKey", "secretKey", "secretName", "tokenFile", "replicas", "user", "secretRef", "bypass"] {
            assert!(!is_secret_name(name), "{name}");
        }
    }
}
