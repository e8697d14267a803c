use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Installs the TLS provider, as `main` does.
pub(crate) fn install_provider() {
    // A second installation is refused, which is what a second test does.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

pub(crate) fn quick() -> Limits {
    Limits { overall: Duration::from_secs(5), attempts: 1, pause: Duration::from_millis(1), ..Limits::default() }
}

/// What a scripted server does with one connection.
#[derive(Clone)]
pub(crate) enum Act {
    /// Answers these bytes and closes.
    Say(String),
    /// Closes without a byte.
    Hang(Duration),
}

pub(crate) fn ok(body: &str) -> Act {
    Act::Say(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

fn refusal(status: &str, body: &str) -> Act {
    Act::Say(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

/// A server that plays `acts`, one a connection, the last one for all further ones.
pub(crate) async fn scripted(acts: Vec<Act>) -> (Url, Arc<AtomicUsize>) {
    install_provider();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let number = counter.fetch_add(1, Ordering::SeqCst);
            let act = acts[number.min(acts.len() - 1)].clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                match act {
                    Act::Say(text) => drop(stream.write_all(text.as_bytes()).await),
                    Act::Hang(time) => sleep(time).await,
                }
            });
        }
    });
    (url, count)
}

#[tokio::test]
async fn the_far_side_is_asked_to_close_each_connection() {
    install_provider();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let read = stream.read(&mut request).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]").await.unwrap();
        String::from_utf8_lossy(&request[..read]).to_lowercase()
    });
    let _: Vec<u8> = Http::new(&url, quick()).unwrap().json("/x", &[]).await.unwrap();
    assert!(asked.await.unwrap().contains("\r\nconnection: close\r\n"));
}

async fn error_of(act: Act, limits: Limits) -> String {
    let (url, _) = scripted(vec![act]).await;
    let answer: Result<serde_json::Value, HttpError> = Http::new(&url, limits).unwrap().json("/x", &[]).await;
    answer.unwrap_err().to_string()
}

#[tokio::test]
async fn every_kind_of_bad_answer_is_one_clear_line() {
    let html = "<html>\n<body>down for maintenance</body></html>";
    let cases = [
        (
            refusal("500 Internal Server Error", "\n boom \x1b[31m\nmore"),
            "answered 500 Internal Server Error: boom [31m",
        ),
        (refusal("503 Service Unavailable", ""), "answered 503 Service Unavailable"),
        (
            refusal("400 Bad Request", r#"{"status":"error","error":"parse error"}"#),
            "answered 400 Bad Request: parse error",
        ),
        (refusal("400 Bad Request", r#""bad matcher""#), "answered 400 Bad Request: bad matcher"),
        (ok(html), "the answer is not JSON: `<html>`"),
        (ok(r#"{"a": [1, 2"#), "the answer broke off after 11 bytes of JSON"),
        (
            Act::Say("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"a\":".to_owned()),
            "the answer broke off after 5 bytes",
        ),
        (Act::Say(String::new()), "connection closed before message completed"),
        (Act::Say("not http at all\r\n\r\n".to_owned()), "invalid HTTP version parsed"),
    ];
    for (act, expected) in cases {
        assert_eq!(error_of(act, quick()).await, expected);
    }
}

#[tokio::test]
async fn an_answer_of_another_shape_names_what_is_missing() {
    let (url, _) = scripted(vec![ok("{}")]).await;
    let answer: Result<Vec<u8>, HttpError> = Http::new(&url, quick()).unwrap().json("/x", &[]).await;
    let text = answer.unwrap_err().to_string();
    assert!(text.starts_with("the answer has another shape than expected: invalid type: map"), "{text}");
}

#[tokio::test]
async fn a_silent_server_ends_in_a_timeout() {
    let limits = Limits { overall: Duration::from_millis(100), ..quick() };
    assert_eq!(error_of(Act::Hang(Duration::from_secs(60)), limits).await, "no answer in 0.1 s");
}

#[tokio::test]
async fn a_body_larger_than_the_limit_is_not_read() {
    let limits = Limits { body_bytes: 10, ..quick() };
    assert_eq!(error_of(ok(&"x".repeat(100)), limits).await, "the answer is larger than 10 bytes");
}

#[tokio::test]
async fn a_refused_connection_says_so() {
    install_provider();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    drop(listener);
    let error = Http::new(&url, quick()).unwrap().ready("/-/ready").await.unwrap_err();
    assert_eq!(error.to_string(), "connection refused");
}

#[tokio::test]
async fn a_broken_connection_is_tried_again_and_a_plain_no_is_not() {
    let reset = Act::Say(String::new());
    let limits = Limits { attempts: 3, ..quick() };
    let (url, count) = scripted(vec![reset.clone(), reset.clone(), ok("[1]")]).await;
    let answer: Vec<u8> = Http::new(&url, limits).unwrap().json("/x", &[]).await.unwrap();
    assert_eq!((answer, count.load(Ordering::SeqCst)), (vec![1], 3));

    let (url, count) = scripted(vec![reset]).await;
    assert!(Http::new(&url, limits).unwrap().ready("/x").await.is_err());
    assert_eq!(count.load(Ordering::SeqCst), 3, "bounded");

    let (url, count) = scripted(vec![refusal("503 Service Unavailable", "Service Unavailable")]).await;
    let readiness = Http::new(&url, limits).unwrap().ready("/x").await.unwrap();
    let no = "answered 503 Service Unavailable: Service Unavailable".to_owned();
    assert_eq!((readiness, count.load(Ordering::SeqCst)), (Readiness::NotReady(no), 1));
}

#[test]
fn a_path_in_the_base_url_is_kept_and_a_password_never_shown() {
    let base = Url::parse("https://user:secret@mon.example.com/prometheus/").unwrap();
    assert_eq!(join(&base, "/api/v1/query", &[("query", "up == 0")]).path(), "/prometheus/api/v1/query");
    assert_eq!(join(&base, "/a", &[("query", "up == 0")]).query(), Some("query=up+%3D%3D+0"));
    assert_eq!(shown(&base), "https://mon.example.com/prometheus");
}

#[test]
fn loopback_is_known_in_each_spelling() {
    for (url, expected) in [
        ("http://127.0.0.1:9090", true),
        ("http://localhost", true),
        ("http://[::1]:3000", true),
        ("http://10.0.0.1", false),
        ("http://localhost.example.com", false),
    ] {
        assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
    }
}

#[test]
fn a_long_line_is_cut() {
    assert_eq!(line_of(&"ä".repeat(500)).chars().count(), QUOTE_LIMIT + 3);
}
