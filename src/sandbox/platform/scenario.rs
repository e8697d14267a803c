//! What goes wrong on the simulated platform, and the words for it.

use super::forms::{Amount, FORMS, Form, Services, Trouble};
use crate::error::{Failure, Kind};
use crate::stack::EXPORTERS;
use std::fmt;

/// Something that goes wrong until it is cleared.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    form: &'static Form,
    /// Name of the Kubernetes Service that it strikes.
    target: String,
    /// How bad it is; 0 where its form has no amount.
    amount: f64,
    /// The only pod that it strikes; `None` where it strikes all.
    pod: Option<String>,
}

impl Scenario {
    /// Reads a scenario from the words of a command line, such as `errors user-service 8%`.
    ///
    /// `services` are the names of the platform's services. An exporter goes by its key, its job
    /// or the name of its Service. An amount that is left out is the usual one.
    ///
    /// # Errors
    /// [`Kind::Usage`] with the nearest name and the list of names.
    pub fn parse(words: &[String], services: &[String]) -> anyhow::Result<Self> {
        let Some((name, rest)) = words.split_first() else {
            let known: Vec<String> = FORMS.iter().map(Form::usage).collect();
            return Err(usage("no scenario is named", format!("write one of: {}", known.join(", "))));
        };
        let names = FORMS.iter().map(|form| form.name);
        let form = FORMS.iter().find(|form| form.name == name).ok_or_else(|| unknown("scenario", name, names))?;
        let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
        let (target, amount) = match (rest.as_slice(), form.usual_target, form.amount) {
            ([target, amount], _, Some(_)) if form.names_target() => (*target, Some(*amount)),
            // One word is the amount where the target goes without saying and it looks like a number.
            ([amount], Some(target), Some(_)) if !form.names_target() || is_number(amount) => (target, Some(*amount)),
            ([target], _, _) if form.names_target() => (*target, None),
            ([], Some(target), _) => (target, None),
            _ => {
                let message = format!("scenario `{}` is not complete or too long", words.join(" "));
                return Err(usage(message, format!("its form is `{}`", form.usage())));
            }
        };
        let target = form.target_named(target, services)?;
        let amount = match (form.amount, amount) {
            (Some(known), Some(text)) => known.parse(text)?,
            (Some(known), None) => known.usual,
            (None, _) => 0.0,
        };
        Ok(Scenario { form, target, amount, pod: None })
    }

    /// What goes wrong.
    pub fn trouble(&self) -> Trouble {
        self.form.trouble
    }

    /// Name of the Kubernetes Service that it strikes.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// How bad it is: shares between 0 and 1, else as written.
    pub fn amount(&self) -> f64 {
        self.amount
    }

    /// The same scenario, for `pod` alone.
    pub(super) fn for_pod(self, pod: &str) -> Self {
        Scenario { pod: Some(pod.to_owned()), ..self }
    }

    /// Whether it strikes `pod` of the Kubernetes Service `target`.
    pub(super) fn strikes(&self, target: &str, pod: &str) -> bool {
        self.target == target && self.pod.as_deref().is_none_or(|only| only == pod)
    }

    /// Whether `other` says the same of the same target, perhaps with another amount: the newer
    /// one of the two then stands for both.
    pub(super) fn replaces(&self, other: &Scenario) -> bool {
        self.form.trouble == other.form.trouble && self.target == other.target
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.form.name)?;
        if self.form.names_target() {
            write!(formatter, " {}", self.target)?;
        }
        if let Some(known) = self.form.amount {
            write!(formatter, " {}", known.written(self.amount))?;
        }
        Ok(())
    }
}

impl Form {
    /// The Kubernetes Service of the target that goes by `name`.
    fn target_named(&self, name: &str, services: &[String]) -> anyhow::Result<String> {
        let exporters = || EXPORTERS.iter().filter(|row| self.exporters.contains(&row.key));
        if let Some(row) = exporters().find(|row| [row.key, row.job, row.service].contains(&name)) {
            return Ok(row.service.to_owned());
        }
        let takes = |service: &&str| match self.services {
            Services::None => false,
            Services::All => true,
            Services::One(only) => **service == *only,
        };
        let of_services = services.iter().map(String::as_str).filter(takes);
        let names: Vec<&str> = of_services.chain(exporters().map(|row| row.key)).collect();
        let what = match (self.services, self.exporters) {
            (Services::None, _) => "exporter that can be struck",
            (_, []) => "service",
            _ => "service or exporter",
        };
        if names.contains(&name) { Ok(name.to_owned()) } else { Err(unknown(what, name, names.into_iter())) }
    }
}

impl Amount {
    /// `amount` as people write it.
    pub fn written(&self, amount: f64) -> String {
        // Percent from a share picks up binary dust (0.07 * 100): six digits are enough.
        format!("{}{}", (amount / self.unit.scale() * 1e6).round() / 1e6, self.unit.suffix())
    }

    /// Reads `text`, which ends in the unit's suffix.
    fn parse(&self, text: &str) -> anyhow::Result<f64> {
        let number = text.strip_suffix(self.unit.suffix()).and_then(|number| number.parse::<f64>().ok());
        let amount = number.map(|number| number * self.unit.scale());
        amount.filter(|amount| (0.0..=self.most).contains(amount)).ok_or_else(|| {
            let [least, most, usual] = [0.0, self.most, self.usual].map(|amount| self.written(amount));
            usage(
                format!("`{text}` is not {}", self.unit.word()),
                format!("write a number from {least} to {most}, such as `{usual}`"),
            )
        })
    }
}

/// Whether a word begins like an amount, which no name does.
fn is_number(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_digit() || ['-', '+', '.'].contains(&first))
}

fn usage(message: impl Into<String>, hint: String) -> anyhow::Error {
    Failure::new(Kind::Usage, message).hint(hint).into()
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
    usage(format!("no {what} is called `{name}`"), format!("{guess}known: {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{exit_code_of, failure_of};
    use std::collections::BTreeSet;

    fn parse(text: &str) -> anyhow::Result<Scenario> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let services = ["user-service", "content-service", "adaptive-service"].map(str::to_owned);
        Scenario::parse(&words, &services)
    }

    #[test]
    fn a_scenario_gives_back_its_words() {
        for words in [
            "errors user-service 8%",
            "errors user-service 0.5%",
            "errors content-service 7%",
            "down content-service",
            "down redis-exporter",
            "instance-down user-service",
            "latency user-service 300ms",
            "database-down postgres-exporter",
            "memory user-service 92%",
            "memory redis-exporter 29%",
            "cpu node-exporter 95%",
            "load 12.5",
            "disk elasticsearch-exporter 90%",
            "connections redis-exporter 92%",
            "cache-misses postgres-exporter 14%",
            "replication-lag 90s",
            "kafka-lag 5000",
            "elasticsearch-red",
            "effectiveness-low 0.6",
            "engagement-low 180s",
        ] {
            assert_eq!(parse(words).unwrap().to_string(), words);
        }
    }

    #[test]
    fn what_is_left_out_is_the_usual() {
        for (words, full) in [
            ("errors user-service", "errors user-service 8%"),
            ("latency user-service", "latency user-service 300ms"),
            ("memory redis", "memory redis-exporter 92%"),
            ("disk", "disk node-exporter 92%"),
            ("disk 88%", "disk node-exporter 88%"),
            ("disk elasticsearch", "disk elasticsearch-exporter 92%"),
            ("load", "load 12"),
            ("kafka-lag", "kafka-lag 5000"),
            ("effectiveness-low", "effectiveness-low 0.6"),
        ] {
            assert_eq!(parse(words).unwrap().to_string(), full);
        }
    }

    #[test]
    fn an_exporter_goes_by_key_job_and_service_name() {
        for words in ["down node", "down node-exporter", "down kubeState"] {
            parse(words).unwrap();
        }
        assert_eq!(parse("down postgresql").unwrap().to_string(), "down postgres-exporter");
        assert_eq!(parse("database-down redis").unwrap().to_string(), "database-down redis-exporter");
        assert_eq!(parse("kafka-lag").unwrap().target(), "kafka-exporter");
    }

    #[test]
    fn names_are_unique_exporters_are_those_of_the_catalogue_and_the_usual_amount_is_in_range() {
        let names: BTreeSet<&str> = FORMS.iter().map(|form| form.name).collect();
        let troubles: BTreeSet<Trouble> = FORMS.iter().map(|form| form.trouble).collect();
        assert_eq!((names.len(), troubles.len()), (FORMS.len(), FORMS.len()));
        for form in FORMS {
            let read: Trouble = serde_yaml::from_str(form.name).unwrap();
            assert_eq!(read, form.trouble, "traffic.yaml knows it by the same name");
            for key in form.exporters {
                assert!(EXPORTERS.iter().any(|row| row.key == *key), "{}: {key}", form.name);
            }
            if let Some(amount) = form.amount {
                assert!((0.0..=amount.most).contains(&amount.usual), "{}", form.name);
            }
        }
    }

    #[test]
    fn wrong_words_are_usage_failures_with_a_hint_that_helps() {
        for (words, message, hint) in [
            ("", "no scenario is named", "errors SERVICE [PERCENT%]"),
            ("error user-service 8%", "no scenario is called `error`", "did you mean `errors`?"),
            ("kafka-lagg", "no scenario is called `kafka-lagg`", "did you mean `kafka-lag`?"),
            ("errors user-servce 8%", "no service is called `user-servce`", "did you mean `user-service`?"),
            ("errors postgres-exporter 8%", "no service is called", "known: user-service, content-service"),
            ("errors", "is not complete", "errors SERVICE [PERCENT%]"),
            ("errors user-service 8", "`8` is not PERCENT%", "such as `8%`"),
            ("errors user-service 108%", "`108%` is not PERCENT%", "0% to 100%"),
            ("errors user-service -5%", "`-5%` is not PERCENT%", "0% to 100%"),
            ("errors user-service NaN%", "`NaN%` is not PERCENT%", "0% to 100%"),
            ("down contnt-service", "no service or exporter is called", "did you mean `content-service`?"),
            ("down a b", "too long", "down SERVICE|EXPORTER"),
            ("latency user-service 300", "`300` is not MILLISECONDSms", "such as `300ms`"),
            ("latency user-service -1ms", "`-1ms` is not", "from 0ms"),
            ("database-down node", "no exporter that can be struck is called `node`", "known: postgresql, redis"),
            ("memory kafka 90%", "no service or exporter is called `kafka`", "redis, node"),
            ("cache-misses rediss", "is called `rediss`", "did you mean `redis`?"),
            ("kafka-lag many", "`many` is not MESSAGES", "such as `5000`"),
            ("kafka-lag kafka 5000", "too long", "its form is `kafka-lag [MESSAGES]`"),
            ("elasticsearch-red now", "too long", "its form is `elasticsearch-red`"),
            ("effectiveness-low 60%", "`60%` is not SCORE", "from 0 to 1, such as `0.6`"),
            ("engagement-low 180", "`180` is not SECONDSs", "such as `180s`"),
            // This platform has no such service.
            ("disk user-service 90%", "no exporter that can be struck", "known: elasticsearch, node"),
        ] {
            let error = parse(words).unwrap_err();
            let failure = failure_of(&error).unwrap();
            assert_eq!(exit_code_of(&error), 64, "{words}");
            assert!(failure.message.contains(message), "{words}: {}", failure.message);
            assert!(failure.hint.as_deref().unwrap().contains(hint), "{words}: {:?}", failure.hint);
        }
        let error = Scenario::parse(&["effectiveness-low".to_owned()], &["user-service".to_owned()]).unwrap_err();
        assert!(failure_of(&error).unwrap().message.contains("no service is called `adaptive-service`"));
    }
}
