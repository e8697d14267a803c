//! What the blackbox exporter tells of a probe.

use crate::sandbox::platform::exposition::Page;
use reqwest::Url;

/// A probe that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What is probed.
    pub url: Url,
    /// Its path and query.
    pub path: String,
}

/// How a probe went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An answer with this HTTP status.
    Answered(u16),
    /// No connection.
    Refused,
    /// Nobody knows the name.
    Unknown,
}

/// Reads `/probe?target=...&module=...`.
///
/// # Errors
/// One line for people when there is no target that can be probed.
pub fn parse(path_and_query: &str) -> Result<Probe, String> {
    let asked = Url::parse("http://probe").and_then(|base| base.join(path_and_query));
    let asked = asked.map_err(|error| format!("the probe is not understood: {error}"))?;
    let target = asked.query_pairs().find(|(key, _)| key == "target").map(|(_, value)| value.into_owned());
    let target = target.ok_or("a probe needs the parameter `target`")?;
    // As the exporter does with a target that names no scheme.
    let full = if target.contains("://") { target.clone() } else { format!("http://{target}") };
    let url = Url::parse(&full).map_err(|error| format!("`{target}` is no URL: {error}"))?;
    let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    Ok(Probe { url, path })
}

/// The page of a probe of `url`. A probe succeeds with a status of the 200s, as in the exporter's
/// module `http_2xx`.
pub fn page(url: &Url, outcome: Outcome) -> String {
    let status = match outcome {
        Outcome::Answered(status) => status,
        Outcome::Refused | Outcome::Unknown => 0,
    };
    let succeeded = (200..300).contains(&status);
    let duration = if outcome == Outcome::Unknown { 0.001 } else { 0.012 };
    let tls = url.scheme() == "https";
    let yes = |holds: bool| if holds { 1.0 } else { 0.0 };
    let mut page = Page::default();
    for (name, value) in [
        ("probe_success", yes(succeeded)),
        ("probe_duration_seconds", duration),
        ("probe_dns_lookup_time_seconds", 0.001),
        ("probe_http_status_code", f64::from(status)),
        ("probe_http_ssl", yes(tls && status > 0)),
        ("probe_http_version", if status > 0 { 1.1 } else { 0.0 }),
        ("probe_failed_due_to_regex", 0.0),
        ("probe_ip_protocol", 4.0),
    ] {
        page.family(name, "gauge", "Of this probe");
        page.sample(name, &[], value);
    }
    page.into_body()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_read_with_its_path_and_a_missing_scheme_is_http() {
        let told = |query: &str| parse(query).map(|probe| (probe.url.to_string(), probe.path));
        assert_eq!(
            told("/probe?module=http_2xx&target=http%3A%2F%2Fuser-service.drivemaster.svc%3A3001%2Fhealth%3Fa%3Db"),
            Ok(("http://user-service.drivemaster.svc:3001/health?a=b".to_owned(), "/health?a=b".to_owned()))
        );
        assert_eq!(told("/probe?target=example.com").unwrap(), ("http://example.com/".to_owned(), "/".to_owned()));
        assert_eq!(told("/probe?module=x").unwrap_err(), "a probe needs the parameter `target`");
        assert!(told("/probe?target=http://").unwrap_err().starts_with("`http://` is no URL"));
    }

    #[test]
    fn only_an_answer_of_the_200s_is_a_success() {
        let url = Url::parse("https://a.b/").unwrap();
        for (outcome, success) in
            [(Outcome::Answered(200), 1), (Outcome::Answered(503), 0), (Outcome::Refused, 0), (Outcome::Unknown, 0)]
        {
            let page = page(&url, outcome);
            assert!(page.contains(&format!("probe_success {success}\n")), "{outcome:?}: {page}");
        }
    }
}
