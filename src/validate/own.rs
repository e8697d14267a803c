//! What is ours to judge, gathered from the files that everything is rendered from.

use super::dashboards;
use super::finding::{NotJudged, Verdict};
use super::place::{Judged, Text};
use super::routes;
use super::rules::{self, RUNBOOKS, Scope};
use super::vocabulary::Vocabulary;
use super::{objects, slo, values};
use crate::config::model::{Config, Profile};
use crate::render::{Bundle, RenderedFile, Sources, grafana_url, scrape_job_names, texts, to_yaml};
use anyhow::Result;
use std::collections::BTreeSet;

/// The template with Alertmanager's configuration.
const ROUTES: &str = "templates/values/partials/alertmanager.yaml";

/// Everything of ours that is judged.
pub struct Own<'a> {
    /// The configuration that it is rendered with.
    pub config: &'a Config,
    /// The files that it is rendered from.
    pub sources: &'a Sources,
    /// The built-in pages about alerts, as paths such as `docs/runbooks/ServiceDown.md`.
    pub runbooks: BTreeSet<String>,
    /// What it renders to, or why it does not.
    pub bundle: Result<&'a Bundle, String>,
}

/// Judges what is ours.
///
/// # Errors
/// [`crate::error::Kind::Usage`] for a template that cannot be rendered at all.
pub fn judge_own(own: &Own<'_>) -> Result<Verdict> {
    let contracts = [own.sources.contract()?, own.sources.programs()?];
    let mut vocabulary = Vocabulary::new(&contracts, own.config, scrape_job_names(own.config));
    let files = texts(own.config, own.sources)?;
    let judged = |folder: &str| -> Vec<Judged> {
        let is_readable =
            |file: &&RenderedFile| file.objective.as_ref().is_none_or(|objective| objective.definition.is_ok());
        let below = files.iter().filter(|file| file.path.starts_with(folder)).filter(is_readable);
        below.map(|file| judged_of(own, file, &file.text)).collect()
    };
    let dashboards = judged("dashboards/");
    let tests = own.sources.below("alerts/").filter(|(path, _)| path.ends_with(".test.yaml"));
    let runbooks = own.sources.below(RUNBOOKS).map(|(page, _)| format!("{RUNBOOKS}{page}"));
    let scope = Scope {
        own: true,
        has_contract: true,
        tests: Some(tests.map(|(_, content)| String::from_utf8_lossy(content)).collect()),
        runbooks: own.runbooks.iter().cloned().chain(runbooks).collect(),
        runbooks_url: own.config.alertmanager.runbooks_url.clone(),
        grafana: Some(grafana_url(own.config)?),
        dashboards: Some(dashboards::uids(&dashboards)),
    };
    let mut verdict = rules::judge(&judged("alerts/"), &mut vocabulary, &scope);
    verdict.extend(dashboards::judge(&dashboards, &vocabulary, &scope));
    for (file, objective) in files.iter().filter_map(|file| Some((file, file.objective.as_ref()?))) {
        let judged = judged_of(own, file, &objective.text);
        match &objective.definition {
            Ok(definition) => {
                let name = &judged.text.name;
                let generated = verdict.findings.extract_if(.., |finding| finding.place.file == *name).collect();
                let of_queries = slo::of_queries(&judged, &definition.queries, &vocabulary);
                verdict.findings.extend(slo::of_rules(&judged, generated, &of_queries));
                verdict.findings.extend(of_queries);
            }
            Err(problems) => verdict.findings.extend(slo::findings(&judged, problems)),
        }
    }
    match &own.bundle {
        Ok(bundle) => verdict.extend(of_bundle(own, bundle, &vocabulary)),
        Err(reason) => {
            let subject = "routes, values and objects".to_owned();
            verdict.not_judged.push(NotJudged { subject, reason: reason.clone() });
        }
    }
    verdict.settle();
    Ok(verdict)
}

/// `text`, which was made of the template of `file`.
fn judged_of(own: &Own<'_>, file: &RenderedFile, text: &str) -> Judged {
    let name = own.sources.name_of(&file.path);
    Judged { text: Text::new(name, text), template: Some(Text::new(name, &*file.template)) }
}

fn of_bundle(own: &Own<'_>, bundle: &Bundle, vocabulary: &Vocabulary) -> Verdict {
    let mut verdict = Verdict::default();
    let template = |path: &str| {
        let (folder, file) = path.split_at(path.rfind('/').map_or(0, |slash| slash + 1));
        let content = own.sources.below(folder).find(|(name, _)| *name == file).map(|(_, content)| content);
        Text::new(own.sources.name_of(path), String::from_utf8_lossy(content.unwrap_or_default()))
    };
    let profile = match own.config.profile {
        Profile::Local => "local",
        Profile::Production => "production",
    };
    for release in &bundle.releases {
        if let Some(configuration) = release.values.pointer("/alertmanager/config").filter(|found| found.is_object()) {
            let judged = Judged {
                text: Text::new(
                    format!("02-values/{}.yaml: alertmanager.config", release.name),
                    to_yaml(configuration),
                ),
                template: Some(template(ROUTES)),
            };
            let alerts = routes::Alerts { names: vocabulary.alerts.clone().unwrap_or_default() };
            verdict.extend(routes::judge(configuration, &judged, &alerts));
        }
        let judged = Judged {
            text: Text::new(format!("02-values/{}.yaml", release.name), to_yaml(&release.values)),
            template: Some(template(&format!("templates/values/{profile}/{}.yaml", release.name))),
        };
        verdict.extend(values::judge(release, &judged));
    }
    let has_routes = own.config.component_enabled("alertmanager");
    if has_routes && !verdict.judged.iter().any(|what| what.contains("inhibitions")) {
        let reason = "no values have `alertmanager.config`".to_owned();
        verdict.not_judged.push(NotJudged { subject: "routes".to_owned(), reason });
    }
    verdict.extend(objects::judge(bundle));
    verdict
}
