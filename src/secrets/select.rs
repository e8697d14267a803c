//! Which keys of which Secrets the words of a person mean.

use crate::render::bundle::{RequiredKey, RequiredSecret};

/// One key of a Secret that the configuration needs, with every namespace that needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen<'r> {
    /// Name of the Secret.
    pub secret: &'r str,
    /// The key.
    pub key: &'r RequiredKey,
    /// The namespaces.
    pub namespaces: Vec<&'r str>,
}

/// The keys that `words` name: each a key, the name of a Secret (all its keys), or `SECRET/KEY`.
///
/// # Errors
/// The message for a word that names nothing, or a key of several Secrets.
pub fn choose<'r>(required: &'r [RequiredSecret], words: &[String]) -> Result<Vec<Chosen<'r>>, String> {
    let all = every(required);
    let mut chosen: Vec<Chosen<'r>> = Vec::new();
    for word in words {
        let by_pair: Vec<&Chosen> =
            all.iter().filter(|one| word.split_once('/') == Some((one.secret, one.key.key.as_str()))).collect();
        let by_secret: Vec<&Chosen> = all.iter().filter(|one| one.secret == word).collect();
        let by_key: Vec<&Chosen> = all.iter().filter(|one| one.key.key == *word).collect();
        let found = match (by_pair.is_empty(), by_secret.is_empty(), by_key.as_slice()) {
            (false, ..) => by_pair,
            (_, false, _) => by_secret,
            (.., [one]) => vec![*one],
            (.., []) => return Err(unknown(word, &all)),
            (.., several) => {
                let names: Vec<String> = several.iter().map(|one| format!("`{}/{word}`", one.secret)).collect();
                return Err(format!("`{word}` is a key of several Secrets: {}", names.join(", ")));
            }
        };
        for one in found {
            if !chosen.contains(one) {
                chosen.push(one.clone());
            }
        }
    }
    Ok(chosen)
}

/// Every key, once a Secret's name.
pub fn every(required: &[RequiredSecret]) -> Vec<Chosen<'_>> {
    let mut all: Vec<Chosen<'_>> = Vec::new();
    for secret in required {
        for key in &secret.keys {
            let known = all.iter_mut().find(|one| one.secret == secret.name && one.key.key == key.key);
            match known {
                Some(one) => one.namespaces.push(&secret.namespace),
                None => all.push(Chosen { secret: &secret.name, key, namespaces: vec![&secret.namespace] }),
            }
        }
    }
    all
}

fn unknown(word: &str, all: &[Chosen<'_>]) -> String {
    let names = all
        .iter()
        .flat_map(|one| [one.key.key.clone(), one.secret.to_owned(), format!("{}/{}", one.secret, one.key.key)]);
    let near =
        names.map(|name| (strsim::jaro_winkler(word, &name), name)).max_by(|one, other| one.0.total_cmp(&other.0));
    match near {
        None => format!("`{word}`: this configuration needs no Secret"),
        Some((likeness, name)) if likeness > 0.75 => {
            format!("this configuration needs no Secret or key `{word}`; did you mean `{name}`?")
        }
        Some(_) => format!("this configuration needs no Secret or key `{word}`"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::render::bundle::SecretForm;

    fn secret(namespace: &str, name: &str, keys: &[&str]) -> RequiredSecret {
        let key = |key: &&str| RequiredKey {
            key: (*key).to_owned(),
            meaning: String::new(),
            form: SecretForm::Any,
            used_by: String::new(),
        };
        RequiredSecret { namespace: namespace.to_owned(), name: name.to_owned(), keys: keys.iter().map(key).collect() }
    }

    fn required() -> Vec<RequiredSecret> {
        vec![
            secret("m", "am", &["slack-webhook-url", "smtp-password"]),
            secret("m", "kafka", &["username", "password"]),
            secret("m", "redis", &["password"]),
            secret("m", "pull", &["config"]),
            secret("c", "pull", &["config"]),
        ]
    }

    fn names(words: &[&str]) -> Result<Vec<String>, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let required = required();
        let chosen = choose(&required, &words)?;
        Ok(chosen.iter().map(|one| format!("{}/{} {}", one.secret, one.key.key, one.namespaces.join("+"))).collect())
    }

    #[test]
    fn a_word_is_a_key_a_secret_or_both() {
        assert_eq!(names(&["slack-webhook-url"]).unwrap(), ["am/slack-webhook-url m"]);
        assert_eq!(names(&["kafka"]).unwrap(), ["kafka/username m", "kafka/password m"]);
        assert_eq!(names(&["redis/password", "redis"]).unwrap(), ["redis/password m"]);
        assert_eq!(names(&["config"]).unwrap(), ["pull/config m+c"]);
    }

    #[test]
    fn what_names_nothing_or_too_much_is_told() {
        assert_eq!(
            names(&["password"]).unwrap_err(),
            "`password` is a key of several Secrets: `kafka/password`, `redis/password`"
        );
        assert!(names(&["slack-webhok-url"]).unwrap_err().contains("did you mean `slack-webhook-url`?"));
        assert!(!names(&["zzz"]).unwrap_err().contains("did you mean"));
        assert!(choose(&[], &["a".to_owned()]).unwrap_err().contains("needs no Secret"));
    }
}
