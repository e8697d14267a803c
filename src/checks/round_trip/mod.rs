//! What is sent to be found again: a marked log line of each class, and a marked trace of two
//! services with an error. Sent once a run, asked for until found.

mod documents;

pub(super) use documents::{CALLED, CLASSES, EDGES, SERVICE, has_service_graph};

use super::facts::{CannotAsk, Fact, FoundLine, Sample, SentLine, SentTrace, SpanSeries};
use super::gather::prometheus;
use super::reach::{OTLP_HTTP, Reach};
use crate::config::Config;
use crate::render::Bundle;
use crate::telemetry::loki::Line;
use documents::{Mark, calls_metric};
use jiff::Timestamp;
use rand::TryRngCore;
use rand::rngs::OsRng;
use tokio::sync::OnceCell;

/// Lines through Loki's own push API, for people.
pub(super) const BY_LOKI: &str = "Loki";
/// Lines through the Collector, for people.
pub(super) const BY_COLLECTOR: &str = "the Collector";

/// What was sent in this run.
#[derive(Default)]
pub(super) struct RoundTrips {
    pushed: OnceCell<Pushed>,
    collected: OnceCell<Pushed>,
    trace: OnceCell<TracedCall>,
    counted: OnceCell<CountedCall>,
}

/// Lines that one way took.
#[derive(Clone)]
struct Pushed {
    mark: Mark,
    at: i64,
}

/// The trace that the Collector took.
struct TracedCall {
    mark: Mark,
    /// The calls that were counted before it.
    before: Fact<Vec<Sample>>,
}

/// A trace of which it is known what was counted before it.
struct CountedCall {
    user: String,
    before: Vec<Sample>,
}

impl RoundTrips {
    /// The lines that were sent, each with what Loki gives back by now.
    pub(super) async fn lines(&self, config: &Config, reach: &Reach) -> Fact<Vec<SentLine>> {
        let (pushed, collected) = tokio::join!(self.pushed.get_or_try_init(|| push(reach)), async {
            match config.otel_collector.enabled {
                true => Some(self.collected.get_or_try_init(|| collect(reach)).await),
                false => None,
            }
        });
        let mut sent = found_lines(pushed?, BY_LOKI, reach).await?;
        // Without it, the lines that Loki took itself are a fact nevertheless.
        if let Some(Ok(collected)) = collected {
            sent.extend(found_lines(collected, BY_COLLECTOR, reach).await?);
        }
        Ok(sent)
    }

    /// The trace that was sent, with what Jaeger answers about it by now.
    pub(super) async fn trace(&self, bundle: &Bundle, reach: &Reach) -> Fact<SentTrace> {
        let TracedCall { mark, .. } = self.traced(bundle, reach).await?;
        let way = reach.to("jaeger").await?;
        let found = way.jaeger()?.trace(&mark.trace).await.map_err(|error| way.explain(&error))?;
        Ok(SentTrace { id: mark.trace.clone(), user: mark.user(), planted: mark.planted(), found })
    }

    /// The series that the trace left by now.
    pub(super) async fn series(&self, bundle: &Bundle, reach: &Reach) -> Fact<SpanSeries> {
        let counted = async || {
            let first = self.traced(bundle, reach).await?;
            counted(first, async || calls(bundle, reach).await, async || send(reach).await).await
        };
        let CountedCall { user, before } = self.counted.get_or_try_init(counted).await?;
        let edges = format!("{EDGES}{{client=\"{SERVICE}\"}}");
        let (calls, edges) =
            tokio::join!(calls(bundle, reach), prometheus(reach, async |prometheus| prometheus.query(&edges).await));
        Ok(SpanSeries { user: user.clone(), before: before.clone(), calls: calls?, edges: edges? })
    }

    async fn traced(&self, bundle: &Bundle, reach: &Reach) -> Fact<&TracedCall> {
        let traced = async || {
            // Counted before, so that what a former run left is not taken for what this one did.
            let before = calls(bundle, reach).await;
            Ok(TracedCall { mark: send(reach).await?, before })
        };
        self.trace.get_or_try_init(traced).await
    }
}

/// The `first` trace, or a second one where Prometheus could not tell what was counted before the first.
async fn counted(
    first: &TracedCall,
    ask: impl AsyncFnOnce() -> Fact<Vec<Sample>>,
    send: impl AsyncFnOnce() -> Fact<Mark>,
) -> Fact<CountedCall> {
    if let Ok(before) = &first.before {
        return Ok(CountedCall { user: first.mark.user(), before: before.clone() });
    }
    let before = ask().await?;
    Ok(CountedCall { user: send().await?.user(), before })
}

/// Sends a trace that no other run has sent.
async fn send(reach: &Reach) -> Fact<Mark> {
    let mark = Mark::new(random_letters()?, random_digits()?);
    let way = reach.to_port("otelCollector", OTLP_HTTP).await?;
    let document = documents::trace(&mark, now());
    way.http()?.post("/v1/traces", &document).await.map_err(|error| way.explain(&error))?;
    Ok(mark)
}

/// The calls that were counted of our two services.
async fn calls(bundle: &Bundle, reach: &Reach) -> Fact<Vec<Sample>> {
    let query = format!("{{__name__=\"{}\",service_name=~\"{SERVICE}|{CALLED}\"}}", calls_metric(bundle));
    prometheus(reach, async |prometheus| prometheus.query(&query).await).await
}

async fn push(reach: &Reach) -> Fact<Pushed> {
    let pushed = Pushed { mark: Mark::new(random_letters()?, random_digits()?), at: now() };
    let lines: Vec<Line> = CLASSES.iter().map(|class| documents::line(&pushed.mark, class, pushed.at)).collect();
    let way = reach.to("loki").await?;
    way.loki()?.push(&lines).await.map_err(|error| way.explain(&error))?;
    Ok(pushed)
}

async fn collect(reach: &Reach) -> Fact<Pushed> {
    let pushed = Pushed { mark: Mark::new(random_letters()?, random_digits()?), at: now() };
    let way = reach.to_port("otelCollector", OTLP_HTTP).await?;
    let document = documents::logs(&pushed.mark, pushed.at);
    way.http()?.post("/v1/logs", &document).await.map_err(|error| way.explain(&error))?;
    Ok(pushed)
}

async fn found_lines(pushed: &Pushed, by: &'static str, reach: &Reach) -> Fact<Vec<SentLine>> {
    let query = format!("{{service_name=\"{SERVICE}\"}} |= \"{}\"", pushed.mark.letters);
    let way = reach.to("loki").await?;
    // A second earlier: the bounds are those of Loki's clock.
    let start = pushed.at - 1_000_000_000;
    let found = way.loki()?.lines(&query, start).await.map_err(|error| way.explain(&error))?;
    let line_of = |class: &&'static str| {
        let of_class = found.iter().find(|line| line.text.contains(&documents::word_of(class)));
        SentLine {
            class,
            way: by,
            user: pushed.mark.user(),
            planted: if by == BY_COLLECTOR { pushed.mark.planted_in_a_line() } else { Vec::new() },
            found: of_class.map(|line| FoundLine { labels: line.labels.clone(), text: line.text.clone() }),
        }
    };
    Ok(CLASSES.iter().map(line_of).collect())
}

/// Nanoseconds since 1970.
fn now() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

/// 16 letters that no other run has. Letters only: digits may look like a card number, which is masked.
fn random_letters() -> Fact<String> {
    Ok(random_bytes()?.iter().map(|byte| char::from(b'a' + byte % 26)).collect())
}

/// 32 hexadecimal digits that no other run has.
fn random_digits() -> Fact<String> {
    Ok(random_bytes()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn random_bytes() -> Fact<[u8; 16]> {
    let mut bytes = [0_u8; 16];
    OsRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| CannotAsk::lasting(format!("the operating system gives no random numbers: {error}")))?;
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn mark(letter: &str) -> Mark {
        Mark::new(letter.repeat(16), "1".repeat(32))
    }

    #[tokio::test]
    async fn a_trace_is_counted_by_what_was_known_before_it() {
        let away = || CannotAsk::passing("Prometheus reads its rules again");
        let sent = Cell::new(0);
        let send = async || {
            sent.set(sent.get() + 1);
            Ok(mark("b"))
        };
        let known = TracedCall { mark: mark("a"), before: Ok(vec![]) };
        let of_first = counted(&known, async || Err(away()), send).await.unwrap();
        assert_eq!((of_first.user, sent.get()), (mark("a").user(), 0));

        let unknown = TracedCall { mark: mark("a"), before: Err(away()) };
        let still = counted(&unknown, async || Err(away()), send).await.err();
        assert_eq!((still, sent.get()), (Some(away()), 0), "asked again, and nothing is sent meanwhile");
        let of_second = counted(&unknown, async || Ok(vec![]), send).await.unwrap();
        assert_eq!((of_second.user, sent.get()), (mark("b").user(), 1));
    }
}
