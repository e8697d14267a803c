//! What `kubectl logs` shows of a pod with a real program behind it: the log of that program.

use super::Shared;
use axum::body::Body;
use axum::http::{Response, Uri};
use reqwest::Url;
use std::sync::Arc;

/// First part of the path of a request for the log of a container.
const LOGS: &str = "containerLogs";

/// The answer to a request for the log of a pod with a program behind it; `None` for any other request. Its other
/// containers have written nothing: they do not run. The log goes on from one run to the next.
pub(super) async fn of_program(shared: &Arc<Shared>, uri: &Uri) -> Option<Response<Body>> {
    let mut parts = uri.path().trim_start_matches('/').split('/');
    let (first, namespace, pod, container) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if first != LOGS {
        return None;
    }
    let program = shared.directory().program_behind(namespace, pod)?;
    let pod = shared.pod(namespace, pod)?;
    let is_its = program.container(&pod).is_some_and(|own| own.name == container);
    let text = match is_its {
        true => tokio::fs::read(shared.programs.join(format!("{}.log", program.key()))).await.unwrap_or_default(),
        false => Vec::new(),
    };
    let (lines, bytes) = limits(uri);
    Some(Response::new(Body::from(part_of(&text, lines, bytes).to_vec())))
}

/// `tailLines` and `limitBytes` of the kubelet's API.
fn limits(uri: &Uri) -> (Option<usize>, Option<usize>) {
    let query = uri.query().unwrap_or_default();
    let parsed = Url::parse(&format!("http://node/?{query}")).ok();
    let number = |name: &str| {
        let mut pairs = parsed.as_ref()?.query_pairs();
        pairs.find(|(key, _)| key == name)?.1.parse().ok()
    };
    (number("tailLines"), number("limitBytes"))
}

/// The last `lines` of `text`, of those the first `bytes`.
fn part_of(text: &[u8], lines: Option<usize>, bytes: Option<usize>) -> &[u8] {
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    let mut ends = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(index, _)| index + 1);
    let start = match lines {
        Some(0) => text.len(),
        Some(lines) => ends.nth(lines - 1).unwrap_or(0),
        None => 0,
    };
    let part = text.get(start..).unwrap_or_default();
    part.get(..bytes.unwrap_or(part.len())).unwrap_or(part)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_the_end_and_bytes_from_there() {
        let text = b"one\ntwo\nthree\n";
        for (lines, bytes, expected) in [
            (None, None, "one\ntwo\nthree\n"),
            (Some(0), None, ""),
            (Some(1), None, "three\n"),
            (Some(2), Some(5), "two\nt"),
            (Some(9), Some(99), "one\ntwo\nthree\n"),
        ] {
            assert_eq!(part_of(text, lines, bytes), expected.as_bytes(), "{lines:?} {bytes:?}");
        }
        assert_eq!(part_of(b"no end", Some(1), None), b"no end");
        assert_eq!(part_of(b"", Some(1), None), b"");
        assert_eq!(limits(&"/containerLogs/a/b/c?limitBytes=7&follow=true".parse().unwrap()), (None, Some(7)));
    }
}
