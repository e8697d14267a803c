//! Links from one dashboard to another.

use super::Report;
use crate::config::schema::nearest;
use crate::validate::finding::{Code, Severity};
use serde_json::Value;

pub(super) const BROKEN_LINK: Code = Code::new(
    "dashboards/broken-link",
    Severity::Error,
    "a link to a dashboard that is not there",
    "link to the uid of a dashboard that is deployed too",
)
.foreign(Severity::Info);

/// Every URL of the model that names a dashboard by its uid, where none of `uids` is that.
pub(super) fn judge(report: &mut Report<'_, '_>, uids: &[&str]) {
    let mut found = Vec::new();
    collect(&report.file.model, &mut found);
    found.sort_unstable();
    found.dedup();
    for uid in found.into_iter().filter(|uid| !uids.contains(&uid.as_str())) {
        let message = format!("no dashboard has the uid `{uid}` that it links to");
        let near = nearest(&uid, uids).map(|near| format!("did you mean `{near}`?"));
        report.of_dashboard(&BROKEN_LINK, "", &[&uid], message);
        if let (Some(fix), Some(finding)) = (near, report.findings.last_mut()) {
            finding.fix = fix;
        }
    }
}

fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("url").and_then(Value::as_str).and_then(uid_of));
            map.values().for_each(|inner| collect(inner, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| collect(inner, found)),
        _ => {}
    }
}

/// `x` of `/d/x/title?var=1`; `None` where a variable names it, or it is another site's.
pub(in crate::validate) fn uid_of(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("/d/")?;
    let uid = rest.split(['/', '?', '#', '"']).next()?;
    (!uid.is_empty() && !uid.contains('$') && !uid.contains('{')).then(|| uid.to_owned())
}
