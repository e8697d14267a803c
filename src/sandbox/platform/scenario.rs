//! What can go wrong on the simulated platform, and the words for it.

use crate::error::{Failure, Kind};
use crate::stack::EXPORTERS;
use std::fmt;

/// Something that goes wrong until it is cleared.
///
/// A new one is a variant here, its words in [`FORMS`], `parse` and `Display`, and its effect in
/// `timeline.rs` or `mod.rs`.
#[derive(Debug, Clone, PartialEq)]
pub enum Scenario {
    /// A share of a service's requests fails with a 5xx status.
    Errors {
        /// Name of the service.
        service: String,
        /// Between 0 and 1.
        share: f64,
    },
    /// A service or exporter refuses connections.
    Down {
        /// Name of its Kubernetes Service.
        target: String,
    },
    /// Every request of a service takes longer.
    Latency {
        /// Name of the service.
        service: String,
        /// By how much, in milliseconds.
        milliseconds: f64,
    },
    /// The program behind an exporter is down; the exporter itself answers and says so.
    DatabaseDown {
        /// Name of the exporter's Kubernetes Service.
        target: String,
    },
}

/// How each scenario is written.
pub const FORMS: &[&str] =
    &["errors SERVICE PERCENT%", "down SERVICE|EXPORTER", "latency SERVICE MILLISECONDSms", "database-down EXPORTER"];

/// Exporters that have a program behind them which can be down on its own.
const DATABASES: &[&str] = &["postgresql", "redis", "kafka", "elasticsearch"];

impl Scenario {
    /// Reads a scenario from the words of a command line, such as `errors user-service 8%`.
    ///
    /// `services` are the names of the platform's services. An exporter goes by its key, its job
    /// or the name of its Service.
    ///
    /// # Errors
    /// [`Kind::Usage`] with the nearest name and the list of names.
    pub fn parse(words: &[String], services: &[String]) -> anyhow::Result<Self> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["errors", service, share] => {
                Ok(Scenario::Errors { service: service_named(service, services)?, share: parse_share(share)? })
            }
            ["down", target] => match exporter_named(target, |_| true) {
                Some(target) => Ok(Scenario::Down { target }),
                None => {
                    let names = services.iter().map(String::as_str).chain(EXPORTERS.iter().map(|row| row.service));
                    Ok(Scenario::Down { target: one_of("service or exporter", target, names)? })
                }
            },
            ["latency", service, added] => Ok(Scenario::Latency {
                service: service_named(service, services)?,
                milliseconds: parse_milliseconds(added)?,
            }),
            ["database-down", target] => match exporter_named(target, |key| DATABASES.contains(&key)) {
                Some(target) => Ok(Scenario::DatabaseDown { target }),
                None => Err(unknown("exporter of a database", target, DATABASES.iter().copied())),
            },
            [name, ..] => {
                let forms = FORMS.iter().map(|form| form.split(' ').next().unwrap_or(form));
                if let Some(form) = FORMS.iter().find(|form| form.split(' ').next() == Some(name)) {
                    return Err(Failure::new(
                        Kind::Usage,
                        format!("scenario `{}` is not complete or too long", words.join(" ")),
                    )
                    .hint(format!("write `sandbox scenario set {form}`"))
                    .into());
                }
                Err(unknown("scenario", name, forms))
            }
            [] => Err(Failure::new(Kind::Usage, "no scenario is named")
                .hint(format!("write one of: {}", FORMS.join(", ")))
                .into()),
        }
    }

    /// Name of the Kubernetes Service that it strikes.
    pub fn target(&self) -> &str {
        match self {
            Scenario::Errors { service, .. } | Scenario::Latency { service, .. } => service,
            Scenario::Down { target } | Scenario::DatabaseDown { target } => target,
        }
    }

    /// Whether `other` says the same of the same target, perhaps with another amount: the newer
    /// one of the two then stands for both.
    pub(super) fn replaces(&self, other: &Scenario) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other) && self.target() == other.target()
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scenario::Errors { service, share } => {
                // Percent from a share picks up binary dust (0.07 * 100): six digits are enough.
                write!(formatter, "errors {service} {}%", (share * 1e8).round() / 1e6)
            }
            Scenario::Down { target } => write!(formatter, "down {target}"),
            Scenario::Latency { service, milliseconds } => write!(formatter, "latency {service} {milliseconds}ms"),
            Scenario::DatabaseDown { target } => write!(formatter, "database-down {target}"),
        }
    }
}

/// Service name of the exporter that goes by `name`, among those whose key `takes` takes.
fn exporter_named(name: &str, takes: impl Fn(&str) -> bool) -> Option<String> {
    EXPORTERS
        .iter()
        .find(|row| takes(row.key) && [row.key, row.job, row.service].contains(&name))
        .map(|row| row.service.to_owned())
}

fn service_named(name: &str, services: &[String]) -> anyhow::Result<String> {
    one_of("service", name, services.iter().map(String::as_str))
}

fn one_of<'a>(what: &str, name: &str, names: impl Iterator<Item = &'a str> + Clone) -> anyhow::Result<String> {
    if names.clone().any(|known| known == name) { Ok(name.to_owned()) } else { Err(unknown(what, name, names)) }
}

/// The failure of an unknown name, with the nearest one and the list.
fn unknown<'a>(what: &str, name: &str, names: impl Iterator<Item = &'a str>) -> anyhow::Error {
    let names: Vec<&str> = names.collect();
    let nearest = names
        .iter()
        .map(|known| (strsim::jaro_winkler(name, known), *known))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|left, right| left.0.total_cmp(&right.0));
    let guess = nearest.map_or_else(String::new, |(_, known)| format!("did you mean `{known}`? "));
    Failure::new(Kind::Usage, format!("no {what} is called `{name}`"))
        .hint(format!("{guess}known: {}", names.join(", ")))
        .into()
}

fn parse_share(text: &str) -> anyhow::Result<f64> {
    text.strip_suffix('%')
        .and_then(|number| number.parse::<f64>().ok())
        .filter(|percent| (0.0..=100.0).contains(percent))
        .map(|percent| percent / 100.0)
        .ok_or_else(|| {
            Failure::new(Kind::Usage, format!("`{text}` is no share of requests"))
                .hint("write a percentage from 0% to 100%, such as `8%`")
                .into()
        })
}

/// The longest delay that makes sense: Prometheus itself gives up a scrape after 10 s.
const LONGEST_MILLISECONDS: f64 = 60_000.0;

fn parse_milliseconds(text: &str) -> anyhow::Result<f64> {
    text.strip_suffix("ms")
        .and_then(|number| number.parse::<f64>().ok())
        .filter(|milliseconds| (0.0..=LONGEST_MILLISECONDS).contains(milliseconds))
        .ok_or_else(|| {
            Failure::new(Kind::Usage, format!("`{text}` is no delay"))
                .hint(format!("write milliseconds from 0ms to {LONGEST_MILLISECONDS}ms, such as `300ms`"))
                .into()
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{exit_code_of, failure_of};

    fn parse(text: &str) -> anyhow::Result<Scenario> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        Scenario::parse(&words, &["user-service".to_owned(), "content-service".to_owned()])
    }

    #[test]
    fn a_scenario_gives_back_its_words() {
        for words in [
            "errors user-service 8%",
            "errors user-service 0.5%",
            "errors content-service 7%",
            "down content-service",
            "down redis-exporter",
            "latency user-service 300ms",
            "database-down postgres-exporter",
        ] {
            assert_eq!(parse(words).unwrap().to_string(), words);
        }
    }

    #[test]
    fn an_exporter_goes_by_key_job_and_service_name() {
        for words in ["down node", "down node-exporter", "down kubeState"] {
            parse(words).unwrap();
        }
        assert_eq!(parse("down postgresql").unwrap().to_string(), "down postgres-exporter");
        assert_eq!(parse("database-down redis").unwrap().to_string(), "database-down redis-exporter");
    }

    #[test]
    fn wrong_words_are_usage_failures_with_a_hint_that_helps() {
        for (words, message, hint) in [
            ("", "no scenario is named", "errors SERVICE PERCENT%"),
            ("error user-service 8%", "no scenario is called `error`", "did you mean `errors`?"),
            ("errors user-servce 8%", "no service is called `user-servce`", "did you mean `user-service`?"),
            ("errors postgres-exporter 8%", "no service is called", "known: user-service, content-service"),
            ("errors user-service", "is not complete", "errors SERVICE PERCENT%"),
            ("errors user-service 8", "`8` is no share", "such as `8%`"),
            ("errors user-service 108%", "`108%` is no share", "0% to 100%"),
            ("errors user-service NaN%", "`NaN%` is no share", "0% to 100%"),
            ("down contnt-service", "no service or exporter is called", "did you mean `content-service`?"),
            ("down a b", "too long", "down SERVICE|EXPORTER"),
            ("latency user-service 300", "`300` is no delay", "such as `300ms`"),
            ("latency user-service -1ms", "`-1ms` is no delay", "from 0ms"),
            ("database-down node", "no exporter of a database", "postgresql, redis"),
        ] {
            let error = parse(words).unwrap_err();
            let failure = failure_of(&error).unwrap();
            assert_eq!(exit_code_of(&error), 64, "{words}");
            assert!(failure.message.contains(message), "{words}: {}", failure.message);
            assert!(failure.hint.as_deref().unwrap().contains(hint), "{words}: {:?}", failure.hint);
        }
    }
}
