use super::*;
use crate::error::failure_of;
use crate::event::Recorder;
use http::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};

/// A client whose API server answers each GET from `answers` by path.
fn scripted(answers: Vec<(&'static str, u16, Value)>) -> Client {
    let service = tower_test_service(answers);
    Client::new(service, "default")
}

fn tower_test_service(
    answers: Vec<(&'static str, u16, Value)>,
) -> tower_test::mock::Mock<Request<Body>, Response<Body>> {
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    tokio::spawn(async move {
        while let Some((request, reply)) = handle.next_request().await {
            let path = request.uri().path().to_owned();
            let found = answers.iter().find(|(known, _, _)| *known == path);
            let (status, body) =
                found.map_or((404, json!({"message": "not scripted"})), |(_, status, body)| (*status, body.clone()));
            reply.send_response(
                Response::builder().status(status).body(Body::from(body.to_string().into_bytes())).unwrap(),
            );
        }
    });
    service
}

const SERVICE: &str = "/api/v1/namespaces/monitoring/services/grafana";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/monitoring/endpointslices";
const PODS: &str = "/api/v1/namespaces/monitoring/pods";

fn events() -> Events {
    Arc::new(Recorder::default())
}

fn grafana() -> ServicePort {
    ServicePort::new("monitoring", "grafana", 80)
}

fn list(kind: &str, items: Value) -> Value {
    json!({"kind": kind, "apiVersion": "v1", "metadata": {}, "items": items})
}

#[tokio::test]
async fn a_service_without_a_ready_pod_is_named_with_what_its_pods_say() {
    let service =
        json!({"metadata": {"name": "grafana"}, "spec": {"ports": [{"port": 80}], "selector": {"app": "grafana"}}});
    let pods = json!([{"metadata": {"name": "grafana-0"}, "status": {"conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"},
    ]}}]);
    let client = scripted(vec![
        (SERVICE, 200, service),
        (SLICES, 200, list("EndpointSliceList", json!([]))),
        (PODS, 200, list("PodList", pods)),
    ]);
    let error = open(&client, grafana(), LocalPort::Free, events()).await.unwrap_err();
    let failure = failure_of(&error).unwrap();
    assert_eq!(failure.kind, Kind::CouldNotAsk);
    assert_eq!(failure.hint.as_deref(), Some("kubectl -n monitoring describe pods -l app=grafana"));
    assert_eq!(
        crate::error::chain_of(&error),
        [
            "no pod of service `monitoring/grafana:80` is ready",
            "pod `grafana-0`: PodScheduled: Unschedulable: 0/1 nodes"
        ]
    );
}

#[tokio::test]
async fn a_missing_service_and_a_refusing_api_server_are_told_in_one_line() {
    let forbidden = json!({"kind": "Status", "status": "Failure", "message": "services \"grafana\" is forbidden", "reason": "Forbidden", "code": 403});
    let missing =
        json!({"kind": "Status", "status": "Failure", "message": "not found", "reason": "NotFound", "code": 404});
    let cases = [
        (404, missing, "service `grafana` does not exist in namespace `monitoring`"),
        (403, forbidden, "cannot forward to service `monitoring/grafana:80`: services \"grafana\" is forbidden"),
    ];
    for (status, body, expected) in cases {
        let client = scripted(vec![(SERVICE, status, body), (SLICES, 200, list("EndpointSliceList", json!([])))]);
        let error = open(&client, grafana(), LocalPort::Free, events()).await.unwrap_err();
        assert_eq!(failure_of(&error).unwrap().kind, Kind::CouldNotAsk);
        assert_eq!(crate::error::chain_of(&error).join(": "), expected);
    }
}

#[tokio::test]
async fn a_taken_local_port_is_refused_with_its_holder_and_the_way_out() {
    let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = holder.local_addr().unwrap().port();
    let client = scripted(vec![]);
    let service = ServicePort::new("monitoring", "prometheus-grafana", 80);
    let error = open(&client, service, LocalPort::Fixed(port), events()).await.unwrap_err();
    let failure = failure_of(&error).unwrap();
    assert_eq!(failure.kind, Kind::Refused);
    assert!(
        failure.message.starts_with(&format!("local port `{port}` for `prometheus-grafana` is taken")),
        "{}",
        failure.message
    );
    assert!(failure.hint.as_deref().unwrap().contains("--port grafana="));
}

#[tokio::test]
async fn a_connection_that_fails_is_counted_and_its_reason_kept() {
    let service = json!({"metadata": {"name": "grafana"}, "spec": {"ports": [{"port": 80}]}});
    let slice = json!({"metadata": {"name": "s"}, "addressType": "IPv4", "ports": [{"name": "", "port": 3000}],
        "endpoints": [{"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "name": "grafana-0"}}]});
    let client = scripted(vec![(SERVICE, 200, service), (SLICES, 200, list("EndpointSliceList", json!([slice])))]);
    let recorder = Arc::new(Recorder::default());
    let events: Events = Arc::clone(&recorder) as Events;
    let forward = open(&client, grafana(), LocalPort::Free, events).await.unwrap();
    for _ in 0..2 {
        // The scripted API server refuses the upgrade; the local side sees its connection closed.
        let mut stream = TcpStream::connect(forward.address()).await.unwrap();
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap_or(0), 0);
    }
    while forward.errors() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(forward.connections(), 2);
    assert!(forward.last_error().unwrap().contains("grafana-0"), "{:?}", forward.last_error());
    let warnings = recorder.events().iter().filter(|event| matches!(event, Event::Warning { .. })).count();
    assert_eq!(warnings, 1, "the same reason again is only a detail");
    let address = forward.address();
    forward.close().await;
    assert!(TcpStream::connect(address).await.is_err(), "closed means that nobody listens");
}

#[tokio::test(start_paused = true)]
async fn the_remote_end_closes_the_local_connection() {
    let (local, mut client) = tokio::io::duplex(64);
    let (remote, mut pod) = tokio::io::duplex(64);
    let copying = tokio::spawn(copy_until_either_ends(local, remote, Duration::from_secs(60)));
    client.write_all(b"ask").await.unwrap();
    let mut asked = [0; 3];
    pod.read_exact(&mut asked).await.unwrap();
    pod.write_all(b"answer").await.unwrap();
    drop(pod);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!((asked, answer.as_str()), (*b"ask", "answer"));
    copying.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_answer_still_arrives_after_the_local_side_ended_its_writing() {
    let (local, mut client) = tokio::io::duplex(64);
    let (remote, mut pod) = tokio::io::duplex(64);
    let copying = tokio::spawn(copy_until_either_ends(local, remote, Duration::from_secs(60)));
    client.write_all(b"ask").await.unwrap();
    client.shutdown().await.unwrap();
    tokio::time::sleep(LINGER / 2).await;
    pod.write_all(b"answer").await.unwrap();
    let mut answer = String::new();
    // The pod never closes: the end comes from our side.
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "answer");
    copying.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_on_which_nothing_moves_is_closed() {
    let (local, _client) = tokio::io::duplex(64);
    let (remote, _pod) = tokio::io::duplex(64);
    let started = Instant::now();
    copy_until_either_ends(local, remote, Duration::from_secs(60)).await;
    assert_eq!(started.elapsed(), Duration::from_secs(60));
}

#[test]
fn the_reason_of_the_kubelet_is_told_without_repetition() {
    let cases = [
        ("error forwarding port 3000 to pod grafana-0/ns, uid : no forward found", "no forward found"),
        (
            "error forwarding port 80 to pod abc, uid 12-34: connect: Connection refused\n",
            "connect: Connection refused",
        ),
        ("something else: went wrong", "something else: went wrong"),
    ];
    for (text, expected) in cases {
        assert_eq!(plain_reason(text), expected);
    }
}
