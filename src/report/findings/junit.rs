//! JUnit's XML: a test case for each finding, and one for each kind that found nothing.

use crate::validate::{Finding, Severity, Verdict, codes};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

/// The report of one run; findings lighter than `fail_on` are skipped tests, with their message.
pub(super) fn report(verdict: &Verdict, fail_on: Severity) -> anyhow::Result<String> {
    let mut report = Report::new("drivemaster-mon validate");
    let mut categories: Vec<&str> = codes().iter().map(|code| code.category()).collect();
    categories.dedup();
    for category in categories {
        let mut suite = TestSuite::new(category);
        for code in codes().into_iter().filter(|code| code.category() == category) {
            let found: Vec<&Finding> = verdict.findings.iter().filter(|finding| finding.code.id == code.id).collect();
            if found.is_empty() {
                let mut case = TestCase::new(code.title, TestCaseStatus::success());
                case.set_classname(code.id);
                suite.add_test_case(case);
            }
            for finding in found {
                suite.add_test_case(case_of(finding, fail_on));
            }
        }
        report.add_test_suite(suite);
    }
    Ok(report.to_string()?)
}

fn case_of(finding: &Finding, fail_on: Severity) -> TestCase {
    let place = &finding.place;
    let at = match place.line {
        0 => place.file.clone(),
        line if place.rendered => format!("{} (rendered):{line}:{}", place.file, place.column),
        line => format!("{}:{line}:{}", place.file, place.column),
    };
    let mut status = if finding.severity >= fail_on {
        let mut failure = TestCaseStatus::non_success(NonSuccessKind::Failure);
        failure.set_type(finding.severity.word());
        failure.set_description(format!("{at}\n{}\n{}\n{}", place.excerpt, finding.fix, finding.code.doc()));
        failure
    } else {
        TestCaseStatus::skipped()
    };
    status.set_message(finding.message.clone());
    let mut case = TestCase::new(format!("{at}: {}", finding.message), status);
    case.set_classname(finding.code.id);
    case
}
