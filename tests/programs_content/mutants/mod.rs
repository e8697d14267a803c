//! Would the unit tests notice a mistake in a rule? Each rule is changed in one small place, and
//! promtool runs the unit tests of its file that name it, or a rule that is made from it, or ask for all:
//! the exit code alone says whether they noticed.
//!
//! `make mutants` runs every mutant; the suite runs a part of them, always the same for the same rules.

mod mutate;
mod text;

use crate::rules::{rule_files, unit_tests};
use crate::{ROOT, config, promtool};
use drivemaster_mon::promql;
use mutate::mutations;
use promql_parser::util::{display_duration, parse_duration};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;
use text::text;

/// `tests/programs_content/mutants/known.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    /// Percentage of the mutants that the tests must notice, of those that are not equivalent.
    floor: f64,
    /// Mutants that no test can notice.
    equivalent: Vec<Equivalent>,
}

/// Mutants of one rule that mean the same as it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Equivalent {
    /// The file of rules, where several have a rule of that name.
    #[serde(default)]
    file: Option<String>,
    rule: String,
    mutations: Vec<String>,
    /// Why nobody can notice.
    #[serde(rename = "why")]
    _why: String,
}

impl Equivalent {
    fn is_about(&self, mutant: &Mutant) -> bool {
        self.rule == mutant.rule && self.file.as_ref().is_none_or(|file| *file == mutant.file)
    }
}

/// A rule with one mistake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Mutant {
    /// Name of the rule file.
    file: String,
    /// Name of the rule, with labels that tell it from others of that name.
    rule: String,
    /// What is wrong.
    mutation: String,
    /// Number of the group, of the rule in it, the changed key, and its value.
    group: usize,
    index: usize,
    key: &'static str,
    value: Option<String>,
}

impl Mutant {
    /// Whether it is among the sixth that the suite runs: by its name, so that a new rule moves no other.
    fn is_in_the_sample(&self) -> bool {
        let digest = Sha256::digest(format!("{}/{}/{}", self.file, self.rule, self.mutation));
        digest[0].is_multiple_of(6)
    }

    /// `file` with the mistake in it.
    fn in_file(&self, file: &Value) -> Value {
        let mut changed = file.clone();
        let rule = changed["groups"][self.group]["rules"][self.index].as_object_mut().unwrap();
        match &self.value {
            Some(value) => drop(rule.insert(self.key.to_owned(), json!(value))),
            None => drop(rule.remove(self.key)),
        }
        changed
    }
}

/// A rule file and the tests that load it.
struct Subject {
    name: String,
    rules: Value,
    /// Each group of its tests, as a test file of its own, the shortest first.
    tests: Vec<Value>,
    /// Expressions that another subject has too, but for the name of the objective: the mutants of that one stand for
    /// those of this.
    elsewhere: BTreeSet<String>,
}

/// Every rule file with what its unit tests load besides.
struct Subjects {
    files: BTreeMap<String, String>,
    subjects: Vec<Subject>,
}

/// The rules of all objectives are made in the same way: one with events and one with slices of time stand for the
/// others.
const OBJECTIVES: [&str; 3] = ["sli.yaml", "slo-availability.yaml", "slo-error-rate.yaml"];
/// The records that are made of an objective's indicator, which no other has.
const OF_INDICATORS: [&str; 3] = ["slo:sli_slice:bad", "slo:sli_bad:rate5m", "slo:sli_total:rate5m"];

impl Subjects {
    /// The files that people write.
    fn new() -> Self {
        Self::of(|name| !name.starts_with("slo-") && name != "sli.yaml")
    }

    /// The files that objectives are made into.
    fn of_objectives() -> Self {
        let mut found = Self::of(|name| OBJECTIVES.contains(&name));
        let mut seen: BTreeSet<String> = BTreeSet::new();
        // The last one has the tests of long windows.
        for subject in found.subjects.iter_mut().rev() {
            let expressions: BTreeSet<String> = subject.rules().map(|(_, _, rule)| subject.nameless(rule)).collect();
            subject.elsewhere = seen.intersection(&expressions).cloned().collect();
            seen.extend(expressions);
        }
        found
    }

    /// What the others of those files have by themselves.
    fn of_indicators() -> Self {
        let mut found = Self::of(|name| name.starts_with("slo-") && !OBJECTIVES.contains(&name));
        let judged = Self::of(|name| OBJECTIVES.contains(&name)).subjects;
        let judged: BTreeSet<String> =
            judged.iter().flat_map(|subject| subject.rules().map(|(_, _, rule)| subject.nameless(rule))).collect();
        for subject in &mut found.subjects {
            let others = subject.rules().filter(|(_, _, rule)| !OF_INDICATORS.contains(&name_of(rule)));
            let others: BTreeSet<String> = others.map(|(_, _, rule)| subject.nameless(rule)).collect();
            subject.elsewhere = &others | &judged;
        }
        found
    }

    /// Those whose names are `wanted`.
    fn of(wanted: impl Fn(&str) -> bool) -> Self {
        let files = rule_files(&config("existing"));
        let tests: Vec<Value> = unit_tests().iter().map(|(_, text)| serde_yaml::from_str(text).unwrap()).collect();
        let loads = |test: &Value, name: &str| test["rule_files"].as_array().unwrap().iter().any(|file| file == name);
        let subjects = files
            .iter()
            .filter(|(name, _)| wanted(name))
            .map(|(name, text)| {
                let mut tests: Vec<Value> =
                    tests.iter().filter(|test| loads(test, name)).flat_map(each_alone).collect();
                tests.sort_by_key(evaluations);
                let rules = serde_yaml::from_str(text).unwrap();
                Subject { name: name.clone(), rules, tests, elsewhere: BTreeSet::new() }
            })
            .collect();
        Subjects { files, subjects }
    }

    /// A folder with every rule file.
    fn folder(&self) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in &self.files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn named(&self, name: &str) -> &Subject {
        self.subjects.iter().find(|subject| subject.name == name).unwrap()
    }

    fn mutants(&self) -> Vec<Mutant> {
        self.subjects.iter().flat_map(Subject::mutants).collect()
    }
}

/// The groups of a test file, each as a file.
fn each_alone(file: &Value) -> Vec<Value> {
    let alone = |test: &Value| {
        let mut file = file.clone();
        file["tests"] = json!([test]);
        file
    };
    file["tests"].as_array().unwrap().iter().map(alone).collect()
}

/// What asks for alerts and records without their names.
const ALL: [&str; 4] = ["(ALERTS)", "ALERTS{alertstate", "alertname=~", "__name__=~"];

/// How often promtool evaluates the rules for `test`, which has one group: what it costs.
fn evaluations(test: &Value) -> u128 {
    let seconds = |value: &Value| parse_duration(value.as_str()?).ok();
    let group = &test["tests"][0];
    let checks = ["alert_rule_test", "promql_expr_test"].map(|key| group[key].as_array());
    let ends = checks.into_iter().flatten().flatten().filter_map(|check| seconds(&check["eval_time"]));
    let step = seconds(&test["evaluation_interval"]).unwrap_or(Duration::from_secs(60));
    ends.max().unwrap_or_default().as_millis() / step.as_millis()
}

/// Name of an alert or a record.
fn name_of(rule: &Value) -> &str {
    rule["alert"].as_str().or(rule["record"].as_str()).unwrap()
}

impl Subject {
    fn rules(&self) -> impl Iterator<Item = (usize, usize, &Value)> {
        let groups = self.rules["groups"].as_array().unwrap().iter().enumerate();
        groups.flat_map(|(group, value)| {
            let rules = value["rules"].as_array().unwrap().iter().enumerate();
            rules.map(move |(index, rule)| (group, index, rule))
        })
    }

    /// The expression of `rule` without the name of the objective.
    fn nameless(&self, rule: &Value) -> String {
        let objective = self.name.trim_start_matches("slo-").trim_end_matches(".yaml");
        rule["expr"].as_str().unwrap().replace(&format!("slo=\"{objective}\""), "slo=\"\"")
    }

    /// The name of `rule`, with its fixed labels where another rule of the file has that name too.
    fn title(&self, rule: &Value) -> String {
        let name = name_of(rule);
        if self.rules().filter(|(_, _, other)| name_of(other) == name).count() == 1 {
            return name.to_owned();
        }
        let labels = rule["labels"].as_object().into_iter().flatten();
        let fixed = labels.filter_map(|(label, value)| Some((label, value.as_str()?)));
        let fixed: Vec<String> = fixed.map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        format!("{name}{{{}}}", fixed.join(", "))
    }

    fn mutants(&self) -> Vec<Mutant> {
        let mut mutants = Vec::new();
        let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
        for (group, index, rule) in self.rules().filter(|(_, _, rule)| !self.elsewhere.contains(&self.nameless(rule))) {
            let title = self.title(rule);
            let mut add = |mutation: String, key, value| {
                let times = seen.entry((title.clone(), mutation.clone())).or_default();
                *times += 1;
                let mutation = if *times == 1 { mutation } else { format!("{mutation}, place {times}") };
                mutants.push(Mutant {
                    file: self.name.clone(),
                    rule: title.clone(),
                    mutation,
                    group,
                    index,
                    key,
                    value,
                });
            };
            let expression = promql::parse(rule["expr"].as_str().unwrap()).unwrap();
            for (mutation, changed) in mutations(&expression) {
                add(mutation, "expr", Some(text(&changed)));
            }
            if let Some(lasting) = rule["for"].as_str() {
                let lasting = parse_duration(lasting).unwrap();
                for other in [lasting.saturating_sub(self.step()), lasting + self.step()] {
                    let other = display_duration(&other);
                    add(format!("`for` becomes `{other}`"), "for", Some(other));
                }
                if lasting > self.step() {
                    add("`for` is not there".to_owned(), "for", None);
                }
            }
        }
        mutants
    }

    /// How often its tests evaluate it: the smallest change of `for` that can be seen.
    fn step(&self) -> Duration {
        let steps = self.tests.iter().filter_map(|test| parse_duration(test["evaluation_interval"].as_str()?).ok());
        steps.max().unwrap_or(Duration::from_secs(60))
    }

    /// The numbers of those of its tests that name the rule of `mutant` or one that is made from it.
    fn tests_of(&self, mutant: &Mutant) -> Vec<usize> {
        let mut names = BTreeSet::from([name_of(&self.rules["groups"][mutant.group]["rules"][mutant.index])]);
        loop {
            let uses = |rule: &Value| names.iter().any(|name| rule["expr"].as_str().unwrap().contains(name));
            let more: Vec<&str> =
                self.rules().filter(|(_, _, rule)| uses(rule)).map(|(_, _, rule)| name_of(rule)).collect();
            let before = names.len();
            names.extend(more);
            if names.len() == before {
                break;
            }
        }
        let tells = |test: &usize| {
            let said = self.tests[*test]["tests"].to_string();
            names.iter().copied().chain(ALL).any(|name| said.contains(name))
        };
        (0..self.tests.len()).filter(tells).collect()
    }

    /// Whether one of its tests fails with the file as it lies in `folder`. `last` has the number of the test that
    /// noticed the last mutant of each rule.
    fn notices(&self, folder: &Path, mutant: &Mutant, last: &Mutex<BTreeMap<String, usize>>) -> bool {
        std::fs::write(folder.join(&self.name), mutant.in_file(&self.rules).to_string()).unwrap();
        let mut tests = self.tests_of(mutant);
        let rule = format!("{}/{}", self.name, mutant.rule);
        // What noticed another mistake in the rule mostly notices this one too.
        let first = last.lock().unwrap().get(&rule).copied();
        tests.sort_by_key(|test| Some(*test) != first);
        let by = tests.into_iter().find(|test| !passes(folder, &[&self.tests[*test]]));
        if let Some(test) = by {
            last.lock().unwrap().insert(rule, test);
        }
        std::fs::write(folder.join(&self.name), self.rules.to_string()).unwrap();
        by.is_some()
    }
}

/// Whether promtool is content with `tests`.
fn passes(folder: &Path, tests: &[&Value]) -> bool {
    let names: Vec<String> = (0..tests.len()).map(|number| format!("{number}.test.yaml")).collect();
    for (name, test) in names.iter().zip(tests) {
        std::fs::write(folder.join(name), test.to_string()).unwrap();
    }
    promtool(folder, &["test", "rules"], &names).is_ok()
}

/// The mutants that no test notices; as many at a time as there are processors.
fn survivors<'m>(subjects: &Subjects, mutants: &'m [Mutant]) -> Vec<&'m Mutant> {
    let waiting = Mutex::new(mutants.iter());
    let survived = Mutex::new(Vec::new());
    let last = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                let folder = subjects.folder();
                loop {
                    let Some(mutant) = waiting.lock().unwrap().next() else { break };
                    if !subjects.named(&mutant.file).notices(folder.path(), mutant, &last) {
                        survived.lock().unwrap().push(mutant);
                    }
                }
            });
        }
    });
    let mut survived = survived.into_inner().unwrap();
    survived.sort();
    survived
}

fn known() -> Known {
    serde_yaml::from_str(
        &std::fs::read_to_string(Path::new(ROOT).join("tests/programs_content/mutants/known.yaml")).unwrap(),
    )
    .unwrap()
}

/// Runs `mutants`; gives the percentage that was noticed, and says what was not.
fn score(subjects: &Subjects, mutants: &[Mutant]) -> f64 {
    let known = known();
    let is_equivalent = |mutant: &Mutant| {
        known.equivalent.iter().any(|known| known.is_about(mutant) && known.mutations.contains(&mutant.mutation))
    };
    for subject in &subjects.subjects {
        let tests: Vec<&Value> = subject.tests.iter().collect();
        let folder = subjects.folder();
        std::fs::write(folder.path().join(&subject.name), subject.rules.to_string()).unwrap();
        assert!(passes(folder.path(), &tests), "`{}` fails its tests without any mistake", subject.name);
    }
    println!("{} mutants", mutants.len());
    let survived = survivors(subjects, mutants);
    let equivalent = mutants.iter().filter(|mutant| is_equivalent(mutant)).count();
    for mutant in mutants.iter().filter(|mutant| is_equivalent(mutant)) {
        assert!(
            survived.contains(&mutant),
            "a test notices what `tests/programs_content/mutants/known.yaml` calls equivalent: {mutant:?}"
        );
    }
    let unnoticed: Vec<&Mutant> = survived.into_iter().filter(|mutant| !is_equivalent(mutant)).collect();
    for mutant in &unnoticed {
        println!("survived: {} {}: {}", mutant.file, mutant.rule, mutant.mutation);
    }
    let judged = mutants.len() - equivalent;
    let score = 100.0 * (judged - unnoticed.len()) as f64 / judged as f64;
    println!(
        "{} of {judged} mutants noticed, {score:.2} %; {equivalent} more are equivalent",
        judged - unnoticed.len()
    );
    score
}

#[test]
fn every_expression_reads_back_from_its_text() {
    let subjects = Subjects::new();
    for rule in subjects.subjects.iter().flat_map(Subject::rules).map(|(_, _, rule)| rule) {
        let written = rule["expr"].as_str().unwrap();
        let once = text(&promql::parse(written).unwrap());
        assert_eq!(text(&promql::parse(&once).unwrap()), once, "{written}");
    }
}

#[test]
fn every_mutant_is_valid_and_differs_from_its_rule() {
    let subjects = Subjects::new();
    let mutants = subjects.mutants();
    let different: BTreeSet<(&str, &str, &str)> =
        mutants.iter().map(|mutant| (&*mutant.file, &*mutant.rule, &*mutant.mutation)).collect();
    assert_eq!(different.len(), mutants.len(), "each has a name of its own");
    let folder = tempfile::tempdir().unwrap();
    let mut rules = Vec::new();
    for mutant in mutants.iter().filter(|mutant| mutant.key == "expr") {
        let written = &subjects.named(&mutant.file).rules["groups"][mutant.group]["rules"][mutant.index]["expr"];
        let changed = mutant.value.as_deref().unwrap();
        assert_ne!(text(&promql::parse(written.as_str().unwrap()).unwrap()), changed, "{mutant:?}");
        rules.push(json!({ "record": format!("mutant:{}", rules.len()), "expr": changed }));
    }
    let file = json!({ "groups": [{ "name": "mutants", "rules": rules }] });
    std::fs::write(folder.path().join("mutants.yaml"), file.to_string()).unwrap();
    assert_eq!(promtool(folder.path(), &["check", "rules", "--lint=none"], &["mutants.yaml".to_owned()]), Ok(()));
}

#[test]
fn every_equivalent_mutant_is_one() {
    let subjects = [Subjects::new(), Subjects::of_objectives(), Subjects::of_indicators()];
    let mutants = subjects.map(|subjects| subjects.mutants()).concat();
    for known in known().equivalent {
        for mutation in known.mutations.clone() {
            let found = mutants.iter().any(|mutant| known.is_about(mutant) && mutant.mutation == mutation);
            assert!(
                found,
                "`tests/programs_content/mutants/known.yaml` names a mutant that is none: {}: {mutation}",
                known.rule
            );
        }
    }
}

fn a_sixth_is_noticed(subjects: &Subjects) {
    let mut sample = subjects.mutants();
    sample.retain(Mutant::is_in_the_sample);
    assert_above_the_floor(score(subjects, &sample));
}

#[test]
fn the_tests_notice_a_sixth_of_the_mutants() {
    a_sixth_is_noticed(&Subjects::new());
}

#[test]
fn the_tests_notice_a_sixth_of_the_mutants_of_every_indicator() {
    a_sixth_is_noticed(&Subjects::of_indicators());
}

#[test]
#[ignore = "takes minutes: run by `make mutants-of-objectives`"]
fn every_mutant_of_the_objectives_indicators() {
    let subjects = Subjects::of_indicators();
    assert_above_the_floor(score(&subjects, &subjects.mutants()));
}

/// `RULE=part of a name` runs those of some rules only.
#[test]
#[ignore = "takes minutes; `make mutants`"]
fn every_mutant() {
    let subjects = Subjects::new();
    let wanted = std::env::var("RULE").unwrap_or_default();
    let mutants: Vec<Mutant> = subjects.mutants().into_iter().filter(|mutant| mutant.rule.contains(&wanted)).collect();
    assert_above_the_floor(score(&subjects, &mutants));
}

/// Their unit tests play hours and days, so this takes most of an hour. `tests/programs_slo` counts their numbers in
/// seconds, in every run of the suite.
#[test]
#[ignore = "takes most of an hour; `make mutants-of-objectives`"]
fn every_mutant_of_the_objectives() {
    let subjects = Subjects::of_objectives();
    let wanted = std::env::var("RULE").unwrap_or_default();
    let mutants: Vec<Mutant> = subjects.mutants().into_iter().filter(|mutant| mutant.rule.contains(&wanted)).collect();
    assert_above_the_floor(score(&subjects, &mutants));
}

fn assert_above_the_floor(score: f64) {
    let floor = known().floor;
    assert!(score >= floor, "{score:.2} % of the mutants are noticed, and the floor is {floor} %");
}
