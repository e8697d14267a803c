//! The template engine: tera with delimiters that meet no other language here, strict about every variable.

use super::digest::values_digest;
use super::sources::Sources;
use super::strict;
use crate::error::{Failure, Kind};
use anyhow::Result;
use serde_json::Value;
use tera::{Context, Delimiters, ErrorKind, Kwargs, State, Tera};

/// Every template of the sources, compiled and checked against one context.
pub(super) struct Templates<'s> {
    tera: Tera,
    context: Context,
    sources: &'s Sources,
}

impl<'s> Templates<'s> {
    /// Compiles all templates and resolves every variable they name.
    ///
    /// # Errors
    /// [`Kind::Usage`] with file, line and column for a template that does not parse, and for every
    /// variable that `context` does not have.
    pub(super) fn new(sources: &'s Sources, context: &Value) -> Result<Self> {
        let mut tera = Tera::new();
        tera.autoescape_on(Vec::<&str>::new());
        let delimiters = Delimiters {
            block_start: "@%".into(),
            block_end: "%@".into(),
            variable_start: "@{".into(),
            variable_end: "}@".into(),
            comment_start: "@#".into(),
            comment_end: "#@".into(),
        };
        tera.set_delimiters(delimiters).map_err(|error| usage(&error, sources))?;
        tera.register_filter("json", json);
        tera.register_filter("group_by", group_by);
        tera.register_filter("digest", digest);
        tera.register_filter("days", days);

        let mut texts: Vec<(String, &str)> = Vec::new();
        for (folder, is_template) in FOLDERS {
            for (path, content) in sources.below(folder).filter(|(path, _)| is_template(path)) {
                let name = format!("{folder}{path}");
                let text = std::str::from_utf8(content).map_err(|error| {
                    Failure::new(Kind::Usage, format!("template `{}` is not UTF-8", sources.name_of(&name)))
                        .caused_by(error)
                })?;
                texts.push((name, text));
            }
        }
        tera.add_raw_templates(texts.iter().map(|(name, text)| (name.as_str(), *text)))
            .map_err(|error| usage(&error, sources))?;

        let unknown: Vec<String> = texts
            .iter()
            .flat_map(|(name, text)| {
                strict::unknown_variables(text, context).into_iter().map(move |unknown| {
                    let name = sources.name_of(name);
                    let place =
                        format!("{name}:{}:{}: unknown variable `{}`", unknown.line, unknown.column, unknown.path);
                    match unknown.suggestion {
                        Some(suggestion) => format!("{place}, did you mean `{suggestion}`?"),
                        None => place,
                    }
                })
            })
            .collect();
        if !unknown.is_empty() {
            return Err(Failure::new(Kind::Usage, unknown.join("\n")).into());
        }
        let context = Context::from_serialize(context).map_err(|error| usage(&error, sources))?;
        Ok(Templates { tera, context, sources })
    }

    /// The text of the template at `path`.
    ///
    /// # Errors
    /// [`Kind::Usage`] with file, line and column.
    pub(super) fn render(&self, path: &str) -> Result<String> {
        self.tera.render(path, &self.context).map_err(|error| usage(&error, self.sources))
    }
}

type IsTemplate = fn(&str) -> bool;

/// Where templates stand. Charts are none: they are Helm's. Unit tests of rules are promtool's.
const FOLDERS: [(&str, IsTemplate); 5] = [
    ("templates/values/", |_| true),
    (super::objects::FOLDER, |_| true),
    ("alerts/", is_rule_file),
    (SLO_FOLDER, is_slo_definition),
    ("dashboards/", is_dashboard_or_partial),
];

/// Whether `alerts/<path>` is a file of rules.
pub(super) fn is_rule_file(path: &str) -> bool {
    let is_data = ["contract.yaml", "firing.yaml", "programs.yaml"].contains(&path);
    path.ends_with(".yaml") && !path.ends_with(".test.yaml") && !is_data && !path.contains('/')
}

/// Where definitions of objectives stand.
pub(super) const SLO_FOLDER: &str = "alerts/slo/";

/// Whether `alerts/slo/<path>` is the definition of an objective.
pub(super) fn is_slo_definition(path: &str) -> bool {
    path.ends_with(".yaml") && !path.ends_with(".test.yaml") && !path.contains('/')
}

/// Whether `dashboards/<path>` is a dashboard.
pub(super) fn is_dashboard(path: &str) -> bool {
    path.ends_with(".json") && !path.contains('/')
}

fn is_dashboard_or_partial(path: &str) -> bool {
    is_dashboard(path) || path.starts_with("partials/")
}

/// Compact JSON, which YAML reads as well: the one safe way to write a value into a template.
fn json(value: &tera::Value, _: Kwargs, _: &State<'_>) -> tera::TeraResult<String> {
    serde_json::to_string(value).map_err(|error| tera::Error::message(error.to_string()))
}

/// A short digest of a text, fit for a label: what changes restarts the pods that carry it.
fn digest(text: &str, _: Kwargs, _: &State<'_>) -> String {
    values_digest(&Value::String(text.to_owned()))
}

/// Whole days of a duration in hours such as `36h`, rounded up.
fn days(hours: &str, _: Kwargs, _: &State<'_>) -> tera::TeraResult<u64> {
    let number = hours.strip_suffix('h').and_then(|number| number.parse::<u64>().ok());
    let hours = number.ok_or_else(|| tera::Error::message(format!("`{hours}` is no number of hours such as `36h`")))?;
    Ok(hours.div_ceil(24))
}

/// As tera's own filter, but the groups stand in the order in which they first appear: tera's come
/// in random order.
fn group_by(items: &[tera::Value], arguments: Kwargs, _: &State<'_>) -> tera::TeraResult<tera::Map> {
    let attribute = arguments.must_get::<&str>("attribute")?;
    let mut groups: Vec<(String, Vec<tera::Value>)> = Vec::new();
    for item in items {
        let value = item
            .get_from_path(attribute)
            .ok_or_else(|| tera::Error::message(format!("an item has no attribute `{attribute}`")))?;
        let key = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, group)) => group.push(item.clone()),
            None => groups.push((key, vec![item.clone()])),
        }
    }
    Ok(groups.into_iter().map(|(key, group)| (key.into(), group.into())).collect())
}

fn usage(error: &tera::Error, sources: &Sources) -> anyhow::Error {
    let message = match error.kind() {
        // The report counts columns from 0.
        ErrorKind::SyntaxError(report) | ErrorKind::RenderingError(report) => format!(
            "{}:{}:{}: {}",
            sources.name_of(report.filename()),
            report.span().start_line,
            report.span().start_col + 1,
            our_delimiters(report.message())
        ),
        ErrorKind::CircularInclude { include_chain, .. } => {
            format!("templates include each other: {}", include_chain.join(" -> "))
        }
        ErrorKind::CircularExtend { inheritance_chain, .. } => {
            format!("templates extend each other: {}", inheritance_chain.join(" -> "))
        }
        _ => located(&error.to_string(), sources),
    };
    Failure::new(Kind::Usage, message).into()
}

/// Some problems of several templates come as one text of reports: `error: WHAT`, then ` --> WHERE`,
/// then the source. Here each is one line.
fn located(reports: &str, sources: &Sources) -> String {
    let lines: Vec<&str> = reports.lines().collect();
    let problems: Vec<String> = lines
        .windows(2)
        .filter_map(|two| {
            let (what, place) = (two[0].strip_prefix("error: ")?, two[1].trim_start().strip_prefix("--> ")?);
            let (path, position) = place.split_once(':').unwrap_or((place, ""));
            Some(format!("{}:{position}: {}", sources.name_of(path), our_delimiters(what)))
        })
        .collect();
    if problems.is_empty() { format!("cannot render the templates: {reports}") } else { problems.join("\n") }
}

/// Tera names its own delimiters in messages, whatever the delimiters are.
fn our_delimiters(message: &str) -> String {
    let theirs_and_ours = [
        ("`{{`", "`@{`"),
        ("`}}`", "`}@`"),
        ("`{%`", "`@%`"),
        ("`%}`", "`%@`"),
        ("expected }}", "expected `}@`"),
        ("expected %}", "expected `%@`"),
    ];
    theirs_and_ours.iter().fold(message.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::error::{exit_code_of, failure_of};
    use serde_json::json;
    use std::collections::BTreeMap;

    fn sources(files: &[(&str, &str)]) -> Sources {
        let overlay: BTreeMap<String, String> =
            files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        Sources::empty().with_overlay(overlay)
    }

    fn render(text: &str) -> Result<String> {
        let context = json!({ "config": { "name": "a \"b\" <c>", "list": [1, 2.5] } });
        Templates::new(&sources(&[("alerts/x.yaml", text)]), &context)?.render("alerts/x.yaml")
    }

    #[test]
    fn other_languages_pass_untouched() {
        for text in
            ["{{ $labels.x }} {% y %}", "[[1,2],[3,4]]", "<<: *a", "$${__value.raw} ${x}", "rate(a[5m] @ end())", "a@b"]
        {
            assert_eq!(render(text).unwrap(), text);
        }
    }

    #[test]
    fn the_json_filter_quotes_and_nothing_is_escaped_for_html() {
        assert_eq!(render("@{ config.name | json }@").unwrap(), r#""a \"b\" <c>""#);
        assert_eq!(render("@{ config.name }@ @{ config.list | json }@").unwrap(), r#"a "b" <c> [1,2.5]"#);
    }

    #[test]
    fn a_digest_follows_the_text_and_days_round_up() {
        let first = render("@% filter digest %@a@{ config.name }@@% endfilter %@").unwrap();
        assert_eq!(first.len(), 32);
        assert_eq!(first, render("@% filter digest %@a@{ config.name }@@% endfilter %@").unwrap());
        assert_ne!(first, render("@% filter digest %@b@{ config.name }@@% endfilter %@").unwrap());
        assert_eq!(render("@{ \"24h\" | days }@ @{ \"25h\" | days }@ @{ \"2160h\" | days }@").unwrap(), "1 2 90");
        assert!(render("@{ \"2d\" | days }@").is_err());
    }

    #[test]
    fn maps_and_groups_keep_one_order() {
        let items: Vec<Value> =
            (0..20).map(|number| json!({ "k": format!("k{}", number % 10), "n": number })).collect();
        let map: serde_json::Map<String, Value> = (0..20).map(|number| (format!("m{number}"), json!(number))).collect();
        let context = json!({ "items": items, "map": map });
        let text = "@% for k, v in map %@@{ k }@ @% endfor %@@{ map | keys | join }@ @{ map | values | json }@ @{ map | json }@ \
            @{ items | group_by(attribute=\"k\") | keys | join(sep=\" \") }@";
        let render =
            || Templates::new(&sources(&[("alerts/x.yaml", text)]), &context).unwrap().render("alerts/x.yaml").unwrap();
        let first = render();
        assert!(first.ends_with("k0 k1 k2 k3 k4 k5 k6 k7 k8 k9"), "{first}");
        for _ in 0..10 {
            assert_eq!(render(), first);
        }
    }

    #[test]
    fn a_bad_template_is_a_usage_error_with_file_line_and_column() {
        for (text, message) in [
            ("a\n  @{ config.nam }@", "alerts/x.yaml:2:6: unknown variable `config.nam`, did you mean `config.name`?"),
            (
                "@% if config.nam %@x@% endif %@",
                "alerts/x.yaml:1:7: unknown variable `config.nam`, did you mean `config.name`?",
            ),
            ("@{ q }@\n@{ r }@", "alerts/x.yaml:1:4: unknown variable `q`\nalerts/x.yaml:2:4: unknown variable `r`"),
            ("a\n @{ config.name }", "alerts/x.yaml:2:17: Found `}` but expected `}@`"),
            ("a\n @{ }@", "alerts/x.yaml:2:5: Found `}@`"),
            ("@% if config.name %@x", "alerts/x.yaml:1:"),
            ("a\n@{ config.name | nope }@", "alerts/x.yaml:2:"),
            ("\n@{ config.name + 1 }@", "alerts/x.yaml:2:"),
        ] {
            let error = render(text).unwrap_err();
            assert_eq!(exit_code_of(&error), 64);
            let shown = failure_of(&error).unwrap().message.clone();
            assert!(shown.starts_with(message), "{text}: {shown}");
            assert!(!shown.contains("}}"), "{shown}");
        }
    }

    #[test]
    fn partial_components_are_shared_by_dashboards() {
        let sources = sources(&[
            (
                "dashboards/partials/panel.json",
                "@% component panel(title: string) %@{\"title\": @{ title | json }@}@% endcomponent panel %@",
            ),
            ("dashboards/a.json", "{\"panels\": [@{ <panel title=\"x\" /> }@]}"),
        ]);
        let templates = Templates::new(&sources, &json!({})).unwrap();
        assert_eq!(templates.render("dashboards/a.json").unwrap(), "{\"panels\": [{\"title\": \"x\"}]}");
    }

    #[test]
    fn only_rule_files_are_templates_among_the_alerts() {
        for (path, is_rules) in [
            ("application.yaml", true),
            ("application.test.yaml", false),
            ("contract.yaml", false),
            ("firing.yaml", false),
            ("programs.yaml", false),
            ("README.md", false),
        ] {
            assert_eq!(is_rule_file(path), is_rules, "{path}");
        }
    }
}
