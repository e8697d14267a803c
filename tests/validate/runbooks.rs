//! The pages about alerts, whose queries a person asks in the middle of the night.

use crate::support::Run;
use serde_json::{Value, json};
use std::path::Path;

#[test]
fn every_runbook_has_its_four_parts_and_asks_for_what_there_is() {
    let parts = ["## Meaning", "## First queries", "## Likely causes", "## Silence"];
    // What makes a query answer nothing, or fail.
    let dead = ["syntax", "unknown-metric", "unknown-label", "impossible-matcher", "quantile", "mismatched-labels"];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks");
    let mut rules = String::from("groups:\n  - name: runbooks\n    rules:\n");
    let mut pages = 0;
    for page in std::fs::read_dir(folder).unwrap() {
        let page = page.unwrap().path();
        let (name, text) = (page.file_stem().unwrap().to_str().unwrap(), std::fs::read_to_string(&page).unwrap());
        let found: Vec<&str> = text.lines().filter(|line| line.starts_with("## ")).collect();
        assert_eq!(found, parts, "{}", page.display());
        let queries: Vec<&str> =
            text.split("```promql\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
        assert!(!queries.is_empty(), "{} asks nothing", page.display());
        for (index, query) in queries.iter().enumerate() {
            // Whoever asks puts a name there.
            let query = query.trim().replace("SERVICE", "user-service");
            let rule = json!({ "record": format!("runbook:{name}:query{index}"), "expr": query });
            rules.push_str(&format!("      - {rule}\n"));
        }
        pages += 1;
    }
    assert!(pages > 30, "{pages}");
    let run = Run::new();
    let judged = |rules: &str| {
        run.file("mine/alerts/runbooks.yaml", rules);
        let answer = run.run(&["validate", "--profile", "production", "--overlay", "mine", "-o", "json"]);
        let findings = answer.json()["findings"].as_array().unwrap().clone();
        let of_pages = |finding: &&Value| finding["place"]["file"].as_str().unwrap().ends_with("runbooks.yaml");
        let is_dead = |code: &str| dead.iter().any(|kind| code == format!("promql/{kind}"));
        let found = findings.iter().filter(of_pages).filter(|finding| is_dead(finding["code"].as_str().unwrap()));
        found.map(|finding| format!("{}: {}", finding["place"]["line"], finding["message"])).collect::<Vec<_>>()
    };
    assert_eq!(judged(&rules), [""; 0]);
    assert!(!judged(&rules.replace("redis_up", "redis_upp")).is_empty(), "a metric that nobody has");
}
